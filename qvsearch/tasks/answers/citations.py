"""The numbers that an answer cites."""

from __future__ import annotations

import re

# [1], [1, 3], [2-4], [source 1]; and the brackets that models write in Chinese and Japanese
_CITATION = re.compile(
    r"[\[\u3010]\s*(?:sources?\s*)?(\d{1,3}(?:\s*[,;\u2013-]\s*(?:sources?\s*)?\d{1,3})*)\s*[\]\u3011]",
    re.IGNORECASE,
)
_PART = re.compile(r"(\d+)(?:\s*[\u2013-]\s*(\d+))?")
LONGEST_RANGE = 20  # numbers; a longer one is a range of years or pages


def cited_numbers(text: str) -> list[int]:
    """Return the numbers in square brackets, in the order of their first occurrence."""
    numbers: dict[int, None] = {}
    for citation in _CITATION.finditer(text):
        for first, last in _PART.findall(citation[1]):
            start, end = int(first), int(last or first)
            if end - start < LONGEST_RANGE:
                numbers |= dict.fromkeys(range(start, end + 1))
    return list(numbers)
