"""Words as they are compared: without case and accents, and pairs of characters without spaces."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

# scripts that write no spaces between words; runs of them are compared by pairs of characters
_RUNS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff]+"
)
_WORD = re.compile(r"\w+")


def folded(text: str) -> str:
    """Return a text without case, accents and compatibility forms (Unicode NFKD)."""
    if text.isascii():
        return text.lower()
    # decomposed first: a compatibility form of capitals has no case of its own
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(each for each in decomposed if not unicodedata.combining(each)).casefold()


def tokens(text: str) -> list[str]:
    """Return the tokens of a text, in order."""
    return _WORD.findall(_RUNS.sub(_pairs, folded(text)))


def _pairs(run: re.Match[str]) -> str:
    text = run[0]
    return f" {' '.join(map(''.join, pairwise(text))) or text} "
