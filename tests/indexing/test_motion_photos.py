"""Motion photos are indexed with the films within them, also in a library of before."""

import os
import shutil
from dataclasses import replace

import pytest
from support.cheap_model import DecodersHere
from support.images import scene
from support.indexer import bench  # noqa: F401 - a fixture
from support.motion_photos import directory, still, written
from support.videos import frame_of, make

from qvsearch.duplicates.groups import duplicate_groups
from qvsearch.indexing import pipeline
from qvsearch.indexing.status import library_status
from qvsearch.library.library import Library


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """Decode in this process."""
    monkeypatch.setattr(pipeline, "Decoders", DecodersHere)


def test_a_copy_without_the_film_repeats_the_photo(bench):  # noqa: F811
    film = make(bench.root / "film.tmp", map(frame_of, range(20))).read_bytes()
    scene().save(bench.root / "sent.jpg", xmp=directory((b"MotionPhoto", len(film))))
    (bench.root / "motion.jpg").write_bytes((bench.root / "sent.jpg").read_bytes() + film)
    assert bench.index().segments > 2
    [group] = duplicate_groups(bench.open())
    assert [each.segment.item.path for each in group.items] == [b"motion.jpg", b"sent.jpg"]


def test_an_older_library_gets_films_without_embedding_other_photos(bench):  # noqa: F811
    path = written(bench.root)
    shutil.copy(path, bench.root / "copy.jpg")
    (bench.root / "plain.jpg").write_bytes(still())
    assert bench.index().segments == 2 * len(bench.rows()[os.fsencode(path)]) + 1
    with_films = {place: sorted(map(repr, rows)) for place, rows in bench.rows().items()}
    library = Library.open(bench.library_folder)
    rows = [row for row, each in library.segments.items() if each.start is None]
    segments = [
        replace(
            library.segments[row],
            reading=3,
            metadata=replace(library.segments[row].metadata, duration=None),
        )
        for row in rows
    ]
    vectors = library.vectors(rows)
    with library.lock():
        old = list(library.segments)
        library.add(segments, vectors)
        library.remove(old)
        library.commit()
    assert len(bench.open()) == 3

    summary = bench.index()
    assert (summary.read_anew, summary.unchanged, summary.skipped) == (2, 1, 0)
    assert {place: sorted(map(repr, rows)) for place, rows in bench.rows().items()} == with_films
    assert len(bench.embedder.embedded) == len(with_films[os.fsencode(path)])
    assert bench.index().unchanged == 3


def test_a_film_that_cannot_be_decoded_is_counted(bench):  # noqa: F811
    path = written(bench.root)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz1"))
    assert (bench.index().embedded, len(bench.open())) == (1, 1)
    [(location, part)] = library_status(bench.open()).partial
    assert location == os.fsencode(path)
    assert part.startswith("the picture without its film: its codec")
