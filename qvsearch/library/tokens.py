"""Words as they are compared: without case and accents, and pairs of characters without spaces."""

from __future__ import annotations

import re
import sys
import unicodedata
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Scripts that write no spaces between words, and Korean, which writes none before its particles:
# runs of them are compared by pairs of characters.
_SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
_RUNS = re.compile(f"[{_SPACELESS}]+")
_PARTS = re.compile(f"[{_SPACELESS}]+|[^{_SPACELESS}]+")
# Soft hyphens, joiners, variation selectors and lengthened Arabic strokes change how a word looks,
# not which word it is. A non-joiner does not either, but it divides Persian words.
_INVISIBLE = re.compile("[\u00ad\u034f\u0640\u180b-\u180f\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_NON_JOINER = re.compile("\u200c(?<![\u0600-\u06ff]\u200c)")
# what Unicode does not decompose: ligatures, strokes, and the Turkish i whose capital is I
_PLAIN = (
    *(("æ", "ae"), ("œ", "oe"), ("þ", "th"), ("ø", "o"), ("ł", "l"), ("đ", "d"), ("ð", "d")),
    *(("ħ", "h"), ("ŧ", "t"), ("ı", "i")),
)
# what people write for one sign, on one keyboard or another
_HYPHENS = "-‐‑‒–—―−"  # noqa: RUF001
_ALIKE = ("'‘’‛ʼ′", _HYPHENS, '"“”„‟«»″')  # noqa: RUF001
_UNSEEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_WORD = rf"[^\W_{_SPACELESS}]"
_BETWEEN_WORDS = re.compile(r"(?<=[^\W_])[-_\s]+(?=[^\W_])|\s+")
_MARKS_OF_TRADE = "\u2120", "\u2122"  # decomposed they were letters of the word before
_TOKEN = re.compile("[0-9a-z\x80-\U0010ffff]+")  # of a divided text
# how a character is used; vowel signs, which are marks without a combining class, are of words
_UNKNOWN, _OF_WORDS, _NOT_PLAIN, _OF_PAIRS, _ACCENT, _IGNORED, _DIVIDES, _ASCII_DIVIDES = range(8)
_SPACE = ord(" ")
_USES = np.full(sys.maxunicode + 1, _UNKNOWN, np.uint8)  # by character, of those that were met
_USES[:128] = [_OF_WORDS if chr(each).isalnum() else _ASCII_DIVIDES for each in range(128)]


def folded(text: str) -> str:
    """Return a text without case, accents and compatibility forms (Unicode NFKD)."""
    if text.isascii():
        return text.lower()
    characters = _decomposed(text)
    return _as_text(characters[_uses(characters) != _ACCENT])


def plain(text: str) -> str:
    """Return a folded text, also without strokes and ligatures; Korean syllables are whole."""
    if text.isascii():
        return text.lower()
    characters = _with_syllables(_decomposed(text))
    return _plain(_as_text(characters[_uses(characters) != _ACCENT]))


def plain_texts(texts: Sequence[str]) -> list[str]:
    """Return each text as `plain` does, in a fraction of the time for many short ones."""
    found = plain("\0".join(texts)).split("\0")
    return found if len(found) == len(texts) else list(map(plain, texts))


def with_signs(text: str) -> str:
    """Return a plain text without what is not seen, in which a pattern of `as_written` is found."""
    if text.isascii():
        return text.lower()
    return plain(_UNSEEN.sub("", _INVISIBLE.sub("", _NON_JOINER.sub("", text))))


def as_written(text: str) -> re.Pattern[str] | None:
    """Return the pattern of a text with its signs; None if its tokens lose no sign of it.

    Spaces, hyphens and underscores between words are alike, as are signs that look alike.
    """
    written = with_signs(text)
    for alike in _ALIKE:
        written = re.sub(f"[{re.escape(alike)}]", alike[0], written)
    parts = _BETWEEN_WORDS.split(written.strip())
    if not (_uses(_characters("".join(parts))) >= _DIVIDES).any():
        return None
    whole = _with_alike(parts[0])
    for before, part in pairwise(parts):
        # only between words: beside a hyphen it could take this one, too, in very many ways
        is_between = before[-1:].isalnum() and part[:1].isalnum()
        whole += (rf"[\s_{re.escape(_HYPHENS)}]+" if is_between else r"\s+") + _with_alike(part)
    if re.match(_WORD, whole):  # no longer word ends so; a search begins fast with a character
        whole = f"{whole[0]}(?<!{_WORD}{whole[0]}){whole[1:]}"
    return re.compile(whole + rf"(?!{_WORD})" * bool(re.match(_WORD, parts[-1][-1])))


def _with_alike(part: str) -> str:
    """Return the pattern of a part with the signs that look alike."""
    pattern = re.escape(part)
    for alike in _ALIKE:
        pattern = pattern.replace(re.escape(alike[0]), f"[{re.escape(alike)}]")
    return pattern


def divided(text: str) -> str:
    """Return a plain text in which its tokens have ASCII characters between them.

    Tokens are of ASCII letters, digits and all other characters. Other ASCII characters stay.
    """
    if text.isascii():
        return text.lower()
    if "\u200c" in text:  # to look for it alone is far faster
        text = _NON_JOINER.sub("", text)
    for mark in _MARKS_OF_TRADE:
        text = text.replace(mark, " ")
    characters = _with_syllables(_decomposed(text))
    uses = _uses(characters)
    characters = np.where(uses == _DIVIDES, np.uint32(_SPACE), characters)
    stay = (uses != _ACCENT) & (uses != _IGNORED)
    characters, paired = characters[stay], uses[stay] == _OF_PAIRS
    found = _as_text(_pairs(characters, paired) if paired.any() else characters)
    return _plain(found) if (uses == _NOT_PLAIN).any() else found


def tokens(text: str) -> list[str]:
    """Return the tokens of a text, in order."""
    return _TOKEN.findall(divided(text))


def located(text: str) -> list[tuple[str, int, int]]:
    """Return the tokens of a text, each with the range `[start, end)` of its characters."""
    found = []
    inside = _uses(_characters(text)) < _DIVIDES
    edges = np.flatnonzero(np.diff(inside, prepend=False, append=False))
    for first, last in edges.reshape(-1, 2).tolist():
        word = text[first:last]
        whole = tokens(word)
        if len(whole) == 1:
            found.append((whole[0], first, last))
        for part in _PARTS.finditer(word) if len(whole) > 1 else ():
            own, start = tokens(part[0]), first + part.start()
            # pairs of characters, unless folding changes more than single ones
            places = [at for at, each in enumerate(part[0], start) for _ in plain(each)]
            ranges = [(one, other + 1) for one, other in pairwise(places)]
            if len(own) != len(ranges):
                ranges = [(start, start + len(part[0]))] * len(own)
            found += [(token, *each) for token, each in zip(own, ranges, strict=True)]
    return found


def _pairs(characters: NDArray[np.uint32], paired: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Return characters (n,) with each run of paired ones (n,) as its pairs, by spaces."""
    follows = np.append(paired[1:], False)
    alone = paired & ~follows & ~np.insert(paired[:-1], 0, False)
    begins = (paired & follows) | alone  # a pair of its own, or what stands for one
    sizes = np.where(begins, 3, 1)
    found = np.repeat(np.where(paired, np.uint32(_SPACE), characters), sizes)
    second = np.where(follows, np.append(characters[1:], np.uint32(_SPACE)), np.uint32(_SPACE))
    ends = np.cumsum(sizes)[begins]
    found[ends - 2], found[ends - 1] = characters[begins], second[begins]
    return found


def _decomposed(text: str) -> NDArray[np.uint32]:
    """Return the characters of a text by number, compatibility forms and accents apart."""
    # before case is folded: a compatibility form of capitals has no case of its own
    return _characters(unicodedata.normalize("NFKD", text))


def _with_syllables(characters: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return characters with whole Korean syllables for their parts, as Unicode composes them."""
    consonants, vowels, ends = (characters - each for each in (0x1100, 0x1161, 0x11A7))
    starts = np.flatnonzero((consonants[:-1] < 19) & (vowels[1:] < 21))
    if not len(starts):
        return characters
    third = np.minimum(starts + 2, len(characters) - 1)
    end = np.where(ends[third] < 28, ends[third], 0)
    composed, stay = characters.copy(), np.ones(len(characters), np.bool_)
    composed[starts] = 0xAC00 + (consonants[starts] * 21 + vowels[starts + 1]) * 28 + end
    stay[starts + 1] = False
    stay[third[end > 0]] = False
    return composed[stay]


def _characters(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _plain(folded: str) -> str:
    for letter, instead in _PLAIN:
        folded = folded.replace(letter, instead)
    return folded


def _as_text(characters: NDArray[np.uint32]) -> str:
    return characters.tobytes().decode("utf-32-le", "surrogatepass").casefold()


def _uses(characters: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return how each character is used."""
    uses = _USES[characters]
    if not uses.all():
        for each in set(characters[uses == _UNKNOWN].tolist()):
            _USES[each] = _use(chr(each))
        uses = _USES[characters]
    return uses


def _use(character: str) -> int:
    if unicodedata.combining(character):
        return _ACCENT
    if _INVISIBLE.match(character):
        return _IGNORED
    if not character.isalnum() and unicodedata.category(character) not in {"Mn", "Mc"}:
        return _DIVIDES
    if _RUNS.match(character):
        return _OF_PAIRS
    return _NOT_PLAIN if _plain(character.casefold()) != character.casefold() else _OF_WORDS
