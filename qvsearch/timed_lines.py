"""Words at their times in a film, as a text: on each line the seconds, a tab, and the words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_SECONDS = r"^(\d{1,9}(?:\.\d{1,9})?)\t"
_LINE = re.compile(rf"{_SECONDS}(.*)$", re.MULTILINE)
_BEFORE = re.compile(_SECONDS, re.MULTILINE)


class Line(NamedTuple):
    """Words that are spoken or shown, or a chapter that begins, at `time` in seconds."""

    time: float
    text: str


def timed_text(lines: Iterable[Line]) -> str:
    """Return lines as a text; those before the film begin with it."""
    return "\n".join(f"{max(0.0, line.time):.3f}\t{line.text}" for line in lines)


def timed_lines(text: str) -> list[Line]:
    """Return the lines of such a text, in its order."""
    return [Line(float(each[1]), each[2]) for each in _LINE.finditer(text)]


def without_times(text: str) -> str:
    """Return only the words of such a text."""
    return _BEFORE.sub("", text)
