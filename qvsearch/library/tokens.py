"""Words as they are compared: without case and accents, and pairs of characters without spaces."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# scripts that write no spaces between words; runs of them are compared by pairs of characters
_SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
MARKS = (0x300, 0x1F000)  # the characters among which all combining ones are
_RUNS = re.compile(f"[{_SPACELESS}]+")
_PARTS = re.compile(f"[{_SPACELESS}]+|[^{_SPACELESS}]+")
_WORD = re.compile(r"[^\W_]+")
_LOCATED = re.compile("(?:[^\\W_]|[\u0300-\u036f])+")  # before accents are folded


def folded(text: str) -> str:
    """Return a text without case, accents and compatibility forms (Unicode NFKD)."""
    if text.isascii():
        return text.lower()
    # decomposed first: a compatibility form of capitals has no case of its own
    decomposed = unicodedata.normalize("NFKD", text).encode("utf-32-le", "surrogatepass")
    characters = np.frombuffer(decomposed, "<u4")
    kept: bytes = characters[~_combining()[characters]].tobytes()
    return kept.decode("utf-32-le", "surrogatepass").casefold()


@cache
def _combining() -> NDArray[np.bool_]:
    """Return which characters are marks on the one before, by number."""
    marks = np.zeros(sys.maxunicode + 1, np.bool_)
    marks[[each for each in range(*MARKS) if unicodedata.combining(chr(each))]] = True
    return marks


def tokens(text: str) -> list[str]:
    """Return the tokens of a text, in order."""
    return _WORD.findall(_RUNS.sub(_pairs, folded(text)))


def _pairs(run: re.Match[str]) -> str:
    text = run[0]
    return f" {' '.join(map(''.join, pairwise(text))) or text} "


def located(text: str) -> list[tuple[str, int, int]]:
    """Return the tokens of a text, each with the range `[start, end)` of its characters."""
    found = []
    for word in _LOCATED.finditer(text):
        inside = tokens(word[0])
        if len(inside) == 1:
            found.append((inside[0], *word.span()))
        for part in _PARTS.finditer(word[0]) if len(inside) > 1 else ():
            start = word.start() + part.start()
            of_part = tokens(part[0])
            # pairs of characters, unless folding changes their number
            steps = range(len(of_part)) if len(of_part) == len(part[0]) - 1 else None
            for place, token in enumerate(of_part):
                at = (
                    (start + place, start + place + 2)
                    if steps
                    else (start, word.start() + part.end())
                )
                found.append((token, *at))
    return found
