"""Breaks the lines of a text between words while it arrives."""

from __future__ import annotations

import re
from collections.abc import Callable

from qvsearch.display import safe_text

_SPACE = re.compile("([ \t\r\n])")  # no space that forbids a break
_SHOWN = {" ": " ", "\t": "    ", "\r": ""}


class Wrapping:
    """Passes on a text with no line wider than `width` cells, unless one word is wider.

    The last word is held back until it is complete.
    """

    def __init__(self, write: Callable[[str], None], width: int) -> None:
        self._write, self._width = write, width
        self._word = ""
        self._spaces = ""  # before the next word, if it fits
        self._column = 0

    def add(self, piece: str) -> None:
        """Take the next piece."""
        *parts, self._word = _SPACE.split(self._word + piece)
        for part in parts:
            self._put(part)

    def end(self) -> None:
        """Pass on the last word."""
        self._put(self._word)
        self._word = ""

    def _put(self, part: str) -> None:
        """Take a word, or one space between words."""
        from rich.cells import cell_len

        if part == "\n":
            self._write(part)
            self._spaces, self._column = "", 0
        elif part in _SHOWN:
            self._spaces += _SHOWN[part]
        elif part:
            size = cell_len(safe_text(part))
            fits = self._column + len(self._spaces) + size <= self._width
            before = self._spaces if fits or not self._column else "\n"
            self._column = size + (0 if before == "\n" else self._column + len(before))
            self._write(before + part)
            self._spaces = ""
