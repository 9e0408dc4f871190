"""Names of files that are free and that file systems accept."""

from __future__ import annotations

import os
from collections.abc import Iterator

MAX_NAME = 255  # bytes of a name on common file systems
MOST_NUMBERS = 10_000  # files of one name in a folder
_UNSAFE = set('\\/:*?"<>|')  # on some file system


def numbered(name: str, first: int = 1) -> Iterator[str]:
    """Yield a name, and it with 2, 3, ... before its suffix, each short enough."""
    stem, suffix = os.path.splitext(name)
    for number in range(first, MOST_NUMBERS):
        yield cut(stem, suffix if number == 1 else f"-{number}{suffix}")


def cut(stem: str, end: str) -> str:
    """Return a name of at most MAX_NAME bytes; the stem loses its end."""
    if len(os.fsencode(stem + end)) <= MAX_NAME:
        return stem + end
    return os.fsencode(stem)[: MAX_NAME - len(os.fsencode(end))].decode(errors="ignore") + end


def portable(name: str) -> str:
    """Return a name that every common file system accepts."""
    name = "".join("_" if c in _UNSAFE or not c.isprintable() else c for c in name)
    return name.rstrip(" .") or "_"
