"""Named arrays as the bytes of one file, which may be a mapped one; nothing is copied.

It knows no library: what the arrays are of is for others.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

if TYPE_CHECKING:
    from numpy.typing import NDArray

_START = struct.Struct("<8sQ")  # what it is, and how long the JSON is that describes the arrays
_MAGIC = b"qvarray1"
_ALIGN = 64  # bytes; a cache line, and more than any number needs


def pack(arrays: Mapping[str, NDArray[Any]]) -> list[bytes | memoryview]:
    """Return the parts of a file of these arrays, little-endian, in order."""
    header = orjson.dumps({name: list(each.shape) for name, each in arrays.items()})
    start = _START.pack(_MAGIC, len(header)) + header
    parts: list[bytes | memoryview] = [start, bytes(-len(start) % _ALIGN)]
    for each in arrays.values():
        data = np.ascontiguousarray(each).reshape(-1).view(np.uint8).data
        parts += [data, bytes(-data.nbytes % _ALIGN)]
    return parts


def unpack(data: bytes | memoryview, types: Mapping[str, np.dtype[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays, as views; raises ValueError unless they are exactly those named, whole."""
    view = memoryview(data)
    if len(view) < _START.size:
        raise ValueError("it is too short")
    magic, length = _START.unpack_from(view)
    if magic != _MAGIC or length > len(view):
        raise ValueError("it holds no arrays")
    shapes = orjson.loads(view[_START.size : _START.size + length])
    if type(shapes) is not dict or list(shapes) != list(types):
        raise ValueError("it holds other arrays")
    arrays = {}
    place = _padded(_START.size + length)
    for name, kind in types.items():
        shape = shapes[name]
        if type(shape) is not list or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"{name} has no shape")
        count = int(np.prod(shape, dtype=object))
        if place + count * kind.itemsize > len(view):
            raise ValueError(f"{name} is cut off")
        arrays[name] = np.frombuffer(view, kind, count, place).reshape(shape)
        place = _padded(place + count * kind.itemsize)
    if place != len(view):
        raise ValueError("something follows the arrays")
    return arrays


def _padded(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
