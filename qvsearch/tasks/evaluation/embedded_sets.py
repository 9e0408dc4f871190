"""The vectors of a set's entries."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.tasks.evaluation.results import EvaluateOptions
from qvsearch.tasks.evaluation.sets import Entry
from qvsearch.tasks.inputs import TaskInput, decode_options_of, embed_inputs
from qvsearch.types import Skipped

if TYPE_CHECKING:
    from qvsearch.tasks.evaluation.metrics import Numbers
    from qvsearch.types import Embedder, Vectors


@dataclass(frozen=True, slots=True)
class Embedded:
    """The unit vectors (n, dim) of entries; `rows` (n,) are the places of those that have one.

    `seconds` is the mean wall time of an entry.
    """

    rows: Numbers
    vectors: Vectors
    skipped: tuple[Skipped, ...]
    seconds: float


def embed_all(
    entries: Sequence[Entry],
    instruction: str | None,
    embedder: Embedder,
    options: EvaluateOptions,
    what: str,
) -> Embedded | None:
    """Return the vectors of entries, which fit into memory; None after an interruption."""
    rows, vectors, skipped = [], [], []
    started = time.monotonic()
    outcomes = embed_entries(entries, instruction, embedder, options, what, len(entries))
    for row, outcome in enumerate(outcomes):
        if isinstance(outcome, Skipped):
            skipped.append(outcome)
        else:
            rows.append(row)
            vectors.append(outcome)
    if len(rows) + len(skipped) < len(entries):
        return None
    seconds = (time.monotonic() - started) / max(1, len(entries))
    table = np.stack(vectors) if vectors else np.empty((0, embedder.dim), np.float32)
    return Embedded(np.array(rows, np.int64), table, tuple(skipped), seconds)


def embed_entries(
    entries: Iterable[Entry | Skipped],
    instruction: str | None,
    embedder: Embedder,
    options: EvaluateOptions,
    what: str,
    count: int,
) -> Iterator[Vectors | Skipped]:
    """Yield the vector (dim,) of each entry in order, or why there is none.

    An entry's own instruction has precedence. After an interruption nothing more is yielded.
    """

    def sources() -> Iterator[TaskInput | Skipped]:
        for each in entries:
            if isinstance(each, Skipped):
                yield each
            else:
                yield replace(each.source, instruction=each.source.instruction or instruction)

    outcomes = embed_inputs(sources(), lambda: embedder, decode_options_of(embedder), options.stop)
    for number, outcome in enumerate(outcomes, 1):
        options.progress(f"{what} {number:,} of {count:,}")
        yield outcome
