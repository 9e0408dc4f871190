"""Vectors in a FAISS index of half-precision floats under the inner product.

It knows row numbers, not what they stand for, and reads no file itself: it works on bytes, which
may be a mapped file.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import faiss as _faiss
import numpy as np

from qvsearch.errors import QvsearchError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.types import Vectors

    Codes = NDArray[np.float16]
    Mask = NDArray[np.bool_]

faiss: Any = _faiss  # its type stubs lack what its Python layer adds

# FAISS's form of an IndexScalarQuantizer: "IxSQ", d, ntotal, two reserved numbers, trained, metric;
# quantizer, range statistic, its argument, d, bytes a row, length of `trained`; bytes of codes.
_HEADER = struct.Struct("<4siqqq?i iifQQQ Q")
HEADER_SIZE = _HEADER.size
_RESERVED = 1 << 20
_CODE = np.dtype("<f2")
UNIT_TOLERANCE = 1e-3  # how far from 1 the length of a unit row may be


def code_size(dim: int) -> int:
    """Return the bytes that a stored vector takes."""
    return dim * _CODE.itemsize


def header(dim: int, rows: int) -> bytes:
    """Return how an index file of this many rows begins; their codes, (rows, dim) fp16, follow."""
    row = code_size(dim)
    metric, kind = faiss.METRIC_INNER_PRODUCT, faiss.ScalarQuantizer.QT_fp16
    start = (b"IxSQ", dim, rows, _RESERVED, _RESERVED, True, metric)
    return _HEADER.pack(*start, kind, 0, 0.0, dim, row, 0, rows * row)


def check_unit(vectors: Vectors, dim: int) -> Vectors:
    """Return the rows as (n, dim) float32; raises QvsearchError for any that is no unit vector."""
    found = np.ascontiguousarray(vectors, dtype=np.float32)
    if found.ndim != 2 or found.shape[1] != dim:
        raise QvsearchError(f"vectors of shape {found.shape}, where (n, {dim}) is needed")
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt(np.einsum("nd,nd->n", found, found))
    # A comparison with NaN is false, so that NaN and infinity are among the bad ones.
    bad = np.flatnonzero(~(np.abs(lengths - 1) <= UNIT_TOLERANCE))
    if bad.size:
        row = int(bad[0])
        if not np.isfinite(found[row]).all():
            raise QvsearchError(f"vector {row} holds NaN or infinity")
        raise QvsearchError(f"vector {row} has length {lengths[row]:.6g}, where 1 is needed")
    return found


def index_file(stores: Sequence[FaissStore]) -> list[bytes | memoryview]:
    """Return the parts of an index file of all rows of the stores that are not removed, in order.

    They are FAISS's own form, and views of the stores: nothing is copied.
    """
    runs: list[Codes] = []
    for store in stores:
        edges = np.flatnonzero(np.diff(store.alive, prepend=False, append=False))
        runs += [store.codes[start:end] for start, end in edges.reshape(-1, 2)]
    start = header(stores[0].dim, sum(len(run) for run in runs))
    return [start, *(run.view(np.uint8).reshape(-1).data for run in runs)]


class FaissStore:
    """A VectorStore over one FAISS index; rows are numbered from 0.

    The vectors lie in numpy's memory or a mapped file, where FAISS only looks at them.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._alive: Mask = np.ones(0, dtype=np.bool_)
        self._image = np.frombuffer(header(dim, 0), dtype=np.uint8)
        self._index: Any = None  # of the image, made when it is searched
        self._source: bytes | memoryview = b""

    @classmethod
    def from_bytes(cls, data: bytes | memoryview, dim: int, rows: int) -> FaissStore:
        """Return the store that these bytes of an index file hold, without copying them.

        Raises QvsearchError unless they are exactly an index of this size: FAISS's reader trusts
        lengths that it finds, so that it only ever gets a start that is known byte for byte.
        """
        image = np.frombuffer(data, dtype=np.uint8)
        size = HEADER_SIZE + rows * code_size(dim)
        if image.size != size:
            raise QvsearchError(f"{image.size} bytes, where {rows} x {dim} vectors take {size}")
        if image[:HEADER_SIZE].tobytes() != header(dim, rows):
            raise QvsearchError(f"does not begin as a FAISS index of {rows} x {dim} fp16 vectors")
        store = cls(dim)
        store._image, store._source = image, data
        store._alive = np.ones(rows, dtype=np.bool_)
        return store

    @classmethod
    def of_codes(cls, codes: Codes) -> FaissStore:
        """Return a store of rows (n, dim) as another one has them, copied."""
        count, dim = codes.shape
        image = np.empty(HEADER_SIZE + codes.nbytes, dtype=np.uint8)
        image[:HEADER_SIZE] = np.frombuffer(header(dim, count), dtype=np.uint8)
        image[HEADER_SIZE:] = codes.reshape(-1).view(np.uint8)
        return cls.from_bytes(image.data, dim, count)

    def __len__(self) -> int:
        """Return the number of rows, the removed ones included."""
        return len(self._alive)

    @property
    def alive(self) -> Mask:
        """Which rows are not removed (n,); not to be changed."""
        return self._alive

    @property
    def codes(self) -> Codes:
        """All rows as they are stored (n, dim), removed ones too; not to be changed."""
        return self._image[HEADER_SIZE : self._size()].view(_CODE).reshape(-1, self.dim)

    def add(self, vectors: Vectors) -> None:
        """Append unit rows (n, dim); raises QvsearchError for any that is not one."""
        # numpy rounds the same way on every machine, FAISS's encoder does not.
        codes = check_unit(vectors, self.dim).astype(_CODE)
        used = self._size()
        self._alive = np.concatenate([self._alive, np.ones(len(codes), dtype=np.bool_)])
        size = self._size()
        if size > self._image.size:
            # twice what is needed, so that adding row after row costs what was added
            grown = np.empty(2 * size, dtype=np.uint8)
            grown[:used] = self._image[:used]
            self._image = grown
        if size > used:
            self._image[:HEADER_SIZE] = np.frombuffer(header(self.dim, len(self)), dtype=np.uint8)
            self._image[used:size] = codes.view(np.uint8).reshape(-1)
            self._index = None

    def _size(self) -> int:
        """Return how much of the image is in use."""
        return HEADER_SIZE + len(self) * code_size(self.dim)

    def remove(self, rows: Sequence[int]) -> None:
        """Forget rows; the numbers of the others stay."""
        alive = self._alive.copy()
        alive[np.asarray(rows, dtype=np.int64)] = False
        self._alive = alive

    def search(
        self, query: Vectors, k: int, allowed: Mask | None = None
    ) -> list[tuple[int, float]]:
        """Return up to k (row, cosine) for one query (dim,), best first, ties by row.

        Only rows whose `allowed` (n,) is true are answers.
        """
        unit = check_unit(query[None], self.dim)
        mask = self._alive if allowed is None else self._alive & allowed
        count = int(mask.sum())
        if count == 0 or k <= 0:
            return []
        parameters = None
        if count < len(mask):
            bits = np.packbits(mask, bitorder="little")
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
        asked = min(k + 1, count)
        with _one_thread():
            while True:
                scores, found = self._searchable().search(unit, asked, params=parameters)
                # FAISS keeps any of several equal rows; once a lesser one follows all are there.
                if asked == count or scores[0, -1] < scores[0, min(k, count) - 1]:
                    break
                asked = min(asked * 4, count)
        hits = [
            (int(row), float(score))
            for row, score in zip(found[0], scores[0], strict=True)
            if row >= 0
        ]
        return sorted(hits, key=lambda hit: (-hit[1], hit[0]))[:k]

    def scores(self, query: Vectors) -> Vectors:
        """Return the cosine (n,) of every row with one query (dim,), -inf for removed rows.

        NaN where a damaged row has none, or one below -2.
        """
        unit = check_unit(query[None], self.dim)[0]
        count = len(self)
        if count == 0:
            return np.empty(0, dtype=np.float32)
        # FAISS's own loop over the codes; its search for the best k would sort all of them.
        quantizer = self._searchable().sq
        scanner = quantizer.select_InvertedListScanner(
            faiss.METRIC_INNER_PRODUCT, None, True, None, False
        )
        scanner.set_query(faiss.swig_ptr(unit))
        scanner.set_list(0, 0.0)
        found = faiss.RangeSearchResult(1)
        partial = faiss.RangeSearchPartialResult(found)
        codes = faiss.swig_ptr(self._image[HEADER_SIZE : self._size()])
        scanner.scan_codes_range(count, codes, None, -2.0, partial.new_result(0))
        partial.finalize()
        kept = int(faiss.rev_swig_ptr(found.lims, 2)[1])
        cosines = faiss.rev_swig_ptr(found.distances, kept)
        if kept == count:
            scores = cosines.copy()
        else:  # it leaves out what compares with nothing
            scores = np.full(count, np.nan, dtype=np.float32)
            scores[faiss.rev_swig_ptr(found.labels, kept)] = cosines
        scores[~self._alive] = -np.inf
        return cast("Vectors", scores)

    def release(self) -> None:
        """Let go of the memory that a mapped file took by being read; it is read again if need be.

        To read one row of a file maps its neighbours too, up to 16 times as much.
        """
        source = self._source.obj if isinstance(self._source, memoryview) else None
        if isinstance(source, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            source.madvise(mmap.MADV_DONTNEED)

    def fetch(self, rows: Sequence[int]) -> Vectors:
        """Return the stored vectors (len(rows), dim), float32; removed rows are still there."""
        return self.codes[np.asarray(rows, dtype=np.int64)].astype(np.float32)

    def _searchable(self) -> Any:  # noqa: ANN401  (FAISS has no types)
        """Return a FAISS index that looks at the image."""
        if self._index is None:
            reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(self._image), self._size())
            self._index = faiss.read_index(reader)
        return self._index


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep FAISS from waking threads, which have nothing to do for a single query.

    On a busy machine it waits for them a thousand times longer than a small search takes.
    """
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
