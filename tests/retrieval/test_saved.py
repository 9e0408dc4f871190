"""Saved searches: what is new is new once, whatever happened to the library in between."""

import hashlib
import os
from dataclasses import replace

import numpy as np
import pytest
from support.colours import FINGERPRINT, ColourEmbedder, unit

from qvsearch.choices import Orientation, RerankScope, Sort, Task
from qvsearch.cli.saving import options_of
from qvsearch.cli.search_options import FilterOptions, QueryOptions, RankingOptions, RerankOptions
from qvsearch.errors import QvsearchError
from qvsearch.library import searches
from qvsearch.library.library import Library
from qvsearch.retrieval.pipeline import answer
from qvsearch.retrieval.query import parse_query
from qvsearch.retrieval.saved import (
    ask_saved,
    mark_used,
    parsed_search,
    save_search,
    saved_searches,
)
from qvsearch.types import Item, Kind, Segment

ROOT = b"/media"
RED = (1, 0, 0)


class Shelf:
    """A library of coloured pictures, and the saved search for red ones."""

    def __init__(self, folder):
        self.library = Library.create(folder, FINGERPRINT)
        self.library.add_root(ROOT)
        self.options = {"words": "red", "all": True, "no-dedupe": True}

    def add(self, *names, colour=RED, content=None):
        segments = [
            Segment(Item(ROOT, name.encode(), Kind.IMAGE, 1, 0), content or digest(name))
            for name in names
        ]
        self.library.add(segments, np.stack([unit(*colour)] * len(names)))
        self.library.commit()

    def remove(self, *names):
        places = self.library.by_location()
        self.library.remove([row for name in names for row in places[b"/media/" + name.encode()]])
        self.library.commit()

    def save(self, **more):
        self.options |= more
        return save_search(self.library, "red ones", self.options)

    def ask(self, *, only_new=True, is_used=True, **changes):
        """Open the library anew, and return the names of the hits and the number of others."""
        library = Library.open(self.library.folder)
        query, wanted = parsed_search(self.options)
        found = ask_saved(
            library,
            "red ones",
            replace(wanted, **changes),
            lambda each: answer(library, query, each, ColourEmbedder),
            only_new=only_new,
        )
        if is_used:
            mark_used(library, "red ones", found)
        return [hit.segment.item.path.decode() for hit in found.hits], found.more


def digest(text):
    return hashlib.md5(text.encode()).hexdigest()


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "library")


def test_what_came_is_new_until_the_search_was_used(shelf):
    shelf.add("a", "b")
    shelf.save()
    assert shelf.ask() == ([], 0)
    shelf.add("c", "d")
    assert shelf.ask(is_used=False) == (["c", "d"], 0)
    assert shelf.ask() == (["c", "d"], 0)
    assert shelf.ask() == ([], 0)
    assert shelf.ask(only_new=False) == (["a", "b", "c", "d"], 0)
    [saved] = saved_searches(shelf.library)
    assert saved.used >= saved.saved


def test_a_use_without_the_option_counts_as_well(shelf):
    shelf.add("a")
    shelf.save()
    shelf.add("b")
    assert shelf.ask(only_new=False) == (["a", "b"], 0)
    assert shelf.ask() == ([], 0)


def test_a_file_that_was_renamed_moved_copied_or_changed_is_not_new(shelf):
    shelf.add("a", "b", "c", "d")
    shelf.save()
    shelf.remove("a", "b")
    shelf.add("new/a", content=digest("a"))
    shelf.add("copy of c", content=digest("c"))
    shelf.add("b", content=digest("b, edited"))
    shelf.add("e")
    assert shelf.ask() == (["e"], 0)
    shelf.remove("new/a", "b")
    shelf.add("newer/a", content=digest("a"))
    assert shelf.ask() == ([], 0)
    shelf.add("b, renamed", content=digest("b, edited"))
    assert shelf.ask() == (["b, renamed"], 0), "changed first and then renamed"


def test_a_library_that_was_emptied_and_filled_again_has_nothing_new(shelf):
    names = [f"{number}" for number in range(30)]
    shelf.add(*names)
    shelf.save()
    shelf.remove(*names)
    shelf.add("other")
    assert shelf.ask() == (["other"], 0)
    shelf.remove("other")
    shelf.add(*names, "other")
    assert shelf.ask() == ([], 0)


def test_more_new_hits_than_are_found_at_once_stay_new(shelf, monkeypatch):
    monkeypatch.setattr("qvsearch.retrieval.saved.MOST_NEW", 3)
    shelf.add("older")
    shelf.save(top=2)
    shelf.add(*"abcdefgh")
    batches = []
    while (asked := shelf.ask()[0]) and len(batches) < 10:
        batches.append(asked)
    assert sorted(sum(batches, [])) == [*"abcdefgh"]
    assert max(map(len, batches)) == 2


@pytest.mark.parametrize("only_new", [True, False])
def test_new_hits_that_were_not_shown_stay_new(shelf, only_new):
    shelf.add("older")
    shelf.save(top=2)
    shelf.add(*"abcde", "blue", colour=(1, 0.2, 0))
    shown, more = shelf.ask(only_new=only_new)
    if not only_new:
        assert (shown, more) == (["older", "a"], 5)
    seen = [] if only_new else ["a"]
    batches = [shown] if only_new else []
    while (asked := shelf.ask()) != ([], 0):
        batches.append(asked[0])
        assert len(batches) < 10
    assert max(map(len, batches)) == 2
    assert sorted(sum(batches, seen)) == sorted([*"abcde", "blue"])


