"""The lines of a sidecar: a JSON record for each vector, with a checksum of both."""

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
from qvsearch.formats import number_field, path_fields, read_path, text_field
from qvsearch.library.manifest import LARGEST_LINE
from qvsearch.types import NO_METADATA, Item, Kind, Metadata, Segment

_KINDS = {kind.value: kind for kind in Kind}
_EXTRAS = ("start", "end", "lines", "snippet", "width", "height", "patches", "section")
_NUMBER_OF_PAGE = "number"  # of a page; `page` is the flag of a picture
_REAL: set[type] = {float, int}
_NUMBER: set[type] = {float, int, type(None)}
_WHOLE: set[type] = {int, type(None)}
_STRING: set[type] = {str, type(None)}
# The types that each field may have.
_TYPES: dict[str, set[type]] = {
    "root": {int},
    "size": {int},
    "content_hash": {str},
    "start": _NUMBER,
    "end": _NUMBER,
    "snippet": _STRING,
    "patches": _STRING,
    "width": _WHOLE,
    "height": _WHOLE,
    "reading": _WHOLE,
    _NUMBER_OF_PAGE: _WHOLE,
    "section": _STRING,
}
_METADATA: dict[str, set[type]] = {
    "taken": _STRING,
    "camera": _STRING,
    "latitude": _NUMBER,
    "longitude": _NUMBER,
    "duration": _NUMBER,
    "page": {bool, type(None)},
    "taken_from": _STRING,
    "damaged": _STRING,
    "several": {bool, type(None)},
    "title": _STRING,
    "author": _STRING,
    "keywords": {list, type(None)},
    "rating": _WHOLE,
    "language": _STRING,
    "pages": _WHOLE,
    "pictures": _WHOLE,
    "partial": _STRING,
}
_CHECK = b',"crc":'
_LARGEST_COSINE = 2  # beyond any rounding

# Mean and standard deviation of a row's cosines with the library's baseline; None if not known.
Background: TypeAlias = tuple[float, float] | None


def encode_rows(
    rows: Iterable[tuple[Segment, Background, bytes]], root_numbers: Mapping[bytes, int]
) -> list[bytes]:
    """Return a line for each row: its segment, its background, and its vector's stored bytes.

    Raises QvsearchError for a line that is too long to be read again.
    """
    return [_encode_row(*row, root_numbers) for row in rows]


def decode_rows(
    data: bytes, roots: Sequence[bytes | None], alive: Sequence[bool]
) -> tuple[list[Segment], list[Background]]:
    """Return the segments and backgrounds of the rows of a whole sidecar that are `alive`.

    Raises ValueError if it is not a sidecar of so many rows.
    """
    segments: list[Segment] = []
    backgrounds: list[Background] = []
    item: Item | None = None
    lines = data.split(b"\n")
    if lines.pop():
        raise ValueError("the last line is cut off")
    if len(lines) != len(alive):
        raise ValueError(f"it has {len(lines)} rows for {len(alive)} vectors")
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
    """Return the row of a line; None unless the line and the vector were written together."""
    body, _, check = line.rpartition(_CHECK)
    try:
        if int(check.removesuffix(b"}")) != zlib.crc32(body, zlib.crc32(code)):
            return None
        record = orjson.loads(line)
        return _decode_row(record, roots, None), _decode_background(record)
    except ValueError:
        return None


def encode_segment(segment: Segment) -> bytes:
    """Return a segment as JSON without its root and path, for another store than a sidecar."""
    return orjson.dumps(_encode_segment(segment))


def decode_segment(data: bytes, root: bytes, path: bytes) -> Segment:
    """Return the segment of `encode_segment`; raises ValueError for anything else."""
    record = orjson.loads(data)
    if type(record) is not dict:
        raise ValueError("a row is not an object")
    return _decode_row(record | {"root": 0, **path_fields("path", path)}, [root], None)


def _encode_row(
    segment: Segment, background: Background, code: bytes, root_numbers: Mapping[bytes, int]
) -> bytes:
    place = {"root": root_numbers[segment.item.root], **path_fields("path", segment.item.path)}
    record = place | _encode_segment(segment)
    if background is not None:
        record["background"] = background
    body = orjson.dumps(record)[:-1]
    # One checksum of line and vector, to find the sound rows of a damaged shard.
    line = b"%b%b%d}\n" % (body, _CHECK, zlib.crc32(body, zlib.crc32(code)))
    if len(line) > LARGEST_LINE:
        raise QvsearchError(
            f"the row of {os.fsdecode(segment.item.location)} has {len(line):,} bytes;"
            f" at most {LARGEST_LINE:,} can be read"
        )
    return line


