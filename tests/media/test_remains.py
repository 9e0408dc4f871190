"""Pictures that are cut off or damaged beside their pixels: what viewers show is indexed."""

import io
import zlib

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageFile
from support.hostile_images import chunk
from support.images import MEDIUM, decode

from qvsearch.errors import MediaError
from qvsearch.media.pixels import fit

GREY = 128


def noisy(width=200, height=150, mode="RGB"):
    """Return a picture whose bytes are spread evenly over its rows, and none of which is grey."""
    rng = np.random.default_rng(3)
    return Image.fromarray(rng.integers(0, 100, (height, width, 3), np.uint8)).convert(mode)


def encoded(form, mode="RGB", **options):
    file = io.BytesIO()
    noisy(mode=mode).save(file, form, **options)
    return file.getvalue()


def read(tmp_path, data):
    """Return the pixels of a file of these bytes, and what is missing of them."""
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    [(segment, source)] = decode(path).segments
    assert (segment.width, segment.height) == (200, 150)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    return source.images[0].astype(int), segment.metadata.damaged


def shown(data):
    return fit(Image.open(io.BytesIO(data)), MEDIUM).astype(int)


@pytest.mark.parametrize("options", [{}, {"quality": 95}, {"subsampling": 0}])
def test_a_jpeg_without_its_end_marker_is_whole(tmp_path, options):
    data = encoded("JPEG", **options)
    pixels, damaged = read(tmp_path, data[:-2])
    np.testing.assert_array_equal(pixels, shown(data))
    assert damaged is None


CUT = [
    ("JPEG", "RGB", {}),
    ("JPEG", "L", {}),
    ("JPEG", "CMYK", {}),
    ("MPO", "RGB", {}),
    ("PNG", "RGB", {}),
    ("PNG", "RGBA", {}),
    ("PNG", "L", {}),
    ("PNG", "P", {}),
    ("GIF", "P", {"interlace": 0}),
    ("GIF", "L", {"interlace": 0}),
    ("GIF", "P", {"interlace": 0, "transparency": 7}),
    ("BMP", "RGB", {}),
    ("TIFF", "RGB", {}),
]


@pytest.mark.parametrize("kept", [0.99, 0.6])
@pytest.mark.parametrize(("form", "mode", "options"), CUT)
def test_what_is_missing_is_grey_and_told(tmp_path, form, mode, options, kept):
    data = encoded(form, mode, **options)
    pixels, damaged = read(tmp_path, data[: int(len(data) * kept)])
    whole = shown(data)
    if form == "BMP":  # whose first row is the lowest
        pixels, whole = pixels[::-1], whole[::-1]
    rows = len(pixels)
    intact = int(rows * (kept - 0.15))
    np.testing.assert_allclose(pixels[:intact], whole[:intact], atol=1)
    if "transparency" not in options and mode != "CMYK":
        missing = (np.abs(pixels - GREY) <= 1).all(axis=(1, 2)).mean()
        assert missing == pytest.approx(1 - kept, abs=0.12)
    percent = int(damaged.removeprefix("the last ").removesuffix(" % is missing"))
    assert percent == pytest.approx(100 * (1 - kept), abs=12)


def test_a_cut_picture_in_several_passes_is_told(tmp_path):
    data = encoded("JPEG", progressive=True)
    pixels, damaged = read(tmp_path, data[: len(data) * 9 // 10])
    assert damaged == "the last details are missing"
    assert np.abs(pixels - shown(data)).mean() < 10


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "TIFF"])
def test_too_little_is_refused(tmp_path, form):
    data = encoded(form)
    with pytest.raises(MediaError, match="only [12]. % of it can be decoded"):
        read(tmp_path, data[: int(len(data) * 0.2)])


@pytest.mark.parametrize(
    ("form", "options"), [("GIF", {"interlace": 1}), ("WEBP", {}), ("AVIF", {}), ("HEIF", {})]
)
def test_what_cannot_be_read_in_part_is_refused(tmp_path, form, options):
    pillow_heif.register_heif_opener()
    data = encoded(form, **options)
    with pytest.raises(MediaError, match="truncated|damaged"):
        read(tmp_path, data[: int(len(data) * 0.6)])


def large(name, keyword, header=b""):
    return chunk(name, keyword + header + zlib.compress(bytes(range(256)) * 7200))  # 1.8 MB


BESIDE = {
    "a wrong checksum": chunk(b"tEXt", b"Comment\0words")[:-1] + b"!",
    "a large text": large(b"zTXt", b"Comment\0", b"\0"),
    "a large international text": large(b"iTXt", b"Title\0", b"\1\0en\0\0"),
    "a large profile": large(b"iCCP", b"profile\0", b"\0"),
    "a damaged time": chunk(b"tIME", b"\1\2")[:-4] + b"\0\0\0\0",
}


@pytest.mark.parametrize("mode", ["RGB", "P", "LA", "1"])
@pytest.mark.parametrize("name", BESIDE)
def test_what_stands_beside_the_pixels_refuses_no_picture(tmp_path, name, mode):
    data = encoded("PNG", mode)
    place = data.index(b"PLTE" if mode == "P" else b"IDAT") - 4
    pixels, damaged = read(tmp_path, data[:place] + BESIDE[name] + data[place:])
    np.testing.assert_array_equal(pixels, shown(data))
    assert damaged is None


@pytest.mark.parametrize("name", BESIDE)
def test_nor_does_what_stands_behind_them(tmp_path, name):
    data = encoded("PNG")
    pixels, damaged = read(tmp_path, data[:-12] + BESIDE[name] + data[-12:])
    np.testing.assert_array_equal(pixels, shown(data))
    assert damaged is None


def test_a_palette_picture_without_its_palette_is_refused(tmp_path):
    data = bytearray(encoded("PNG", "P"))
    place = data.index(b"PLTE")
    data[place : place + 4] = b"prIv"  # which readers pass over
    with pytest.raises(MediaError, match="damaged|truncated"):
        read(tmp_path, bytes(data))


def test_a_wrong_checksum_of_the_size_is_refused(tmp_path):
    data = bytearray(encoded("PNG"))
    data[8 + 8 + 13] ^= 1
    with pytest.raises(MediaError, match="damaged or truncated PNG header"):
        read(tmp_path, bytes(data))
