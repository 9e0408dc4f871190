"""Reads the headers of GGUF files: which model they hold, and in which numbers.

The format is that of ggml (docs/gguf.md in ggml-org/ggml), versions 2 and 3, little-endian.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from qvsearch.errors import QvsearchError
from qvsearch.models.checkpoint import SAMPLE

SUFFIX = ".gguf"
LANGUAGE = "qwen3vl"  # the architecture of the language model
VISION = "clip"  # of every vision tower, whose projector tells its model
PROJECTOR = "qwen3vl_merger"

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT = 32  # bytes, unless the file has another one
_MOST_ENTRIES = 1_000_000  # keys or tensors; a damaged count must not take for ever

_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?"} | {
    10: "Q",
    11: "q",
    12: "d",
}
_KEPT_ITEMS = 1024  # of an array: vocabularies are passed over

# by the number of a type in ggml.h: its name, the values of a block and the bytes of a block
TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
}
FLOATS = ("F32", "F16", "BF16")

Value = str | int | float | bool | list["Value"]


@dataclass(frozen=True, slots=True)
class GgufFile:
    """A complete GGUF file; `size` is in bytes.

    `numbers` is the type of most of its weights, e.g. `Q4_K`; a quantised type comes first.
    `digest` is a hash of the header and of the first 4 KiB of each tensor.
    """

    path: Path
    architecture: str
    name: str
    numbers: str
    parameters: int
    size: int
    digest: str
    keys: dict[str, Value]

    @property
    def is_quantised(self) -> bool:
        """Whether some weights are not floating-point numbers."""
        return self.numbers not in FLOATS

    def number(self, key: str) -> int:
        """Return a whole number of the header; raises QvsearchError without it."""
        value = self.keys.get(key)
        if not isinstance(value, int):
            raise QvsearchError(f"{self.path} has no {key}; download it again, or another file")
        return value


@dataclass(frozen=True, slots=True)
class _Tensor:
    shape: tuple[int, ...]
    type: int
    offset: int

    @property
    def values(self) -> int:
        return prod(self.shape)

    @property
    def size(self) -> int:
        _, block, size = TYPES[self.type]
        return -(-self.values // block) * size


def is_gguf(model: str) -> bool:
    """Return whether a model's name is that of a GGUF file."""
    return model.lower().endswith(SUFFIX)


def read_gguf(path: Path) -> GgufFile:
    """Return what a GGUF file holds; raises QvsearchError if it is missing, damaged or cut off."""
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise QvsearchError(f"{path} is not a GGUF file")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _read(path, content)
    except FileNotFoundError as error:
        raise QvsearchError(f"there is no file {path}") from error
    except OSError as error:
        raise QvsearchError(f"{path} cannot be read: {error.strerror or error}") from error
    except (struct.error, IndexError) as error:
        raise QvsearchError(f"{path} is cut off; download it again") from error
    except (ValueError, LookupError, OverflowError) as error:
        raise QvsearchError(f"{path} is damaged: {error}; download it again") from error


def _read(path: Path, content: mmap.mmap) -> GgufFile:
    reader = _Reader(content)
    version, tensor_count, key_count = reader.take("<IQQ")
    if version not in _VERSIONS:
        raise QvsearchError(f"{path} is of GGUF version {version}, not 2 or 3; convert it again")
    if max(tensor_count, key_count) > _MOST_ENTRIES:
        raise ValueError(f"it has {tensor_count} tensors and {key_count} keys")
    keys = dict(reader.key() for _ in range(key_count))
    tensors = dict(reader.tensor() for _ in range(tensor_count))
    alignment = keys.get("general.alignment", _ALIGNMENT)
    if not isinstance(alignment, int) or alignment <= 0:
        raise ValueError(f"its alignment is {alignment}")
    start = -(-reader.place // alignment) * alignment
    unknown = sorted({each.type for each in tensors.values() if each.type not in TYPES})
    if unknown:
        raise QvsearchError(
            f"{path} has weights of type {unknown[0]}, which this qvsearch does not have"
        )
    if any(start + each.offset + each.size > len(content) for each in tensors.values()):
        raise IndexError
    return GgufFile(
        path=path,
        architecture=str(keys.get("general.architecture", "")),
        name=str(keys.get("general.name", path.stem)),
        numbers=_numbers(list(tensors.values())),
        parameters=sum(each.values for each in tensors.values()),
        size=len(content),
        digest=_digest(content, start, tensors),
        keys=keys,
    )


def _numbers(tensors: Sequence[_Tensor]) -> str:
    """Return the type of most quantised weights or, without any, of most weights."""
    counts: Counter[str] = Counter()
    for each in tensors:
        counts[TYPES[each.type][0]] += each.values
    quantised = {name: count for name, count in counts.items() if name not in FLOATS}
    return max(quantised or counts, key=lambda name: (counts[name], name), default="F32")


def _digest(content: mmap.mmap, start: int, tensors: dict[str, _Tensor]) -> str:
    digest = hashlib.blake2b(content[:start], digest_size=16)
    for _, each in sorted(tensors.items()):
        begin = start + each.offset
        digest.update(content[begin : begin + min(SAMPLE, each.size)])
    return digest.hexdigest()


class _Reader:
    """Takes values from the header, one after another; raises IndexError at the end."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content, self.place = content, len(_MAGIC)

    def take(self, layout: str) -> tuple[int, ...]:
        values = struct.unpack_from(layout, self._content, self.place)
        self.place += struct.calcsize(layout)
        return values

    def key(self) -> tuple[str, Value]:
        name = self._string()
        (kind,) = self.take("<I")
        return name, self._value(kind)

    def tensor(self) -> tuple[str, _Tensor]:
        name = self._string()
        (sides,) = self.take("<I")
        if sides > 4:  # GGML_MAX_DIMS
            raise ValueError(f"the tensor {name!r} has {sides} dimensions")
        shape = self.take(f"<{sides}Q")
        kind, offset = self.take("<IQ")
        return name, _Tensor(shape, kind, offset)

    def _value(self, kind: int) -> Value:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array()
        value: Value = self.take(f"<{_SCALARS[kind]}")[0]
        return value

    def _array(self) -> Value:
        """Return an array; a long one is passed over, and empty."""
        kind, count = self.take("<IQ")
        if kind == _ARRAY:  # llama.cpp does not read it either
            raise ValueError("it has an array of arrays")
        if kind != _STRING:
            if count <= _KEPT_ITEMS:
                return list(self.take(f"<{count}{_SCALARS[kind]}"))
            self._skip(count * struct.calcsize(f"<{_SCALARS[kind]}"))
            return []
        kept: list[Value] = []
        for _ in range(count):
            value = self._string()
            if count <= _KEPT_ITEMS:
                kept.append(value)
        return kept

    def _string(self) -> str:
        (length,) = self.take("<Q")
        begin = self.place
        self._skip(length)
        return self._content[begin : self.place].decode("utf-8", "replace")

    def _skip(self, length: int) -> None:
        self.place += length
        if self.place > len(self._content):
            raise IndexError
