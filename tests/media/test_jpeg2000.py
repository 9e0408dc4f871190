"""JPEG 2000: deep colours, profiles, and what its boxes describe."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image
from support.icc_profiles import P3, rgb_profile
from support.images import decode, item_of, scene

from qvsearch.media import image
from qvsearch.types import Metadata

XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description xmp:Rating="4">
<dc:subject><rdf:Bag><rdf:li>harbour</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF>
</x:xmpmeta>"""
XMP_ID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
EXIF_IDS = [b"JpgTiffExif->JP2", bytes.fromhex("0537cdab9d0c4431a72afa561f2a113e")]
IPTC_IDS = [
    bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"),
    bytes.fromhex("09a14e97c0b442e0bebf36df6f0ce36f"),
]


def decoded(tmp_path, data, name="a.jp2"):
    (tmp_path / name).write_bytes(data)
    [(segment, source)] = decode(tmp_path / name).segments
    return segment, source.images[0].astype(int)


def box(name, content):
    return struct.pack(">I4s", 8 + len(content), name) + content


def picture():
    file = io.BytesIO()
    scene(192, 128).save(file, "JPEG2000")
    return file.getvalue()


def with_boxes(data, boxes, *, last=False):
    """A file with these boxes before its pixels, or after them."""
    start = len(data) if last else data.index(b"jp2c") - 4
    return data[:start] + boxes + data[start:]


def with_profile(data, profile):
    start = data.index(b"colr") - 4
    [size] = struct.unpack_from(">I", data, start)
    new = box(b"colr", b"\2\0\0" + profile)
    header = data.index(b"jp2h") - 4
    [whole] = struct.unpack_from(">I", data, header)
    changed = data[:start] + new + data[start + size :]
    return changed[:header] + struct.pack(">I", whole + len(new) - size) + changed[header + 4 :]


def deep(pixels, channels=3):
    """A lossless file of 16 bits."""
    values = np.full((*pixels.shape[:2], channels), 65535, np.uint16)
    values[..., :3] = pixels[..., ::-1].astype(np.uint16) * 257
    return cv2.imencode(".jp2", values, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])[1].tobytes()


@pytest.mark.parametrize("suffix", ["jp2", "j2k"])
@pytest.mark.parametrize("channels", [3, 4])
def test_white_of_16_bits_is_white(tmp_path, channels, suffix):
    plain = np.asarray(scene(192, 128)).copy()
    plain[:64, :64] = 255
    plain[64:, :64] = 0
    data = deep(plain, channels)
    if suffix == "j2k":
        data = data[data.index(b"jp2c") + 4 :]
    _, pixels = decoded(tmp_path, data, f"a.{suffix}")
    assert np.abs(pixels - plain).max() <= 1


def test_its_profile_is_applied(tmp_path):
    data = with_profile(picture(), rgb_profile(*P3))
    _, pixels = decoded(tmp_path, data)
    file = io.BytesIO()
    scene(192, 128).save(file, "PNG", icc_profile=rgb_profile(*P3))
    _, expected = decoded(tmp_path, file.getvalue(), "a.png")
    assert np.abs(pixels - np.asarray(scene(192, 128))).max() > 20
    assert np.abs(pixels - expected).max() <= 1


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("maker", [0, 1])
def test_its_boxes_describe_it(tmp_path, maker, last):
    exif = Image.Exif()
    exif[271], exif[272], exif[274] = "Leica", "Leica M11", 6
    exif[306] = "2024:05:06 07:08:09"
    boxes = box(b"uuid", EXIF_IDS[maker] + exif.tobytes().removeprefix(b"Exif\0\0"))
    boxes += box(b"uuid", IPTC_IDS[maker] + b"\x1c\x02\x05\0\x07A title")
    boxes += box(b"xml ", XMP) if maker else box(b"uuid", XMP_ID + XMP)
    segment, pixels = decoded(tmp_path, with_boxes(picture(), boxes, last=last))
    assert (segment.width, segment.height) == (128, 192)
    upright = np.rot90(np.asarray(scene(192, 128)), -1).astype(int)
    assert np.abs(pixels - upright).max() <= 1
    assert segment.metadata == Metadata(
        taken="2024-05-06T07:08:09",
        camera="Leica M11",
        page=False,
        title="A title",
        keywords=("harbour",),
        rating=4,
    )


@pytest.mark.parametrize("size", [0, 2**32 - 1])
def test_damaged_boxes_are_ignored(tmp_path, size):
    boxes = struct.pack(">I4s", size, b"uuid") + XMP_ID
    segment, _ = decoded(tmp_path, with_boxes(picture(), boxes, last=True))
    assert segment.metadata == Metadata(page=False)


def test_versions_before_5_gave_others_if_colours_are_deep_or_have_a_profile(tmp_path):
    profiled = with_profile(picture(), rgb_profile(*P3))
    for data, differs in ((picture(), False), (deep(np.asarray(scene())), True), (profiled, True)):
        path = tmp_path / "a.jp2"
        path.write_bytes(data)
        with path.open("rb") as file:
            found = [image.reads_otherwise(file, item_of(path), since) for since in (1, 4, 5)]
        assert found == [differs, differs, False]
