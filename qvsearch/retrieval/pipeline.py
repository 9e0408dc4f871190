"""A query to hits: the story from the words to the list, step by step.

`answers` has the steps for a batch of queries, `_best` and `finished` those for each query of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from qvsearch.choices import Sort
from qvsearch.errors import NothingToSearch, QvsearchError
from qvsearch.library.filtering import passing_rows
from qvsearch.library.names import option
from qvsearch.retrieval.calibration import evidence_of
from qvsearch.retrieval.first_pass import may_lack, rankings
from qvsearch.retrieval.hits import best_hits, listed, nearest_hits, relevant_hits
from qvsearch.retrieval.options import SearchOptions
from qvsearch.retrieval.query import Query, parse_query, read_terms
from qvsearch.retrieval.scoring import embed_terms
from qvsearch.runtime.loading import own_embedder
from qvsearch.types import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.filters import Filters
    from qvsearch.library.library import Library
    from qvsearch.retrieval.options import Rerank
    from qvsearch.retrieval.query import Term
    from qvsearch.retrieval.scoring import EmbeddedTerm
    from qvsearch.types import DecodeOptions, Embedder, Hit, Reranker, Skipped

    Masks = list[NDArray[np.bool_]]

__all__ = ["Query", "SearchOptions", "answer", "answers", "parse_query", "search"]

AT_ONCE = 64  # queries whose vectors are computed together
MOST_SORTED = 1000  # hits, the most relevant ones, that are put in another order


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
    """Return the most relevant hits, one per file; none if nothing in the library answers.

    A query is words, a path or both (see `Query`). A list of queries returns a list of such lists,
    and loads the model once. None lists the files that pass the filters, newest first.

    Without an embedder the library's own model is loaded. A reranker is used if the options have
    `rerank`. Raises QvsearchError for an empty library, an empty query or a query file that cannot
    be read.
    """
    options = options or SearchOptions()

    def load() -> Embedder:
        return embedder or own_embedder(library)

    load_reranker = None if reranker is None else lambda: reranker
    if query is None:
        return answer(library, None, options, load)
    if isinstance(query, str | Path | Query):
        return answer(library, _parsed(query), options, load, load_reranker)
    outcomes = list(answers(library, map(_parsed, query), options, load, load_reranker))
    for each in outcomes:
        if isinstance(each, QvsearchError):
            raise each
    return [each for each in outcomes if not isinstance(each, QvsearchError)]


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

    `missed` is called with each hit that the reranker cannot be given.
    """
    if query is None:
        return [hit for block in browsed(library, options) for hit in block]
    (hits,) = answers(library, [query], options, load, load_reranker, missed)
    if isinstance(hits, QvsearchError):
        raise hits
    return hits


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
    load = cache(load)
    reranking = reranking_of(options, load_reranker, missed)
    # 1. The filters choose the rows that may be hits.
    mask = allowed_rows(library, options.filters)
    queries = iter(queries)
    while batch := list(islice(queries, at_once)):
        # 2. Each query is split into terms; its files are decoded.
        terms = read_queries(batch, library.fingerprint.decode_options)
        for each in ranked(library, mask, terms, options, load, reranks=reranking is not None):
            if isinstance(each, QvsearchError):
                yield each
            else:
                yield finished(each, options, reranking, decode_options_of([library]))


@dataclass(frozen=True, slots=True)
class Reranking:
    """How the first hits are reranked, and by what.

    `missed` is called with each hit that the reranker cannot be given.
    """

    how: Rerank
    load: Callable[[], Reranker]
    missed: Callable[[Skipped], None]


def reranking_of(
    options: SearchOptions,
    load: Callable[[], Reranker] | None,
    missed: Callable[[Skipped], None],
) -> Reranking | None:
    """Return the reranking of a search, whose model is loaded at most once; None without one."""
    if load is None or options.rerank is None:
        return None
    return Reranking(options.rerank, cache(load), missed)


@dataclass(frozen=True, slots=True)
class Ranked:
    """The best hits of a query, not cut by relevance yet: one list, or one for each kind."""

    terms: Sequence[Term]
    blocks: Sequence[Sequence[Hit]]


def ranked(
    library: Library,
    mask: NDArray[np.bool_],
    queries: Sequence[Sequence[Term] | QvsearchError],
    options: SearchOptions,
    load: Callable[[], Embedder],
    *,
    reranks: bool,
) -> Iterator[Ranked | QvsearchError]:
    """Yield the best hits of each query among the rows of the mask (size,); errors pass through.

    A reranker also gets hits below the cut, which it may lift above it.
    """
    readable = [each for each in queries if not isinstance(each, QvsearchError)]
    # 3. The model embeds the terms of all queries together.
    embedded = iter(_embedded(readable, load) if readable and mask.any() else [])
    for each in queries:
        if isinstance(each, QvsearchError):
            yield each
        elif not mask.any():
            yield Ranked(each, [])
        else:
            yield Ranked(each, _best(library, mask, next(embedded), options, reranks=reranks))


