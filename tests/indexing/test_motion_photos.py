"""A motion photo is one hit of the kind image: its picture, or a moment of the film within it."""

import csv
import io
import json
import os
import shutil
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from PIL import Image
from support.cheap_model import DecodersHere
from support.commands import run  # noqa: F401 - a fixture
from support.images import scene
from support.indexer import bench  # noqa: F401 - a fixture
from support.motion_photos import directory, still, written
from support.videos import frame_of, make

from qvsearch.cli.app import main
from qvsearch.demo.world import caption, draw, scenes
from qvsearch.duplicates.groups import duplicate_groups
from qvsearch.indexing import pipeline
from qvsearch.indexing.status import library_status
from qvsearch.library.library import Library
from qvsearch.mcp.arguments import ReadArguments
from qvsearch.mcp.reading import Reader
from qvsearch.retrieval.shelf import Shelf

PICTURES = 6
SIZE = (160, 128)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A library of pictures, and of a motion photo whose film shows another scene."""
    place = tmp_path_factory.mktemp("place")
    (place / "files").mkdir()
    rng = np.random.default_rng(1)
    *others, photo, filmed = islice(scenes(rng, held_out=True), PICTURES + 2)
    for number, other in enumerate(others):
        Image.fromarray(draw(other, rng, *SIZE)).save(place / "files" / f"{number}.jpg")
    make(place / "film.mp4", [draw(filmed, np.random.default_rng(1), *SIZE)] * 20)
    film = (place / "film.mp4").read_bytes()
    xmp = directory((b"MotionPhoto", len(film)))
    Image.fromarray(draw(photo, rng, *SIZE)).save(place / "files" / "motion.jpg", xmp=xmp)
    with (place / "files" / "motion.jpg").open("ab") as file:
        file.write(film)
    arguments = ["--library", str(place / "library"), "--quiet"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "Decoders", DecodersHere)
        assert main(["index", str(place / "files"), "--model", "demo", *arguments]) == 0
    (place / "photo").write_text(caption(photo, rng))
    (place / "filmed").write_text(caption(filmed, rng))
    return place


@pytest.fixture
def here(monkeypatch):
    """Decode in this process."""
    monkeypatch.setattr(pipeline, "Decoders", DecodersHere)


@pytest.fixture
def ask(run, place):  # noqa: F811
    """Run a command on the library, and return what it prints as JSON."""

    def ask(command, *arguments):
        library = ["--library", place / "library", "--json"]
        code, output, error = run(command, *arguments, *library)
        assert code in (0, 1), error
        return [json.loads(line) for line in output.splitlines()]

    return ask


def words(place, name):
    return (place / name).read_text()


def name(hit):
    return os.path.basename(hit["path"])


def test_a_moment_of_the_film_is_the_hit(ask, place):
    hit = ask("search", words(place, "filmed"))[0]
    assert (name(hit), hit["kind"], hit["start"], hit["end"]) == ("motion.jpg", "image", 0.0, 2.0)
    assert (hit["width"], hit["height"], hit["duration"]) == (*SIZE, 2.0)


def test_the_picture_is_the_hit(ask, place):
    hit = ask("search", words(place, "photo"))[0]
    assert (name(hit), hit["kind"]) == ("motion.jpg", "image")
    assert "start" not in hit


def test_a_file_is_one_hit(ask, place):
    for query in ("filmed", "photo"):
        hits = ask("search", words(place, query), "--all", "-k", "50")
        assert len({each["path"] for each in hits}) == len(hits) == PICTURES + 1
    assert len(ask("search", "--sort", "path", "-k", "50")) == PICTURES + 1


def test_the_film_makes_no_video_of_the_photo(ask, place):
    assert ask("search", words(place, "filmed"), "--kind", "video", "--all") == []
    hit = ask("search", words(place, "filmed"), "--kind", "image")[0]
    assert (name(hit), hit["start"]) == ("motion.jpg", 0.0)
    assert [name(each) for each in ask("search", "--duration", "0s")] == ["motion.jpg"]


def test_csv_and_explain_name_the_moment(ask, run, place):  # noqa: F811
    query = words(place, "filmed")
    arguments = ["--library", place / "library"]
    _, output, _ = run("search", query, "--csv", *arguments)
    first = next(csv.DictReader(io.StringIO(output.decode())))
    assert (first["kind"], first["start"], first["end"]) == ("image", "0.0", "2.0")
    [explained] = ask("explain", query, place / "files" / "motion.jpg")
    assert [each.get("start") for each in explained["segments"]] == [0.0, None]
    _, output, _ = run("search", query, *arguments)
    assert "00:00-00:02" in output.decode()


def test_an_agent_reads_the_picture_or_frames_of_the_film(ask, place, monkeypatch):
    monkeypatch.setattr("qvsearch.media.workers.Decoders", DecodersHere)
    identity = ask("search", words(place, "filmed"))[0]["id"]
    shelf = Shelf([place / "library"])
    with Reader() as reader:
        photo = reader.read(shelf, ReadArguments(id=identity), lambda: False)
        frames = reader.read(
            shelf, ReadArguments(id=identity, start=0, end=2, frames=2), lambda: False
        )
    assert (photo.record["width"], len(photo.pictures)) == (SIZE[0], 1)
    assert [each["time"] for each in frames.record["frames"]] == [0.5, 1.5]
    assert len(frames.pictures) == 2
    assert photo.pictures[0] not in frames.pictures


def test_a_copy_without_the_film_repeats_the_photo(bench, here):  # noqa: F811
    film = make(bench.root / "film.tmp", map(frame_of, range(20))).read_bytes()
    scene().save(bench.root / "sent.jpg", xmp=directory((b"MotionPhoto", len(film))))
    (bench.root / "motion.jpg").write_bytes((bench.root / "sent.jpg").read_bytes() + film)
    assert bench.index().segments > 2
    [group] = duplicate_groups(bench.open())
    assert [each.segment.item.path for each in group.items] == [b"motion.jpg", b"sent.jpg"]


def test_an_older_library_gets_films_without_embedding_other_photos(bench, here):  # noqa: F811
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


def test_a_film_that_cannot_be_decoded_is_counted(bench, here):  # noqa: F811
    path = written(bench.root)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz1"))
    assert (bench.index().embedded, len(bench.open())) == (1, 1)
    [(location, part)] = library_status(bench.open()).partial
    assert location == os.fsencode(path)
    assert part.startswith("the picture without its film: its codec")
