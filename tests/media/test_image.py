"""Pictures as files: every format, and every way in which a file is not one."""

import io
import os
import random
import struct
import warnings
import zlib
from functools import partial

import numpy as np
import pillow_heif
import pytest
from PIL import Image
from support.hostile_images import psd
from support.images import MEDIUM, decode, item_of, scene
from support.watching import Watch

from qvsearch import media
from qvsearch.errors import MediaError
from qvsearch.files import content_hash
from qvsearch.media.pixels import dhash, fit, patches
from qvsearch.types import DecodeOptions, Kind, Metadata


@pytest.mark.parametrize(
    ("suffix", "form", "options", "tolerance"),
    [
        ("jpg", "JPEG", {"quality": 95}, 6),
        ("jpeg", "JPEG", {"quality": 95, "progressive": True}, 6),
        ("png", "PNG", {}, 0),
        ("webp", "WEBP", {"lossless": True}, 0),
        ("gif", "GIF", {}, 40),
        ("bmp", "BMP", {}, 0),
        ("dib", "DIB", {}, 0),
        ("tif", "TIFF", {}, 0),
        ("tiff", "TIFF", {"compression": "tiff_lzw"}, 0),
        ("avif", "AVIF", {"quality": 95}, 8),
        ("heic", "HEIF", {"quality": 95}, 8),
        ("jpg", "MPO", {"save_all": True, "quality": 95}, 6),
        ("mpo", "MPO", {"save_all": True, "quality": 95}, 6),
        ("apng", "PNG", {}, 0),
        ("avifs", "AVIF", {"quality": 95}, 8),
        ("hif", "HEIF", {"quality": 95}, 8),
        ("jp2", "JPEG2000", {}, 0),
        ("jpf", "JPEG2000", {}, 0),
        ("jpx", "JPEG2000", {}, 0),
        ("j2k", "JPEG2000", {"no_jp2": True}, 0),
        ("tga", "TGA", {}, 0),
        ("tga", "TGA", {"compression": "tga_rle"}, 0),
        ("ico", "ICO", {"sizes": [(16, 16), (200, 150)]}, 0),
        ("dds", "DDS", {}, 0),
        ("ppm", "PPM", {}, 0),
        ("pnm", "PPM", {}, 0),
    ],
)
def test_formats(tmp_path, suffix, form, options, tolerance):
    pillow_heif.register_heif_opener()
    path = tmp_path / f"picture.{suffix}"
    if form == "MPO":
        options = {**options, "append_images": [scene().rotate(180)]}
    scene().save(path, form, **options)
    decoded = decode(path)
    [(segment, input_)] = decoded.segments
    assert decoded.item == segment.item == item_of(path)
    assert segment.content_hash == content_hash(os.fsencode(path), os.path.getsize(path))
    assert (segment.width, segment.height) == (200, 150)
    assert (segment.start, segment.end, segment.lines, segment.snippet) == (None,) * 4
    assert input_.text is None
    [pixels] = input_.images
    assert segment.dhash == dhash(pixels)
    assert segment.patches == patches(pixels)
    assert segment.metadata == Metadata(page=False)
    difference = np.abs(pixels.astype(int) - fit(scene(), MEDIUM))
    assert difference.mean() <= tolerance


def test_portable_maps(tmp_path):
    shades = np.asarray(scene().convert("L"))
    for suffix, form, tolerance in (("pgm", shades, 0), ("pfm", shades / np.float32(255), 1)):
        path = tmp_path / f"map.{suffix}"
        Image.fromarray(form).save(path, "PPM")
        pixels = decode(path).segments[0][1].images[0].astype(int)
        assert np.abs(pixels - fit(scene().convert("L"), MEDIUM)).max() <= tolerance + 1
    path = tmp_path / "map.pbm"
    path.write_bytes(b"P1\n# a comment\n64 64\n" + b"0 " * 2048 + b"1 " * 2048)
    pixels = decode(path).segments[0][1].images[0]
    assert (pixels[:24] == 255).all()
    assert (pixels[40:] == 0).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_drawing_with_layers(tmp_path, mode, packed):
    path = tmp_path / "drawing.psd"
    path.write_bytes(psd(scene().convert(mode), packed))
    pixels = decode(path).segments[0][1].images[0]
    np.testing.assert_array_equal(pixels, fit(scene().convert(mode), MEDIUM))


