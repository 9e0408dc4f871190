"""The record of `explain --json`; the docstrings describe its fields."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qvsearch.formats import path_fields, present, rounded
from qvsearch.types import place_fields

if TYPE_CHECKING:
    from qvsearch.retrieval.calibration import Level
    from qvsearch.retrieval.explain import Explained, Explanation, Weighed


def explanation_record(explanation: Explanation) -> dict[str, object]:
    """Return the object of `explain --json`.

    path, path_b64 (string): the file
    reason (string): why it is not shown; absent if it is shown
    relevance (number, 0 to 1): relevance of its best segment
    cut (number, 0 to 1): least relevance that is shown
    rank, items (integer): its place among the files that pass the filters, and their number
    hidden_by (list of strings): filters that exclude it, each with the file's own value
    folded_into, folded_into_b64 (string): hit whose near-duplicate it is
    library, library_b64 (string): with several libraries, the folder of the one in which it is
        most relevant
    segments (list of objects): its segments, best first
    """
    folded = (
        {}
        if explanation.folded_into is None
        else path_fields("folded_into", explanation.folded_into)
    )
    place = explanation.library
    library = {} if place is None else path_fields("library", os.fsencode(place))
    return present(
        {
            **path_fields("path", explanation.path),
            "reason": explanation.reason,
            "relevance": rounded(explanation.relevance),
            "cut": explanation.cut,
            "rank": explanation.rank,
            "items": explanation.items,
            "hidden_by": list(explanation.hidden_by) or None,
            **folded,
            **library,
            "segments": [_segment_record(each) for each in explanation.segments] or None,
        }
    )


def _segment_record(each: Explained) -> dict[str, object]:
    """Return one of the `segments` of an explanation.

    start, end (number, seconds): moment of a video
    clip (boolean): true for a clip
    lines (two integers): first and last line of a passage
    page (integer): page of a document
    section (string): place of a passage without lines, e.g. `slide 3`
    relevance (number, 0 to 1): relevance of the segment
    score (number, -1 to 1): cosine of query and segment; absent with `--words-only`
    terms (list of objects): parts of the query
    words (list of strings): words of the query that it has, the rarest first
    words_relevance (number, 0 to 1): relevance by these words alone
    """
    segment = each.segment
    return present(
        {
            **place_fields(segment.start, segment.end, segment),
            "clip": segment.clip or None,
            "relevance": rounded(each.relevance),
            "score": rounded(each.score),
            "terms": [_term_record(term) for term in each.terms],
            "words": list(each.words) or None,
            "words_relevance": rounded(each.by_words),
        }
    )


def _term_record(term: Weighed) -> dict[str, object]:
    """Return one of the `terms` of a segment.

    term (string): part of the query
    weight (number): its weight, below 0 if it is left out
    relevance (number, 0 to 1): relevance for this part alone
    score (number, -1 to 1): cosine of this part and the segment
    best, median, spread (number): the scores of all rows of the kind; absent, like the score and
        the baseline, with `--words-only`
    baseline, baseline_spread (number): scores of the segment with generic queries
    """
    level = term.level
    return present(
        {
            "term": term.text,
            "weight": term.weight,
            "relevance": rounded(term.relevance),
            "score": rounded(term.score),
            **({} if level is None else _level_fields(level)),
        }
    )


def _level_fields(level: Level) -> dict[str, object]:
    return {
        "best": rounded(level.best),
        "median": rounded(level.median),
        "spread": rounded(level.spread),
        "baseline": rounded(level.baseline.centre),
        "baseline_spread": rounded(level.baseline.spread),
    }
