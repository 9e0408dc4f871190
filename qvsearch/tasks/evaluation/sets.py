"""The sets that `evaluate` measures on, as records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from qvsearch.tasks.inputs import TaskInput
from qvsearch.types import Skipped


@dataclass(frozen=True, slots=True)
class Entry:
    """A query or a document of a set; `kind` and `language` are those of its columns."""

    name: str
    source: TaskInput
    kind: str | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True)
class RetrievalSet:
    """Queries, documents, and the grade of each relevant document by query and document.

    `documents` can be iterated again and again, and need not be in memory. A relevant document
    that is not among them counts as not found. If there are `windows`, each document is a video,
    and a moment of it is relevant if its middle is in one of the query's windows, in seconds.
    `left_out` has lines that cannot be used; a document may be such a line, too. `unjudged` is the
    number of queries without a relevant document, which are left out.
    """

    name: str
    queries: tuple[Entry, ...]
    documents: Iterable[Entry | Skipped]
    relevant: Mapping[str, Mapping[str, int]]
    windows: Mapping[str, Mapping[str, tuple[tuple[float, float], ...]]] | None = None
    left_out: tuple[Skipped, ...] = ()
    unjudged: int = 0


@dataclass(frozen=True, slots=True)
class SentencePairs:
    """Pairs of texts, each with the similarity that people gave it, on any scale."""

    name: str
    pairs: tuple[tuple[Entry, Entry], ...]
    scores: tuple[float, ...]
    left_out: tuple[Skipped, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Inputs with the number of the label of each, and perhaps others to learn from."""

    name: str
    labels: tuple[str, ...]
    items: tuple[Entry, ...]
    truth: tuple[int, ...]
    examples: tuple[Entry, ...] = ()
    example_truth: tuple[int, ...] = ()
    left_out: tuple[Skipped, ...] = ()


EvaluationSet = RetrievalSet | SentencePairs | LabelledSet