def _best(
    library: Library,
    mask: NDArray[np.bool_],
    terms: Sequence[EmbeddedTerm],
    options: SearchOptions,
    *,
    reranks: bool,
) -> list[list[Hit]]:
    """Return the best hits of one query in one list or one for each kind."""
    least = -np.inf if reranks or options.nearest else evidence_of(options.least)
    count = count_of(options, library.size, reranks=reranks)
    masks = _masks(library, mask, by_kind=options.by_kind)
    blocks: list[list[Hit]] = []
    # 4. Rows are scored: in a large library first only the promising ones.
    for ranking in rankings(library, terms, mask, exact=options.exact):
        # 5. The best rows become hits: one per file, near-duplicates folded.
        blocks = [
            best_hits(library, ranking, each, count, least=least, dedupe=options.dedupe)
            for each in masks
        ]
        # the nearest hits need not be exact if none is relevant
        needed = least if reranks else evidence_of(options.least)
        bounds = map(ranking.bound, masks)
        if not any(
            may_lack(block, count, bound, needed)
            for block, bound in zip(blocks, bounds, strict=True)
        ):
            break
    return blocks


def finished(
    found: Ranked,
    options: SearchOptions,
    reranking: Reranking | None,
    decode_options: Callable[[Hit], DecodeOptions],
) -> list[Hit]:
    """Return the hits of a query in their last order, without those that are not relevant.

    `decode_options` returns how a hit's file was decoded when it was indexed.
    """
    blocks = found.blocks
    # 6. A reranker reorders the first hits.
    if reranking is not None and any(blocks):
        from qvsearch.retrieval.reranking import rerank  # not needed by a plain search

        model = reranking.load()
        blocks = rerank(blocks, found.terms, model, reranking.how, decode_options, reranking.missed)
    # 7. The relevant hits are returned or, if there are none, the nearest.
    hits = [hit for block in blocks for hit in block]
    if max((hit.relevance for hit in hits), default=0.0) < options.least_best:
        return nearest_hits(hits, options.nearest)
    return [hit for block in blocks for hit in relevant_hits(block, options)]


def decode_options_of(libraries: Iterable[Library]) -> Callable[[Hit], DecodeOptions]:
    """Return the function that returns how a hit's file is decoded in its library."""
    by_folder: dict[Path | None, DecodeOptions] = {
        each.folder: each.fingerprint.decode_options for each in libraries
    }
    return lambda hit: by_folder[hit.library]


def browsed(library: Library, options: SearchOptions) -> list[list[Hit]]:
    """Return the first files that pass the filters, in one list or one for each kind."""
    masks = _masks(library, allowed_rows(library, options.filters), by_kind=options.by_kind)
    return [listed(library, mask, options.top, browsing_order(options)) for mask in masks]


def browsing_order(options: SearchOptions) -> Sort:
    """Return the order of files without a query; raises QvsearchError for relevance."""
    if options.sort is Sort.RELEVANCE:
        raise QvsearchError("nothing is relevant without a query; sort by date or path")
    return options.sort or Sort.DATE


def allowed_rows(library: Library, filters: Filters) -> NDArray[np.bool_]:
    """Return the mask (size,) of rows that pass the filters.

    Raises NothingToSearch for an empty library, or if nothing can be below a folder of --under.
    """
    check_filled(library)
    mask = passing_rows(library.columns, filters)
    if not mask.any():
        library.columns.check_under(filters.under)
    return mask


def check_filled(library: Library) -> None:
    """Raise NothingToSearch for a library without rows."""
    if not library.segments:
        if left := sum(run.files for run in library.load_pending()):
            raise NothingToSearch(
                f"nothing in the library {library.folder} can be searched yet: {left:,} files are"
                " not indexed; wait for `qvsearch index`, or run it again if it was interrupted"
            )
        raise NothingToSearch(
            f"the library {library.folder} is empty; fill it with:"
            f" qvsearch index FOLDER{option(library.folder)}"
        )


def read_queries(
    queries: Sequence[Query], options: DecodeOptions
) -> list[Sequence[Term] | QvsearchError]:
    """Return the terms of each query, or why its file cannot be read."""
    terms: list[Sequence[Term] | QvsearchError] = []
    for query in queries:
        try:
            terms.append(read_terms(query, options))
        except QvsearchError as error:
            terms.append(error)
    return terms


def _embedded(
    queries: Sequence[Sequence[Term]], load: Callable[[], Embedder]
) -> list[list[EmbeddedTerm]]:
    """Embed the terms of several queries together."""
    terms = iter(embed_terms([term for query in queries for term in query], load()))
    return [[next(terms) for _ in query] for query in queries]


def _masks(library: Library, mask: NDArray[np.bool_], *, by_kind: bool) -> Masks:
    """Return the mask of each list to be returned: one, or one for each kind that has rows."""
    if not by_kind:
        return [mask]
    masks = [mask & (library.kinds == code) for code in range(len(Kind))]
    return [each for each in masks if each.any()]


def count_of(options: SearchOptions, rows: int, *, reranks: bool) -> int:
    """Return how many hits of each list are needed, of which some may not be returned."""
    reranked = options.rerank.top if reranks and options.rerank is not None else 0
    sortable = 0 if options.by_relevance else MOST_SORTED
    return min(max(options.top, options.nearest, reranked, sortable), rows)
