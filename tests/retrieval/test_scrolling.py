"""A list without an end: the hits of a search, each at its place, however it is reached."""

import os

import numpy as np
import pytest
from support.colours import FINGERPRINT, ColourEmbedder

from qvsearch.choices import Sort
from qvsearch.library.library import Library
from qvsearch.retrieval import scrolling
from qvsearch.retrieval.options import SearchOptions
from qvsearch.retrieval.pipeline import answer
from qvsearch.retrieval.query import Query
from qvsearch.retrieval.several import Searched
from qvsearch.types import Item, Kind, Metadata, Segment

ALL = SearchOptions(min_relevance=0)
RED = Query("red")


def made(folder, count, seed=0, every=3):
    """A library of colours; every third file repeats the one before, with the same picture."""
    rng = np.random.default_rng(seed)
    library = Library.create(folder / "library", FINGERPRINT)
    root = os.fsencode(folder / "files")
    library.add_root(root)
    segments, vectors = [], []
    for number in range(count):
        repeats = number % every == every - 1
        if not repeats:
            vector = np.abs(rng.standard_normal(3)).astype(np.float32)
            dhash, content = int(rng.integers(0, 2**63)), f"{number:032x}"
        item = Item(root, b"%06d.jpg" % ((number * 7919) % 1_000_003), Kind.IMAGE, 1, number)
        taken = f"{1990 + number % 30}-01-{1 + number % 28:02}"
        segment = Segment(item, content, width=100 - repeats, height=100, dhash=dhash,
                          metadata=Metadata(taken=taken))  # fmt: skip
        segments.append(segment)
        vectors.append(vector / np.linalg.norm(vector))
    library.add(segments, np.array(vectors, np.float32))
    library.commit()
    return Searched(Library.open(library.folder), ColourEmbedder)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    return made(tmp_path_factory.mktemp("colours"), 1200)


def files(hits):
    return [hit.segment.item for hit in hits]


@pytest.mark.parametrize("dedupe", [True, False])
def test_the_list_is_that_of_a_search_for_all(searched, dedupe):
    options = SearchOptions(min_relevance=0, dedupe=dedupe)
    hits = list(scrolling.hits_one_by_one([searched], RED, options))
    whole = answer(searched.library, RED, SearchOptions(top=2000, min_relevance=0, dedupe=dedupe),
                   searched.load)  # fmt: skip
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    assert hits[: scrolling.FIRST] == whole[: scrolling.FIRST]
    assert len(set(files(hits))) == len(hits)
    relevance = [hit.relevance for hit in hits]
    assert relevance == sorted(relevance, reverse=True)
    everything = {each for hit in hits for each in (hit.segment.item, *hit.duplicates)}
    assert everything == {each.item for each in searched.library.segments.values()}
    # a copy is a hit of its own only where two steps meet
    assert 0 <= len(hits) - len(whole) <= len(whole) / scrolling.FIRST + 1


def test_only_what_is_reached_is_computed(searched):
    hits = scrolling.hits_one_by_one([searched], RED, ALL)
    first = [next(hits) for _ in range(10)]
    assert first == answer(searched.library, RED, SearchOptions(top=10, min_relevance=0),
                           searched.load)  # fmt: skip


def test_only_relevant_hits_come_by_default(searched):
    hits = list(scrolling.hits_one_by_one([searched], RED, SearchOptions()))
    whole = answer(searched.library, RED, SearchOptions(top=2000), searched.load)
    assert min(hit.relevance for hit in hits) == min(hit.relevance for hit in whole) >= 0.2
    assert set(files(whole)) <= set(files(hits))


@pytest.mark.parametrize("sort", [None, Sort.DATE, Sort.PATH])
def test_a_list_without_a_query_is_that_of_a_search(searched, sort):
    options = SearchOptions(sort=sort)
    hits = list(scrolling.hits_one_by_one([searched], None, options))
    whole = answer(searched.library, None, SearchOptions(top=2000, sort=sort), searched.load)
    assert files(hits) == files(whole)
    assert len(hits) == 1200


@pytest.mark.parametrize("sort", [Sort.DATE, Sort.PATH])
def test_another_order_has_an_end(searched, sort, monkeypatch):
    monkeypatch.setattr(scrolling, "MOST_SORTED", 50)
    hits = list(
        scrolling.hits_one_by_one([searched], RED, SearchOptions(min_relevance=0, sort=sort))
    )
    assert len(hits) == 50


def test_two_libraries_are_one_list(searched, tmp_path):
    other = made(tmp_path, 400, seed=1)
    hits = list(scrolling.hits_one_by_one([searched, other], RED, ALL))
    later = [hit.relevance for hit in hits[scrolling.FIRST :]]
    assert later == sorted(later, reverse=True)
    assert {hit.library for hit in hits} == {searched.library.folder, other.library.folder}
    assert len(set(files(hits))) == len(hits)
