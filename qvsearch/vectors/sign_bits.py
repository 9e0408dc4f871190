"""A bit for each dimension of a vector: estimates of cosines, many times faster than exact ones.

The bits are the signs of a vector's parts. The mean is subtracted before, and a random rotation
makes all parts alike (random hyperplanes, Charikar 2002; the rotation is a Hadamard transform after
random flips, Ailon and Chazelle 2006). Only promising rows need an exact score.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import faiss as _faiss
import numpy as np

from qvsearch.vectors.encoding import slices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.types import Vectors
    from qvsearch.vectors.store import FaissStore

faiss: Any = _faiss  # its type stubs lack the names of its Python layer

TYPES: dict[str, np.dtype[Any]] = {
    "centre": np.dtype("<f4"),
    "radius": np.dtype("<f4"),
    "bits": np.dtype("u1"),
}


@dataclass(frozen=True, slots=True)
class Signs:
    """The signs `bits` (n, width / 8) of n vectors minus their `centre` (dim,).

    `radius` (1,) is the root mean square of their distances from the centre.
    """

    centre: Vectors
    radius: Vectors
    bits: NDArray[np.uint8]

    def check(self, rows: int, dim: int) -> None:
        """Raise ValueError unless these are the signs of so many vectors of dim numbers."""
        shapes = (self.centre.shape, self.radius.shape, self.bits.shape)
        if shapes != ((dim,), (1,), (rows, width_of(dim) // 8)):
            raise ValueError("the signs do not have the shape for its vectors")

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays by name, in the order of TYPES."""
        return {"centre": self.centre, "radius": self.radius, "bits": self.bits}

    def guess(self, query: Vectors) -> Vectors:
        """Return an estimate of the cosine (n,) of every row with one unit query (dim,)."""
        aside = query - self.centre
        width = 8 * self.bits.shape[1]
        # the angle between two vectors is pi times the share of signs in which they differ
        cosines = np.cos(np.pi / width * np.arange(width + 1))
        size = float(np.linalg.norm(aside)) * float(self.radius[0])
        table = (float(query @ self.centre) + size * cosines).astype(np.float32)
        guessed: Vectors = table[self._differing(np.packbits(_rotated(aside[None]) > 0))]
        return guessed

    def _differing(self, query: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Return the number of bits (n,) in which each row differs from a query."""
        counts = np.empty(len(self.bits), np.int32)
        if len(counts):
            one, all_, results = map(faiss.swig_ptr, (query, self.bits, counts))
            faiss.hammings(one, all_, 1, len(counts), self.bits.shape[1], results)
        return counts

    def part(self, start: int, end: int) -> Signs:
        """Return the signs of some of the vectors."""
        return Signs(self.centre, self.radius, self.bits[start:end])


def signs_of(store: FaissStore) -> Signs:
    """Return the signs of all vectors (n, dim) of a store."""
    count = len(store)
    sums = [store.fetch(some).sum(axis=0, dtype=np.float64) for some in slices(count)]
    centre = (np.sum(sums, axis=0) / count).astype(np.float32)
    bits = np.empty((count, width_of(store.form.dim) // 8), np.uint8)
    squares = 0.0
    for some in slices(count):
        aside = store.fetch(some) - centre
        squares += float(np.einsum("nd,nd->", aside, aside, dtype=np.float64))
        bits[some] = np.packbits(_rotated(aside) > 0, axis=1)
    return Signs(centre, np.array([np.sqrt(squares / count)], np.float32), bits)


def width_of(dim: int) -> int:
    """Return the number of bits for so many dimensions: a power of 2, at least 64."""
    return max(64, 1 << (dim - 1).bit_length())


def _rotated(vectors: Vectors) -> Vectors:
    """Return vectors (n, dim) in the rotated space (n, width)."""
    count, dim = vectors.shape
    width = width_of(dim)
    flips, left, right = _rotation(width)
    turned = np.zeros((count, width), np.float32)
    turned[:, :dim] = vectors
    for flip in flips:
        turned = (left @ (turned * flip).reshape(count, len(left), len(right)) @ right).reshape(
            count, width
        )
    return turned


@cache
def _rotation(width: int) -> tuple[Vectors, Vectors, Vectors]:
    """Return flips (2, width), and two Hadamard matrices whose Kronecker product has size width.

    There are two rounds: after one, a vector with a few large parts still has many equal ones.
    """
    random = np.frombuffer(hashlib.shake_256(b"qvsearch").digest(width // 4), np.uint8)
    flips = np.unpackbits(random).astype(np.float32).reshape(2, width) * 2 - 1
    power = width.bit_length() - 1
    return flips, _hadamard(power // 2), _hadamard(power - power // 2)


def _hadamard(power: int) -> Vectors:
    """Return the Hadamard matrix of 2^power (Sylvester 1867)."""
    matrix = np.ones((1, 1), np.float32)
    for _ in range(power):
        matrix = np.block([[matrix, matrix], [matrix, -matrix]]).astype(np.float32)
    return matrix
