"""JSON fields of what JSON has no form for: paths of any bytes, very large numbers, odd text."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any


def path_fields(name: str, path: bytes) -> dict[str, object]:
    """Return `{name: path}`, or `{name_b64: ...}` if the path is not UTF-8."""
    try:
        return {name: path.decode("utf-8")}
    except UnicodeDecodeError:
        return {f"{name}_b64": base64.b64encode(path).decode("ascii")}


def present(record: Mapping[str, object | None]) -> dict[str, object]:
    """Return a record without what is absent."""
    return {name: value for name, value in record.items() if value is not None}


def utc_text(mtime_ns: int) -> str | None:
    """Return nanoseconds since 1970 in ISO 8601, UTC; None outside the years 1 to 9999."""
    try:
        moment = datetime.fromtimestamp(0, UTC) + timedelta(seconds=mtime_ns // 10**9)
    except OverflowError:
        return None
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def path_field(path: bytes) -> dict[str, str]:
    """Return the one JSON field that holds a path, whatever its bytes are."""
    try:
        return {"path": path.decode()}
    except UnicodeDecodeError:
        return {"path_b64": base64.b64encode(path).decode()}


def read_path(record: dict[str, Any]) -> bytes:
    """Return the path of a JSON record; raises ValueError where it has none that can be."""
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


def number_field(number: int) -> int | str:
    """Return a whole number, beyond 64 bits, where times may lie, as a string; `int` reads both."""
    return number if -(2**63) <= number < 2**63 else str(number)


def text_field(text: str) -> str:
    """Return text without the lone surrogates that JSON cannot hold."""
    return text.encode(errors="replace").decode()
