"""Vectors in a FAISS index (scalar quantizer, inner product), in memory or in a mapped file."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import faiss as _faiss
import numpy as np

from qvsearch.errors import QvsearchError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.types import Vectors
    from qvsearch.vectors.encoding import Codes, Form

    Mask = NDArray[np.bool_]

faiss: Any = _faiss  # its type stubs lack the names of its Python layer

UNIT_TOLERANCE = 1e-3  # of the length of a unit row
AT_ONCE = 1 << 26  # bytes of rows that a thread scans; with fewer, a second thread is no faster


def check_unit(vectors: Vectors, dim: int) -> Vectors:
    """Return the rows as (n, dim) float32; raises QvsearchError unless all are unit vectors."""
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise QvsearchError(f"vectors have shape {rows.shape}, but (n, {dim}) is needed")
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    # Comparisons with NaN are false, so NaN and infinity count as bad, too.
    bad = np.flatnonzero(~(np.abs(lengths - 1) <= UNIT_TOLERANCE))
    if bad.size:
        row = int(bad[0])
        if not np.isfinite(rows[row]).all():
            raise QvsearchError(f"vector {row} contains NaN or infinity")
        raise QvsearchError(f"vector {row} has length {lengths[row]:.6g}, but 1 is needed")
    return rows


def index_file(stores: Sequence[FaissStore]) -> list[bytes | memoryview]:
    """Return the parts of an index file of all live rows of the stores, in order.

    The stores must have one form. The file is as FAISS itself writes it; the parts are views.
    """
    runs: list[Codes] = []
    for store in stores:
        edges = np.flatnonzero(np.diff(store.alive, prepend=False, append=False))
        runs += [store.codes[start:end] for start, end in edges.reshape(-1, 2)]
    start = stores[0].form.header(sum(len(run) for run in runs))
    return [start, *(run.view(np.uint8).reshape(-1).data for run in runs)]


class FaissStore:
    """Vectors in one FAISS index; rows are numbered from 0.

    The vectors are in memory of numpy or in a mapped file, and FAISS only reads them there.
    """

    def __init__(self, form: Form) -> None:
        self.form = form
        self._alive: Mask = np.ones(0, dtype=np.bool_)
        self._codes: Codes = np.empty((0, form.dim), form.code)  # with spare rows at the end
        self._norms: Vectors = np.empty(0, np.float32)  # of the first rows, if known
        self._source: bytes | memoryview = b""

    @classmethod
    def from_bytes(cls, data: bytes | memoryview, form: Form, rows: int) -> FaissStore:
        """Return the store in the bytes of an index file, without copying them.

        Raises QvsearchError unless they are exactly an index of this form and size.
        """
        image = np.frombuffer(data, dtype=np.uint8)
        start = form.header(rows)
        size = len(start) + rows * form.row_size
        what = f"{rows} x {form.dim} {form.stored} vectors"
        if image.size != size:
            raise QvsearchError(f"it has {image.size} bytes, but {what} take {size}")
        if image[: len(start)].tobytes() != start:
            raise QvsearchError(f"it does not begin as a FAISS index of {what}")
        store = cls.of_codes(image[len(start) :].view(form.code).reshape(-1, form.dim), form)
        store._source = data
        return store

    @classmethod
    def of_codes(cls, codes: Codes, form: Form) -> FaissStore:
        """Return a store of codes (n, dim) of this form, without copying them."""
        store = cls(form)
        store._codes, store._alive = codes, np.ones(len(codes), dtype=np.bool_)
        return store

    def __len__(self) -> int:
        """Return the number of rows, the removed ones included."""
        return len(self._alive)

    @property
    def alive(self) -> Mask:
        """Which rows are not removed (n,); do not mutate."""
        return self._alive

    @property
    def codes(self) -> Codes:
        """The codes of all rows (n, dim), also of removed ones; do not mutate."""
        return self._codes[: len(self)]

    @property
    def norms(self) -> Vectors:
        """The length (n,) of each decoded row; do not mutate.

        Unless they are known, they are computed once, from all rows.
        """
        first = len(self._norms)
        if first < len(self):
            self._norms = np.concatenate([self._norms, self.form.norms(self.codes[first:])])
        return self._norms

    def set_norms(self, norms: Vectors) -> None:
        """Set the lengths (n,), if the caller has stored them."""
        self._norms = norms

    def add(self, vectors: Vectors) -> None:
        """Append unit rows (n, dim); raises QvsearchError unless all are unit vectors."""
        codes = self.form.encode(check_unit(vectors, self.form.dim))
        used = len(self)
        self._alive = np.concatenate([self._alive, np.ones(len(codes), dtype=np.bool_)])
        if len(self) > len(self._codes):
            # twice what is needed, so that the cost of adding is that of the added rows
            grown = np.empty((2 * len(self), self.form.dim), self.form.code)
            grown[:used] = self._codes[:used]
            self._codes = grown
        if len(codes):
            self._codes[used : len(self)] = codes

    def remove(self, rows: Sequence[int]) -> None:
        """Remove rows; the numbers of the others stay."""
        alive = self._alive.copy()
        alive[np.asarray(rows, dtype=np.int64)] = False
        self._alive = alive

    def scores(self, query: Vectors) -> Vectors:
        """Return the cosine (n,) of every row with one unit query (dim,), -inf for removed rows.

        NaN for a damaged row. Raises QvsearchError unless the query is a unit vector.
        """
        unit = check_unit(query[None], self.form.dim)[0]
        scores = np.full(len(self), np.nan, dtype=np.float32)
        step = max(1, AT_ONCE // self.form.row_size)
        pieces = [slice(start, start + step) for start in range(0, len(self), step)]

        def scan(rows: slice) -> None:
            self._scan(unit, rows, scores[rows])

        if len(pieces) > 1:
            # FAISS releases the interpreter, and page faults of a mapped file run in parallel
            with ThreadPoolExecutor(min(len(pieces), os.cpu_count() or 1)) as pool:
                list(pool.map(scan, pieces))
        else:
            list(map(scan, pieces))
        if self.form.scaled:
            scores /= self.norms
        scores[~self._alive] = -np.inf
        return scores

    def _scan(self, unit: Vectors, rows: slice, scores: Vectors) -> None:
        """Write the inner products of some rows into `scores`, except those that are NaN."""
        codes = self.codes[rows]
        # FAISS's own loop over the codes; its search for the best k would sort them all.
        quantizer = self.form.quantizer()
        scanner = quantizer.select_InvertedListScanner(
            faiss.METRIC_INNER_PRODUCT, None, True, None, False
        )
        products = faiss.RangeSearchResult(1)
        partial = faiss.RangeSearchPartialResult(products)
        start = faiss.swig_ptr(codes.view(np.uint8).reshape(-1))
        try:
            scanner.set_query(faiss.swig_ptr(unit))
            scanner.set_list(0, 0.0)
            scanner.scan_codes_range(len(codes), start, None, -np.inf, partial.new_result(0))
        finally:  # FAISS's Python layer would not free it, with the query that it holds
            scanner.__swig_destroy__(scanner)
        partial.finalize()
        count = int(faiss.rev_swig_ptr(products.lims, 2)[1])  # all rows whose product is a number
        scores[faiss.rev_swig_ptr(products.labels, count)] = faiss.rev_swig_ptr(
            products.distances, count
        )

    def release(self) -> None:
        """Release the memory of a mapped file that was read; it is read again when needed.

        Reading one row of a file maps its neighbours, too: up to 16 times as much.
        """
        source = self._source.obj if isinstance(self._source, memoryview) else None
        if isinstance(source, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            source.madvise(mmap.MADV_DONTNEED)

    def fetch(self, rows: Sequence[int] | slice) -> Vectors:
        """Return the stored vectors (len(rows), dim), float32, also of removed rows."""
        chosen = rows if isinstance(rows, slice) else np.asarray(rows, dtype=np.int64)
        vectors = self.form.decode(self.codes[chosen])
        if self.form.scaled:
            vectors /= self.norms[chosen, None]
        return vectors
