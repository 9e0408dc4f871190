"""Words of a page and of those behind it, as a text: before each of these a line with its number.

That line begins with a character that no text has (the group separator of ASCII).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

DOCUMENT_PAGES = 200  # at most, of one document, are embedded: each costs as much as a photo
BREAK = "\x1d"
_NUMBER = re.compile(rf"\n?{BREAK}(\d{{1,8}})\n")


class PageText(NamedTuple):
    """The words of a page, by its number from 1."""

    page: int
    text: str


def paged_text(own: str | None, others: Iterable[PageText]) -> str | None:
    """Return the words of a page and of others behind it; None if there are none at all."""
    behind = (f"{BREAK}{page}\n{text}" for page, text in others)
    return "\n".join(filter(None, (own, *behind))) or None


def page_texts(text: str, page: int) -> list[PageText]:
    """Return the pages of such a text, of which the first has this number."""
    own, *others = _NUMBER.split(text)
    numbered = zip(map(int, others[::2]), others[1::2], strict=True)
    return [PageText(page, own), *(PageText(*each) for each in numbered)]


def without_numbers(text: str) -> str:
    """Return only the words of such a text."""
    return _NUMBER.sub("\n", text)
