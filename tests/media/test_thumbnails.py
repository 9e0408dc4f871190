"""Pictures to look at: their shape, their moment, the cache, and files that have none."""

import io
import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.images import item_of, scene
from support.videos import frame_of, make, number_in

from qvsearch import cache
from qvsearch.files import content_hash
from qvsearch.media.thumbnails import Thumbnails
from qvsearch.types import Kind, Segment, Skipped


@pytest.fixture(scope="module")
def thumbnails(tmp_path_factory):
    with Thumbnails(1, tmp_path_factory.mktemp("thumbnails")) as made:
        yield made


def segment_of(path, kind=Kind.IMAGE, **place):
    item = item_of(path, kind)
    return Segment(item, content_hash(item.location, item.size), **place)


def opened(webp):
    assert not isinstance(webp, Skipped), webp
    return Image.open(io.BytesIO(webp))


def test_a_photo_is_shown_whole_upright_and_in_its_shape(thumbnails, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    scene(1200, 500).save(tmp_path / "a.jpg", exif=exif, quality=95)
    picture = opened(thumbnails.webp(segment_of(tmp_path / "a.jpg"), 320))
    assert picture.format == "WEBP"
    assert picture.size == (133, 320)
    expected = scene(1200, 500).transpose(Image.Transpose.ROTATE_270).resize(picture.size)
    assert np.abs(np.asarray(picture, int) - np.asarray(expected, int)).mean() < 6


def test_a_small_picture_is_not_enlarged(thumbnails, tmp_path):
    scene(40, 30).save(tmp_path / "small.png")
    assert opened(thumbnails.webp(segment_of(tmp_path / "small.png"), 320)).size == (40, 30)


def test_a_moment_is_shown_by_a_frame_of_its_own(thumbnails, tmp_path):
    make(tmp_path / "a.mp4", map(frame_of, range(40)), keyframe_every=10)
    segment = segment_of(tmp_path / "a.mp4", Kind.VIDEO, start=0.0, end=4.0)
    pixels = thumbnails.picture(segment, 176, start=2.0, end=3.0).pixels
    assert 20 <= number_in(pixels) < 30
    assert pixels.shape == (144, 176, 3)


def test_another_moment_than_that_of_the_segment_is_shown(thumbnails, tmp_path):
    make(tmp_path / "a.mp4", map(frame_of, range(40)), keyframe_every=10)
    segment = segment_of(tmp_path / "a.mp4", Kind.VIDEO, start=2.0, end=3.0)
    assert 20 <= number_in(thumbnails.picture(segment, 176).pixels) < 30
    assert number_in(thumbnails.picture(segment, 176, start=0.0, end=1.0).pixels) < 10
    assert number_in(thumbnails.picture(segment, 176, start=3.0).pixels) >= 30  # behind its end
    first, own = (thumbnails.webp(segment, 176, start=start) for start in (0.0, None))
    assert first != own


def test_a_picture_is_made_once_and_again_if_the_file_has_changed(tmp_path):
    path, folder = tmp_path / "a.png", tmp_path / "cache"
    scene().save(path)
    segment = segment_of(path)
    with Thumbnails(1, folder) as made:
        first = made.webp(segment)
        os.unlink(path)
        assert made.webp(segment) == first  # from the cache
        gone = made.webp(replace(segment, content_hash="0" * 32))
        assert isinstance(gone, Skipped)
        assert gone.reason == "no longer there"
        scene(60, 60).save(path)
        assert opened(made.webp(segment_of(path))).size == (60, 60)


def test_pictures_come_in_order_and_few_are_made_ahead(thumbnails, tmp_path):
    scene(40, 30).save(tmp_path / "a.png")
    (tmp_path / "b.txt").write_text("words")
    picture, note = segment_of(tmp_path / "a.png"), segment_of(tmp_path / "b.txt", Kind.TEXT)
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield (note if len(taken) % 2 else picture), None, None

    made = thumbnails.in_order(endless())
    first, second, third = next(made), next(made), next(made)
    made.close()
    assert isinstance(first, Skipped)
    assert opened(second).size == (40, 30)
    assert isinstance(third, Skipped)
    assert len(taken) < 100


def test_a_damaged_picture_of_the_cache_is_made_again(tmp_path):
    scene().save(tmp_path / "a.png")
    segment = segment_of(tmp_path / "a.png")
    with Thumbnails(1, tmp_path / "cache") as made:
        first = made.webp(segment)
        (kept,) = (tmp_path / "cache").iterdir()
        kept.write_bytes(kept.read_bytes()[:-1] + b"\0\0")
        assert made.webp(segment) == first


def test_what_has_no_picture_says_so(thumbnails, tmp_path):
    (tmp_path / "a.txt").write_text("words")
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    note = thumbnails.webp(segment_of(tmp_path / "a.txt", Kind.TEXT))
    broken = thumbnails.webp(segment_of(tmp_path / "b.jpg"))
    assert note == Skipped(os.fsencode(tmp_path / "a.txt"), "a text has no picture")
    assert isinstance(broken, Skipped)


def test_the_cache_keeps_what_was_used_last_within_its_size(tmp_path):
    for number in range(5):
        cache.keep(tmp_path / str(number), bytes(1000))
        os.utime(tmp_path / str(number), (number, number))
    assert cache.read(tmp_path / "0") == bytes(1000)  # used now
    cache.trim(tmp_path, most_bytes=3 * 1032)
    assert {each.name for each in tmp_path.iterdir()} == {"0", "3", "4"}
