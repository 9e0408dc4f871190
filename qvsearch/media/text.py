"""Texts: a file is cut into overlapping passages, each with its lines, without noise.

Noise is encoded data, time codes and repeated log lines. Nobody searches for it, and each passage
costs seconds of the model.
"""

from __future__ import annotations

import io
import os
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from string import ascii_lowercase, ascii_uppercase, digits
from typing import BinaryIO, NamedTuple

from qvsearch.errors import MediaError
from qvsearch.media.encoding import to_text
from qvsearch.types import NO_METADATA, DecodeOptions, EmbedInput, Item, Metadata, Segment

MAX_BYTES = 10 * 2**20  # a passage costs one run of the model, and 10 MiB are 6,500 of them
PASSAGE_TOKENS = 400  # long enough to have content, short enough for one topic
LONGEST_TOKENS = 500  # a remainder of up to 100 tokens is not worth a vector of its own
OVERLAP_TOKENS = 40  # a sentence or two, so that an answer across a cut is in one passage
SNIPPET_CHARACTERS = 160

_SENTENCE_END = re.compile(r"[.!?;][\"')\]”’]*\s+|[。！？；][”’」』]*\s*")
_SPACE = re.compile(r"\s+")


ALIKE = 10  # lines that differ only in their numbers; more of them add nothing
MAX_SHAPES = 10_000  # of lines that are counted: a file may have millions
MAX_FRONT_LINES = 500  # of the front matter of a page
SUBTITLES = frozenset({".srt", ".vtt", ".ass", ".ssa"})
RECORDS = SUBTITLES | {".csv", ".tsv", ".log"}  # a line, or a cue, is a record

_DATA_URI = re.compile(r"data:[a-z]+/[^,\s]{1,100},[^\s\"')>]{200,}", re.IGNORECASE)
LEAST_LINE = 60  # characters; mail has 76 in a line, certificates have 64
LEAST_BLOB = 200  # characters; a hash, which a user may search for, has up to 128
_GAP = r"[ \t>]*(?:\r\n|\n|\r)[ \t>]*"  # mail is quoted with >
_RUN = re.compile(
    rf"[\w+/=-]{{{LEAST_LINE},}}+(?:{_GAP}[\w+/=-]{{{LEAST_LINE},}}+)*+(?:{_GAP}[\w+/]*={{1,2}})?",
    re.ASCII,
)
_CLASSES = str.maketrans(
    ascii_uppercase + ascii_lowercase + digits, "A" * 26 + "a" * 26 + "0" * 10, "+/=_-"
)
_CHANGE = re.compile(r"(.)(?!\1)")
# share of characters before one of another class: base64 0.65, hex 0.47, words and paths 0.2
BLOB_CHANGES = 0.35

_MARK = "\0"  # stands for removed text
_LINE = re.compile(r"[^\r\n]+")
_WORD = re.compile(r"\w")
_NUMBER = re.compile(r"[-+]?\d+(?:[.,:/]\d+){0,9}")
_CUE_TIME = re.compile(r"\s*(?:\d+:)?\d\d?:\d\d[.,]\d+\s*-->")
TAG = re.compile(r"<[^<>\n]{0,200}>|\{\\[^{}\n]{0,200}\}")  # of subtitles
_DIALOGUE = re.compile(r"Dialogue:(?:[^,]*,){9}")  # of SubStation Alpha; its words follow
_FRONT_KEY = re.compile(r"[\w\"'-]+\s*[:=]|#")


class _Piece(NamedTuple):  # created three times as fast as a dataclass; there may be ten million
    """A line with its end, or a part of one that is longer than a passage."""

    text: str
    line: int
    tokens: float

    @property
    def blank(self) -> bool:
        return not self.text or self.text.isspace()


def decode(
    file: BinaryIO, item: Item, content_hash: str, _: DecodeOptions
) -> list[tuple[Segment, EmbedInput]]:
    """Decode a text; raises MediaError."""
    if item.size > MAX_BYTES:
        raise MediaError(
            f"too large: {item.size / 2**20:.1f} MiB of text, the limit is {MAX_BYTES / 2**20:.0f}"
        )
    return _segments(to_text(file.read(MAX_BYTES)), item, content_hash)


def reads_otherwise(file: BinaryIO, item: Item, since: int) -> bool:
    """Return whether version `since` gave other passages for this text.

    Version 1 read all other encodings than Unicode as Western European, and kept noise.
    """
    if since >= 2:
        return False
    data = file.read(MAX_BYTES)
    try:
        text = to_text(data)
    except MediaError:
        return True
    before = (data.decode("utf-8-sig", "replace"), data.decode("cp1252", "replace"))
    if 0 not in data and text not in before:
        return True
    rest = "".join(line for _, line in without_noise(text, _suffix(item)))
    return rest != text or front_matter(text) > 0