def test_a_texture_of_a_kind_that_is_not_read(tmp_path):
    path = tmp_path / "texture.dds"
    scene().save(path, "DDS", pixel_format="DXT1")
    path.write_bytes(path.read_bytes().replace(b"DXT1", b"YUY2"))
    with pytest.raises(MediaError, match="not supported: "):
        decode(path)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
def test_the_first_frame_of_an_animation(tmp_path, form):
    path = tmp_path / f"moving.{form.lower()}"
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(path, form, save_all=True, append_images=frames[1:])
    pixels = decode(path).segments[0][1].images[0]
    np.testing.assert_allclose(pixels[32, 32], (255, 0, 0), atol=8)
    assert decode(path).segments[0][0].metadata.several
    frames[0].save(path, form, save_all=True)
    assert decode(path).segments[0][0].metadata.several is None


def test_the_size_is_the_upright_one(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpg"
    scene().save(path, exif=exif)
    [(segment, input_)] = decode(path).segments
    assert (segment.width, segment.height) == (150, 200)
    assert input_.images[0].shape[0] > input_.images[0].shape[1]


def test_the_budget_is_kept(tmp_path):
    path = tmp_path / "large.png"
    scene(3000, 2000).save(path)
    height, width, _ = decode(path, 256 * 1024).segments[0][1].images[0].shape
    assert height * width <= 256 * 1024
    assert (height % 32, width % 32) == (0, 0)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, *more):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(more) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height", "megapixels"),
    [(9_500, 10_600, "100.7"), (12_000, 12_000, "144.0"), (30_000, 30_000, "900.0")],
)
def test_a_bomb_is_refused_from_its_header(tmp_path, width, height, megapixels):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(width, height))
    with pytest.raises(
        MediaError, match=rf"too large: .*{megapixels} megapixels, the limit is 100"
    ):
        decode(path)


def large_jpeg(path, width, height, **options):
    """Write a grey picture that is brighter to the right."""
    steps = np.linspace(0, 255, 16, dtype=np.uint8)[None]
    Image.fromarray(steps).resize((width, height), Image.Resampling.NEAREST).save(path, **options)


def test_a_very_large_jpeg_is_decoded_in_a_smaller_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    with Watch(tmp_path, Kind.IMAGE) as watch:
        draw = partial(large_jpeg, width=12_001, height=9_001, format="JPEG", exif=exif)
        assert list(watch.outcomes([("phone.jpg", draw)])) == [("phone.jpg", 1)]
    assert watch.peak < 250_000_000  # a third of what its pixels take
    path = tmp_path / "phone.jpg"
    large_jpeg(path, 12_001, 9_001, exif=exif)
    [(segment, input_)] = decode(path).segments
    assert (segment.width, segment.height) == (9_001, 12_001)
    shown = input_.images[0].mean(axis=(1, 2))
    np.testing.assert_allclose(shown[::64], np.linspace(0, 255, len(shown))[::64], atol=9)


@pytest.mark.parametrize(
    ("progressive", "width", "reason"),
    [
        (False, 20_000, r"20000x20001 is 400\.0 megapixels, the limit is 400"),
        (True, 10_000, r"10000x20001 is 200\.0 megapixels, the limit of a progressive JPEG is 200"),
    ],
)
def test_a_jpeg_has_its_own_limit(tmp_path, progressive, width, reason):
    path = tmp_path / "large.jpg"
    large_jpeg(path, 64, 64, progressive=progressive)
    data = bytearray(path.read_bytes())
    place = data.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
    struct.pack_into(">HH", data, place, 20_001, width)
    path.write_bytes(data)
    with pytest.raises(MediaError, match="too large: " + reason):
        decode(path)


