"""The type that a file is served with: that of its kind and suffix, never of its content.

Only types without active content are shown by a browser; all others are downloads.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qvsearch.kinds import is_packed
from qvsearch.types import Kind

if TYPE_CHECKING:
    from qvsearch.types import Item

TEXT = "text/plain; charset=utf-8"
UNKNOWN = "application/octet-stream"
_SHOWN = {
    Kind.IMAGE: {
        "image/jpeg": ".jpg .jpeg .jpe .jfif .mpo",
        "image/png": ".png .apng",
        "image/webp": ".webp",
        "image/gif": ".gif",
        "image/bmp": ".bmp .dib",
        "image/avif": ".avif .avifs",
    },
    Kind.VIDEO: {
        "video/mp4": ".mp4 .m4v .mov",
        "video/webm": ".webm",
        "video/ogg": ".ogv",
    },
}
_TYPES = {
    (kind, suffix): type_
    for kind, types in _SHOWN.items()
    for type_, suffixes in types.items()
    for suffix in suffixes.split()
}


def content_type(item: Item) -> tuple[str, bool]:
    """Return the type of an item's file, and whether a browser shows it."""
    if item.kind is Kind.TEXT:
        return (UNKNOWN, False) if is_packed(item.location) else (TEXT, True)
    suffix = os.fsdecode(os.path.splitext(item.location)[1]).lower()
    type_ = _TYPES.get((item.kind, suffix))
    return (UNKNOWN, False) if type_ is None else (type_, True)
