"""Compares rounded numbers with floats on the first files of a library, before any is stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.indexing.baseline_queries import baseline_vectors
from qvsearch.types import Decoded, EmbedInput, Skipped
from qvsearch.vectors.agreement import INT8
from qvsearch.vectors.agreement import Agreement as Agreement
from qvsearch.vectors.agreement import agreement_of as agreement_of

if TYPE_CHECKING:
    from qvsearch.types import Embedder, Fingerprint, Vectors

INPUTS = 32  # that are compared
PER_FILE = 4  # of these: frames of one video are too alike to have an order
HELD_PIXELS = 100_000_000  # decoded, after which the comparison waits for no more files


class Comparison(Protocol):
    """What the model of a new library is compared with on its first files."""

    def exact(self, first: list[EmbedInput]) -> tuple[Vectors, Vectors] | None:
        """Return what `embed_first` does with the exact model, which is freed; None without one."""
        ...

    def require(
        self,
        embedder: Embedder,
        fingerprint: Fingerprint,
        first: list[EmbedInput],
        exact: tuple[Vectors, Vectors] | None,
        report: Callable[[str], None],
    ) -> None:
        """Report how near the library's model is; raises QvsearchError if that is too far."""
        ...


@dataclass(frozen=True, slots=True)
class WithVectors:
    """The exact vectors of the first files.

    `load_exact` returns the model of `fingerprint`. `what` begins the sentence with the figures.
    With `accepted` they are only reported.
    """

    load_exact: Callable[[], Embedder]
    fingerprint: Fingerprint
    way_out: str
    what: str = INT8
    accepted: bool = False

    def exact(self, first: list[EmbedInput]) -> tuple[Vectors, Vectors] | None:
        """Return what `embed_first` does with the exact model, which is then freed."""
        return embed_first(self.load_exact(), first, self.fingerprint)

    def require(
        self,
        embedder: Embedder,
        fingerprint: Fingerprint,
        first: list[EmbedInput],
        exact: tuple[Vectors, Vectors] | None,
        report: Callable[[str], None],
    ) -> None:
        """Report the figures; raises QvsearchError below the limits of `Agreement`."""
        assert exact is not None  # noqa: S101 (this class gives them)
        agreement = agreement_of(exact, embed_first(embedder, first, fingerprint), self.what)
        report(str(agreement))
        if not self.accepted:
            agreement.require(self.way_out)


@dataclass(frozen=True, slots=True)
class WithScores:
    """Recorded scores of texts, in pairs of a query and a document, if no exact model is there.

    `what` names both sides, and `most` is the largest difference. With `accepted` it is reported.
    """

    pairs: tuple[tuple[EmbedInput, EmbedInput, float], ...]
    most: float
    way_out: str
    what: str
    accepted: bool = False

    def exact(self, first: list[EmbedInput]) -> tuple[Vectors, Vectors] | None:
        """Return None: there are no exact vectors."""
        del first
        return None

    def require(
        self,
        embedder: Embedder,
        fingerprint: Fingerprint,
        first: list[EmbedInput],
        exact: tuple[Vectors, Vectors] | None,
        report: Callable[[str], None],
    ) -> None:
        """Report the largest difference; raises QvsearchError if it is over `most`."""
        del fingerprint, first, exact
        queries = embedder.embed([query for query, _, _ in self.pairs])
        documents = embedder.embed([document for _, document, _ in self.pairs])
        recorded = np.array([score for *_, score in self.pairs])
        difference = float(np.abs((queries * documents).sum(axis=1) - recorded).max())
        figures = f"{self.what}: scores of texts differ by up to {difference:.4f}"
        report(figures)
        if not (difference <= self.most or self.accepted):
            raise QvsearchError(
                f"{figures}; at most {self.most} is allowed. No new vector was stored;"
                f" {self.way_out}"
            )


def first_inputs(
    outcomes: Iterator[Decoded | Skipped],
) -> tuple[list[EmbedInput], Iterator[Decoded | Skipped]]:
    """Return inputs of the first files, a few of each, and all outcomes, unchanged."""
    taken: deque[Decoded | Skipped] = deque()
    inputs: list[EmbedInput] = []
    pixels = 0
    for outcome in outcomes:
        taken.append(outcome)
        if isinstance(outcome, Decoded):
            step = -(-len(outcome.segments) // PER_FILE) or 1
            inputs += [source for _, source in outcome.segments[::step]]
            pixels += sum(_pixels(source) for _, source in outcome.segments)
        if len(inputs) >= INPUTS or pixels > HELD_PIXELS:
            break
    return inputs[:INPUTS], _as_they_were(taken, outcomes)


def _as_they_were(
    taken: deque[Decoded | Skipped], outcomes: Iterator[Decoded | Skipped]
) -> Iterator[Decoded | Skipped]:
    while taken:
        yield taken.popleft()  # so that its pixels are freed
    yield from outcomes


def _pixels(source: EmbedInput) -> int:
    frames = () if source.video is None else (source.video.pixels,)
    return sum(each.size // 3 for each in (*source.images, *frames))


def embed_first(
    embedder: Embedder, inputs: list[EmbedInput], fingerprint: Fingerprint
) -> tuple[Vectors, Vectors]:
    """Return the vectors of inputs (n, dim), n > 0, and those of the baseline queries (m, dim).

    Callers must pass the embedder of the fingerprint. An input that it fails on gets NaN.
    """
    vectors = [_vector(embedder, each) for each in inputs]
    return np.concatenate(vectors), baseline_vectors(embedder, fingerprint)


def _vector(embedder: Embedder, source: EmbedInput) -> Vectors:
    try:
        return embedder.embed([source])
    except QvsearchError:  # reported later, with its file
        return np.full((1, embedder.dim), np.nan, np.float32)
