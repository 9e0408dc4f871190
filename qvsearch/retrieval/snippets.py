"""The lines of a passage that have most of a query's words, with these words marked."""

from __future__ import annotations

import math
import os
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from qvsearch.library.tokens import located
from qvsearch.library.words import described
from qvsearch.paged_text import PageText, page_texts
from qvsearch.retrieval.named_files import are_among
from qvsearch.timed_lines import timed_lines
from qvsearch.types import Kind, Snippet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.library import Library
    from qvsearch.retrieval.asked_words import Phrase, Quote
    from qvsearch.retrieval.word_evidence import Matches
    from qvsearch.types import Hit, Moment

    Pages = tuple[int, int]  # the first and the last

_Place = TypeVar("_Place", int, float)  # of a part: a page, or seconds
LENGTH = 200  # characters
LEAD = 40  # characters before the first of the words
AGAIN = 0.1  # of a word's weight, if it is there already


@dataclass(frozen=True, slots=True)
class _Found:
    start: int
    end: int
    phrase: Phrase


def with_snippet(library: Library, hit: Hit, matches: Matches, wanted: Pages | None) -> Hit:
    """Return a hit with the best lines of its passage; the same hit if they have no such words.

    The moment of a film begins with the line in which most of them begin. A page of a document that
    is a hit by its words gives way to one behind it that has more of them, if it is `wanted`. A
    file that is a hit by its words also has those of its path marked, and shows what else has some
    if no lines do.
    """
    rows = _rows(library, hit, matches)
    found = _with_lines(library, hit, rows, matches, wanted)
    return _with_names(found, matches) if any(map(matches.is_counted, rows.tolist())) else found


def _with_lines(
    library: Library, hit: Hit, rows: NDArray[np.int64], matches: Matches, wanted: Pages | None
) -> Hit:
    """Return a hit with the best lines of its passage, given the rows (k,) of its file."""
    segment, weights, quotes = hit.segment, matches.shown, matches.asked.quotes
    if segment.page is not None:
        return _with_pages(library, hit, rows, matches, wanted)
    row = next((each for each in rows.tolist() if library.segments[each] == segment), None)
    text = None if row is None else library.words.text(row)
    if not text:  # of a file that was not read for its words yet
        snippet = None if segment.snippet is None else snippet_of(segment.snippet, weights, quotes)
        return hit if snippet is None else replace(hit, snippet=snippet)
    if segment.item.kind is not Kind.VIDEO:
        return replace(hit, snippet=snippet_of(text, weights, quotes))
    best = _best_part(timed_lines(text), weights, quotes)
    if best is None:
        return hit
    return replace(hit, start=best[0], snippet=snippet_of(best[1], weights, quotes))


def _with_names(hit: Hit, matches: Matches) -> Hit:
    """Return a hit with the words in its path marked.

    If no lines have any, the title, keywords, places and the like with other words come first.
    """
    segment, weights, quotes = hit.segment, matches.shown, matches.asked.quotes
    item = segment.item
    above = len(os.fsdecode(os.path.dirname(item.root)))  # folders that no search by words finds
    found = _found(os.fsdecode(item.location), weights, quotes)
    named = [each for each in found if each.start >= above]
    hit = replace(hit, path_marks=_joined([(each.start, each.end) for each in named]))
    if hit.snippet is not None:
        return hit
    other = {each: weights[each] for each in weights.keys() - {each.phrase for each in named}}
    lines = [each for each in described(segment) if _found(each, other, quotes)]
    snippet = snippet_of(", ".join(lines), other, quotes)
    if snippet is None:
        return hit
    text = " … ".join(filter(None, (snippet.text, segment.snippet)))
    return replace(hit, snippet=replace(snippet, text=text))


def _best_part(
    parts: Sequence[tuple[_Place, str]], weights: Mapping[Phrase, float], quotes: Sequence[Quote]
) -> tuple[_Place, str] | None:
    """Return the part of a text in which most of the words begin, by weight; None if none do.

    The text of the next parts follows if a phrase runs over them.
    """
    text = " ".join(own for _, own in parts)
    starts = list(accumulate((len(own) + 1 for _, own in parts), initial=0))
    begun: dict[int, list[_Found]] = {}
    for each in _found(text, weights, quotes):
        begun.setdefault(bisect_right(starts, each.start) - 1, []).append(each)
    if not begun:
        return None
    best = max(begun, key=lambda part: _value(begun[part], weights))
    last = bisect_left(starts, max(each.end for each in begun[best]))
    return parts[best][0], text[starts[best] : starts[last]]


