"""Leaves out of a text what is not words; the lines that stay keep their numbers.

Each passage costs seconds of the model, and nobody searches for encoded data, time codes or the
thousandth reading of a sensor.
"""

from __future__ import annotations

import io
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from string import ascii_lowercase, ascii_uppercase, digits

ALIKE = 10  # lines that differ only in their numbers; more of them add nothing
MAX_SHAPES = 10_000  # that are counted, as a file may have millions
MAX_FRONT_LINES = 500  # of the front matter of a page
RECORDS = frozenset({".srt", ".vtt", ".csv", ".tsv", ".log"})  # a line, or a cue, is a record
SUBTITLES = frozenset({".srt", ".vtt"})

_DATA_URI = re.compile(r"data:[a-z]+/[^,\s]{1,100},[^\s\"')>]{200,}", re.IGNORECASE)
LEAST_LINE = 60  # characters; mail has 76 in a line, certificates have 64
LEAST_BLOB = 200  # characters; a hash, which may be looked for, has up to 128
_GAP = r"[ \t>]*(?:\r\n|\n|\r)[ \t>]*"  # mail is quoted with >
_RUN = re.compile(
    rf"[\w+/=-]{{{LEAST_LINE},}}+(?:{_GAP}[\w+/=-]{{{LEAST_LINE},}}+)*+(?:{_GAP}[\w+/]*={{1,2}})?",
    re.ASCII,
)
_CLASSES = str.maketrans(
    ascii_uppercase + ascii_lowercase + digits, "A" * 26 + "a" * 26 + "0" * 10, "+/=_-"
)
_CHANGE = re.compile(r"(.)(?!\1)")
# share of characters whose next one is of another class: base64 0.65, hex 0.47, words and paths 0.2
BLOB_CHANGES = 0.35

_MARK = "\0"  # of what was left out
_LINE = re.compile(r"[^\r\n]+")
_WORD = re.compile(r"\w")
_NUMBER = re.compile(r"[-+]?\d+(?:[.,:/]\d+){0,9}")
_CUE_TIME = re.compile(r"\s*(?:\d+:)?\d\d?:\d\d[.,]\d+\s*-->")
_TAG = re.compile(r"<[^<>\n]{0,200}>|\{\\[^{}\n]{0,200}\}")
_FRONT_KEY = re.compile(r"[\w\"'-]+\s*[:=]|#")


def without_noise(text: str, suffix: str) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line with its end) of the lines of a text without zero characters.

    Data URIs and long runs of base64 or hex are left out of every file. In subtitles, tables and
    logs, of lines that differ only in their numbers the first ALIKE stay, and blank ones do not;
    subtitles lose their time codes and tags as well.
    """
    text = _RUN.sub(_mark_blob, _DATA_URI.sub(_MARK, text))
    # newline="" keeps \n, \r\n and \r as they are; str.splitlines would also end lines at form
    # feeds and the like, and no editor's line numbers would agree
    lines: Iterator[tuple[int, str]] = enumerate(io.StringIO(text, newline=""), start=1)
    if suffix in SUBTITLES:
        lines = _spoken(lines)
    if suffix in RECORDS:
        lines = _unlike(lines)
    for number, line in lines:
        rest = line.replace(_MARK, "")
        if rest == line or _WORD.search(rest):
            yield number, rest


def front_matter(text: str) -> int:
    """Return how many lines at the beginning are YAML or TOML about the page, not the page."""
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
    """Yield the lines of subtitles that neither number nor time a cue, nor were just there."""
    recent: deque[str] = deque(maxlen=2)  # captions that roll up repeat the lines above
    for (number, line), (_, following) in pairwise(chain(lines, [(0, "")])):
        words = _TAG.sub("", line)
        is_number = words.strip().isdecimal() and _CUE_TIME.match(following)
        if is_number or _CUE_TIME.match(line) or words.strip() in ("", "WEBVTT", *recent):
            continue
        recent.append(words.strip())
        yield number, words


def _unlike(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yield the lines that do not repeat others but for their numbers."""
    shapes: Counter[str] = Counter()
    for number, line in lines:
        shape = _NUMBER.sub("0", line)
        if shape in shapes or len(shapes) < MAX_SHAPES:
            shapes[shape] += 1
        if shapes[shape] <= ALIKE and not shape.isspace():
            yield number, line
