"""Files with a second picture or a film in them: only the main picture is decoded."""

import io

import pillow_heif
import pytest
from PIL import Image
from support import motion_photos
from support.images import decode
from support.motion_photos import SIZE

MAIN, OTHER = motion_photos.STILL, (10, 10, 10)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description %s/></x:xmpmeta>'
GAIN_MAP = XMP % b'hdrgm:Version="1.0"'
DEPTH = XMP % b'GDepth:Format="RangeInverse" GDepth:Mime="image/jpeg"'


def picture(colour, size=SIZE):
    return Image.new("RGB", size, colour)


def saved(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def mpo(xmp, other):
    """A JPEG with a second one, which its MPF block names (CIPA DC-007)."""
    return saved(picture(MAIN), "MPO", save_all=True, append_images=[other], xmp=xmp)


def film(folder):
    return motion_photos.film(folder / "film.mp4", count=10)


def heic(*pictures, primary=0):
    file = io.BytesIO()
    whole = pillow_heif.from_pillow(pictures[0])
    for each in pictures[1:]:
        whole.add_from_pillow(each)
    whole.save(file, primary_index=primary)
    return file.getvalue()


FILES = {
    "gain map.jpg": lambda _: mpo(GAIN_MAP, picture(OTHER, (80, 64)).convert("L")),
    "depth.jpg": lambda _: mpo(DEPTH, picture(OTHER, (640, 512)).convert("L")),
    "motion.jpg": lambda folder: motion_photos.google(film(folder)),
    "samsung.jpg": lambda folder: motion_photos.samsung(film(folder)),
    "motion.heic": lambda folder: motion_photos.heic(film(folder)),
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