def _rows(library: Library, hit: Hit, matches: Matches) -> NDArray[np.int64]:
    """Return the rows (k,) of a hit's file that have some of the words, ascending."""
    rows = np.flatnonzero(library.columns.items == hit.segment.item.number)
    return rows[are_among(rows, matches.rows)]


def _with_pages(
    library: Library, hit: Hit, rows: NDArray[np.int64], matches: Matches, wanted: Pages | None
) -> Hit:
    """Return a hit that is a document with the pages that have most of the words."""
    row_of = dict(zip(library.columns.pages[rows].tolist(), rows.tolist(), strict=True))

    def best(place: Hit | Moment) -> PageText:
        return _best_page(library, place, row_of.get(place.segment.page or 0), matches, wanted)

    page, text = best(hit)
    moments = [
        replace(each, segment=replace(each.segment, page=best(each).page)) for each in hit.moments
    ]
    segment = replace(hit.segment, page=page)
    snippet = snippet_of(text, matches.shown, matches.asked.quotes)
    return replace(hit, segment=segment, moments=tuple(moments), snippet=snippet)


def _best_page(
    library: Library,
    place: Hit | Moment,
    row: int | None,
    matches: Matches,
    wanted: Pages | None,
) -> PageText:
    """Return the page that a row stands for: its own, if it is a hit by its picture alone."""
    segment, weights, quotes = place.segment, matches.shown, matches.asked.quotes
    text = None if row is None else library.words.text(row)
    if row is None or not text:
        return PageText(segment.page or 1, segment.snippet or "")
    pages = page_texts(text, segment.page or 1)
    if not matches.is_counted(row) and not math.isnan(place.score):
        return pages[0]
    first, last = wanted or (1, math.inf)
    pages = [each for each in pages if first <= each.page <= last] or pages[:1]
    best = _best_part(pages, weights, quotes)
    return pages[0] if best is None else PageText(*best)


def snippet_of(
    text: str, weights: Mapping[Phrase, float], quotes: Sequence[Quote] = ()
) -> Snippet | None:
    """Return the part of a text with most of the words, by weight; None if it has none.

    Words of quotes count with the signs of these.
    """
    text = " ".join(text.split())
    found = _found(text, weights, quotes)
    if not found:
        return None
    windows = (_window(found[place:]) for place in range(len(found)))
    best = max(windows, key=lambda window: _value(window, weights))
    spare = max(0, LENGTH - (best[-1].end - best[0].start))
    begin = max(0, best[0].start - min(LEAD, spare))
    begin = text.find(" ", begin, best[0].start) + 1 or begin if begin else 0
    end = max(best[-1].end, begin + LENGTH)
    if end < len(text):
        end = max(text.rfind(" ", best[-1].end, end), best[-1].end)
    before, after = "… " * (begin > 0), " …" * (end < len(text))
    shift = len(before) - begin
    inside = (each for each in found if begin <= each.start and each.end <= end)
    marks = _joined([(each.start + shift, each.end + shift) for each in inside])
    return Snippet(f"{before}{text[begin:end]}{after}", marks)


def _found(text: str, weights: Mapping[Phrase, float], quotes: Sequence[Quote]) -> list[_Found]:
    """Return the phrases in a text, by place."""
    words = located(text)
    tokens = [token for token, _, _ in words]
    found = []
    for phrase in weights:
        size, own = len(phrase), [each for each in quotes if each.phrase == phrase]
        for at, token in enumerate(tokens):
            if token == phrase[0] and tuple(tokens[at : at + size]) == phrase:
                place = words[at][1], words[at + size - 1][2]
                ranges = [each.within(text, *place) for each in own] or [place]
                found += [_Found(*each, phrase) for each in ranges if each]
    return sorted(found, key=lambda each: (each.start, each.end))


def _window(found: Sequence[_Found]) -> Sequence[_Found]:
    """Return the first phrases that are shown together."""
    last = found[0].start + LENGTH
    return list(takewhile(lambda each: each.end <= last, found)) or found[:1]


def _value(found: Sequence[_Found], weights: Mapping[Phrase, float]) -> float:
    """Return the weight of phrases; one that comes again counts little."""
    once = sum(weights[phrase] for phrase in {each.phrase for each in found})
    return once + AGAIN * sum(weights[each.phrase] for each in found)


def _joined(ranges: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return ascending ranges, those that touch or overlap as one."""
    joined: list[tuple[int, int]] = []
    for start, end in ranges:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(joined)
