"""Compare int8's vectors with float32's on the first files of a library, before any is kept.

It knows vectors and the inputs they are of, and neither libraries nor how a model computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.bank import bank_vectors
from qvsearch.errors import QvsearchError
from qvsearch.types import Decoded, EmbedInput, Skipped

if TYPE_CHECKING:
    from qvsearch.types import Embedder, Fingerprint, Vectors

INPUTS = 32  # that are compared
PER_FILE = 4  # of them: frames of one video are too alike to tell an order from
NEAREST = 10
COSINE = 0.99  # the least median cosine of an input's two vectors
OVERLAP = 0.95  # the least share of the nearest that stay the nearest
_BATCH = 8  # inputs embedded at once


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

    def require(self) -> None:
        """Raise QvsearchError where it is below the floor."""
        if not (self.cosine >= COSINE and self.overlap >= OVERLAP):
            raise QvsearchError(
                f"{self}, where {COSINE} and {OVERLAP:.0%} are asked;"
                " nothing was indexed, go on with --dtype float32"
            )


def first_inputs(
    outcomes: Iterator[Decoded | Skipped],
) -> tuple[list[EmbedInput], Iterator[Decoded | Skipped]]:
    """Return inputs of the first files, a few of each, and the outcomes as they were."""
    taken: list[Decoded | Skipped] = []
    inputs: list[EmbedInput] = []
    for outcome in outcomes:
        taken.append(outcome)
        if isinstance(outcome, Decoded):
            step = -(-len(outcome.segments) // PER_FILE) or 1
            inputs += [source for _, source in outcome.segments[::step]]
        if len(inputs) >= INPUTS:
            break
    return inputs[:INPUTS], chain(taken, outcomes)


def embed_first(
    embedder: Embedder, inputs: list[EmbedInput], made: Fingerprint
) -> tuple[Vectors, Vectors]:
    """Return the vectors of inputs (n, dim), n > 0, and those of the generic queries (m, dim).

    The embedder is the fingerprint's own.
    """
    starts = range(0, len(inputs), _BATCH)
    batches = [embedder.embed(inputs[start : start + _BATCH]) for start in starts]
    return np.concatenate(batches), bank_vectors(embedder, made)


def agreement_of(exact: tuple[Vectors, Vectors], found: tuple[Vectors, Vectors]) -> Agreement:
    """Compare the vectors of the same inputs (n, dim), n > 0, and generic queries (m, dim).

    The cosine is the median over inputs. The overlap is the mean, over inputs and queries, of how
    many of the ten nearest are the same: an input's among the other inputs and the queries, and,
    where there are more than ten inputs, a query's among these.
    """
    (inputs, queries), (found_inputs, found_queries) = exact, found
    scores = inputs @ np.concatenate(exact).T, found_inputs @ np.concatenate(found).T
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
