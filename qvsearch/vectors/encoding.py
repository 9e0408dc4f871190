"""How the numbers of a vector are stored: half-precision floats, or bytes in a scale of each row's.

It knows arrays, and the words that FAISS has for them; what holds them is for others.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import faiss as _faiss
import numpy as np

from qvsearch.types import Stored

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.types import Vectors

    Codes = NDArray[np.float16] | NDArray[np.uint8]

faiss: Any = _faiss  # its type stubs lack what its Python layer adds

# FAISS's form of an IndexScalarQuantizer: "IxSQ", d, ntotal, two reserved numbers, trained, metric;
# quantizer, range statistic, its argument, d, bytes a row, `trained` with its length before it;
# bytes of codes.
_START = struct.Struct("<4siqqq?i iifQQQ")
_TRAINED, _LENGTH = struct.Struct("<f"), struct.Struct("<Q")
_RESERVED = 1 << 20
_AT_ONCE = 4096  # rows: so few are widened to single precision


@dataclass(frozen=True, slots=True)
class _Numbers:
    """What a number is: of type `code`, and worth that plus `offset`.

    `quantizer` and `trained` are FAISS's words for it. Where each row is `scaled` by itself, only
    its direction counts.
    """

    code: np.dtype[Any]
    offset: float
    scaled: bool
    quantizer: int
    trained: tuple[float, ...]
    encode: Callable[[Vectors], Codes]


@dataclass(frozen=True, slots=True)
class Form:
    """How vectors of `dim` numbers are stored."""

    dim: int
    stored: Stored

    @property
    def code(self) -> np.dtype[Any]:
        """The type of a stored number."""
        return _NUMBERS[self.stored].code

    @property
    def scaled(self) -> bool:
        """Whether stored rows have other lengths than 1."""
        return _NUMBERS[self.stored].scaled

    @property
    def row_size(self) -> int:
        """The bytes that a stored vector takes."""
        return self.dim * self.code.itemsize

    @property
    def header_size(self) -> int:
        """The bytes before the codes in an index file."""
        return len(self.header(0))

    def header(self, rows: int) -> bytes:
        """Return how an index file of so many rows begins; their codes (rows, dim) follow."""
        of, row = _NUMBERS[self.stored], self.row_size
        start = (b"IxSQ", self.dim, rows, _RESERVED, _RESERVED, True, faiss.METRIC_INNER_PRODUCT)
        data = _START.pack(*start, of.quantizer, 0, 0.0, self.dim, row, len(of.trained))
        trained = b"".join(map(_TRAINED.pack, of.trained))
        return data + trained + _LENGTH.pack(rows * row)

    def quantizer(self) -> Any:  # noqa: ANN401  (FAISS has no types)
        """Return what tells FAISS how to read codes."""
        of = _NUMBERS[self.stored]
        found = faiss.ScalarQuantizer(self.dim, of.quantizer)
        faiss.copy_array_to_vector(np.array(of.trained, np.float32), found.trained)
        return found

    def encode(self, vectors: Vectors) -> Codes:
        """Return unit rows (n, dim) as they are stored."""
        return _NUMBERS[self.stored].encode(vectors)

    def decode(self, codes: Codes) -> Vectors:
        """Return what stored rows (n, dim) say, float32, in the scale of each."""
        found: Vectors = codes.astype(np.float32)
        if offset := _NUMBERS[self.stored].offset:
            found += np.float32(offset)
        return found

    def norms(self, codes: Codes) -> Vectors:
        """Return the lengths (n,) by which stored rows are to be divided, float32.

        NaN where a damaged row has no direction.
        """
        found = np.ones(len(codes), np.float32)
        if self.scaled:
            for some in slices(len(codes)):
                # double precision holds such sums exactly, so that all machines find the same
                rows = self.decode(codes[some]).astype(np.float64)
                found[some] = np.sqrt(np.einsum("nd,nd->n", rows, rows))
            found[found == 0] = np.nan
        return found


def slices(count: int, start: int = 0) -> Iterator[slice]:
    """Yield the rows from `start` up to `count`, a few at a time."""
    for first in range(start, count, _AT_ONCE):
        yield slice(first, min(first + _AT_ONCE, count))


def _halved(vectors: Vectors) -> Codes:
    # numpy rounds the same way on every machine, FAISS's encoder does not
    halved: Codes = vectors.astype("<f2")
    return halved


def _in_bytes(vectors: Vectors) -> Codes:
    """Return each row in even steps from -127 to 127, the size of its largest number.

    As one end is always reached, what is decoded and encoded again is the same, bit for bit.
    """
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    codes: Codes = (np.rint(vectors * (127 / largest)) + 128).astype(np.uint8)
    return codes


# FAISS reads a byte as what lies half a step into its part of a range, which begins at -128.5. Of
# its signed bytes (QT_8bit_direct_signed), which say the same, it would round the query as well.
_NUMBERS = {
    Stored.FLOAT16: _Numbers(
        np.dtype("<f2"), 0.0, False, faiss.ScalarQuantizer.QT_fp16, (), _halved
    ),
    Stored.INT8: _Numbers(
        np.dtype("u1"),
        -128.0,
        True,
        faiss.ScalarQuantizer.QT_8bit_uniform,
        (-128.5, 255.0),
        _in_bytes,
    ),
}
