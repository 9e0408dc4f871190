"""Rows as JSON lines: what a sidecar says of each vector.

It knows lines, not files: where they lie and whether they are whole is for others.
"""

from __future__ import annotations

import gc
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import compress
from typing import Any, TypeAlias

import orjson

from qvsearch.errors import QvsearchError
from qvsearch.formats import number_field, path_field, read_path, text_field
from qvsearch.library.manifest import LARGEST_LINE
from qvsearch.types import NO_METADATA, Item, Kind, Metadata, Segment

_KINDS = {kind.value: kind for kind in Kind}
_STATUS = ("ctime_ns", "inode")
_EXTRAS = ("start", "end", "lines", "snippet", "width", "height", "patches")
_REAL: set[type] = {float, int}
_NUMBER: set[type] = {float, int, type(None)}
_WHOLE = {int, type(None)}
_STRING: set[type] = {str, type(None)}
_METADATA: dict[str, set[type]] = {  # each field with the types that it may have
    "taken": _STRING,
    "camera": _STRING,
    "latitude": _NUMBER,
    "longitude": _NUMBER,
    "duration": _NUMBER,
    "page": {bool, type(None)},
    "taken_from": _STRING,
    "damaged": _STRING,
    "several": {bool, type(None)},
}
_CHECK = b',"crc":'
_LARGEST_COSINE = 2  # beyond any rounding

# Mean and standard deviation of a row's cosines with the library's bank; None where not known.
Background: TypeAlias = tuple[float, float] | None


def encode_rows(
    rows: Iterable[tuple[Segment, Background, bytes]], root_numbers: Mapping[bytes, int]
) -> list[bytes]:
    """Return a line for each segment; the bytes are those of its stored vector.

    Raises QvsearchError for a line that would be too long to be read.
    """
    return [_encode_row(*row, root_numbers) for row in rows]


def decode_rows(
    data: bytes, roots: Sequence[bytes | None], alive: Sequence[bool]
) -> tuple[list[Segment], list[Background]]:
    """Return what a sidecar, known to be whole, says of the rows that are alive.

    Raises ValueError where it says nothing, or not of so many rows.
    """
    segments: list[Segment] = []
    backgrounds: list[Background] = []
    item: Item | None = None
    lines = data.split(b"\n")
    if lines.pop():
        raise ValueError("the last line is cut off")
    if len(lines) != len(alive):
        raise ValueError(f"it has {len(lines)} rows, and {len(alive)} vectors lie beside it")
    with _no_collection():
        for line in compress(lines, alive):
            record = orjson.loads(line)
            segment = _decode_row(record, roots, item)
            item = segment.item
            segments.append(segment)
            backgrounds.append(_decode_background(record))
    return segments, backgrounds


def salvage_row(
    line: bytes, code: bytes, roots: Sequence[bytes | None]
) -> tuple[Segment, Background] | None:
    """Return what a line says if it and a stored vector are what was written together."""
    body, _, check = line.rpartition(_CHECK)
    try:
        if int(check.removesuffix(b"}")) != zlib.crc32(body, zlib.crc32(code)):
            return None
        record = orjson.loads(line)
        return _decode_row(record, roots, None), _decode_background(record)
    except ValueError:
        return None


def _encode_row(
    segment: Segment, background: Background, code: bytes, root_numbers: Mapping[bytes, int]
) -> bytes:
    record = {"root": root_numbers[segment.item.root], **_encode_item(segment.item)}
    record["content_hash"] = segment.content_hash
    for name in _EXTRAS:
        value = getattr(segment, name)
        if value is not None:
            record[name] = text_field(value) if isinstance(value, str) else value
    if segment.clip:
        record["clip"] = True
    if segment.dhash is not None:
        record["dhash"] = f"{segment.dhash:016x}"
    for name in _METADATA:
        value = getattr(segment.metadata, name)
        if value is not None:
            record[name] = text_field(value) if isinstance(value, str) else value
    if segment.reading != 1:
        record["reading"] = segment.reading
    if background is not None:
        record["background"] = background
    body = orjson.dumps(record)[:-1]
    # The one checksum of line and vector tells, when a file is damaged, which rows are not.
    line = b"%b%b%d}\n" % (body, _CHECK, zlib.crc32(body, zlib.crc32(code)))
    if len(line) > LARGEST_LINE:
        raise QvsearchError(
            f"the row of {os.fsdecode(segment.item.location)} has {len(line):,} bytes,"
            f" and at most {LARGEST_LINE:,} are read"
        )
    return line


def _encode_item(item: Item) -> dict[str, Any]:
    numbers = {name: getattr(item, name) for name in ("mtime_ns", *_STATUS)}
    return {
        **path_field(item.path),
        "kind": item.kind.value,
        "size": item.size,
        **{name: number_field(each) for name, each in numbers.items() if each is not None},
    }


def _decode_row(
    record: dict[str, Any], roots: Sequence[bytes | None], before: Item | None
) -> Segment:
    """Return a row's segment, with the item of the row before it where it is the same.

    Raises ValueError for anything that `_encode_row` does not write.
    """
    try:
        root = roots[record["root"]]
        path = record["path"].encode() if "path" in record else read_path(record)
        get = record.get
        item = Item(
            root or b"",
            path,
            _KINDS[record["kind"]],
            record["size"],
            int(record["mtime_ns"]),
            *(None if (number := get(name)) is None else int(number) for name in _STATUS),
        )
        lines = get("lines")
        segment = Segment(
            before if before is not None and path == before.path and item == before else item,
            record["content_hash"],
            get("start"),
            get("end"),
            None if lines is None else (lines[0], lines[1]),
            get("snippet"),
            get("width"),
            get("height"),
            "clip" in record,
            int(record["dhash"], 16) if "dhash" in record else None,
            _decode_metadata(record),
            get("reading", 1),
            get("patches"),
        )
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError) as error:
        raise ValueError(f"no row of a sidecar ({error!r})") from error
    if (
        root is None
        or type(record["root"]) is not int
        or record["root"] < 0
        or b"\0" in path
        or type(item.size) is not int
        or type(segment.content_hash) is not str
        or type(segment.start) not in _NUMBER
        or type(segment.end) not in _NUMBER
        or type(segment.snippet) not in _STRING
        or type(segment.patches) not in _STRING
        or type(segment.width) not in _WHOLE
        or type(segment.height) not in _WHOLE
        or type(segment.reading) is not int
        or segment.reading < 1
        or (lines is not None and [type(line) for line in lines] != [int, int])
        or (segment.dhash is not None and not 0 <= segment.dhash < 1 << 64)
    ):
        raise ValueError("a field of a row has the wrong type, or its root is removed")
    return segment


def _decode_metadata(record: dict[str, Any]) -> Metadata:
    if record.keys().isdisjoint(_METADATA):
        return NO_METADATA
    values = {name: record.get(name) for name in _METADATA}
    if any(type(value) not in _METADATA[name] for name, value in values.items()):
        raise ValueError("a field of a row's metadata has the wrong type")
    return Metadata(**values)


def _decode_background(record: dict[str, Any]) -> Background:
    found = record.get("background")
    if found is None:
        return None
    if (
        type(found) is not list
        or len(found) != 2
        or not {type(each) for each in found} <= _REAL
        or max(map(abs, found)) > _LARGEST_COSINE
    ):
        raise ValueError("a row's background is not two numbers")
    return found[0], found[1]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause the garbage collector: it would look again and again at rows that all stay."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
