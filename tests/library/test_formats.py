"""Libraries of every format that ever was stay readable, to the byte that was written then.

`libraries` holds three, as they were on the disk: `first` by the first version that wrote any,
without a bank, facts or metadata; `format-1` and `format-2` by the one that brought format 2.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from support.readers import nearest_rows

from qvsearch.errors import QvsearchError
from qvsearch.library.failures import Failure
from qvsearch.library.library import Library
from qvsearch.library.manifest import _checksum
from qvsearch.library.repair import check
from qvsearch.types import Detail, Fingerprint, Item, Kind, Metadata, Segment, Stored

LIBRARIES = Path(__file__).parents[1] / "libraries"
NAMES = ["first", "format-1", "format-2"]
TIME = 1_700_000_000_000_000_000
FINGERPRINT = Fingerprint(
    "Qwen/Qwen3-VL-Embedding-2B", "0123abcd", 8, Detail.LOW, "Represent the user's input.", 1, 1
)


def item(root, path, kind, size):
    return Item(root, path, kind, size, TIME + size)


FILM = item(b"/films", b"trip.mp4", Kind.VIDEO, 5000)
NOTE = item(b"/notes.txt", b"", Kind.TEXT, 300)
SEGMENTS = [  # with the place of the larger number in each one's vector
    (
        Segment(
            item(b"/photos", b"sunset.jpg", Kind.IMAGE, 1000),
            "aa",
            width=640,
            height=480,
            dhash=0x0123456789ABCDEF,
            metadata=Metadata("2023-07-04T20:15:00+02:00", "Canon EOS R5", 41.5, 2.25, page=False),
        ),
        1,
    ),
    (
        Segment(item(b"/photos", b"caf\xe9\n.png", Kind.IMAGE, 2000), "bb", width=10, height=20),
        2,
    ),
    (Segment(NOTE, "dd", lines=(1, 12), snippet="minutes of a meeting"), 5),
    (
        Segment(
            FILM, "cc", 0.0, 2.5, width=320, height=240, clip=True, metadata=Metadata(duration=6.0)
        ),
        3,
    ),
    (Segment(FILM, "cc", 2.5, 6.0, width=320, height=240, metadata=Metadata(duration=6.0)), 4),
]


def vector(place):
    found = np.zeros(8, np.float32)
    found[[place - 1, place]] = 0.6, 0.8
    return found


def expected(name):
    """Return the segments; the first version had no words for some of what they say."""
    segments = [segment for segment, _ in SEGMENTS]
    if name == "first":
        return [replace(each, clip=False, dhash=None, metadata=Metadata()) for each in segments]
    return segments


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def test_an_older_library_is_read_as_it_was_written(name):
    folder = LIBRARIES / name
    library = Library.open(folder)
    assert library.fingerprint == FINGERPRINT
    assert library.store is (Stored.INT8 if name == "format-2" else Stored.FLOAT16)
    assert (library.generation, library.roots) == (2, [b"/photos", b"/films", b"/notes.txt"])
    assert list(library.segments.values()) == expected(name)
    assert library.load_failures() == [Failure(b"/photos/broken\xff.jpg", 7, TIME, "cut off", 2)]
    assert check(folder) == []
    for row, (_, place) in zip(library.segments, SEGMENTS, strict=True):
        ((found, score),) = nearest_rows(library, vector(place), 1)
        assert (found, score) == (row, pytest.approx(1, abs=1e-4 if name != "format-2" else 2e-3))
    if name == "first":
        assert library.baseline is None
    else:
        bank = np.stack([vector(place) for place in (3, 6, 7)])
        np.testing.assert_allclose(library.baseline, bank, atol=1e-3)
        means = [(vector(place) @ bank.T).mean() for _, place in SEGMENTS]
        found = library.backgrounds[list(library.segments), 0]
        np.testing.assert_allclose(found, means, atol=2e-3)


def test_an_older_library_goes_on(name, tmp_path, disk):
    shutil.copytree(LIBRARIES / name, tmp_path / "library")
    library = Library.open(tmp_path / "library")
    more = Segment(item(b"/photos", b"new.jpg", Kind.IMAGE, 1), "ff", width=1, height=1)
    library.add([more], vector(7)[None])
    library.commit()
    again = Library.open(library.folder)
    assert list(again.segments.values()) == [*expected(name), more]
    record = orjson.loads((library.folder / "manifest.json").read_bytes())
    assert record["format"] == 4, "an older version would call the new columns damaged"
    assert check(library.folder) == []


def test_a_newer_library_is_refused_with_the_version_it_takes(name, tmp_path):
    shutil.copytree(LIBRARIES / name, tmp_path / "library")
    path = tmp_path / "library" / "manifest.json"
    record = orjson.loads(path.read_bytes())
    del record["sha256"]
    record["format"] = 5
    path.write_bytes(orjson.dumps(record | {"sha256": _checksum(record)}))
    for task in (Library.open, check):
        with pytest.raises(QvsearchError, match="has format 5, but this qvsearch reads up to 4"):
            task(tmp_path / "library")
