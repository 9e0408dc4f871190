"""The Range header (RFC 9110, section 14): one range of bytes, as players ask for."""

from __future__ import annotations

import re

_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*", re.ASCII)


class Unsatisfiable(ValueError):
    """The range begins behind the end of the file."""


def read_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the range `[start, stop)` of a file of `size` bytes; None for all of it.

    A header of another unit, of several ranges or of no valid form is ignored, as the standard
    allows. Raises Unsatisfiable for a range without a byte of the file.
    """
    match = None if header is None else _RANGE.fullmatch(header)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:  # the last bytes
        length = min(int(match[2]), size)
        if not length:
            raise Unsatisfiable
        return size - length, size
    start = int(match[1])
    last = int(match[2]) if match[2] else size - 1
    if match[2] and last < start:
        return None
    if start >= size:
        raise Unsatisfiable
    return start, min(last, size - 1) + 1
