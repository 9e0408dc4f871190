"""The exact words in a query: phrases in quotes, words that must not stand, and all others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from qvsearch.library.tokens import tokens

# a quote opens after and closes before what is no letter, so that 5" and 6" are inches
_QUOTED = re.compile(
    r'(?<!\w)(?:"([^"]+)"|[“”]([^“”]+)[”“]|„([^„“”]+)[“”]|«([^«»]+)»|»([^«»]+)«|「([^「」]+)」)(?!\w)'
)

Phrase = tuple[str, ...]  # tokens that follow one another


@dataclass(frozen=True, slots=True)
class AskedWords:
    """The words of a query, as tokens; false if there are none.

    `tokens` are looked for, each of `phrases` must stand in a file, and none of `lacking` may.
    `alone` is true if only these words count, not the meaning of the query.
    """

    tokens: tuple[str, ...] = ()
    phrases: tuple[Phrase, ...] = ()
    lacking: tuple[Phrase, ...] = ()
    alone: bool = False

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self.tokens or self.phrases or self.lacking)

    @property
    def sought(self) -> tuple[Phrase, ...]:
        """Return phrases, and all other tokens as phrases of one, each once."""
        return tuple(dict.fromkeys([*self.phrases, *((each,) for each in self.tokens)]))

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
    found = [tuple(tokens(_inside(each))) for each in _QUOTED.finditer(text or "")]
    rest = tokens(_QUOTED.sub(" ", text or ""))
    without = (tuple(tokens(each)) for each in lacking)
    return AskedWords(
        tuple(dict.fromkeys(rest)),
        tuple(dict.fromkeys(filter(None, found))),
        tuple(filter(None, without)),
        alone,
    )


def plain(text: str) -> str:
    """Return a query's text as the model reads it: without the quotes of phrases."""
    return " ".join(_QUOTED.sub(lambda quoted: f" {_inside(quoted)} ", text).split())


def _inside(quoted: re.Match[str]) -> str:
    return next(each for each in quoted.groups() if each is not None)
