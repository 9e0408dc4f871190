"""How vectors are stored: as half-precision floats, or as bytes with a scale for each row."""

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

faiss: Any = _faiss  # its type stubs lack the names of its Python layer

# A FAISS file of an IndexScalarQuantizer: "IxSQ", d, ntotal, two reserved numbers, trained, metric;
# quantizer, range statistic, its argument, d, bytes a row, `trained` after its length; then the
# length of the codes in bytes, and the codes.
_START = struct.Struct("<4siqqq?i iifQQQ")
_TRAINED, _LENGTH = struct.Struct("<f"), struct.Struct("<Q")
_RESERVED = 1 << 20
_AT_ONCE = 4096  # rows that are converted to single precision at a time


@dataclass(frozen=True, slots=True)
class _Numbers:
    """A storage type: a number is a `code` plus `offset`.

    `quantizer` and `trained` are FAISS's parameters for it. If rows are `scaled`, each has a scale
    of its own, and only its direction counts.
    """

    code: np.dtype[Any]
    offset: float
    scaled: bool
    quantizer: int
    trained: tuple[float, ...]
    encode: Callable[[Vectors], Codes]


@dataclass(frozen=True, slots=True)
class Form:
    """The layout of stored vectors of `dim` numbers."""

    dim: int
    stored: Stored

    @property
    def code(self) -> np.dtype[Any]:
        """The type of a stored number."""
        return _NUMBERS[self.stored].code

    @property
    def scaled(self) -> bool:
        """Whether stored rows have lengths other than 1."""
        return _NUMBERS[self.stored].scaled

    @property
    def row_size(self) -> int:
        """The bytes of a stored vector."""
        return self.dim * self.code.itemsize

    @property
    def header_size(self) -> int:
        """The bytes before the codes in an index file."""
        return len(self.header(0))

    def header(self, rows: int) -> bytes:
        """Return the start of an index file of so many rows; their codes (rows, dim) follow."""
        numbers, row = _NUMBERS[self.stored], self.row_size
        start = (b"IxSQ", self.dim, rows, _RESERVED, _RESERVED, True, faiss.METRIC_INNER_PRODUCT)
        data = _START.pack(*start, numbers.quantizer, 0, 0.0, self.dim, row, len(numbers.trained))
        trained = b"".join(map(_TRAINED.pack, numbers.trained))
        return data + trained + _LENGTH.pack(rows * row)

    def quantizer(self) -> Any:  # noqa: ANN401  (FAISS has no types)
        """Return FAISS's quantizer for the codes."""
        numbers = _NUMBERS[self.stored]
        quantizer = faiss.ScalarQuantizer(self.dim, numbers.quantizer)
        faiss.copy_array_to_vector(np.array(numbers.trained, np.float32), quantizer.trained)
        return quantizer

    def encode(self, vectors: Vectors) -> Codes:
        """Return the codes of unit rows (n, dim)."""
        return _NUMBERS[self.stored].encode(vectors)

    def decode(self, codes: Codes) -> Vectors:
        """Return the vectors of codes (n, dim), float32, each in its own scale."""
        vectors: Vectors = codes.astype(np.float32)
        if offset := _NUMBERS[self.stored].offset:
            vectors += np.float32(offset)
        return vectors

    def norms(self, codes: Codes) -> Vectors:
        """Return the lengths (n,) of decoded rows, float32; NaN for a damaged row of length 0."""
        norms = np.ones(len(codes), np.float32)
        if self.scaled:
            for some in slices(len(codes)):
                # double precision holds these sums exactly, so all machines give the same
                rows = self.decode(codes[some]).astype(np.float64)
                norms[some] = np.sqrt(np.einsum("nd,nd->n", rows, rows))
            norms[norms == 0] = np.nan
        return norms


def slices(count: int, start: int = 0) -> Iterator[slice]:
    """Yield slices of the rows from `start` up to `count`, _AT_ONCE rows each."""
    for first in range(start, count, _AT_ONCE):
        yield slice(first, min(first + _AT_ONCE, count))


def _halved(vectors: Vectors) -> Codes:
    # numpy rounds alike on every machine, unlike FAISS's encoder
    halved: Codes = vectors.astype("<f2")
    return halved


def _in_bytes(vectors: Vectors) -> Codes:
    """Return each row in even steps from -127 to 127, scaled by its largest number.

    One end of the range is always reached, so decoding and encoding again gives the same bytes.
    """
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    codes: Codes = (np.rint(vectors * (127 / largest)) + 128).astype(np.uint8)
    return codes


# FAISS decodes a byte as the middle of its step in a range, which therefore begins at -128.5. With
# its signed bytes (QT_8bit_direct_signed), which mean the same, it would round the query as well.
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
