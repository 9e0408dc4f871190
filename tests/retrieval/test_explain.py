import os
import re

import numpy as np
import pytest
from support.colours import FINGERPRINT, ColourEmbedder, unit

from qvsearch.library.failures import Failure
from qvsearch.library.filters import Filters
from qvsearch.library.library import Library
from qvsearch.records.explanation import explanation_record
from qvsearch.retrieval.calibration import ASSUMED_SPREAD, CUT
from qvsearch.retrieval.explain import explain
from qvsearch.retrieval.pipeline import SearchOptions, search
from qvsearch.retrieval.query import Query
from qvsearch.types import Item, Kind, Segment

ALL = SearchOptions(min_relevance=0, dedupe=False)


def moment(path, start, root=b"/media"):
    item = Item(root, path, Kind.VIDEO, 1, 10**18)
    return Segment(item, path.hex(), start=float(start), end=start + 1.0)


def picture(path, content=None, root=b"/media"):
    item = Item(root, path, Kind.IMAGE, 1, 10**18)
    return Segment(item, content or path.hex(), width=64, height=64)


def library_rows():
    """Red, reddish and blue pictures, a copy of the red one, and a video that turns red."""
    random = np.random.default_rng(3)
    return [
        (picture(b"red.jpg", "same"), (1, 0, 0)),
        (picture(b"copy.jpg", "same"), (1, 0, 0)),
        (moment(b"film.mp4", 0), (0, 1, 1)),
        (moment(b"film.mp4", 9), (1, 0.1, 0)),
        *((picture(b"%d.jpg" % n), (0, *random.normal(size=2))) for n in range(40)),
        *((moment(b"%d.mp4" % n, 0), (0, *random.normal(size=2))) for n in range(40)),
    ]


@pytest.fixture
def library(tmp_path):
    library = Library.create(tmp_path / "library", FINGERPRINT)
    library.add_root(b"/media")
    segments, vectors = zip(*library_rows(), strict=True)
    library.add(segments, np.stack([unit(*vector) for vector in vectors]))
    library.commit()
    return library


def said(library, path, options=None, query="red"):
    return explain(library, query, path, ColourEmbedder(), options)


def test_a_hit_has_the_rank_and_relevance_that_search_gives_it(library):
    for hit in search(library, "red", ColourEmbedder(), ALL):
        found = said(
            library, hit.segment.item.location, SearchOptions(100, min_relevance=0, dedupe=False)
        )
        assert found.reason is None
        assert found.relevance == pytest.approx(hit.relevance)
        assert found.segments[0].segment == hit.segment
        assert found.segments[0].score == pytest.approx(hit.score)
        assert found.rank <= hit.rank  # those of equal evidence share the best one's
        assert found.items == 83


def test_segments_come_best_first_with_what_each_part_of_the_query_makes_of_them(library):
    query = Query("red", without=("blue",))
    found = said(library, b"/media/film.mp4", query=query)
    assert [each.segment.start for each in found.segments] == [9.0, 0.0]
    for each in found.segments:
        assert [(term.text, term.weight) for term in each.terms] == [("red", 1.0), ("blue", -1.0)]
    wanted, unwanted = found.segments[0].terms
    assert wanted.score == pytest.approx(float(unit(1, 0.1, 0) @ unit(1, 0, 0)), abs=2e-3)
    assert unwanted.score == pytest.approx(0, abs=2e-3)
    assert found.segments[0].relevance <= wanted.relevance
    moments = [vector for segment, vector in library_rows() if segment.item.kind is Kind.VIDEO]
    scores = [unit(*vector)[0] for vector in moments]
    assert wanted.level.best == pytest.approx(max(scores), abs=2e-3)
    assert wanted.level.median == pytest.approx(np.median(scores), abs=2e-3)
    assert wanted.level.baseline.spread == ASSUMED_SPREAD  # this library has no bank


