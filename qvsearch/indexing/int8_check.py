"""Compare int8's vectors with float32's on the first files of a library, before any is kept.

It knows vectors and the inputs they are of, and neither libraries nor how a model computes.
"""

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
PER_FILE = 4  # of them: frames of one video are too alike to tell an order from
NEAREST = 10
FEW = 8  # inputs say too little of what is nearest: of one, a single exchange would decide
HELD_PIXELS = 100_000_000  # decoded, after which no more files are waited for
COSINE = 0.99  # the least median cosine of an input's two vectors
OVERLAP = 0.95  # the least share of the nearest that stay the nearest


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike the vectors of `inputs` inputs are in both: see `agreement_of`."""

    inputs: int
    cosine: float
    overlap: float

    def __str__(self) -> str:
        """Say the figures."""
        return (
            f"int8 against float32 on the first {self.inputs} inputs: median cosine"
            f" {self.cosine:.4f}, {self.overlap:.1%} of the {NEAREST} nearest the same"
        )

    def require(self, way_out: str) -> None:
        """Raise QvsearchError where it is below the floor; of few inputs only the cosine counts."""
        is_near = self.overlap >= OVERLAP or self.inputs < FEW
        if not (self.cosine >= COSINE and is_near):
            raise QvsearchError(
                f"{self}, where {COSINE} and {OVERLAP:.0%} are asked;"
                f" no new vector was kept, {way_out}"
            )


def first_inputs(
    outcomes: Iterator[Decoded | Skipped],
) -> tuple[list[EmbedInput], Iterator[Decoded | Skipped]]:
    """Return inputs of the first files, a few of each, and the outcomes as they were."""
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
        yield taken.popleft()  # and hold it no longer
    yield from outcomes


def _pixels(source: EmbedInput) -> int:
    frames = () if source.video is None else (source.video.pixels,)
    return sum(each.size // 3 for each in (*source.images, *frames))


def embed_first(
    embedder: Embedder, inputs: list[EmbedInput], made: Fingerprint
) -> tuple[Vectors, Vectors]:
    """Return the vectors of inputs (n, dim), n > 0, and those of the generic queries (m, dim).

    An input that the embedder refuses, which is the fingerprint's own, has a vector of NaN.
    """
    vectors = [_vector(embedder, each) for each in inputs]
    return np.concatenate(vectors), baseline_vectors(embedder, made)


def _vector(embedder: Embedder, source: EmbedInput) -> Vectors:
    try:
        return embedder.embed([source])
    except QvsearchError:  # it will be said of its file
        return np.full((1, embedder.dim), np.nan, np.float32)


def agreement_of(exact: tuple[Vectors, Vectors], found: tuple[Vectors, Vectors]) -> Agreement:
    """Compare the vectors of the same inputs (n, dim), n > 0, and generic queries (m, dim).

    Inputs of which one is NaN do not count.

    The cosine is the median over inputs. The overlap is the mean, over inputs and queries, of how
    many of the ten nearest are the same: an input's among the other inputs and the queries, and,
    where there are more than ten inputs, a query's among these.
    """
    (inputs, queries), (found_inputs, found_queries) = exact, found
    taken = np.isfinite(inputs).all(axis=1) & np.isfinite(found_inputs).all(axis=1)
    inputs, found_inputs = inputs[taken], found_inputs[taken]
    if not len(inputs):
        return Agreement(0, 1.0, 1.0)
    scores = (
        inputs @ np.concatenate((inputs, queries)).T,
        found_inputs @ np.concatenate((found_inputs, found_queries)).T,
    )
    for each in scores:
        np.fill_diagonal(each, -np.inf)  # nothing is its own neighbour
    pairs = list(zip(*scores, strict=True))
    if len(inputs) > NEAREST:
        pairs += zip(queries @ inputs.T, found_queries @ found_inputs.T, strict=True)
    cosines = (inputs * found_inputs).sum(axis=1)
    overlap = np.mean([_overlap(*pair) for pair in pairs])
    return Agreement(len(inputs), float(np.median(cosines)), float(overlap))


def _overlap(exact: Vectors, found: Vectors) -> float:
    """Return which share of the nearest by one row of scores are the nearest by the other."""
    nearest = min(NEAREST, len(exact))
    both = set(np.argsort(-exact)[:nearest]) & set(np.argsort(-found)[:nearest])
    return len(both) / nearest
