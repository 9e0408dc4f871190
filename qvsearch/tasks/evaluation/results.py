"""How a set is evaluated, and the records of what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.tasks.evaluation.sets import Entry
from qvsearch.tasks.inputs import decode_options_of
from qvsearch.types import Detail, Skipped, Stored
from qvsearch.vectors.encoding import Form

if TYPE_CHECKING:
    from qvsearch.tasks.evaluation.metrics import Estimate, Numbers
    from qvsearch.types import Embedder, Reranker

RERANK_TOP = 20  # the default of `search`


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What is compared, a result for each combination.

    `dims` is by default the embedder's. `instructions` has the instruction of
    queries by name; None is the default of queries, or of documents if there are no queries.
    A `reranker` adds a result for each other one, with the first `rerank_top` documents reordered.
    """

    dims: tuple[int, ...] = ()
    stores: tuple[Stored, ...] = (Stored.FLOAT16,)
    instructions: Mapping[str, str | None] = field(default_factory=lambda: {"default": None})
    reranker: Callable[[], Reranker] | None = None
    rerank_top: int = RERANK_TOP
    stop: Callable[[], bool] = lambda: False
    progress: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to embed and store; `task` is the name of the instruction."""

    detail: Detail
    dim: int
    store: Stored
    task: str
    reranked: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """Mean wall times in seconds, with decoding and without loading; bytes of a stored vector."""

    document: float | None
    query: float | None
    rerank: float | None
    bytes: int


@dataclass(frozen=True, slots=True)
class Group:
    """The measures of the queries with one value of a column."""

    column: str
    value: str
    queries: int
    metrics: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Result:
    """The measures of one setting, over all queries, pairs or items and by group.

    `unjudged` queries have no relevant document and are left out.
    """

    set: str
    setting: Setting
    queries: int
    documents: int
    metrics: Mapping[str, Estimate]
    cost: Cost
    groups: tuple[Group, ...] = ()
    unjudged: int = 0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All results of a set with one embedder, and the lines and files that could not be used."""

    results: tuple[Result, ...]
    skipped: tuple[Skipped, ...]


def detail_of(embedder: Embedder) -> Detail:
    """Return the pixel budget of an embedder's pictures."""
    most = decode_options_of(embedder).max_pixels
    return next(each for each in Detail if each.max_pixels == most)


def settings(embedder: Embedder, options: EvaluateOptions, task: str) -> Iterator[Setting]:
    """Yield the settings of one instruction, without reranking."""
    for dim in options.dims or (embedder.dim,):
        for store in options.stores:
            yield Setting(detail_of(embedder), dim, store, task)


def row_size(setting: Setting) -> int:
    """Return the bytes of a stored vector."""
    return Form(setting.dim, setting.store).row_size


def grouped(
    entries: Sequence[Entry], measure: Callable[[Numbers], Mapping[str, Estimate]]
) -> tuple[Group, ...]:
    """Return the measures of the entries with each value of a column, if it has several values.

    `measure` takes the places of some entries.
    """
    groups = []
    for column in ("kind", "language"):
        values = np.array([getattr(each, column) or "unknown" for each in entries])
        names, counts = np.unique(values, return_counts=True)
        if len(names) > 1:
            groups += [
                Group(column, str(name), int(count), measure(np.flatnonzero(values == name)))
                for name, count in zip(names, counts, strict=True)
            ]
    return tuple(groups)
