"""The exact words in a query: phrases in quotes, words that must not stand, and all others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qvsearch.library.tokens import as_written, located, tokens, with_signs
from qvsearch.retrieval.number_forms import number_forms

if TYPE_CHECKING:
    from qvsearch.library.words import Forms

# a quote opens after and closes before what is no letter, so that 5" and 6" are inches
_QUOTED = re.compile(
    r'(?<!\w)(?:"([^"]*)"|[“”]([^“”]*)[”“]|„([^„“”]*)[“”]|«([^«»]*)»|»([^«»]*)«|「([^「」]*)」)(?!\w)'
)

_NUMBER = re.compile(r"(?!(?:19|20)\d\ds?$)(?=.*\d).{3,}")  # no year, which a scene may have
_LETTER = "[0-9A-Za-zÀ-ÖØ-öø-ӿ]"  # of Latin, Greek and Cyrillic, also within text without spaces
_WRITTEN = re.compile(
    rf"{_LETTER}+(?:(?:[-_/.:#]|(?<=\d)(?<!\b19\d\d)(?<!\b20\d\d) (?=\d)){_LETTER}+)*"
)
LONG = 4  # digits of a number that stands for one thing

Phrase = tuple[str, ...]  # tokens that follow one another


@dataclass(frozen=True, slots=True)
class Quote:
    """Words as they were typed: their tokens, and the pattern of their signs, if these lack some.

    The pattern is for texts `with_signs`.
    """

    text: str
    phrase: Phrase
    pattern: re.Pattern[str] | None

    def within(self, text: str, start: int, end: int) -> tuple[int, int] | None:
        """Return the range of the quote in a text, given that of its words; None without signs."""
        if self.pattern is None:
            return start, end
        own = with_signs(self.text).strip()
        if not (places := located(own)):
            return None
        start, end = start - places[0][1], end + len(own) - places[-1][2]
        has_signs = start >= 0 and self.pattern.fullmatch(with_signs(text[start:end]))
        return (start, end) if has_signs else None


@dataclass(frozen=True, slots=True)
class AskedWords:
    """The words of a query, as tokens; false if there are none.

    `tokens` are looked for, each of `quotes` must stand in a file, and none of `lacking` may.
    `numbers` are the tokens of each number that stands for one thing, as it is written:
    INV-2024-0117. `forms` are other ways to write numbers (see `number_forms`). `alone` is true if
    only these words count, not the meaning of the query.
    """

    tokens: tuple[str, ...] = ()
    quotes: tuple[Quote, ...] = ()
    lacking: tuple[Quote, ...] = ()
    numbers: tuple[Phrase, ...] = ()
    forms: Forms = field(default_factory=dict)
    alone: bool = False

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self.tokens or self.quotes or self.lacking)

    @property
    def phrases(self) -> tuple[Phrase, ...]:
        """Return the tokens of quotes."""
        return tuple(each.phrase for each in self.quotes)

    @property
    def sought(self) -> tuple[Phrase, ...]:
        """Return phrases, and all other tokens as phrases of one, each once."""
        return tuple(dict.fromkeys([*self.phrases, *((each,) for each in self.tokens)]))

    @property
    def deciding(self) -> tuple[Phrase, ...]:
        """Return what may be enough without the other words: numbers and quotes."""
        return tuple(dict.fromkeys([*self.phrases, *self.numbers]))

    @property
    def are_meant(self) -> bool:
        """Whether nothing is looked for but files with these very words."""
        return self.alone or not self.tokens


def asked_words(
    text: str | None, lacking: Sequence[str] = (), *, alone: bool = False
) -> AskedWords:
    """Return the words of a query's text, and those that must not stand in a file.

    A quote without another one is plain text.
    """
    quoted = (_inside(each) for each in _QUOTED.finditer(text or ""))
    unquoted = _QUOTED.sub(" ", text or "")
    written = (each for each in _WRITTEN.findall(unquoted) if _is_one_thing(each))
    return AskedWords(
        tuple(dict.fromkeys(tokens(unquoted))),
        _quotes(quoted),
        _quotes(lacking),
        tuple(dict.fromkeys(tuple(tokens(each)) for each in written)),
        number_forms(unquoted),
        alone,
    )


def is_empty_quote(text: str) -> bool:
    """Return whether a query's text is quotes alone, in which there is no letter and no digit."""
    return not (_QUOTED.sub("", text).strip() or tokens(text))


def _quotes(texts: Iterable[str]) -> tuple[Quote, ...]:
    """Return the quotes that have words."""
    found = ((each, tuple(tokens(each))) for each in dict.fromkeys(texts))
    return tuple(Quote(each, phrase, as_written(each)) for each, phrase in found if phrase)


def has_number(phrase: Phrase) -> bool:
    """Return whether a number of three characters or more, which is no year, is in a phrase."""
    return any(map(_NUMBER.fullmatch, phrase))


def _is_one_thing(written: str) -> bool:
    """Return whether a number stands for one thing: 0117, IMG_204; not 3rd, 1080p or 24-70mm."""
    parts = tuple(tokens(written))
    is_name = len(parts) > 1 and written != written.lower()
    is_long = any(part.isdecimal() and len(part) >= LONG for part in parts if has_number((part,)))
    return has_number(parts) and (is_long or is_name)


def plain(text: str) -> str:
    """Return a query's text as the model reads it: without the quotes of phrases."""
    return " ".join(_QUOTED.sub(lambda quoted: f" {_inside(quoted)} ", text).split())


def _inside(quoted: re.Match[str]) -> str:
    return next(each for each in quoted.groups() if each is not None)
