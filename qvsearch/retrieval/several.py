"""One query over several libraries, each with its own model: one list by relevance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from qvsearch.choices import Sort
from qvsearch.errors import NothingToSearch, QvsearchError
from qvsearch.retrieval.joined_words import JoinedWords
from qvsearch.retrieval.options import browsing_order, count_of
from qvsearch.retrieval.pipeline import (
    AT_ONCE,
    Ranked,
    Reranking,
    answer,
    answers,
    decode_options_of,
    finished,
    ranked,
    read_queries,
    reranking_of,
)
from qvsearch.retrieval.selection import select
from qvsearch.runtime.several import Lost, refuse
from qvsearch.times import time_taken
from qvsearch.types import Kind

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.retrieval.options import SearchOptions
    from qvsearch.retrieval.query import Query
    from qvsearch.retrieval.selection import Selection
    from qvsearch.types import Embedder, Hit, Reranker, Skipped

Part = TypeVar("Part", "Searched", "_Filtered")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Searched:
    """An open library, and what loads the model that its queries need.

    `load` is called once for a batch of queries, and only if a vector is needed. The embedder is
    not kept, so that a model may leave the memory before the next one is loaded.
    """

    library: Library
    load: Callable[[], Embedder]


@dataclass(frozen=True, slots=True)
class _Filtered:
    """A library, and the rows of it that may be hits."""

    library: Library
    load: Callable[[], Embedder]
    selection: Selection


def answer_all(
    searched: Sequence[Searched],
    query: Query | None,
    options: SearchOptions,
    load_reranker: Callable[[], Reranker] | None = None,
    missed: Callable[[Skipped], None] = lambda _: None,
    lost: Callable[[Lost], None] = refuse,
) -> list[Hit]:
    """Return the hits of all libraries as one list, with ranks from 1; a hit names its library.

    A file and its near-duplicates are one hit, also over several libraries. A library that cannot
    be read is given to `lost`, and the others are searched; by default that is an error. Raises
    QvsearchError as `answer` does, and if no library can be searched.
    """
    if len(searched) == 1:
        library, load = searched[0].library, searched[0].load
        return answer(library, query, options, load, load_reranker, missed)
    if query is None:
        return _browsed(searched, options, lost)
    (hits,) = answers_all(searched, [query], options, load_reranker, missed, lost)
    if isinstance(hits, QvsearchError):
        raise hits
    return hits


def answers_all(
    searched: Sequence[Searched],
    queries: Iterable[Query],
    options: SearchOptions,
    load_reranker: Callable[[], Reranker] | None = None,
    missed: Callable[[Skipped], None] = lambda _: None,
    lost: Callable[[Lost], None] = refuse,
    at_once: int = AT_ONCE,
) -> Iterator[list[Hit] | QvsearchError]:
    """Yield the hits of each query over all libraries, or why its file cannot be read.

    Queries are taken `at_once`: one library after the other embeds them. Exact words count as in
    one library of all files.
    """
    if len(searched) == 1:
        library, load = searched[0].library, searched[0].load
        yield from answers(library, queries, options, load, load_reranker, missed, at_once)
        return
    reranking = reranking_of(options, load_reranker, missed)
    words = JoinedWords(each.library for each in searched)

    def leave_out(each: Lost) -> None:
        words.leave_out(each.folder)
        lost(each)

    def filtered(each: Searched) -> _Filtered:
        return _Filtered(each.library, each.load, select(each.library, options.filters))

    parts = [part for _, part in for_each(searched, filtered, leave_out)]
    libraries: dict[Path | None, Library] = {each.library.folder: each.library for each in parts}
    queries = iter(queries)
    while batch := list(islice(queries, at_once)):
        # the files of queries are decoded once for all libraries of one detail
        terms = cache(partial(read_queries, batch, among=words))

        def embedded(part: _Filtered) -> Iterator[Ranked | QvsearchError]:
            read = terms(part.library.fingerprint.decode_options)  # noqa: B023 - called at once
            reranks = reranking is not None
            return ranked(part.selection, read, options, part.load, reranks=reranks)

        # all models compute first, since the words of a library without its model do not count
        answers_of = {
            part.library.folder: some for part, some in for_each(parts, embedded, leave_out)
        }
        parts = [part for part in parts if part.library.folder in answers_of]
        for _ in batch:
            found = for_each(
                parts,
                lambda part: next(answers_of[part.library.folder]),  # noqa: B023 - called at once
                leave_out,
            )
            parts = [part for part, _ in found]
            yield _together([each for _, each in found], libraries, options, reranking)


def for_each(
    parts: Iterable[Part], do: Callable[[Part], Result], lost: Callable[[Lost], None]
) -> list[tuple[Part, Result]]:
    """Return each library with the result of `do`, without those that have nothing to search.

    Those that fail are given to `lost`. Raises the error of one if none is left.
    """
    results: list[tuple[Part, Result]] = []
    failed: list[Lost] = []
    empty: list[QvsearchError] = []
    for part in parts:
        try:
            results.append((part, do(part)))
        except NothingToSearch as error:
            empty.append(error)
        except QvsearchError as error:
            failed.append(Lost(part.library.folder, error))
    if not results:
        raise [*(each.error for each in failed), *empty][0]
    for each in failed:
        lost(each)
    return results


def _together(
    found: Sequence[Ranked | QvsearchError],
    libraries: Mapping[Path | None, Library],
    options: SearchOptions,
    reranking: Reranking | None,
) -> list[Hit] | QvsearchError:
    """Return the hits of one query, given what each library found."""
    from qvsearch.retrieval.folding import merged  # not needed for one library

    parts = [each for each in found if not isinstance(each, QvsearchError)]
    if len(parts) < len(found):
        return next(each for each in found if isinstance(each, QvsearchError))
    rows = sum(map(len, libraries.values()))
    count = count_of(options, rows, reranks=reranking is not None)
    blocks = [block for part in parts for block in part.blocks]
    lists = [
        merged(some, libraries, dedupe=options.dedupe)[:count] for some in _lists(blocks, options)
    ]
    decode_options = decode_options_of(libraries.values())
    return finished(Ranked(parts[0].terms, lists), options, reranking, decode_options)


def _browsed(
    searched: Sequence[Searched], options: SearchOptions, lost: Callable[[Lost], None]
) -> list[Hit]:
    """Return the first files of all libraries that pass the filters, each once."""
    from qvsearch.retrieval.folding import one_per_file

    def place(hit: Hit) -> int | bytes:
        segment = hit.segment
        return segment.item.location if order is Sort.PATH else -time_taken(segment)

    order = browsing_order(options)
    found = for_each(
        searched, lambda each: select(each.library, options.filters).first(options), lost
    )
    hits = []
    for some in _lists([block for _, blocks in found for block in blocks], options):
        ordered = one_per_file(sorted((hit for block in some for hit in block), key=place))
        hits += [
            replace(hit, rank=rank) for rank, hit in enumerate(ordered[: options.top], start=1)
        ]
    return hits


def _lists(blocks: Sequence[Sequence[Hit]], options: SearchOptions) -> list[list[Sequence[Hit]]]:
    """Return the blocks of each list to be returned: one, or one for each kind."""
    if not options.by_kind:
        return [list(blocks)]
    return [
        [block for block in blocks if block and block[0].segment.item.kind is kind] for kind in Kind
    ]
