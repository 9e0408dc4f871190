"""Rows as JSON lines: what a sidecar says of each vector.

It knows lines, not files: where they lie and whether they are whole is for others.
"""

from __future__ import annotations

import gc
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import orjson

from qvsearch.fields import number_field, path_field, read_path, text_field
from qvsearch.types import NO_METADATA, Item, Kind, Metadata, Segment

_KINDS = {kind.value: kind for kind in Kind}
_EXTRAS = ("start", "end", "lines", "snippet", "width", "height")
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
}
_CHECK = b',"crc":'


def encode_rows(rows: Iterable[tuple[Segment, bytes]], root_numbers: Mapping[bytes, int]) -> bytes:
    """Return a line for each segment, which comes with the bytes of its stored vector."""
    return b"".join(_encode_row(segment, code, root_numbers) for segment, code in rows)


def decode_rows(data: bytes, roots: Sequence[bytes | None]) -> list[Segment]:
    """Return the segments of a sidecar that is known to be whole; raises ValueError otherwise."""
    segments: list[Segment] = []
    item: Item | None = None
    lines = data.split(b"\n")
    if lines.pop():
        raise ValueError("the last line is cut off")
    with _no_collection():
        for line in lines:
            segment = _decode_row(orjson.loads(line), roots, item)
            item = segment.item
            segments.append(segment)
    return segments


def salvage_row(line: bytes, code: bytes, roots: Sequence[bytes | None]) -> Segment | None:
    """Return the segment of a line and a stored vector if both are what was written together."""
    body, _, check = line.rpartition(_CHECK)
    try:
        if int(check.removesuffix(b"}")) != zlib.crc32(body, zlib.crc32(code)):
            return None
        return _decode_row(orjson.loads(line), roots, None)
    except ValueError:
        return None


def _encode_row(segment: Segment, code: bytes, root_numbers: Mapping[bytes, int]) -> bytes:
    item = segment.item
    record: dict[str, Any] = {"root": root_numbers[item.root], **path_field(item.path)}
    record["kind"] = item.kind.value
    record["size"] = item.size
    record["mtime_ns"] = number_field(item.mtime_ns)
    record["content_hash"] = segment.content_hash
    for name in _EXTRAS:
        value = getattr(segment, name)
        if value is not None:
            record[name] = text_field(value) if name == "snippet" else value
    if segment.clip:
        record["clip"] = True
    if segment.dhash is not None:
        record["dhash"] = f"{segment.dhash:016x}"
    for name in _METADATA:
        value = getattr(segment.metadata, name)
        if value is not None:
            record[name] = text_field(value) if isinstance(value, str) else value
    body = orjson.dumps(record)[:-1]
    # The one checksum of line and vector tells, when a file is damaged, which rows are not.
    return b"%b%b%d}\n" % (body, _CHECK, zlib.crc32(body, zlib.crc32(code)))


def _decode_row(
    record: dict[str, Any], roots: Sequence[bytes | None], before: Item | None
) -> Segment:
    """Return a row's segment, with the item of the row before it where it is the same.

    Raises ValueError for anything that `_encode_row` does not write.
    """
    try:
        root = roots[record["root"]]
        path = record["path"].encode() if "path" in record else read_path(record)
        item = Item(
            root or b"", path, _KINDS[record["kind"]], record["size"], int(record["mtime_ns"])
        )
        get = record.get
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
        )
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError) as error:
        raise ValueError(f"no row of a sidecar ({error!r})") from error
    if (
        root is None
        or type(item.size) is not int
        or type(segment.content_hash) is not str
        or type(segment.start) not in _NUMBER
        or type(segment.end) not in _NUMBER
        or type(segment.snippet) not in _STRING
        or type(segment.width) not in _WHOLE
        or type(segment.height) not in _WHOLE
        or (lines is not None and {type(line) for line in lines} != {int})
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
