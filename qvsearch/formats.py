"""Forms on disk: JSON fields for paths, large numbers and odd text, and arrays as one file."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_START = struct.Struct("<8sQ")  # the mark, and the length of the JSON that describes the arrays
_MAGIC = b"qvarray1"
_ALIGN = 64  # bytes; a cache line, and more than any number needs


def path_fields(name: str, path: bytes) -> dict[str, str]:
    """Return `{name: path}`, or `{name_b64: ...}` if the path is not UTF-8."""
    try:
        return {name: path.decode("utf-8")}
    except UnicodeDecodeError:
        return {f"{name}_b64": base64.b64encode(path).decode("ascii")}


def present(record: Mapping[str, object | None]) -> dict[str, object]:
    """Return a record without the fields that are None."""
    return {name: value for name, value in record.items() if value is not None}


def rounded(value: float | None) -> float | None:
    """Return a number for JSON, which has no NaN."""
    return None if value is None or math.isnan(value) else round(value, 6)


def utc_text(mtime_ns: int) -> str | None:
    """Return nanoseconds since 1970 in ISO 8601, UTC; None outside the years 1 to 9999."""
    try:
        moment = datetime.fromtimestamp(0, UTC) + timedelta(seconds=mtime_ns // 10**9)
    except OverflowError:
        return None
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def read_path(record: dict[str, Any]) -> bytes:
    """Return the path of a JSON record; raises ValueError if it has no valid one."""
    match record:
        case {"path": str(text)}:
            path = text.encode()
        case {"path_b64": str(coded)}:
            path = base64.b64decode(coded, validate=True)
        case _:
            raise ValueError("no path")
    if b"\0" in path:
        raise ValueError("no file can have this path")
    return path


def json_objects(lines: Iterable[str | bytes]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield the number and object of each line that is not blank, or the reason if it has none."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"it is not JSON: {error}"
        else:
            yield number, record if isinstance(record, dict) else "it is not a JSON object"


def number_field(number: int) -> int | str:
    """Return a whole number, as a string if it exceeds 64 bits, as times may; `int` reads both."""
    return number if -(2**63) <= number < 2**63 else str(number)


def text_field(text: str) -> str:
    """Return text without the lone surrogates that JSON cannot hold."""
    return text.encode(errors="replace").decode()


def pack_arrays(arrays: Mapping[str, NDArray[Any]]) -> list[bytes | memoryview]:
    """Return the parts of a file of named arrays, in order; the arrays must be little-endian."""
    import numpy as np  # neither is needed by --help
    import orjson

    header = orjson.dumps({name: list(each.shape) for name, each in arrays.items()})
    start = _START.pack(_MAGIC, len(header)) + header
    parts: list[bytes | memoryview] = [start, bytes(-len(start) % _ALIGN)]
    for each in arrays.values():
        data = np.ascontiguousarray(each).reshape(-1).view(np.uint8).data
        parts += [data, bytes(-data.nbytes % _ALIGN)]
    return parts


def unpack_arrays(
    data: bytes | memoryview, types: Mapping[str, np.dtype[Any]], later: Collection[str] = ()
) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file as views, without a copy.

    Raises ValueError unless they are whole and have exactly these names, in this order. A file may
    lack all of the `later` ones.
    """
    import numpy as np
    import orjson

    view = memoryview(data)
    if len(view) < _START.size:
        raise ValueError("it is too short")
    magic, length = _START.unpack_from(view)
    if magic != _MAGIC or length > len(view):
        raise ValueError("it is not a file of arrays")
    shapes = orjson.loads(view[_START.size : _START.size + length])
    if later and type(shapes) is dict and shapes.keys().isdisjoint(later):
        types = {name: kind for name, kind in types.items() if name not in later}
    if type(shapes) is not dict or list(shapes) != list(types):
        raise ValueError("it holds other arrays")
    arrays = {}
    place = _padded(_START.size + length)
    for name, kind in types.items():
        shape = shapes[name]
        if type(shape) is not list or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"the shape of {name} is invalid")
        count = math.prod(shape)
        if place + count * kind.itemsize > len(view):
            raise ValueError(f"{name} is cut off")
        arrays[name] = np.frombuffer(view, kind, count, place).reshape(shape)
        place = _padded(place + count * kind.itemsize)
    if place != len(view):
        raise ValueError("it is longer than its arrays")
    return arrays


def _padded(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
