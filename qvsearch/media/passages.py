"""Cuts lines into overlapping passages, each for one vector."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

PASSAGE_TOKENS = 400  # long enough to have content, short enough for one topic
LONGEST_TOKENS = 500  # a remainder of up to 100 tokens is not worth a vector of its own
OVERLAP_TOKENS = 40  # a sentence or two, so that an answer across a cut is in one passage

_SENTENCE_END = re.compile(r"[.!?;][\"')\]”’]*\s+|[。！？；][”’」』]*\s*")


class Piece(NamedTuple):  # created three times as fast as a dataclass; there may be ten million
    """A line with its end, or a part of one that is longer than a passage."""

    text: str
    line: int
    tokens: float

    @property
    def blank(self) -> bool:
        """Whether it has no visible character."""
        return not self.text or self.text.isspace()


def _tokens(text: str) -> float:
    """Estimate the number of tokens: four ASCII characters or three bytes of other UTF-8 each.

    So a Chinese character is one token, a Cyrillic one two thirds; vocabularies of this size
    mostly need fewer.
    """
    if text.isascii():
        return len(text) / 4
    ascii_characters = len(text.encode("ascii", "ignore"))
    all_bytes = len(text.encode("utf-8", "replace"))
    return ascii_characters / 4 + (all_bytes - ascii_characters) / 3


def _pieces(lines: Iterable[tuple[int, str]]) -> Iterator[Piece]:
    for number, line in lines:
        tokens = _tokens(line)
        if tokens <= PASSAGE_TOKENS:
            yield Piece(line, number, tokens)
            continue
        start = 0
        while start < len(line):
            end = _piece_end(line, start)
            part = line[start:end]
            yield Piece(part, number, _tokens(part))
            start = end


def _piece_end(line: str, start: int) -> int:
    """Return the end of a part of at most a passage's tokens: the line's end if it fits."""
    window = line[start : start + 4 * PASSAGE_TOKENS]
    while (tokens := _tokens(window)) > PASSAGE_TOKENS:
        window = window[: int(len(window) * PASSAGE_TOKENS / tokens)]
    if start + len(window) == len(line):
        return len(line)
    later = len(window) // 2  # a part ends in the later half of what it may have
    sentence = max((match.end() for match in _SENTENCE_END.finditer(window)), default=0)
    for end in (sentence, _last_space_end(window)):
        if end > later:
            return start + end
    return start + len(window)


def _last_space_end(text: str) -> int:
    """Return the end of the last white space of a text that is not empty; 0 if there is none."""
    return len(text) if text[-1].isspace() else len(text) - len(text.rsplit(maxsplit=1)[-1])


def passages(
    lines: Iterable[tuple[int, str]], *, at_functions: bool = False
) -> Iterator[Sequence[Piece]]:
    """Yield the pieces of each passage of (number, line), in linear time.

    They have no blank lines around them. Neighbours overlap by up to OVERLAP_TOKENS.
    With `at_functions` they end rather before lines that are not indented.
    """
    pending: list[Piece] = []
    repeated = 0  # so many of them, the first ones, were in the passage before
    tokens = 0.0
    for piece in _pieces(lines):
        pending.append(piece)
        tokens += piece.tokens
        if tokens > LONGEST_TOKENS:
            end = _passage_end(pending, at_functions)
            yield from _without_blanks(pending[:end], repeated)
            start = _overlap_start(pending, end)
            repeated = end - start
            pending = pending[start:]
            tokens = sum(piece.tokens for piece in pending)
    yield from _without_blanks(pending, repeated)


def _without_blanks(pieces: Sequence[Piece], repeated: int) -> Iterator[Sequence[Piece]]:
    start = next((index for index, piece in enumerate(pieces) if not piece.blank), len(pieces))
    end = len(pieces)
    while end > start and pieces[end - 1].blank:
        end -= 1
    if end > max(start, repeated):
        yield pieces[start:end]


def _passage_end(pieces: Sequence[Piece], at_functions: bool) -> int:
    """Return the number of pieces of a passage: to a paragraph's end in its later half, if any."""
    tokens = 0.0
    paragraph_end = function_end = 0
    for index, piece in enumerate(pieces):
        if index and tokens + piece.tokens > PASSAGE_TOKENS:
            return function_end or paragraph_end or index
        tokens += piece.tokens
        if piece.blank and tokens >= PASSAGE_TOKENS / 2:
            paragraph_end = index + 1
            if at_functions and not pieces[index + 1].text[:1].isspace():
                function_end = index + 1
    return len(pieces)


def _overlap_start(pieces: Sequence[Piece], end: int) -> int:
    """Return the first of the last whole lines before `end` that the next passage repeats."""
    tokens = 0.0
    start = end
    while start > 1 and tokens + pieces[start - 1].tokens <= OVERLAP_TOKENS:
        start -= 1
        tokens += pieces[start].tokens
    return start
