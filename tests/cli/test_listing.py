"""Orders of their own: files listed without a query, and what is relevant by date or path."""

import json
import math
import os
import random
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.colours import FINGERPRINT, ColourEmbedder, ColourReranker, unit

from qvsearch.choices import RerankScope, Sort
from qvsearch.errors import QvsearchError
from qvsearch.library.filtering import hidden_by
from qvsearch.library.filters import Filters
from qvsearch.library.library import Library
from qvsearch.records.library import hit_record
from qvsearch.retrieval.options import Rerank
from qvsearch.retrieval.pipeline import SearchOptions, search
from qvsearch.times import time_taken
from qvsearch.types import Item, Kind, Metadata, Segment

DAY = 86_400 * 10**9
TAKEN = [None, "2023-07-04", "2023-07-04T23:30", "2023-07-04T23:30+09:00", "2023-07-05T00:10Z"]


@pytest.fixture
def vienna(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Vienna")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def segments():
    """Photos, films of three moments and texts of two passages, in no order of time or name."""
    dice = random.Random(1)
    found = []
    for number in range(60):
        kind = list(Kind)[number % 3]
        name = "".join(dice.choices("ab/é\udcff", k=6)).replace("/", "_/") + f"{number}"
        item = Item(b"/media", os.fsencode(name), kind, 1, dice.randrange(20_000) * DAY)
        one = Segment(item, str(number), metadata=Metadata(taken=dice.choice(TAKEN)))
        if kind is Kind.VIDEO:
            found += [replace(one, start=float(n), end=n + 1.0, clip=True) for n in range(3)]
        elif kind is Kind.TEXT:
            found += [replace(one, lines=(n, n + 1), snippet="words") for n in (1, 3)]
        else:
            found.append(one)
    return found


@pytest.fixture
def library(tmp_path):
    rows = segments()
    library = Library.create(tmp_path / "library", FINGERPRINT)
    library.add_root(b"/media")
    colours = np.stack([unit(1, n % 7, n % 5) for n in range(len(rows))])
    half = len(rows) // 2
    for part in (slice(half), slice(half, None)):
        library.add(rows[part], colours[part])
        library.commit()
    library.remove([5, len(rows) - 1])
    library.commit()
    return Library.open(library.folder)


def listed(library, **options):
    return search(library, None, options=SearchOptions(**options))


def files(library, filters=Filters()):  # noqa: B008
    """The files that have a row that passes, found without any array."""
    passing = [each for each in library.segments.values() if not hidden_by(each, filters)]
    return list({each.item.location: each for each in reversed(passing)}.values())[::-1]


@pytest.mark.usefixtures("vienna")
def test_without_a_query_files_are_listed_newest_first(library):
    hits = listed(library, top=1000)
    times = [time_taken(hit.segment) for hit in hits]
    assert times == sorted(times, reverse=True)
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    places = [hit.segment.item.location for hit in hits]
    assert sorted(places) == sorted(each.item.location for each in files(library))
    assert all(math.isnan(hit.score) and math.isnan(hit.relevance) for hit in hits)
    for top in range(1, len(hits)):
        assert [hit.path for hit in listed(library, top=top)] == [hit.path for hit in hits[:top]]


def test_filters_and_kinds_and_paths(library):
    paths = [hit.segment.item.location for hit in listed(library, top=1000, sort=Sort.PATH)]
    assert paths == sorted(each.item.location for each in files(library))
    for filters in (
        Filters(kinds=frozenset({Kind.TEXT})),
        Filters(after=10_000 * DAY, before=15_000 * DAY),
        Filters(globs=("*1",)),
        Filters(camera="none has one"),
    ):
        found = [hit.segment.item.location for hit in listed(library, top=1000, filters=filters)]
        assert sorted(found) == sorted(each.item.location for each in files(library, filters))
    blocks = listed(library, top=2, by_kind=True)
    assert [(hit.segment.item.kind, hit.rank) for hit in blocks] == [
        (kind, rank) for kind in (Kind.IMAGE, Kind.VIDEO, Kind.TEXT) for rank in (1, 2)
    ]


def test_what_is_listed_has_no_relevance_and_no_moment(library):
    for hit in listed(library, top=1000):
        record = hit.to_dict()
        assert not {"relevance", "score", "start", "end", "clip", "moments"} & set(record)
        assert ("snippet" in record) == (hit.segment.item.kind is Kind.TEXT)
        json.dumps(record, allow_nan=False)


def test_nothing_is_relevant_without_a_query(library):
    with pytest.raises(QvsearchError, match="nothing is relevant without a query"):
        listed(library, sort=Sort.RELEVANCE)


def relevant(library, sort=None, **options):
    asked = {"min_relevance": 0.02, "dedupe": False, "top": 1000, **options}
    return search(library, "red", ColourEmbedder(), SearchOptions(sort=sort, **asked))


@pytest.mark.usefixtures("vienna")
def test_relevant_hits_come_in_any_order_and_are_the_same(library):
    best = relevant(library)
    assert 5 < len(best) < len(files(library))
    by_date, by_path = (relevant(library, sort) for sort in (Sort.DATE, Sort.PATH))
    times = [time_taken(hit.segment) for hit in by_date]
    assert times == sorted(times, reverse=True)
    places = [hit.segment.item.location for hit in by_path]
    assert places == sorted(places)
    for hits in (by_date, by_path):
        assert [hit.rank for hit in hits] == [hit.rank for hit in best]
        assert {(hit.path, hit.relevance) for hit in hits} == {
            (hit.path, hit.relevance) for hit in best
        }
    assert relevant(library, Sort.RELEVANCE) == best
    assert relevant(library, Sort.DATE, top=3) == by_date[:3], "the newest of all relevant ones"


def test_many_queries_are_many_lists_and_one_loading(library, tmp_path):
    embedder = ColourEmbedder()
    queries = ["red", "green and blue", "blue"]
    options = SearchOptions(min_relevance=0)
    found = search(library, queries, embedder, options)
    assert found == [search(library, query, ColourEmbedder(), options) for query in queries]
    assert search(library, [], embedder) == []
    assert [each.text for each in embedder.seen] == queries
    picture = tmp_path / "red.png"
    Image.new("RGB", (64, 64), "red").save(picture)
    (by_picture,) = search(library, [picture], embedder, options)
    assert by_picture == search(library, picture, embedder, options)
    assert by_picture == search(library, str(picture), embedder, options)
    reranker = ColourReranker()
    how = replace(options, rerank=Rerank(RerankScope.ALL))
    assert len(search(library, queries, embedder, how, reranker)) == 3


def test_a_query_among_many_that_cannot_be_read_is_raised(library, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(QvsearchError, match="broken.png cannot be the query"):
        search(library, ["red", str(tmp_path / "broken.png")], ColourEmbedder())


def test_a_hit_in_python_is_what_json_says(library):
    for hit in search(library, "red", ColourEmbedder(), SearchOptions(min_relevance=0)):
        assert hit.to_dict() == hit_record(hit, library.folder)
        assert hit.to_dict()["library"] == str(library.folder)
        assert os.fsencode(hit.path) == hit.segment.item.location