def test_what_does_not_answer_when_it_comes_is_seen_all_the_same(shelf):
    shelf.add(*[f"{number}" for number in range(20)], colour=(0, 1, 0))
    shelf.options = {"words": "red"}
    shelf.save()
    shelf.add("green", colour=(0, 1, 0))
    assert shelf.ask() == ([], 0)
    shelf.add("red")
    assert shelf.ask() == (["red"], 0)


def test_a_new_hit_is_one_that_the_whole_search_shows(shelf):
    """A weak hit is shown beside a strong one, also if only the weak one is new."""
    shelf.add("strong", *[f"{number}" for number in range(30)], colour=(0, 1, 0.1))
    shelf.add("best")
    shelf.options = {"words": "red", "no-dedupe": True}
    query, wanted = parsed_search(shelf.options)
    shelf.save()
    weak = None
    for share in np.linspace(0, 1, 200):
        shelf.library.add(
            [Segment(Item(ROOT, b"probe", Kind.IMAGE, 1, 0), digest("probe"))],
            unit(share, 1 - share, 0)[None],
        )
        [probe] = [
            hit.relevance
            for hit in answer(
                shelf.library, query, replace(wanted, top=99, min_relevance=0), ColourEmbedder
            )
            if hit.segment.item.path == b"probe"
        ]
        shelf.library.remove([max(shelf.library.segments)])
        if wanted.least < probe < wanted.least_best:
            weak = share
            break
    assert weak is not None
    shelf.add("weak", colour=(weak, 1 - weak, 0))
    assert shelf.ask(only_new=False, is_used=False)[0] == ["best", "weak"]
    assert shelf.ask() == (["weak"], 0)


def test_kinds_have_their_own_number_of_new_hits(shelf):
    shelf.add("a")
    shelf.save(**{"by-kind": True, "top": 1})
    shelf.add("b", "c")
    text = Segment(Item(ROOT, b"d", Kind.TEXT, 1, 0), digest("d"), lines=(1, 2), snippet="d")
    shelf.library.add([text], unit(*RED)[None])
    shelf.library.commit()
    assert shelf.ask() == (["b", "d"], 1)
    assert shelf.ask() == (["c"], 0)


def test_files_are_listed_without_a_query(shelf):
    shelf.add("a")
    shelf.options = {"kind": ["image"]}
    shelf.save()
    shelf.add("b")
    assert shelf.ask() == (["b"], 0)
    assert shelf.ask() == ([], 0)


def test_a_damaged_list_is_one_sentence_and_the_next_use_begins_anew(shelf):
    shelf.add("a")
    shelf.save()
    path = searches.seen_path(shelf.library.folder, "red ones")
    for damage in (b"", b"qvarray1" + bytes(100), None):
        if damage is None:
            path.unlink()
        else:
            path.write_bytes(damage)
        with pytest.raises(QvsearchError, match="begin anew, search once without --new-since"):
            shelf.ask()
        assert shelf.ask(only_new=False)[0][0] == "a"
        shelf.add("b" + str(damage))
        assert shelf.ask()[0] == ["b" + str(damage)]


def test_a_name_is_not_given_twice(shelf):
    shelf.add("a")
    before = shelf.save()
    assert shelf.save() == before
    with pytest.raises(QvsearchError, match="there is a saved search red ones already"):
        save_search(shelf.library, "red ones", {"words": "blue"})
    with pytest.raises(QvsearchError, match="neither a query nor filters"):
        save_search(shelf.library, "nothing", {"top": 3})
    assert [each.name for each in saved_searches(shelf.library)] == ["red ones"]


def test_options_of_the_command_line_come_back_as_they_were(tmp_path):
    parts = QueryOptions(
        image=b"/a\xff.jpg",
        like=[b"/b.jpg"],
        not_=["cats", "-dogs"],
        unlike=[b"/c d.mp4"],
        like_weight=2.0,
        not_weight=0.5,
        task=Task.PHOTOS,
    )
    filters = FilterOptions(
        kind=[Kind.IMAGE, Kind.VIDEO],
        under=[b"/media\xff"],
        glob=["**/2023/*.jpg"],
        after="2020",
        before="2024-05-06",
        camera="canon",
        near="48.2,16.37,5",
        min_size="640x480",
        duration="10s-2m",
        orientation=Orientation.LANDSCAPE,
    )
    ranking = RankingOptions(top=50, min_relevance=0.4, no_dedupe=True)
    reranking = RerankOptions(RerankScope.ALL, 30, "5s")
    query = parts.query("a red bus ")
    options = options_of(
        query, parts, filters, ranking, reranking, sort=Sort.DATE, by_kind=True, exact=True
    )
    searches.write_search(tmp_path, searches.SavedSearch("x", options))
    again, wanted = parsed_search(searches.read_search(tmp_path, "x").options)
    assert again == query
    assert wanted.filters == filters.filters()
    assert (wanted.top, wanted.min_relevance, wanted.dedupe) == (50, 0.4, False)
    assert (wanted.sort, wanted.by_kind, wanted.exact) == (Sort.DATE, True, True)
    assert wanted.rerank == reranking.parsed()
    for ranking in (RankingOptions(min_relevance=0.0), RankingOptions(all_=True)):
        assert parsed_search(options_of(query, ranking))[1].min_relevance == 0
    file = parse_query(os.fspath(tmp_path / "x.jpg ").strip() + " or words")
    assert parsed_search(options_of(file, QueryOptions()))[0] == file
