"""A motion photo is one hit of the kind image: its picture, or a moment of the film within it."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.cheap_model import DecodersHere
from support.colours import ColourEmbedder, ColourReranker
from support.motion_photos import directory
from support.page_library import make_library
from support.videos import make

from qvsearch.choices import RerankScope
from qvsearch.cli.output import place_text
from qvsearch.display import other_part_text
from qvsearch.library.filters import parse_filters
from qvsearch.library.identity import id_at
from qvsearch.mcp.arguments import ReadArguments
from qvsearch.mcp.reading import Reader
from qvsearch.published.thumbnails import thumbnail_key
from qvsearch.retrieval.explain import explain
from qvsearch.retrieval.options import Rerank
from qvsearch.retrieval.pipeline import SearchOptions, answer, search
from qvsearch.retrieval.query import Query, read_terms
from qvsearch.retrieval.shelf import Shelf
from qvsearch.retrieval.similar import similar
from qvsearch.runtime.inputs import ready
from qvsearch.tasks.taking.spans import spans_of
from qvsearch.types import EmbedInput, Kind

OPTIONS = SearchOptions(min_relevance=0, dedupe=False)
SIZE = (160, 128)
RED, GREEN, BLUE = (250, 10, 10), (10, 250, 10), (10, 10, 250)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A blue photo, and a red one with a green film within it."""
    folder = tmp_path_factory.mktemp("photos") / "files"
    folder.mkdir()
    make(folder / "film.tmp", [np.full((48, 64, 3), GREEN, np.uint8)] * 20)
    film = (folder / "film.tmp").read_bytes()
    (folder / "film.tmp").unlink()
    Image.new("RGB", SIZE, BLUE).save(folder / "plain.jpg")
    xmp = directory((b"MotionPhoto", len(film)))
    Image.new("RGB", SIZE, RED).save(folder / "motion.jpg", xmp=xmp)
    with (folder / "motion.jpg").open("ab") as file:
        file.write(film)
    return folder


@pytest.fixture(scope="module")
def library(folder):
    return make_library(folder.parent / "library", folder)


@pytest.fixture
def here(monkeypatch):
    """Decode in this process."""
    monkeypatch.setattr("qvsearch.media.workers.Decoders", DecodersHere)


def places(hits):
    return {hit.path.name: place_text(hit) for hit in hits}


def test_a_moment_of_the_film_is_the_hit(library):
    first, second = search(library, "green", ColourEmbedder(), OPTIONS)
    assert (first.path.name, place_text(first)) == ("motion.jpg", "00:00-00:02")
    record = first.to_dict()
    assert (record["kind"], record["start"], record["end"]) == ("image", 0.0, 2.0)
    assert (record["width"], record["height"], record["duration"]) == (*SIZE, 2.0)
    assert [each.segment.start for each in first.moments] == [None]
    assert second.path.name == "plain.jpg"
    assert [other_part_text(each) for each in first.moments] == ["the photo"]


def test_the_picture_is_the_hit(library):
    first, _ = search(library, "red", ColourEmbedder(), OPTIONS)
    assert (first.path.name, first.start, first.end) == ("motion.jpg", None, None)
    assert [(each.start, each.end) for each in first.moments] == [(0.0, 2.0)]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"kinds": {Kind.VIDEO}}, set()),
        ({"kinds": {Kind.IMAGE}}, {"motion.jpg", "plain.jpg"}),
        ({"duration": "0s"}, {"motion.jpg"}),
        ({"duration": "3s"}, set()),
        ({"min_size": "160x128"}, {"motion.jpg", "plain.jpg"}),
    ],
)
def test_filters_take_it_as_a_photo_with_a_duration(library, filters, names):
    options = replace(OPTIONS, filters=parse_filters(**filters))
    assert places(search(library, "green", ColourEmbedder(), options)).keys() == names


def test_explain_lists_the_picture_and_the_moment(library, folder):
    found = explain(library, "green", folder / "motion.jpg", ColourEmbedder(), OPTIONS)
    assert [(each.segment.start, each.segment.end) for each in found.segments] == [
        (0.0, 2.0),
        (None, None),
    ]


