from dataclasses import replace

import numpy as np
import pytest

from qvsearch.duplicates import fold, same
from qvsearch.types import Item, Kind, Metadata, Segment

HASH = 0xF0E1_D2C3_B4A5_9687  # half of its bits are ones
SHOT = Metadata(taken="2024-05-01T10:00:00", camera="Pixel 8")


def row(name="a", kind=Kind.IMAGE, **fields):
    item = Item(b"/photos", name.encode(), kind, 100, 100)
    known = {"width": 4000, "height": 3000, "dhash": HASH} if kind is Kind.IMAGE else {}
    return Segment(item, **{"content_hash": f"of {name}", **known, **fields})


def other(**fields):
    return row("b", **fields)


def moment(name, start=2.0, end=3.0, duration=60.0, **fields):
    about = {"width": 640, "height": 360, "dhash": HASH, "metadata": Metadata(duration=duration)}
    return row(name, Kind.VIDEO, start=start, end=end, **about | fields)


def flipped(bits):
    """A hash that differs in so many bits, as many of them ones as zeros."""
    found = HASH
    for bit in range(bits):
        found ^= 1 << (7 * bit % 64)
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {"width": 1000, "height": 750, "dhash": flipped(4)},
        {"width": 3800, "height": 2850, "dhash": flipped(10)},
        {"width": 3600, "dhash": flipped(8)},
        {"metadata": SHOT},
        {"metadata": replace(SHOT, taken="2024-05-01T10:00:00+02:00")},
    ],
    ids=["resized", "cropped", "cropped on one side", "one without EXIF", "one with a zone"],
)
def test_a_copy_has_nearly_the_hash_and_nearly_the_vector(fields):
    photo = row(metadata=SHOT)
    assert same(photo, other(**fields), 0.96)
    assert not same(photo, other(**fields), 0.9)


@pytest.mark.parametrize(
    "fields",
    [
        {"dhash": flipped(20)},
        {"dhash": None},
        {"width": 3000, "height": 4000},
        {"metadata": Metadata(camera="iPhone 15")},
        {"metadata": replace(SHOT, taken="2024-05-01T10:03:00")},
    ],
    ids=["another hash", "too flat for one", "turned", "another camera", "minutes later"],
)
def test_a_like_vector_alone_is_no_copy(fields):
    assert not same(row(metadata=SHOT), other(**fields), 0.999)


def test_flat_pictures_are_the_same_only_where_their_bytes_are():
    flat = row(dhash=None)
    assert not same(flat, other(dhash=None), 1.0)
    assert same(flat, other(dhash=None, content_hash=flat.content_hash), 1.0)


def test_hashes_of_few_ones_must_agree_in_nearly_all_bits():
    sparse = row(dhash=0b111)
    assert same(sparse, other(dhash=0b110), 0.99)
    assert not same(sparse, other(dhash=0b111000), 0.99)
    assert not same(row(dhash=0), other(dhash=0), 0.99)


def test_frames_of_a_burst_are_near_in_time_of_one_camera_and_alike():
    def later(seconds, **fields):
        taken = f"2024-05-01T10:00:{seconds:02d}"
        return other(**{"dhash": flipped(16), "metadata": replace(SHOT, taken=taken)} | fields)

    shot = row(metadata=SHOT)
    assert same(shot, later(3), 0.96)
    assert not same(shot, later(3), 0.9)
    assert not same(shot, later(30), 0.96)
    assert not same(shot, later(3, dhash=flipped(30)), 0.96)
    assert not same(row(metadata=replace(SHOT, camera=None)), later(3), 0.96)


def test_pages_of_one_layout_need_more():
    page = row(metadata=Metadata(page=True))
    assert not same(page, other(dhash=flipped(5), metadata=Metadata(page=True)), 0.99)
    assert not same(page, other(metadata=Metadata(page=True)), 0.97)
    assert same(page, other(metadata=Metadata(page=True)), 0.99)


def test_a_video_is_a_copy_by_the_same_picture_at_the_same_time():
    video = moment("a")
    assert same(video, moment("b", width=320, height=180, dhash=flipped(3)), 0.97)
    assert not same(video, moment("b", 5.0, 6.0), 0.97)
    assert not same(video, moment("b", duration=90.0), 0.97)
    assert not same(video, other(dhash=HASH, width=640, height=360), 1.0)


def test_passages_are_the_same_by_their_words_and_vector():
    text = row("a", Kind.TEXT, lines=(1, 9), snippet="Dear Ann,\nthe sea")
    shifted = row("b", Kind.TEXT, lines=(4, 12), snippet="Dear Ann, the sea")
    assert same(text, shifted, 0.995)
    assert not same(text, shifted, 0.97)
    assert not same(text, replace(shifted, snippet="Dear Bob, the sea"), 0.995)


def test_folding_shows_the_first_of_each_group():
    rows = [
        row("first"),
        row("copy", dhash=flipped(2)),
        row("other", dhash=flipped(32)),
        row("bytes", dhash=flipped(32), content_hash="of first"),
        row("copy of other", dhash=flipped(31)),
    ]
    vectors = np.eye(2, 8, dtype=np.float32)[[0, 0, 1, 1, 1]]
    assert fold(rows, vectors) == [0, 0, 2, 0, 2]


def test_folding_builds_no_chains():
    rows = [row(str(step), dhash=flipped(6 * step)) for step in range(4)]
    vectors = np.tile(np.eye(1, 8, dtype=np.float32), (4, 1))
    assert same(rows[1], rows[2], 1.0)
    assert fold(rows, vectors) == [0, 0, 2, 2]


def test_nothing_folds_to_nothing():
    assert fold([], np.empty((0, 8), np.float32)) == []


def test_folding_judges_as_the_rule_does_pair_by_pair():
    rng = np.random.default_rng(3)
    rows = [
        row(
            str(number),
            content_hash=str(number % 90),
            dhash=None if number % 7 == 0 else flipped(int(rng.integers(3, 20))),
            metadata=Metadata(
                taken=None if number % 3 else f"2024-05-01T10:00:{number % 60:02d}",
                camera="Pixel 8" if number % 2 else None,
            ),
        )
        for number in range(100)
    ]
    vectors = (np.eye(3)[rng.integers(0, 3, 100)] + rng.normal(0, 0.12, (100, 3))).astype("f4")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = list(range(100))
    for later in range(100):
        for earlier in range(later):
            if expected[earlier] == earlier and same(
                rows[earlier], rows[later], float(vectors[earlier] @ vectors[later])
            ):
                expected[later] = earlier
                break
    assert 20 < len(set(expected)) < 90
    assert fold(rows, vectors) == expected
