"""One query over several libraries, each asked with its own model: one list by relevance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qvsearch.retrieval.pipeline import answer

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.retrieval.options import SearchOptions
    from qvsearch.retrieval.query import Query
    from qvsearch.types import Embedder, Hit


@dataclass(frozen=True, slots=True)
class Searched:
    """An open library, and what loads the model that its queries need."""

    library: Library
    load: Callable[[], Embedder]


def answer_all(
    searched: Sequence[Searched], query: Query | None, options: SearchOptions
) -> list[Hit]:
    """Return the hits of all libraries as one list, with ranks from 1; a hit names its library.

    Raises QvsearchError as `answer` does.
    """
    hits = [
        replace(hit, library=each.library.folder)
        for each in searched
        for hit in answer(each.library, query, options, each.load)
    ]
    if len(searched) == 1:
        return hits
    hits.sort(key=lambda hit: -hit.relevance)
    return [replace(hit, rank=rank) for rank, hit in enumerate(hits[: options.top], start=1)]
