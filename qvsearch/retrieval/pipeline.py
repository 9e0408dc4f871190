"""A query to hits: the story from the words to the list, step by step.

`answers` and `ranked` have the steps for a batch of queries, `finished` those for each of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, overload

from qvsearch.errors import QvsearchError
from qvsearch.retrieval.hits import nearest_hits, relevant_hits
from qvsearch.retrieval.options import SearchOptions
from qvsearch.retrieval.query import Query, parse_query, read_terms
from qvsearch.retrieval.scoring import embed_terms
from qvsearch.retrieval.selection import select
from qvsearch.runtime.loading import own_embedder

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.retrieval.joined_words import JoinedWords
    from qvsearch.retrieval.options import Rerank
    from qvsearch.retrieval.query import Term
    from qvsearch.retrieval.scoring import EmbeddedTerm
    from qvsearch.retrieval.selection import Selection
    from qvsearch.types import DecodeOptions, Embedder, Hit, Reranker, Skipped

__all__ = ["Query", "SearchOptions", "answer", "answers", "parse_query", "search"]

AT_ONCE = 64  # queries whose vectors are computed together


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
        return [hit for block in select(library, options.filters).first(options) for hit in block]
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
    selection = select(library, options.filters)
    queries = iter(queries)
    while batch := list(islice(queries, at_once)):
        # 2. Each query is split into terms; its files are decoded.
        terms = read_queries(batch, library.fingerprint.decode_options)
        for each in ranked(selection, terms, options, load, reranks=reranking is not None):
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
    selection: Selection,
    queries: Sequence[Sequence[Term] | QvsearchError],
    options: SearchOptions,
    load: Callable[[], Embedder],
    *,
    reranks: bool,
) -> Iterator[Ranked | QvsearchError]:
    """Return the best hits of each query among the selected rows; errors pass through.

    The model is loaded at once, but each query is ranked when it is its turn. A reranker also gets
    hits below the cut, which it may lift above it.
    """
    readable = [each for each in queries if not isinstance(each, QvsearchError)]
    # 3. The model embeds the terms of all queries together.
    has_rows = bool(selection)  # a table is asked
    embedded = iter(_embedded(readable, load) if readable and has_rows else [])

    def best(query: Sequence[Term] | QvsearchError) -> Ranked | QvsearchError:
        if isinstance(query, QvsearchError):
            return query
        if not has_rows:
            return Ranked(query, [])
        # 4. Rows are scored. 5. The best become hits: one per file, near-duplicates folded.
        return Ranked(query, selection.best(next(embedded), options, reranks=reranks))

    return map(best, queries)


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


def read_queries(
    queries: Sequence[Query], options: DecodeOptions, among: JoinedWords | None = None
) -> list[Sequence[Term] | QvsearchError]:
    """Return the terms of each query, as `read_terms` does, or why its file cannot be read."""
    terms: list[Sequence[Term] | QvsearchError] = []
    for query in queries:
        try:
            terms.append(read_terms(query, options, among))
        except QvsearchError as error:
            terms.append(error)
    return terms


def _embedded(
    queries: Sequence[Sequence[Term]], load: Callable[[], Embedder]
) -> list[list[EmbeddedTerm]]:
    """Embed the terms of several queries together."""
    terms = iter(embed_terms([term for query in queries for term in query], load))
    return [[next(terms) for _ in query] for query in queries]
