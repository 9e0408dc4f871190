"""JPEG XL: right pixels, upright once, with its metadata; refused by its header if too large."""

import io
import struct

import numpy as np
import pylibjxl
import pytest
from PIL import ExifTags, Image
from support.icc_profiles import ADOBE, P3, rgb_profile
from support.images import decode, scene

from qvsearch.errors import MediaError

BASE = ExifTags.Base


def decoded(tmp_path, data, max_pixels=768 * 32 * 32):
    path = tmp_path / "IMG.jxl"
    path.write_bytes(data)
    [(segment, source)] = decode(path, max_pixels).segments
    return segment, source.images[0]


def exif(orientation=1):
    block = Image.Exif()
    block.update({BASE.Orientation: orientation, BASE.Make: "Apple", BASE.Model: "iPhone 17"})
    block.get_ifd(ExifTags.IFD.Exif)[BASE.DateTimeOriginal] = "2025:01:02 03:04:05"
    return block


def test_it_has_the_pixels_of_a_png(tmp_path):
    picture = scene()
    segment, pixels = decoded(tmp_path, pylibjxl.encode(np.asarray(picture), lossless=True))
    picture.save(tmp_path / "IMG.png")
    [(other, source)] = decode(tmp_path / "IMG.png").segments
    assert np.array_equal(pixels, source.images[0])
    assert (segment.width, segment.height, segment.dhash) == (200, 150, other.dhash)


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_other_modes(tmp_path, mode):
    picture = scene().convert(mode)
    data = np.asarray(picture)
    data = data[..., None] if data.ndim == 2 else data
    _, pixels = decoded(tmp_path, pylibjxl.encode(data, lossless=True))
    picture.save(tmp_path / "IMG.png")
    [(_, source)] = decode(tmp_path / "IMG.png").segments
    assert np.array_equal(pixels, source.images[0])


def packed(bits):
    """Bits in the order of the standard as bytes."""
    return bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))


def number(value, count):
    """A number of some bits, the lowest first."""
    return f"{value:0{count}b}"[::-1]


def coordinates(*values):
    """Custom colours (ISO 18181-1, E.2): millionths with their sign in the lowest bit."""
    texts = []
    for value in values:
        folded = 2 * round(value * 1e6)
        choice = max(0, folded.bit_length() - 19)  # 19 bits, or 19 or 20 above the highest one
        start = (0, 2**19, 2**20)[choice]
        texts.append(number(choice, 2) + number(folded - start, (19, 19, 20)[choice]))
    return "".join(texts)


def bright(mode):
    return scene(256, 128).resize((192, 96)).convert(mode)


def coloured(picture, colours, *, extra=False, box=False):
    """A lossless file of a `bright` picture, whose header has these bits for its colours."""
    grey = picture.mode == "L"
    pixels = np.asarray(picture)
    data = pylibjxl.encode(pixels[..., None] if grey else pixels, lossless=True)
    frame = data[7 if grey else 5 :]  # after its own header
    channels = "10" + "1" if picture.mode == "RGBA" else "00"
    bits = "1" + number(96 // 8 - 1, 5) + number(7, 3)  # 96 high, twice as wide
    # not the usual metadata; extra fields: not turned, without preview, animation and size
    bits += "0" + ("1" + "000" + "000" if extra else "0")
    bits += "0" + "00" + "1" + channels + "0"  # 8 bits, channels, not XYB
    bits += "0" + "0" + colours + ("1" if extra else "") + "00" + "1"
    stream = b"\xff\x0a" + packed(bits) + frame
    if not box:
        return stream
    start = b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl "
    return start + struct.pack(">I4s", 8 + len(stream), b"jxlc") + stream


RGB, GREY, D65, CUSTOM, INTENT = "00", "10", "10", "01" + "0000", "10"
LINEAR = "0" + "01" + number(8 - 2, 4)
GAMMA = "1" + number(round(1e7 / 2.2), 24)
WIDE = RGB + D65 + "01" + number(11 - 2, 4) + GAMMA + INTENT
PHOTO = RGB + D65 + CUSTOM + coordinates(0.64, 0.33, 0.21, 0.71, 0.15, 0.06) + GAMMA + INTENT


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_linear_light_is_shown_as_bright_as_it_is(tmp_path, mode, extra):
    picture = bright(mode)
    colours = (GREY + D65 if mode == "L" else RGB + D65 + "10") + LINEAR + INTENT
    _, pixels = decoded(tmp_path, coloured(picture, colours, extra=extra))
    light = np.asarray(picture.convert("RGB")) / 255
    shown = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert pixels.shape == shown.shape
    assert np.abs(pixels - shown).max() <= 1


@pytest.mark.parametrize("box", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize(
    ("colours", "profile"), [(WIDE, P3), (PHOTO, ADOBE)], ids=["wide", "photo"]
)
def test_its_colours_are_those_of_a_profile(tmp_path, colours, profile, mode, box):
    picture = bright(mode)
    _, pixels = decoded(tmp_path, coloured(picture, colours, box=box))
    picture.save(tmp_path / "IMG.png", icc_profile=rgb_profile(*profile))
    [(_, source)] = decode(tmp_path / "IMG.png").segments
    picture.save(tmp_path / "plain.png")
    [(_, plain)] = decode(tmp_path / "plain.png").segments
    assert np.abs(source.images[0].astype(int) - plain.images[0]).max() > 20
    assert np.abs(pixels.astype(int) - source.images[0]).max() <= 1


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_jpeg_that_was_recompressed(tmp_path, orientation):
    file = io.BytesIO()
    scene().save(file, "JPEG", quality=95, exif=exif(orientation))
    (tmp_path / "IMG.jpg").write_bytes(file.getvalue())
    [(other, source)] = decode(tmp_path / "IMG.jpg").segments
    segment, pixels = decoded(tmp_path, pylibjxl.jpeg_to_jxl(file.getvalue()))
    assert (segment.width, segment.height) == (other.width, other.height)
    assert np.abs(pixels.astype(int) - source.images[0]).mean() < 2
    assert segment.metadata == other.metadata
    assert segment.metadata.taken == "2025-01-02T03:04:05"


def test_its_metadata(tmp_path):
    xmp = b'<rdf:RDF><rdf:Description xmp:Rating="5" dc:title="Pier"/></rdf:RDF>'
    data = pylibjxl.encode(np.asarray(scene()), exif=exif().tobytes(), xmp=xmp)
    metadata = decoded(tmp_path, data)[0].metadata
    assert (metadata.camera, metadata.rating, metadata.title) == ("Apple iPhone 17", 5, "Pier")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_a_truncated_one_has_a_reason(tmp_path, share):
    data = pylibjxl.encode(np.asarray(Image.effect_noise((300, 200), 90).convert("RGB")))
    with pytest.raises(MediaError, match="damaged image|truncated"):
        decoded(tmp_path, data[: int(share * len(data))])


def test_a_large_one_is_refused_by_its_header(tmp_path):
    # SizeHeader of ISO 18181-1: not small, 30 bits of height - 1, no ratio, 30 bits of width - 1
    bits = "0" + "11" + f"{11_999:030b}"[::-1] + "000" + "11" + f"{11_999:030b}"[::-1] + "1"
    with pytest.raises(MediaError, match="too large: 12000x12000"):
        decoded(tmp_path, b"\xff\x0a" + packed(bits) + bytes(64))