def read_metadata(file: BinaryIO, item: Item) -> Metadata:
    """Return no metadata: texts have none."""
    return NO_METADATA


def _suffix(item: Item) -> str:
    return os.path.splitext(os.fsdecode(item.location))[1].lower()


def _segments(text: str, item: Item, content_hash: str) -> list[tuple[Segment, EmbedInput]]:
    front = front_matter(text)
    segments = []
    lines = () if text.isspace() else without_noise(text, _suffix(item))  # which is slow if blank
    for pieces in _passages(lines):
        passage = "".join(piece.text for piece in pieces).rstrip("\r\n")
        body = "".join(piece.text for piece in pieces if piece.line > front)
        snippet = " ".join((body or passage).split())[:SNIPPET_CHARACTERS]
        numbers = (pieces[0].line, pieces[-1].line)
        segment = Segment(item, content_hash, lines=numbers, snippet=snippet)
        segments.append((segment, EmbedInput(text=passage)))
    if not segments:
        raise MediaError("no text")
    return segments


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


def _pieces(lines: Iterable[tuple[int, str]]) -> Iterator[_Piece]:
    for number, line in lines:
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
    """Return the end of a part of at most a passage's tokens: the line's end if it fits."""
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


def _passages(lines: Iterable[tuple[int, str]]) -> Iterator[Sequence[_Piece]]:
    """Yield the pieces of each passage, without blank lines around them, in linear time."""
    pending: list[_Piece] = []
    repeated = 0  # so many of them, the first ones, were in the passage before
    tokens = 0.0
    for piece in _pieces(lines):
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
    filled = [index for index, piece in enumerate(pieces) if not piece.blank]
    yield pieces[filled[0] : filled[-1] + 1]


def _passage_end(pieces: Sequence[_Piece]) -> int:
    """Return the number of pieces of a passage: to a paragraph's end in its later half, if any."""
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


def without_noise(text: str, suffix: str) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line with its end) of the lines of a text without zero characters.

    Data URIs and long runs of base64 or hex are left out. Subtitles, tables and logs also lose
    blank lines, and all but the first ALIKE of the lines that differ only in their numbers.
    Subtitles lose their time codes and tags too.
    """
    text = _RUN.sub(_mark_blob, _DATA_URI.sub(_MARK, text))
    # newline="" keeps \n, \r\n and \r; str.splitlines would also end lines at form feeds, which
    # editors do not count
    lines: Iterator[tuple[int, str]] = enumerate(io.StringIO(text, newline=""), start=1)
    if suffix in (".ass", ".ssa"):
        lines = (
            (number, _DIALOGUE.sub("", line)) for number, line in lines if _DIALOGUE.match(line)
        )
    if suffix in SUBTITLES:
        lines = _spoken(lines)
    if suffix in RECORDS:
        lines = _unlike(lines)
    for number, line in lines:
        rest = line.replace(_MARK, "")
        if rest == line or _WORD.search(rest):
            yield number, rest


def front_matter(text: str) -> int:
    """Return the number of lines at the beginning that are YAML or TOML about the page."""
    lines = io.StringIO(text[: MAX_FRONT_LINES * 200], newline="")
    fence = next(lines, "").rstrip()
    if fence not in ("---", "+++"):
        return 0
    for number, line in zip(range(2, MAX_FRONT_LINES), lines, strict=False):
        if number == 2 and not _FRONT_KEY.match(line):
            return 0  # a rule across the page
        if line.rstrip() in (fence, "..."):
            return number
    return 0


def _mark_blob(run: re.Match[str]) -> str:
    text = run[0]
    start = text[:LEAST_BLOB].translate(_CLASSES)
    changes = sum(1 for _ in _CHANGE.finditer(start))
    is_blob = len(text) >= LEAST_BLOB and changes > BLOB_CHANGES * len(start)
    return _LINE.sub(_MARK, text) if is_blob else text


def _spoken(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yield the lines of subtitles without numbers and times of cues, and without repetitions."""
    recent: deque[str] = deque(maxlen=2)  # captions that roll up repeat the lines above
    for (number, line), (_, following) in pairwise(chain(lines, [(0, "")])):
        words = TAG.sub("", line)
        is_number = words.strip().isdecimal() and _CUE_TIME.match(following)
        if is_number or _CUE_TIME.match(line) or words.strip() in ("", "WEBVTT", *recent):
            continue
        recent.append(words.strip())
        yield number, words


def _unlike(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yield lines without those that repeat others except for their numbers."""
    shapes: Counter[str] = Counter()
    for number, line in lines:
        shape = _NUMBER.sub("0", line)
        if shape in shapes or len(shapes) < MAX_SHAPES:
            shapes[shape] += 1
        if shapes[shape] <= ALIKE and not shape.isspace():
            yield number, line