def test_a_text_bomb_in_place_of_a_picture_is_refused(tmp_path):
    path = tmp_path / "text.png"
    compressed = zlib.compress(b"a" * 100_000_000, 9)
    path.write_bytes(png(4, 4, chunk(b"zTXt", b"Comment\0\0" + compressed)))
    with pytest.raises(MediaError, match="only 0 % of it can be decoded"):
        decode(path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.jpg", b"", "empty file"),
        ("one.jpg", b"\xff", "not an image"),
        ("page.png", b"<!DOCTYPE html><html></html>", "not an image"),
        ("drawing.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        ("photo.psd.jpg", b"8BPS\0\1" + bytes(100), "damaged or truncated PSD header"),
        ("note.tga", b"some words, and nothing that a picture begins with", "not an image"),
        ("head.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF", "truncated"),
        ("a.heif", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heix", "damaged or truncated HEIF header"),
        ("a.avif", b"\0\0\0\x14ftypavif\0\0\0\0avif", "damaged or truncated AVIF header"),
        ("head.png", b"\x89PNG\r\n\x1a\n\0\0", "damaged or truncated PNG header"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MediaError, match=reason) as caught:
        decode(path)
    assert str(tmp_path) not in str(caught.value)  # the report names the file already


def test_a_reason_is_one_line(tmp_path):
    pillow_heif.register_heif_opener()
    path = tmp_path / "cut.heic"
    scene(61, 47).save(path, "HEIF")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(MediaError, match="truncated") as caught:
        decode(path)  # libheif's message ends its line
    assert str(caught.value).isprintable()


def test_damage_is_refused_or_decoded_and_nothing_else(tmp_path):
    pillow_heif.register_heif_opener()
    rng = random.Random(11)
    path = tmp_path / "damaged"
    outcomes = []
    for form in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"):
        whole = io.BytesIO()
        scene(64, 48).save(whole, form)
        for _ in range(25):
            data = bytearray(whole.getvalue())
            for _ in range(rng.randint(1, 30)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            path.write_bytes(data)
            try:
                outcomes.append(len(decode(path).segments))
            except MediaError as error:
                outcomes.append(str(error))
    assert outcomes.count(1) > 10
    assert len([reason for reason in outcomes if isinstance(reason, str)]) > 50


def test_no_warning_leaves_the_decoder(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(png(9_500, 9_500))  # over Pillow's own warning, under the limit
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(MediaError, match="truncated"):
            decode(path)
    assert seen == []


def test_the_file_must_be_the_one_that_was_scanned(tmp_path):
    path = tmp_path / "picture.png"
    scene().save(path)
    item = item_of(path)
    with pytest.raises(MediaError, match="changed while it was being indexed"):
        media.decode(item, "the hash of another content", DecodeOptions(MEDIUM))
    os.utime(path, ns=(1, item.mtime_ns + 1))
    with pytest.raises(MediaError, match="changed while it was being indexed"):
        media.decode(item, "", DecodeOptions(MEDIUM))
    path.unlink()
    with pytest.raises(MediaError, match="no longer there"):
        media.decode(item, "", DecodeOptions(MEDIUM))
    os.mkfifo(path)
    with pytest.raises(MediaError, match="not a regular file"):
        media.decode(item, "", DecodeOptions(MEDIUM))
    path.unlink()
    path.mkdir()
    with pytest.raises(MediaError, match="not a regular file"):
        media.decode(item, "", DecodeOptions(MEDIUM))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "secret.png"
    scene().save(path)
    path.chmod(0)
    with pytest.raises(MediaError, match="permission denied"):
        decode(path)


def test_names_that_are_not_utf8(tmp_path):
    name = os.fsencode(tmp_path) + b"/-\xff\n\x1b[31m.png"
    with open(name, "wb") as file:
        scene().save(file, "PNG")
    assert decode(os.fsdecode(name)).item.location == name


def test_a_damaged_second_frame_is_one_all_the_same(tmp_path):
    path = tmp_path / "moving.gif"
    frames = [Image.new("L", (64, 64), grey) for grey in (40, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"\x2c") + 5])
    assert decode(path).segments[0][0].metadata.several
