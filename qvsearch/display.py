"""Texts for people, without effects on a terminal or a page, and JSON lines."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from qvsearch.kinds import Kind

if TYPE_CHECKING:
    from qvsearch.types import Moment, Segment

# C0, DEL, C1, bidi marks and overrides, line separators, and surrogates
_HARMFUL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
_FIRST_ESCAPED_BYTE, _LAST_ESCAPED_BYTE = 0xDC80, 0xDCFF  # how os.fsdecode keeps a wrong byte


def safe_text(name: bytes | str) -> str:
    r"""Return text without effects on a terminal: \x1b for a control, \u202e for an override."""
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    return _HARMFUL.sub(_visible, text)


def _visible(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if _FIRST_ESCAPED_BYTE <= code <= _LAST_ESCAPED_BYTE:
        return f"\\x{code - 0xDC00:02x}"
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def file_url(location: bytes) -> str:
    """Return the URL of an absolute path, with every byte that has a meaning in URLs escaped."""
    from urllib.parse import quote

    return f"file://{quote(location)}"


def json_line(record: Mapping[str, object] | Sequence[object]) -> bytes:
    """Return JSON and a newline, UTF-8, with every harmful character escaped."""
    text = json.dumps(record, ensure_ascii=False)

    def escaped(match: re.Match[str]) -> str:
        code = ord(match[0])
        # strict readers refuse a lone surrogate in JSON; paths never hold one (path_fields)
        return "\ufffd" if 0xD800 <= code <= 0xDFFF else f"\\u{code:04x}"

    return _HARMFUL.sub(escaped, text).encode() + b"\n"


def part_text(segment: Segment, start: float | None, end: float | None) -> str:
    """Return a part of a file: `02:13-02:19`, `lines 12-31`, `page 4`, `slide 3`, or a size."""
    if start is not None and end is not None:
        # they are sums of times of frames, e.g. 3.0000000000000004 for 3
        return f"{clock(math.floor(round(start, 3)))}-{clock(math.ceil(round(end, 3)))}"
    if segment.lines is not None:
        first, last = segment.lines
        return f"line {first}" if first == last else f"lines {first}-{last}"
    if segment.page is not None:
        return f"page {segment.page}"
    if segment.section is not None:
        return safe_text(segment.section)
    return "" if segment.width is None else f"{segment.width}x{segment.height}"


def other_part_text(other: Moment) -> str:
    """Return the place of another part of a hit's file, e.g. of the film within a photo."""
    is_photo = other.start is None and other.segment.item.kind is Kind.IMAGE
    return "the photo" if is_photo else part_text(other.segment, other.start, other.end)


def clock(seconds: int) -> str:
    """Return whole seconds as mm:ss, or h:mm:ss from an hour on."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"
