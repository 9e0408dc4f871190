"""The nearest documents of queries, as a library of a dimension and a storage type finds them."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Self

import numpy as np

from qvsearch.vectors.encoding import Form

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.types import Stored, Vectors

    Numbers = NDArray[np.int64]

DEPTH = 1000  # documents of a ranking, as trec_eval's users choose
QUERIES_AT_ONCE, DOCUMENTS_AT_ONCE = 512, 4096  # 8 MB of scores


class VectorFile:
    """Vectors in a temporary file, whose pages leave the memory when it is short.

    Use it in a `with` statement.
    """

    def __init__(self, dim: int) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
        self._dim, self._count = dim, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, vector: Vectors) -> None:
        """Append a vector (dim,)."""
        self._file.write(np.ascontiguousarray(vector, "<f4").data)
        self._count += 1

    def rows(self) -> Vectors:
        """Return all vectors (n, dim), float32; do not mutate."""
        if not self._count:
            return np.empty((0, self._dim), np.float32)
        self._file.flush()
        return np.memmap(self._file, "<f4", "r", shape=(self._count, self._dim))


def cut_rows(vectors: Vectors, dim: int) -> Vectors:
    """Return the first `dim` numbers of unit rows (n, d), again of length 1."""
    cut = vectors[:, :dim]
    unit: Vectors = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    return unit


def stored_rows(vectors: Vectors, dim: int, store: Stored) -> Vectors:
    """Return unit rows (n, d) as a library of this dimension and storage type gives them back."""
    form = Form(dim, store)
    codes = form.encode(cut_rows(vectors, dim))
    rows = form.decode(codes)
    return rows / form.norms(codes)[:, None] if form.scaled else rows


def nearest(queries: Vectors, documents: Vectors, dim: int, store: Stored) -> Numbers:
    """Return the numbers of the documents nearest to each query, best first (q, at most DEPTH).

    Both are unit rows of the full dimension. Equal scores are in the order of the documents.
    """
    depth = min(DEPTH, len(documents))
    rankings = np.empty((len(queries), depth), np.int64)
    for first in range(0, len(queries), QUERIES_AT_ONCE):
        some = slice(first, first + QUERIES_AT_ONCE)
        rankings[some] = _nearest(cut_rows(queries[some], dim), documents, store, depth)
    return rankings


def _nearest(queries: Vectors, documents: Vectors, store: Stored, depth: int) -> Numbers:
    scores = np.empty((len(queries), 0), np.float32)
    numbers = np.empty((len(queries), 0), np.int64)
    dim = queries.shape[1]
    for first in range(0, len(documents), DOCUMENTS_AT_ONCE):
        block = stored_rows(np.asarray(documents[first : first + DOCUMENTS_AT_ONCE]), dim, store)
        scores = np.concatenate([scores, queries @ block.T], axis=1)
        added = np.arange(first, first + len(block))
        numbers = np.concatenate([numbers, np.broadcast_to(added, (len(queries), len(added)))], 1)
        if scores.shape[1] > depth:
            best = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
            scores = np.take_along_axis(scores, best, axis=1)
            numbers = np.take_along_axis(numbers, best, axis=1)
    ordered: Numbers = np.take_along_axis(numbers, np.lexsort((numbers, -scores)), axis=1)
    return ordered
