"""JPEG XL: right pixels, upright once, with its metadata; refused by its header if too large."""

import io

import numpy as np
import pylibjxl
import pytest
from PIL import ExifTags, Image
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
    bits = bits.ljust(-(-len(bits) // 8) * 8, "0")
    codes = bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))
    with pytest.raises(MediaError, match="too large: 12000x12000"):
        decoded(tmp_path, b"\xff\x0a" + codes + bytes(64))