@pytest.mark.usefixtures("here")
def test_a_query_is_the_photo_alone(library, folder):
    options = library.fingerprint.decode_options
    [term] = read_terms(Query(file=os.fsencode(folder / "motion.jpg")), options)
    [[shown]] = [each.images for each in term.inputs]
    assert np.median(shown.reshape(-1, 3), axis=0) == pytest.approx(RED, abs=12)
    [prepared] = ready([EmbedInput(images=(folder / "motion.jpg",))], options)
    assert np.array_equal(prepared.images[0], shown)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("query", ["green", "red"])
def test_a_reranker_sees_what_the_hit_shows(library, query):
    reranker = ColourReranker()
    options = replace(OPTIONS, rerank=Rerank(RerankScope.ALL, 10, None))
    hits = answer(
        *(library, Query(query), options, ColourEmbedder, lambda: reranker),
        lambda skipped: pytest.fail(str(skipped)),
    )
    assert hits[0].path.name == "motion.jpg"
    assert hits[0].rerank_score == pytest.approx(1, abs=0.1)


@pytest.mark.usefixtures("here")
def test_a_reranker_decodes_no_film_for_the_picture(library, monkeypatch):
    monkeypatch.setattr("qvsearch.media.motion._moments", lambda *_: pytest.fail("decoded"))
    test_a_reranker_sees_what_the_hit_shows(library, "red")


def test_a_video_is_compared_with_the_film(library, tmp_path, monkeypatch):
    monkeypatch.setattr("qvsearch.retrieval.similar.Decoders", DecodersHere)
    make(tmp_path / "a.mp4", [np.full((48, 64, 3), GREEN, np.uint8)] * 20)
    first = similar(library, tmp_path / "a.mp4", ColourEmbedder())[0]
    assert (first.segment.item.path, first.segment.start) == (b"motion.jpg", 0.0)
    shutil.copy(library.folder.parent / "files" / "motion.jpg", tmp_path / "copy.jpg")
    [copied] = [
        each
        for each in similar(library, tmp_path / "copy.jpg", ColourEmbedder())
        if each.segment.item.path == b"motion.jpg"
    ]
    assert (copied.reason, copied.segment.start) == ("exact", None)


def test_similar_files_are_like_the_photo_not_like_its_film(library, folder):
    [other] = similar(library, folder / "motion.jpg", ColourEmbedder())
    red, blue = (
        row
        for name in (b"motion.jpg", b"plain.jpg")
        for row, each in library.segments.items()
        if each.item.path == name and each.start is None
    )
    assert other.segment.item.path == b"plain.jpg"
    cosine = float(library.vectors([red])[0] @ library.vectors([blue])[0])
    assert other.score == pytest.approx(cosine, abs=1e-3)


def test_players_get_no_moment_of_a_photo(library):
    hits = search(library, "green", ColourEmbedder(), OPTIONS)
    assert list(spans_of(hits, 0.0)) == []


def test_the_picture_and_the_moment_have_thumbnails_of_their_own(library):
    keys = {thumbnail_key(each) for each in library.segments.values()}
    assert len(keys) == len(library) == 3


@pytest.mark.usefixtures("here")
def test_an_agent_reads_the_picture_or_frames_of_the_film(library, folder):
    identity = id_at(library, os.fsencode(folder / "motion.jpg"))
    shelf = Shelf([library.folder])
    with Reader() as reader:

        def read(**more):
            return reader.read(shelf, ReadArguments(id=identity, **more), lambda: False)

        photo, film = read(), read(start=0, end=2, frames=2)
        assert read(frames=1).record["frames"] == [{"time": 1.0}]
    assert (photo.record["width"], len(photo.pictures)) == (SIZE[0], 1)
    assert film.record["frames"] == [{"time": 0.5}, {"time": 1.5}]
    assert photo.pictures[0] not in film.pictures