def test_what_is_below_the_cut_is_said(library):
    found = said(library, b"/media/7.jpg")
    assert found.relevance < CUT
    assert found.cut == CUT
    assert f"below the cut of {CUT:.2g}" in found.reason


def test_a_filter_that_hides_is_named_and_the_rank_is_what_it_would_be(library):
    found = said(library, b"/media/red.jpg", SearchOptions(filters=Filters(camera="canon")))
    assert found.hidden_by
    assert found.reason == "hidden by " + "; ".join(found.hidden_by)
    found = said(
        library, b"/media/red.jpg", SearchOptions(filters=Filters(frozenset({Kind.VIDEO})))
    )
    assert "--kind" in found.reason
    assert found.items == 41
    shown = search(
        library, "red", ColourEmbedder(), SearchOptions(100, Filters(frozenset({Kind.VIDEO})), 0)
    )
    assert found.rank == 1 + sum(hit.relevance > found.relevance for hit in shown)


def test_a_near_duplicate_names_the_hit_that_it_is_folded_into(library):
    found = said(library, b"/media/copy.jpg")
    assert found.folded_into == b"/media/red.jpg"
    assert "near-duplicate of /media/red.jpg" in found.reason
    assert said(library, b"/media/copy.jpg", SearchOptions(dedupe=False)).reason is None


def test_what_is_not_among_the_first_is_said(library):
    third = search(library, "red", ColourEmbedder(), ALL)[2].segment.item.location
    found = said(library, third, SearchOptions(top=1, dedupe=False))
    assert re.fullmatch(r"it ranks \d+, and 1 are shown; see --top", found.reason)


@pytest.mark.parametrize("dedupe", [True, False])
@pytest.mark.parametrize("top", [1, 2, 3])
def test_a_reason_is_given_for_all_files_but_the_hits(library, top, dedupe):
    """Folded files take no place among the hits, and of two alike one is first."""
    options = SearchOptions(top, dedupe=dedupe, min_relevance=0)
    shown = {hit.segment.item.location for hit in search(library, "red", ColourEmbedder(), options)}
    assert {path for path in library.by_location() if not said(library, path, options).reason} == (
        shown
    )


def test_a_link_to_a_file_is_explained_as_the_file(library, tmp_path):
    (tmp_path / "link.jpg").symlink_to("/media/copy.jpg")
    found = said(library, os.fsencode(tmp_path / "link.jpg"))
    assert found.folded_into == b"/media/red.jpg"


def test_why_the_library_does_not_hold_a_file(library, tmp_path):
    library.add_root(os.fsencode(tmp_path / "indexed"))
    (tmp_path / "indexed").mkdir()
    library.save_failures([Failure(b"/media/broken.jpg", 1, 0, "truncated image", 2)])
    for name in ("indexed/new.jpg", "elsewhere.jpg", "sheet.xls"):
        (tmp_path / name).write_bytes(b"x")

    def why(path):
        found = said(library, path)
        assert (found.segments, found.rank) == ((), None)
        return found.reason

    assert "could not be indexed: truncated image" in why(b"/media/broken.jpg")
    assert "there is no such file" in why(b"/media/missing.jpg")
    assert "it is a folder" in why(tmp_path)
    assert "suffix is not supported" in why(tmp_path / "sheet.xls")
    assert "none of the library's folders" in why(tmp_path / "elsewhere.jpg")
    assert "new since the last" in why(tmp_path / "indexed" / "new.jpg")


def test_a_file_that_is_not_there_needs_no_model(library):
    class Untouched:
        dim = 3

        def embed(self, inputs):
            raise AssertionError("embedded")

    assert explain(library, "red", "/media/none.jpg", Untouched()).reason is not None


def test_the_record_is_plain_json(library):
    import json

    record = explanation_record(said(library, b"/media/copy.jpg"))
    assert json.loads(json.dumps(record)) == record
    assert record["folded_into"] == "/media/red.jpg"
