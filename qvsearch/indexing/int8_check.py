"""Compares int8's vectors with float32's on the first files of a library, before any is stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.indexing.baseline_queries import baseline_vectors
from qvsearch.types import Decoded, EmbedInput, Skipped

if TYPE_CHECKING:
    from qvsearch.types import Embedder, Fingerprint, Vectors

INPUTS = 32  # that are compared
PER_FILE = 4  # of these: frames of one video are too alike to have an order
NEAREST = 10
FEW = 8  # with fewer inputs the overlap is too rough, and only the cosine counts
HELD_PIXELS = 100_000_000  # decoded, after which the comparison waits for no more files
COSINE = 0.99  # the least median cosine of an input's two vectors
OVERLAP = 0.95  # the least share of the nearest that stay the nearest


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike int8's and float32's vectors of some inputs are: see `agreement_of`."""

    inputs: int
    cosine: float
    overlap: float

    def __str__(self) -> str:
        """Return the figures as a sentence."""
        return (
            f"int8 against float32 on the first {self.inputs} inputs: median cosine"
            f" {self.cosine:.4f}, {self.overlap:.1%} of the {NEAREST} nearest the same"
        )

    def require(self, way_out: str) -> None:
        """Raise QvsearchError if it is below the limits; for few inputs only the cosine counts."""
        is_near = self.overlap >= OVERLAP or self.inputs < FEW
        if not (self.cosine >= COSINE and is_near):
            raise QvsearchError(
                f"{self}; at least {COSINE} and {OVERLAP:.0%} are required."
                f" No new vector was stored; {way_out}"
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


def agreement_of(exact: tuple[Vectors, Vectors], int8: tuple[Vectors, Vectors]) -> Agreement:
    """Compare the vectors of the same inputs (n, dim), n > 0, and baseline queries (m, dim).

    Inputs with NaN on either side do not count.

    The cosine is the median over inputs. The overlap is the mean, over inputs and queries, of the
    share of the ten nearest that are the same: an input's among the other inputs and the queries,
    and, with more than ten inputs, a query's among the inputs.
    """
    (inputs, queries), (int8_inputs, int8_queries) = exact, int8
    valid = np.isfinite(inputs).all(axis=1) & np.isfinite(int8_inputs).all(axis=1)
    inputs, int8_inputs = inputs[valid], int8_inputs[valid]
    if not len(inputs):
        return Agreement(0, 1.0, 1.0)
    scores = (
        inputs @ np.concatenate((inputs, queries)).T,
        int8_inputs @ np.concatenate((int8_inputs, int8_queries)).T,
    )
    for each in scores:
        np.fill_diagonal(each, -np.inf)  # nothing is its own neighbour
    pairs = list(zip(*scores, strict=True))
    if len(inputs) > NEAREST:
        pairs += zip(queries @ inputs.T, int8_queries @ int8_inputs.T, strict=True)
    cosines = (inputs * int8_inputs).sum(axis=1)
    overlap = np.mean([_overlap(*pair) for pair in pairs])
    return Agreement(len(inputs), float(np.median(cosines)), float(overlap))


def _overlap(exact: Vectors, int8: Vectors) -> float:
    """Return the share of the nearest by one row of scores that are the nearest by the other."""
    nearest = min(NEAREST, len(exact))
    both = set(np.argsort(-exact)[:nearest]) & set(np.argsort(-int8)[:nearest])
    return len(both) / nearest
