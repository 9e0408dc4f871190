"""JSON fields of what JSON has no form for: paths of any bytes, very large numbers, odd text."""

from __future__ import annotations

import base64
from typing import Any


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