def _encode_segment(segment: Segment) -> dict[str, Any]:
    """Return the fields of a line that tell of a segment, without its root and path."""
    record = _encode_item(segment.item) | {"content_hash": segment.content_hash}
    values = {name: getattr(segment, name) for name in _EXTRAS} | {_NUMBER_OF_PAGE: segment.page}
    record |= _fields(values)
    if segment.clip:
        record["clip"] = True
    if segment.dhash is not None:
        record["dhash"] = f"{segment.dhash:016x}"
    record |= _fields({name: getattr(segment.metadata, name) for name in _METADATA})
    if segment.reading != 1:
        record["reading"] = segment.reading
    return record


def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are present, texts without what JSON cannot hold."""
    fields: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, tuple) and value and isinstance(value[0], str):
            fields[name] = [text_field(each) for each in value]
        elif value is not None:
            fields[name] = text_field(value) if isinstance(value, str) else value
    return fields


def _encode_item(item: Item) -> dict[str, Any]:
    numbers = {name: getattr(item, name) for name in ("mtime_ns", "ctime_ns", "inode")}
    return {
        "kind": item.kind.value,
        "size": item.size,
        **{name: number_field(each) for name, each in numbers.items() if each is not None},
    }


def _decode_row(
    record: dict[str, Any], roots: Sequence[bytes | None], before: Item | None
) -> Segment:
    """Return a row's segment; its item is that of the row `before` if the two are equal.

    Raises ValueError for anything that `_encode_row` does not write.
    """
    try:
        for name, value in record.items():
            if name in _TYPES and type(value) not in _TYPES[name]:
                raise ValueError("a field of a row has the wrong type")
        item = _decode_item(record, roots)
        if before is not None and item.path == before.path and item == before:
            item = before
        return _decode_segment(record, item)
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError) as error:
        raise ValueError(f"a field of a row is missing or wrong ({error!r})") from error


def _decode_item(record: dict[str, Any], roots: Sequence[bytes | None]) -> Item:
    root = roots[record["root"]]
    path = record["path"].encode() if "path" in record else read_path(record)
    if root is None or record["root"] < 0 or b"\0" in path:
        raise ValueError("the root of a row was removed, or its path is invalid")
    ctime_ns, inode = record.get("ctime_ns"), record.get("inode")
    return Item(
        root,
        path,
        _KINDS[record["kind"]],
        record["size"],
        int(record["mtime_ns"]),
        None if ctime_ns is None else int(ctime_ns),
        None if inode is None else int(inode),
    )


def _decode_segment(record: dict[str, Any], item: Item) -> Segment:
    get = record.get
    lines, reading = get("lines"), get("reading", 1)
    dhash = int(record["dhash"], 16) if "dhash" in record else None
    if (
        reading < 1
        or (lines is not None and [type(line) for line in lines] != [int, int])
        or (dhash is not None and not 0 <= dhash < 1 << 64)
    ):
        raise ValueError("a field of a row has an impossible value")
    return Segment(
        item,
        record["content_hash"],
        get("start"),
        get("end"),
        None if lines is None else (lines[0], lines[1]),
        get("snippet"),
        get("width"),
        get("height"),
        "clip" in record,
        dhash,
        _decode_metadata(record),
        reading,
        get("patches"),
        get(_NUMBER_OF_PAGE),
        get("section"),
    )


def _decode_metadata(record: dict[str, Any]) -> Metadata:
    if record.keys().isdisjoint(_METADATA):
        return NO_METADATA
    values = {name: value for name, value in record.items() if name in _METADATA}
    for name, value in values.items():
        if type(value) not in _METADATA[name]:
            raise ValueError("a field of a row's metadata has the wrong type")
    if (keywords := values.get("keywords")) is not None:
        if any(type(each) is not str for each in keywords):
            raise ValueError("the keywords of a row are not texts")
        values["keywords"] = tuple(keywords)
    return Metadata(**values)


def _decode_background(record: dict[str, Any]) -> Background:
    pair = record.get("background")
    if pair is None:
        return None
    if (
        type(pair) is not list
        or len(pair) != 2
        or not {type(each) for each in pair} <= _REAL
        or max(map(abs, pair)) > _LARGEST_COSINE
    ):
        raise ValueError("a row's background is not two numbers")
    return pair[0], pair[1]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause the garbage collector, which would inspect the growing list of rows again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
