"""Files with a second picture or a film in them: only the main picture is decoded."""

import io

import numpy as np
import pillow_heif
import pytest
from PIL import Image
from support.images import decode
from support.videos import make

MAIN, OTHER = (200, 40, 30), (10, 10, 10)
SIZE = (320, 256)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description %s/></x:xmpmeta>'
GAIN_MAP = XMP % b'hdrgm:Version="1.0"'
DEPTH = XMP % b'GDepth:Format="RangeInverse" GDepth:Mime="image/jpeg"'
MOTION = XMP % b'GCamera:MotionPhoto="1" GCamera:MicroVideo="1" GCamera:MicroVideoOffset="%d"'


def picture(colour, size=SIZE):
    return Image.new("RGB", size, colour)


def saved(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def mpo(xmp, other):
    """A JPEG with a second one, which its MPF block names (CIPA DC-007)."""
    return saved(picture(MAIN), "MPO", save_all=True, append_images=[other], xmp=xmp)


def film(tmp_path):
    make(tmp_path / "film.mp4", [np.zeros((48, 64, 3), np.uint8)] * 10)
    return (tmp_path / "film.mp4").read_bytes()


def motion_photo(tmp_path):
    data = film(tmp_path)
    return saved(picture(MAIN), "JPEG", xmp=MOTION % len(data)) + data


def samsung(tmp_path):
    """The trailer names its blocks from its end (SEF)."""
    data = saved(picture(MAIN), "JPEG") + b"\0\0\x30\x0a\x10\0\0\0MotionPhoto_Data" + film(tmp_path)
    head = b"SEFH" + (107).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(12)
    return data + head + len(head).to_bytes(4, "little") + b"SEFT"


def heic(*pictures, primary=0):
    file = io.BytesIO()
    whole = pillow_heif.from_pillow(pictures[0])
    for each in pictures[1:]:
        whole.add_from_pillow(each)
    whole.save(file, primary_index=primary)
    return file.getvalue()


def heic_with_film(tmp_path):
    data = film(tmp_path)
    return heic(picture(MAIN)) + (8 + len(data)).to_bytes(4, "big") + b"mpvd" + data


FILES = {
    "gain map.jpg": lambda _: mpo(GAIN_MAP, picture(OTHER, (80, 64)).convert("L")),
    "depth.jpg": lambda _: mpo(DEPTH, picture(OTHER, (640, 512)).convert("L")),
    "motion.jpg": motion_photo,
    "samsung.jpg": samsung,
    "motion.heic": heic_with_film,
    "second.heic": lambda _: heic(picture(OTHER, (640, 512)), picture(MAIN), primary=1),
}


@pytest.mark.parametrize("name", FILES)
def test_the_main_picture_is_decoded(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name](tmp_path))
    [(segment, source)] = decode(tmp_path / name).segments
    assert (segment.width, segment.height) == SIZE
    assert abs(source.images[0].reshape(-1, 3).astype(int) - MAIN).max() < 12
    assert (segment.start, segment.end, segment.metadata.damaged) == (None, None, None)


@pytest.mark.parametrize("name", ["gain map.jpg", "depth.jpg", "motion.jpg"])
def test_parts_of_one_picture_are_not_several(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name](tmp_path))
    [(segment, _)] = decode(tmp_path / name).segments
    assert segment.metadata.several is None
