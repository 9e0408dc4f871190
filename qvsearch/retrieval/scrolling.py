"""The hits of a search one after another, computed as far as a person scrolls.

The first ones are those of `answer_all`; behind them each costs the same, however far it is.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from qvsearch.choices import Sort
from qvsearch.retrieval.calibration import evidence_of
from qvsearch.retrieval.first_pass import rank_all
from qvsearch.retrieval.hits import hits_in_turn, listed_in_turn
from qvsearch.retrieval.pipeline import allowed_rows
from qvsearch.retrieval.query import read_terms
from qvsearch.retrieval.scoring import embed_terms
from qvsearch.retrieval.several import answer_all
from qvsearch.times import time_taken

if TYPE_CHECKING:
    from qvsearch.retrieval.options import SearchOptions
    from qvsearch.retrieval.query import Query
    from qvsearch.retrieval.several import Searched
    from qvsearch.types import Hit, Item

FIRST = 240  # hits that are computed at once: a screen appears without waiting for the rest
MOST_SORTED = 1000  # hits in another order than by relevance, which needs all of them at once


def hits_one_by_one(
    searched: Sequence[Searched], query: Query | None, options: SearchOptions
) -> Iterator[Hit]:
    """Yield the hits of one or several libraries, with ranks from 1; no file comes twice.

    The `top` of the options is not used. With a query and another order than by relevance the list
    ends after MOST_SORTED hits. Raises QvsearchError as `answer_all` does.
    """
    is_sorted = query is not None and not options.by_relevance
    top = MOST_SORTED if is_sorted else FIRST
    first = answer_all(searched, query, replace(options, top=top))
    shown: set[Item] = set()
    rank = 0
    for hit in first:
        rank += 1
        shown.update((hit.segment.item, *hit.duplicates))
        yield replace(hit, rank=rank)
    if len(first) < top or is_sorted:
        return
    for hit in _later(searched, query, options):
        if hit.segment.item not in shown:
            rank += 1
            shown.add(hit.segment.item)
            yield replace(hit, rank=rank)


def _later(
    searched: Sequence[Searched], query: Query | None, options: SearchOptions
) -> Iterator[Hit]:
    """Yield all hits again, from the first one on, in the order of the whole list."""
    if query is None:
        sort = options.sort or Sort.DATE
        lists = [
            listed_in_turn(each.library, allowed_rows(each.library, options.filters), sort)
            for each in searched
        ]
        if sort is Sort.PATH:
            return heapq.merge(*lists, key=lambda hit: hit.segment.item.location)
        return heapq.merge(*lists, key=lambda hit: -time_taken(hit.segment))
    return heapq.merge(
        *(_ranked(each, query, options) for each in searched), key=lambda hit: -hit.relevance
    )


def _ranked(searched: Searched, query: Query, options: SearchOptions) -> Iterator[Hit]:
    library = searched.library
    mask = allowed_rows(library, options.filters)
    terms = embed_terms(read_terms(query, library.fingerprint.decode_options), searched.load())
    least = evidence_of(options.least)
    ranking = rank_all(library, terms)
    for hit in hits_in_turn(library, ranking, mask, least=least, dedupe=options.dedupe):
        relevant = tuple(each for each in hit.moments if each.relevance >= options.least)
        yield replace(hit, moments=relevant)
