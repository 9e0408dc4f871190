"""Texts: a file is cut into overlapping passages, each with its lines; no tokenizer is needed."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from qvsearch.errors import MediaError
from qvsearch.types import NO_METADATA, EmbedInput, Item, Metadata, Segment

MAX_BYTES = 10 * 2**20  # a passage costs one run of the model, and 10 MiB are 6,500 of them
PASSAGE_TOKENS = 400  # long enough to say something, short enough to be about one thing
LONGEST_TOKENS = 500  # a remainder of up to 100 tokens is not worth a vector of its own
OVERLAP_TOKENS = 40  # a sentence or two, so that an answer across a cut is found
SNIPPET_CHARACTERS = 160

_BOMS = (  # UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# all but tab, line ends and the escape of coloured logs
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f]")
_MAX_CONTROLS = 0.01  # of the characters: a stray form of DOS end-of-file is still text
_SENTENCE_END = re.compile(r"[.!?;][\"')\]”’]*\s+|[。！？；][”’」』]*\s*")
_SPACE = re.compile(r"\s+")


class _Piece(NamedTuple):  # made in a third of a dataclass's time, ten million times at worst
    """A line with its end, or a part of one that is longer than a passage."""

    text: str
    line: int
    tokens: float

    @property
    def blank(self) -> bool:
        return not self.text or self.text.isspace()


def decode(
    file: BinaryIO, item: Item, content_hash: str, max_pixels: int
) -> list[tuple[Segment, EmbedInput]]:
    """Decode a text; `max_pixels` means nothing to it. Raises MediaError."""
    if item.size > MAX_BYTES:
        raise MediaError(
            f"too large: {item.size / 2**20:.1f} MiB of text, the limit is {MAX_BYTES / 2**20:.0f}"
        )
    text = _to_text(file.read(MAX_BYTES))
    if not text or text.isspace():
        raise MediaError("no text")
    segments = []
    for pieces in _passages(text):
        passage = "".join(piece.text for piece in pieces).rstrip("\r\n")
        snippet = " ".join(passage.split())[:SNIPPET_CHARACTERS]
        lines = (pieces[0].line, pieces[-1].line)
        segment = Segment(item, content_hash, lines=lines, snippet=snippet)
        segments.append((segment, EmbedInput(text=passage)))
    return segments


def reads_otherwise(file: BinaryIO, item: Item, since: int) -> bool:
    """Return whether this file gives other segments or pixels now than it gave version `since`.

    Reads headers, not the whole file, where that suffices.
    """
    return False


def read_metadata(file: BinaryIO, item: Item) -> Metadata:
    """Return what a text says of itself, which is nothing."""
    return NO_METADATA


def _to_text(data: bytes) -> str:
    """Return the characters of a file in the encoding that its bytes show."""
    text = _decoded(data)
    controls = sum(1 for _ in _CONTROLS.finditer(text))
    if "\0" in text or controls > _MAX_CONTROLS * len(text):
        raise MediaError("binary file")
    return text


def _decoded(data: bytes) -> str:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    if b"\0" in data:
        return _decoded_utf16(data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("utf-8", errors="replace")
        damaged = text.count("\ufffd")
        if len(text) - len(text.encode("ascii", "ignore")) > 2 * damaged:
            return text  # UTF-8 with a few broken characters: other encodings are seldom valid
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _decoded_utf16(data: bytes) -> str:
    """Decode UTF-16 without its mark: the zero bytes of spaces and line ends are on one side."""
    if data.count(0) < len(data) / 4 and _is_utf8(data):
        raise MediaError("binary file")  # other text, with stray zeros
    little = data[1::2].count(0) > data[0::2].count(0)
    try:
        return data.decode("utf-16-le" if little else "utf-16-be")
    except UnicodeDecodeError as error:
        raise MediaError("binary file") from error


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


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


def _pieces(text: str) -> Iterator[_Piece]:
    # newline="" keeps \n, \r\n and \r as they are; str.splitlines would also end lines at form
    # feeds and the like, and no editor's line numbers would agree
    for number, line in enumerate(io.StringIO(text, newline=""), start=1):
        tokens = _tokens(line)
        if tokens <= PASSAGE_TOKENS:
            yield _Piece(line, number, tokens)
            continue
        start = 0
        while start < len(line):
            end = _piece_end(line, start)
            part = line[start:end]
            yield _Piece(part, number, _tokens(part))
            start = end


def _piece_end(line: str, start: int) -> int:
    """Return where a part of at most a passage's tokens ends: at the line's end if it fits."""
    window = line[start : start + 4 * PASSAGE_TOKENS]
    while (tokens := _tokens(window)) > PASSAGE_TOKENS:
        window = window[: int(len(window) * PASSAGE_TOKENS / tokens)]
    if start + len(window) == len(line):
        return len(line)
    for boundary in (_SENTENCE_END, _SPACE):
        ends = [match.end() for match in boundary.finditer(window)]
        if ends and ends[-1] > len(window) // 2:
            return start + ends[-1]
    return start + len(window)


def _passages(text: str) -> Iterator[Sequence[_Piece]]:
    """Yield the pieces of each passage, without blank lines around them, in linear time."""
    pending: list[_Piece] = []
    repeated = 0  # the first so many of them were in the passage before
    tokens = 0.0
    for piece in _pieces(text):
        pending.append(piece)
        tokens += piece.tokens
        if tokens > LONGEST_TOKENS:
            end = _passage_end(pending)
            yield from _without_blanks(pending[:end], repeated)
            start = _overlap_start(pending, end)
            repeated = end - start
            pending = pending[start:]
            tokens = sum(piece.tokens for piece in pending)
    yield from _without_blanks(pending, repeated)


def _without_blanks(pieces: Sequence[_Piece], repeated: int) -> Iterator[Sequence[_Piece]]:
    if all(piece.blank for piece in pieces[repeated:]):
        return
    said = [index for index, piece in enumerate(pieces) if not piece.blank]
    yield pieces[said[0] : said[-1] + 1]


def _passage_end(pieces: Sequence[_Piece]) -> int:
    """Return how many pieces make a passage: up to a paragraph's end in its later half, if any."""
    tokens = 0.0
    paragraph_end = 0
    for index, piece in enumerate(pieces):
        if index and tokens + piece.tokens > PASSAGE_TOKENS:
            return paragraph_end or index
        tokens += piece.tokens
        if piece.blank and tokens >= PASSAGE_TOKENS / 2:
            paragraph_end = index + 1
    return len(pieces)


def _overlap_start(pieces: Sequence[_Piece], end: int) -> int:
    """Return the first of the last whole lines before `end` that the next passage repeats."""
    tokens = 0.0
    start = end
    while start > 1 and tokens + pieces[start - 1].tokens <= OVERLAP_TOKENS:
        start -= 1
        tokens += pieces[start].tokens
    return start
