"""Compares two computations of the same vectors, e.g. int8's with float32's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError

if TYPE_CHECKING:
    from qvsearch.types import Vectors

NEAREST = 10
FEW = 8  # with fewer inputs the overlap is too rough, and only the cosine counts
COSINE = 0.99  # the least median cosine of an input's two vectors
OVERLAP = 0.95  # the least share of the nearest that stay the nearest
INT8 = "int8 against float32 on the first"


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike two computations' vectors of some inputs are: see `agreement_of`.

    `what` is the beginning of the sentence with the figures.
    """

    inputs: int
    cosine: float
    overlap: float
    what: str = INT8

    def __str__(self) -> str:
        """Return the figures as a sentence."""
        return (
            f"{self.what} {self.inputs} inputs: median cosine"
            f" {self.cosine:.4f}, {self.overlap:.1%} of the {NEAREST} nearest the same"
        )

    def require(self, way_out: str) -> None:
        """Raise QvsearchError if it is below the limits; for few inputs only the cosine counts."""
        if not self.inputs:
            raise QvsearchError(
                f"{self.what} inputs: none of them could be computed on both sides."
                f" No new vector was stored; {way_out}"
            )
        is_near = self.overlap >= OVERLAP or self.inputs < FEW
        if not (self.cosine >= COSINE and is_near):
            raise QvsearchError(
                f"{self}; at least {COSINE} and {OVERLAP:.0%} are required."
                f" No new vector was stored; {way_out}"
            )


def agreement_of(
    exact: tuple[Vectors, Vectors], other: tuple[Vectors, Vectors], what: str = INT8
) -> Agreement:
    """Compare the vectors of the same inputs (n, dim), n > 0, and baseline queries (m, dim).

    Inputs with NaN on either side do not count. `what` begins the sentence with the figures.

    The cosine is the median over inputs. The overlap is the mean, over inputs and queries, of the
    share of the ten nearest that are the same: an input's among the other inputs and the queries,
    and, with more than ten inputs, a query's among the inputs.
    """
    (inputs, queries), (other_inputs, other_queries) = exact, other
    valid = np.isfinite(inputs).all(axis=1) & np.isfinite(other_inputs).all(axis=1)
    inputs, other_inputs = inputs[valid], other_inputs[valid]
    if not len(inputs):
        return Agreement(0, 1.0, 1.0, what)
    scores = (
        inputs @ np.concatenate((inputs, queries)).T,
        other_inputs @ np.concatenate((other_inputs, other_queries)).T,
    )
    for each in scores:
        np.fill_diagonal(each, -np.inf)  # nothing is its own neighbour
    pairs = list(zip(*scores, strict=True))
    if len(inputs) > NEAREST:
        pairs += zip(queries @ inputs.T, other_queries @ other_inputs.T, strict=True)
    cosines = (inputs * other_inputs).sum(axis=1)
    overlap = np.mean([_overlap(*pair) for pair in pairs])
    return Agreement(len(inputs), float(np.median(cosines)), float(overlap), what)


def _overlap(exact: Vectors, other: Vectors) -> float:
    """Return the share of the nearest by one row of scores that are the nearest by the other."""
    nearest = min(NEAREST, len(exact))
    both = set(np.argsort(-exact)[:nearest]) & set(np.argsort(-other)[:nearest])
    return len(both) / nearest
