"""Answers queries from a library."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, overload

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.library.filtering import passing_rows
from qvsearch.library.filters import Filters
from qvsearch.library.names import option
from qvsearch.retrieval.combine import ANSWERED, CUT, evidence_of, relevance_of
from qvsearch.retrieval.first_pass import is_large, rank_all, rank_best
from qvsearch.retrieval.hits import best_hits
from qvsearch.retrieval.listing import listed, sorted_hits
from qvsearch.retrieval.query import Query, parse_query, read_terms
from qvsearch.retrieval.reranking import Rerank, rerank
from qvsearch.retrieval.scoring import ask
from qvsearch.runtime.loading import own_embedder
from qvsearch.types import Hit, Kind, Moment, Skipped, Sort

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.library import Library
    from qvsearch.retrieval.query import Term
    from qvsearch.retrieval.scoring import Asked, Ranking
    from qvsearch.types import Embedder, Reranker

__all__ = ["Query", "SearchOptions", "answer", "answers", "parse_query", "search"]

AT_ONCE = 64  # queries whose vectors are computed together
MOST_SORTED = 1000  # hits, the most relevant ones, that are put in another order
Found = TypeVar("Found", Hit, Moment)


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """Which hits are returned, and how many; with `by_kind` `top` is the number for each kind.

    Hits below `min_relevance` are left out; 0 returns the whole ranking. By default they are
    returned from CUT on, if the best hit has ANSWERED. `dedupe` folds near-duplicates into one hit.
    `exact` scores every row of a large library; by default a first pass picks the rows to score. If
    no hit is relevant enough, the `nearest` ones are returned. `sort` is the order of all relevant
    hits, of which the first `top` are returned (default: by relevance, without a query by date).
    Raises QvsearchError for numbers out of range.
    """

    top: int = 10
    filters: Filters = Filters()
    min_relevance: float | None = None
    by_kind: bool = False
    dedupe: bool = True
    rerank: Rerank | None = None
    exact: bool = False
    nearest: int = 0
    sort: Sort | None = None

    def __post_init__(self) -> None:
        """Raise QvsearchError for numbers out of range."""
        if self.top < 1:
            raise QvsearchError(f"top is {self.top}; ask for one hit at least")
        if self.nearest < 0:
            raise QvsearchError(f"nearest is {self.nearest}; it is 0 or more")
        if not 0 <= self.least <= 1:
            raise QvsearchError(f"min_relevance is {self.least:g}; it is from 0 to 1")

    @property
    def lists(self) -> bool:
        """Whether there is an answer without a query: filters or an order are asked for."""
        return self.filters != Filters() or self.sort is not None

    @property
    def by_relevance(self) -> bool:
        """Whether the hits of a query are ordered by relevance."""
        return self.sort in (None, Sort.RELEVANCE)

    @property
    def least(self) -> float:
        """The least relevance of a hit that is shown."""
        return CUT if self.min_relevance is None else self.min_relevance

    @property
    def least_best(self) -> float:
        """The least relevance of the best hit, or none is shown."""
        return ANSWERED if self.min_relevance is None else self.min_relevance


@overload
def search(
    library: Library,
    query: Query | str | Path | None,
    embedder: Embedder | None = None,
    options: SearchOptions | None = None,
    reranker: Reranker | None = None,
) -> list[Hit]: ...


@overload
def search(
    library: Library,
    query: list[str] | list[Path] | list[Query],
    embedder: Embedder | None = None,
    options: SearchOptions | None = None,
    reranker: Reranker | None = None,
) -> list[list[Hit]]: ...


def search(
    library: Library,
    query: Query | str | Path | list[str] | list[Path] | list[Query] | None,
    embedder: Embedder | None = None,
    options: SearchOptions | None = None,
    reranker: Reranker | None = None,
) -> list[Hit] | list[list[Hit]]:
    """Return the most relevant hits, one an item; none if nothing in the library answers.

    A query is words, a path or both (see `Query`). For a list of queries it is a list of such
    lists, and the model is loaded once. None lists what passes the filters, newest first.

    The library's own model is loaded if no embedder is given; a reranker is used if the options ask
    for it. Raises QvsearchError for an empty library, a query that says nothing or a query file
    that cannot be read.
    """
    options = options or SearchOptions()

    def load() -> Embedder:
        return embedder or own_embedder(library)

    load_reranker = None if reranker is None else lambda: reranker
    if query is None:
        return answer(library, None, options, load)
    if isinstance(query, str | Path | Query):
        return answer(library, _parsed(query), options, load, load_reranker)
    found = list(answers(library, map(_parsed, query), options, load, load_reranker))
    for each in found:
        if isinstance(each, QvsearchError):
            raise each
    return [each for each in found if not isinstance(each, QvsearchError)]


def _parsed(query: Query | str | Path) -> Query:
    match query:
        case str():
            return parse_query(query)
        case Path():
            return Query(file=os.fsencode(query.absolute()))
        case _:
            return query


def answer(
    library: Library,
    query: Query | None,
    options: SearchOptions,
    load: Callable[[], Embedder],
    load_reranker: Callable[[], Reranker] | None = None,
    missed: Callable[[Skipped], None] = lambda _: None,
) -> list[Hit]:
    """Do what `search` does for one query, loading models only when they are needed.

    `missed` is called with each hit that could not be shown to the reranker.
    """
    if query is None:
        return _browsed(library, options)
    (found,) = answers(library, [query], options, load, load_reranker, missed)
    if isinstance(found, QvsearchError):
        raise found
    return found


def answers(
    library: Library,
    queries: Iterable[Query],
    options: SearchOptions,
    load: Callable[[], Embedder],
    load_reranker: Callable[[], Reranker] | None = None,
    missed: Callable[[Skipped], None] = lambda _: None,
    at_once: int = AT_ONCE,
) -> Iterator[list[Hit] | QvsearchError]:
    """Yield the hits of each query, or why its file cannot be read; models are loaded once.

    Queries are taken `at_once`, since their vectors cost less together.
    """
    mask = allowed_rows(library, options.filters)
    load = cache(load)
    load_reranker = None if load_reranker is None else cache(load_reranker)
    queries = iter(queries)
    while some := list(islice(queries, at_once)):
        terms = [_terms(library, query) for query in some]
        readable = [each for each in terms if not isinstance(each, QvsearchError)]
        asked = iter(_asked(readable, load) if readable and mask.any() else [])
        for each in terms:
            if isinstance(each, QvsearchError):
                yield each
            elif not mask.any():
                yield []
            else:
                yield _answered(library, mask, each, next(asked), options, load_reranker, missed)


def _terms(library: Library, query: Query) -> list[Term] | QvsearchError:
    try:
        return read_terms(query, library.fingerprint.detail.max_pixels)
    except QvsearchError as error:
        return error


def _asked(queries: Sequence[Sequence[Term]], load: Callable[[], Embedder]) -> list[list[Asked]]:
    """Embed the terms of several queries together."""
    found = iter(ask([term for terms in queries for term in terms], load()))
    return [[next(found) for _ in terms] for terms in queries]


def _browsed(library: Library, options: SearchOptions) -> list[Hit]:
    """Return what passes the filters, in one list or one a kind."""
    sort = options.sort or Sort.DATE
    if sort is Sort.RELEVANCE:
        raise QvsearchError("nothing is relevant without a query; sort by date or path")
    masks = _blocks(library, allowed_rows(library, options.filters), by_kind=options.by_kind)
    return [hit for mask in masks for hit in listed(library, mask, options.top, sort)]


def _answered(
    library: Library,
    mask: NDArray[np.bool_],
    terms: Sequence[Term],
    asked: Sequence[Asked],
    options: SearchOptions,
    load_reranker: Callable[[], Reranker] | None,
    missed: Callable[[Skipped], None],
) -> list[Hit]:
    """Return the hits of one query among the rows of the mask."""
    judge = options.rerank if load_reranker is not None else None
    # the reranker also gets hits below the cut, which it may lift above it
    least = -np.inf if judge or options.nearest else evidence_of(options.least)
    sortable = 0 if options.by_relevance else MOST_SORTED
    count = max(options.top, options.nearest, judge.top if judge else 0, sortable)
    count = min(count, library.size)  # there are no more hits than rows
    masks = _blocks(library, mask, by_kind=options.by_kind)

    def found(ranking: Ranking) -> list[list[Hit]]:
        return [
            best_hits(library, ranking, each, count, least=least, dedupe=options.dedupe)
            for each in masks
        ]

    if options.exact or not is_large(library):
        blocks = found(rank_all(library, asked))
    else:
        ranking = rank_best(library, asked, mask)
        blocks = found(ranking)
        bounds = map(ranking.bound, masks)
        # the nearest hits need not be exact if none is relevant
        needed = least if judge else evidence_of(options.least)
        if any(
            _may_lack(block, count, bound, needed)
            for block, bound in zip(blocks, bounds, strict=True)
        ):
            # many hits, copies or rows of one item: more rows must be scored
            blocks = found(rank_all(library, asked))
    if judge is not None and load_reranker is not None:
        blocks = rerank(blocks, terms, load_reranker(), judge, library.fingerprint, missed)
    found_hits = [hit for block in blocks for hit in block]
    if max((hit.relevance for hit in found_hits), default=0.0) < options.least_best:
        return _nearest(found_hits, options.nearest)
    return [hit for block in blocks for hit in _shown(block, options)]


def _may_lack(block: Sequence[Hit], count: int, bound: float, least: float) -> bool:
    """Whether an unscored row, whose evidence is at most `bound`, could still enter the list."""
    if bound == -np.inf:
        return False  # all rows are scored
    block = [hit for hit in block if hit.relevance >= relevance_of(least)]
    if len(block) < count:
        return bound >= least
    return block[-1].relevance < relevance_of(bound)


def allowed_rows(library: Library, filters: Filters) -> NDArray[np.bool_]:
    """Return which rows pass the filters; raises QvsearchError for an empty library."""
    if not library.segments:
        if left := sum(run.files for run in library.load_pending()):
            raise QvsearchError(
                f"nothing in the library {library.folder} can be searched yet: {left:,} files are"
                " not indexed; wait for `qvsearch index`, or run it again if it was interrupted"
            )
        raise QvsearchError(
            f"the library {library.folder} is empty; fill it with:"
            f" qvsearch index FOLDER{option(library.folder)}"
        )
    mask = passing_rows(library.columns, filters)
    if not mask.any():
        library.columns.check_under(filters.under)
    return mask


def _blocks(library: Library, mask: NDArray[np.bool_], *, by_kind: bool) -> list[NDArray[np.bool_]]:
    """Return the masks of the lists to be shown: one, or one for each kind that has rows."""
    if not by_kind:
        return [mask]
    masks = [mask & (library.kinds == code) for code in range(len(Kind))]
    return [each for each in masks if each.any()]


def _nearest(hits: Sequence[Hit], count: int) -> list[Hit]:
    """Return the most relevant hits of all lists, without other moments."""
    best = sorted(hits, key=lambda hit: -hit.relevance)[:count]
    return [replace(hit, rank=rank, moments=()) for rank, hit in enumerate(best, start=1)]


def _shown(block: Sequence[Hit], options: SearchOptions) -> list[Hit]:
    """Return the hits of a list that are shown, ranked from 1, with the moments that are."""

    def relevant(found: Iterable[Found]) -> list[Found]:
        return [each for each in found if each.relevance >= options.least]

    shown = sorted_hits(relevant(block), options.sort or Sort.RELEVANCE)
    return [
        replace(hit, rank=rank, moments=tuple(relevant(hit.moments)))
        for rank, hit in enumerate(shown[: options.top], start=1)
    ]
