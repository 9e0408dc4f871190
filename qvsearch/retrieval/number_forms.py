"""Other ways to write the numbers of a query: 1234.50 as 1,234.50, DE89 3704 as DE893704."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from qvsearch.library.tokens import tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qvsearch.library.words import Forms

    Phrase = tuple[str, ...]

_IBAN = r"[A-Z]{2}\d\d(?: [0-9A-Z]{4}){2,7}(?: [0-9A-Z]{1,3})?"
_WRITTEN = re.compile(
    rf"(?<![0-9A-Za-z])(?:{_IBAN}|[0-9A-Za-z]+(?:(?:[-_/:#.,'’]|(?<=\d)\s(?=\d))[0-9A-Za-z]+)*)(?![0-9A-Za-z])"
)
_DECIMALS = r"(?:[.,](\d\d?))?"
_GROUPED = re.compile(rf"(\d{{1,3}}(?:[.,'’\s]\d{{3}}){{1,4}}){_DECIMALS}")  # noqa: RUF001
_WHOLE = re.compile(rf"([1-9]\d{{3,11}}){_DECIMALS}")
_YEAR = re.compile(r"(?:19|20)\d\d")
_THREES = re.compile(r"\d{1,3}(?=(?:\d{3})*$)")
_VERSION = re.compile(r"(v?)(\d{1,3})(?:\.\d+)+", re.IGNORECASE)
_IN_FOURS = re.compile(r"(?:[a-z]{2}\d\d[0-9a-z]{11,30}|\d{16})")
_JOINED = 5  # characters of parts that are also written as one, at least: 3-1 is not 31


def number_forms(text: str) -> Forms:
    """Return other ways to write the numbers of a text, for each number and each of its tokens.

    Groups of a number that is written as one are guessed for amounts, IBANs and cards only.
    """
    found: dict[Phrase, tuple[Phrase, ...]] = defaultdict(tuple)
    for written in _WRITTEN.findall(text):
        parts = tuple(tokens(written))
        forms = tuple(_forms(written, parts))
        for phrase in {parts, *((each,) for each in parts)} if forms else ():
            found[phrase] += forms
    return dict(found)


def _amounts(whole: str, decimals: str, parts: Phrase) -> Iterator[Phrase]:
    """Yield other ways to write an amount: with groups or without, and 1.5 as 1.50."""
    for shown in dict.fromkeys(
        [decimals, decimals.rstrip("0"), decimals and decimals.ljust(2, "0")]
    ):
        for digits in ((whole,), tuple(_THREES.findall(whole))):
            form = (*digits, *filter(None, [shown]))
            if form != parts:
                yield form


def _forms(written: str, parts: Phrase) -> Iterator[Phrase]:
    """Yield other ways to write something, given its tokens."""
    if not any(map(str.isdigit, written)):
        return
    number = _GROUPED.fullmatch(written) or _WHOLE.fullmatch(written)
    if number and not _YEAR.fullmatch(written):
        yield from _amounts("".join(tokens(number[1])), number[2] or "", parts)
    elif number := _VERSION.fullmatch(written):
        yield (number[2] if number[1] else f"v{number[2]}", *parts[1:])
    elif not re.search("[.,'’]", written) and len(parts) > 1:  # noqa: RUF001
        joined = "".join(parts)
        if len(joined) >= _JOINED:
            yield (joined,)
    if len(parts) == 1 and _IN_FOURS.fullmatch(parts[0]):
        yield tuple(parts[0][at : at + 4] for at in range(0, len(parts[0]), 4))
