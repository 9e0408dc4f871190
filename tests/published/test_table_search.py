"""A search of a shared table finds what a search of a library of the same rows finds."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from support.made_rows import DIM, FINGERPRINT, made_vectors, row, unit
from support.tables import published_copy, reopened

from qvsearch.cache import cache_folder
from qvsearch.choices import By, Sort
from qvsearch.errors import NothingToSearch
from qvsearch.library.filters import Filters, parse_filters
from qvsearch.library.library import Library
from qvsearch.published import library as published
from qvsearch.published.sample import sample_of
from qvsearch.retrieval import table_levels, table_search
from qvsearch.retrieval.explain import explain
from qvsearch.retrieval.pipeline import Query, SearchOptions, search
from qvsearch.retrieval.query import Term
from qvsearch.retrieval.scoring import EmbeddedTerm
from qvsearch.retrieval.scrolling import hits_one_by_one
from qvsearch.retrieval.selection import select
from qvsearch.retrieval.several import Searched
from qvsearch.retrieval.similar import _files, _stored
from qvsearch.types import Kind, Metadata

ROWS = 3000


def named(number):
    """A row whose path no other kind has."""
    made = row(number)
    path = b"%b/%b" % (made.item.kind.encode(), made.item.path)
    return replace(made, item=replace(made.item, path=path))


@dataclass(frozen=True)
class Says:
    """Answers words with the vector that they are the number of."""

    vectors: np.ndarray
    dim: int = DIM

    def embed(self, inputs):
        return self.vectors[[int(each.text) for each in inputs]]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    made = Library.create(tmp_path_factory.mktemp("tables") / "library", FINGERPRINT)
    for root in range(7):
        made.add_root(b"/media/%d" % root)
    vectors = made_vectors(ROWS)
    made.set_baseline(unit(made_vectors(64, 5) + 0.5 * vectors[:64]))
    made.add([named(number) for number in range(ROWS)], vectors)
    made.commit()
    return made


@pytest.fixture(scope="module")
def says(library):
    vectors = library.vectors(range(ROWS))
    return Says(unit(vectors[:1200:100] + 0.7 * vectors[7:1207:100]))


@pytest.fixture
def table(library, copy, monkeypatch):
    """The same rows as a table that is too large to be read whole."""
    monkeypatch.setattr(published, "WHOLE", 0)
    monkeypatch.setattr(published, "LARGEST", 0)
    return reopened(copy.folder, copy.places)


@pytest.fixture(scope="module")
def copy(library, tmp_path_factory):
    return published_copy(library, tmp_path_factory.mktemp("copies") / "copy.lance")


def asked(number, **more):
    """Return a query by meaning: the names of files and folders have the number."""
    return Query(str(number), by=By.MEANING, **more)


def places(hits):
    return [(each.segment, each.start, each.end, each.duplicates) for each in hits]


def check_alike(library, table, query, says, options):
    expected, found = (search(each, query, says, options) for each in (library, table))
    assert places(found) == places(expected)
    for one, other in zip(expected, found, strict=True):
        assert other.rank == one.rank
        assert other.library == table.folder
        assert other.score == pytest.approx(one.score, abs=1e-5, nan_ok=True)
        assert other.relevance == pytest.approx(one.relevance, abs=1e-4, nan_ok=True)
        assert [each.segment for each in other.moments] == [each.segment for each in one.moments]
    return found


OPTIONS = {
    "plain": {},
    "all": {"min_relevance": 0, "top": 50},
    "no folding": {"min_relevance": 0, "top": 30, "dedupe": False},
    "kinds": {"by_kind": True, "min_relevance": 0, "top": 20},
    "filtered": {"filters": parse_filters(kinds=[Kind.VIDEO, Kind.TEXT]), "min_relevance": 0},
    "below": {"filters": parse_filters(under=[b"/media/3"], globs=["*7*"]), "min_relevance": 0},
    "dates": {"filters": Filters(after=1000, before=2000), "min_relevance": 0, "top": 40},
    "few": {"filters": parse_filters(globs=["1??4"]), "min_relevance": 0, "top": 200},
    "nearest": {"nearest": 3},
    "sorted": {"sort": Sort.PATH, "min_relevance": 0.01},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_hits_are_those_of_a_library_of_the_same_rows(library, table, says, options):
    counts = [
        len(check_alike(library, table, asked(number), says, SearchOptions(**options)))
        for number in range(4)
    ]
    assert sum(counts)


def test_all_parts_of_a_query_count(library, table, says):
    options = SearchOptions(min_relevance=0, top=20)
    for query in (asked(1, without=("2",)), asked(3, without=("4", "5"))):
        assert len(check_alike(library, table, query, says, options)) == 20


def test_an_exact_search_finds_the_same(library, table, says):
    assert check_alike(library, table, asked(1), says, SearchOptions(exact=True, min_relevance=0))


def test_files_are_listed_without_a_query(library, table):
    for options in (
        SearchOptions(top=25),
        SearchOptions(top=25, sort=Sort.PATH),
        SearchOptions(top=5, by_kind=True),
        SearchOptions(top=2000, filters=parse_filters(kinds=[Kind.TEXT], globs=["*9"])),
    ):
        assert check_alike(library, table, None, None, options)


def test_a_list_grows_as_far_as_a_person_scrolls(library, table, says, monkeypatch):
    monkeypatch.setattr(table_search, "FIRST", 50)
    options = SearchOptions(min_relevance=0)
    lists = [
        list(hits_one_by_one([Searched(each, lambda: says)], asked(2), options))
        for each in (library, table)
    ]
    assert len(lists[0]) > 1000
    assert [each.segment.item for each in lists[1]] == [each.segment.item for each in lists[0]]
    assert [each.rank for each in lists[1]] == list(range(1, len(lists[1]) + 1))


def test_a_folder_that_is_nowhere_is_an_error(table, says):
    with pytest.raises(NothingToSearch, match="neither on the disk nor in the library"):
        search(table, asked(1), says, SearchOptions(filters=parse_filters(under=[b"/nowhere"])))


def test_a_sample_stands_for_the_rows_of_a_large_kind(library, table, says, monkeypatch):
    monkeypatch.setattr(table_levels, "BEST", 200)
    monkeypatch.setattr("qvsearch.published.sample.SAMPLE", 500)
    apart = []
    for number in range(len(says.vectors)):
        options = SearchOptions(min_relevance=0, dedupe=False, by_kind=True)
        query = asked(number)
        expected, found = (search(each, query, says, options) for each in (library, table))
        assert places(found) == places(expected)
        apart += [
            abs(one.relevance - other.relevance) for one, other in zip(expected, found, strict=True)
        ]
    assert 0 < np.mean(apart) < 0.06


def test_a_sample_that_was_cut_off_in_the_cache_is_drawn_again(copy):
    drawn = sample_of(copy.table)
    for each in cache_folder("tables").iterdir():
        each.write_bytes(b"")
    np.testing.assert_array_equal(sample_of(copy.table).keys, drawn.keys)


def test_a_small_table_is_read_whole(library, copy, says):
    assert copy.is_small
    check_alike(library, copy, asked(1), says, SearchOptions(min_relevance=0, top=50))


def test_a_file_is_explained_as_in_a_library(library, table, says):
    options = SearchOptions(filters=parse_filters(globs=["*1*"]), min_relevance=0.01)
    reasons = set()
    for name in (b"image/14", b"video/1", b"text/203", b"image/1016", b"image/200"):
        place = next(
            each.item.location for each in library.segments.values() if each.item.path == name
        )
        expected, found = (
            explain(each, asked(1), place, says, options) for each in (library, table)
        )
        assert (found.rank, found.items, found.hidden_by) == (
            expected.rank,
            expected.items,
            expected.hidden_by,
        )
        assert found.reason == expected.reason
        reasons.add(found.reason)
        assert found.relevance == pytest.approx(expected.relevance, abs=1e-4)
        assert [each.segment for each in found.segments] == [
            each.segment for each in expected.segments
        ]
    assert len(reasons) > 2
    assert "shared table does not have it" in explain(table, asked(1), b"/no", says, options).reason


def test_files_like_another_are_those_of_a_library(library, table):
    vectors = library.vectors([40])
    source = ([library.segments[40]], vectors)
    for calibrated in (False, True):
        expected, found = (
            _files(
                each,
                b"/media/5/image/40",
                source,
                {Kind.IMAGE, Kind.VIDEO},
                1000 if calibrated and each is library else 12,
                calibrated=calibrated,
            )
            for each in (library, table)
        )
        assert found[0].score < 0.999  # without the file itself
        if calibrated:  # files like the query are taken from the sample, not from all rows
            relevances = {each.segment: each.relevance for each in expected}
            assert len(found) == 12
            for best, each in zip(expected, found, strict=False):
                assert each.relevance == pytest.approx(relevances[each.segment], abs=0.05)
                assert relevances[each.segment] == pytest.approx(best.relevance, abs=0.05)
        else:
            assert [(each.segment, each.reason) for each in found] == [
                (each.segment, each.reason) for each in expected
            ]
            assert [each.score for each in found] == pytest.approx(
                [each.score for each in expected], abs=1e-5
            )


def test_a_file_that_a_table_has_needs_no_model(library, table):
    segment = library.segments[80]
    segments, vectors = _stored(table, segment.item, segment.content_hash)
    assert segments == [segment]
    np.testing.assert_allclose(vectors, library.vectors([80]), atol=1e-6)
    assert _stored(table, segment.item, "none") is None


def test_the_query_s_own_file_is_first(library, table):
    """The file lies at its path, or elsewhere with the same content."""
    vector = library.vectors([40])
    options = SearchOptions(min_relevance=0, dedupe=False, top=20)
    own = library.segments[40]
    elsewhere = replace(own, item=replace(own.item, root=b"/elsewhere"))
    for source in (own, elsewhere):
        term = EmbeddedTerm(Term("", (), 1.0, (source,)), vector)
        expected, found = (
            select(each, Filters()).best([term], options, reranks=False)[0]
            for each in (library, table)
        )
        assert found[0].segment == expected[0].segment == own
        assert found[0].relevance == pytest.approx(expected[0].relevance, abs=1e-3)
        assert found[0].relevance > 0.99
        shared = {each.segment for each in found} & {each.segment for each in expected}
        assert len(shared) > 15  # baselines of files are of the sample's files, not of all


def test_the_other_files_of_the_query_s_shot_are_in_its_hit(library, tmp_path, monkeypatch):
    """Also if they show something else, and the film lies elsewhere with the same content."""
    monkeypatch.setattr(published, "WHOLE", 0)
    vectors = made_vectors(ROWS)
    still, film = (
        replace(each, item=replace(each.item, root=b"/media/0", path=name))
        for each, name in ((row(ROWS), b"IMG_7.HEIC"), (row(ROWS + 1), b"IMG_7.MOV"))
    )
    film = replace(film, start=0.0, end=2.9, metadata=Metadata(duration=2.9))
    shots = Library.create(tmp_path / "library", FINGERPRINT)
    shots.add_root(b"/media/0")
    shots.add(
        [
            replace(named(each), item=replace(named(each).item, root=b"/media/0"))
            for each in range(ROWS)
        ],
        vectors,
    )
    shots.add([still, film], np.stack([-vectors[40], vectors[40]]))
    shots.commit()
    table = published_copy(shots, tmp_path / "copy.lance")
    elsewhere = replace(film, item=replace(film.item, root=b"/elsewhere"))
    for source in (film, elsewhere):
        term = EmbeddedTerm(Term("", (), 1.0, (source,)), vectors[40:41])
        for each in (shots, table):
            first = select(each, Filters()).best([term], SearchOptions(), reranks=False)[0][0]
            assert (first.segment, first.duplicates) == (still, (film.item,))
