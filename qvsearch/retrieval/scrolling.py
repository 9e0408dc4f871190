"""The hits of a search one after another, computed as far as a person scrolls.

The first ones are those of `answer_all`; behind them each costs the same, however far it is.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from qvsearch.choices import Sort
from qvsearch.errors import NothingToSearch
from qvsearch.retrieval.joined_words import JoinedWords
from qvsearch.retrieval.options import MOST_SORTED
from qvsearch.retrieval.query import read_terms
from qvsearch.retrieval.scoring import embed_terms
from qvsearch.retrieval.selection import select
from qvsearch.retrieval.several import answer_all
from qvsearch.runtime.several import Lost, refuse
from qvsearch.times import time_taken

if TYPE_CHECKING:
    from pathlib import Path

    from qvsearch.retrieval.options import SearchOptions
    from qvsearch.retrieval.query import Query
    from qvsearch.retrieval.selection import Selection
    from qvsearch.retrieval.several import Searched
    from qvsearch.types import Hit

    _Filtered = tuple[Searched, Selection]

FIRST = 240  # hits that are computed at once: a screen appears without waiting for the rest


def hits_one_by_one(
    searched: Sequence[Searched],
    query: Query | None,
    options: SearchOptions,
    lost: Callable[[Lost], None] = refuse,
) -> Iterator[Hit]:
    """Yield the hits of one or several libraries, with ranks from 1; no file comes twice.

    The `top` of the options is not used. With a query and another order than by relevance the list
    ends after MOST_SORTED hits. `lost` and errors are as for `answer_all`.
    """
    is_sorted = query is not None and not options.by_relevance
    top = MOST_SORTED if is_sorted else FIRST
    missing: set[Path] = set()

    def leave_out(each: Lost) -> None:
        missing.add(each.folder)
        lost(each)

    first = answer_all(searched, query, replace(options, top=top), lost=leave_out)
    shown: set[bytes] = set()  # by path, since several libraries may have a file
    rank = 0
    for hit in first:
        rank += 1
        shown.update(each.location for each in (hit.segment.item, *hit.duplicates))
        yield replace(hit, rank=rank)
    if len(first) < top or is_sorted:
        return
    left = [each for each in searched if each.library.folder not in missing]
    words = JoinedWords(each.library for each in left) if len(searched) > 1 else None
    for hit in _later(_filtered(left, options), query, options, words):
        if hit.segment.item.location not in shown:
            rank += 1
            shown.add(hit.segment.item.location)
            yield replace(hit, rank=rank)


def _filtered(searched: Iterable[Searched], options: SearchOptions) -> list[_Filtered]:
    """Return libraries with the rows that pass the filters, without those that have none."""
    parts = []
    for each in searched:
        with suppress(NothingToSearch):
            parts.append((each, select(each.library, options.filters)))
    return parts


def _later(
    parts: Sequence[_Filtered],
    query: Query | None,
    options: SearchOptions,
    words: JoinedWords | None,
) -> Iterator[Hit]:
    """Yield all hits again, from the first one on, in the order of the whole list."""
    if query is None:
        sort = options.sort or Sort.DATE
        lists = [selection.all_in_turn(sort) for _, selection in parts]
        if sort is Sort.PATH:
            return heapq.merge(*lists, key=lambda hit: hit.segment.item.location)
        return heapq.merge(*lists, key=lambda hit: -time_taken(hit.segment))
    return heapq.merge(
        *(_ranked(*part, query, options, words) for part in parts),
        key=lambda hit: -hit.relevance,
    )


def _ranked(
    searched: Searched,
    selection: Selection,
    query: Query,
    options: SearchOptions,
    words: JoinedWords | None,
) -> Iterator[Hit]:
    decode_options = searched.library.fingerprint.decode_options
    terms = embed_terms(read_terms(query, decode_options, words), searched.load)
    for hit in selection.best_in_turn(terms, options):
        relevant = tuple(each for each in hit.moments if each.relevance >= options.least)
        yield replace(hit, moments=relevant)
