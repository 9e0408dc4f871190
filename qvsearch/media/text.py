"""Texts: a file is cut into overlapping passages, each with its lines or section, without noise.

Noise is encoded data, time codes and repeated log lines. Nobody searches for it, and each passage
costs seconds of the model.
"""

from __future__ import annotations

import io
import os
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice, pairwise
from string import ascii_lowercase, ascii_uppercase, digits
from typing import BinaryIO, cast

from qvsearch.errors import MediaError
from qvsearch.kinds import is_code
from qvsearch.media.code import telling_code
from qvsearch.media.encoding import to_text
from qvsearch.media.language import language_of
from qvsearch.media.office.contents import Contents
from qvsearch.media.office.readers import READERS, Reader, reader_of
from qvsearch.media.passages import Piece, passages
from qvsearch.types import NO_METADATA, DecodeOptions, EmbedInput, Item, Metadata, Segment

MAX_BYTES = 10 * 2**20  # a passage costs one run of the model, and 10 MiB are 6,500 of them
MAX_CODE = 2**20  # of code; larger files are data that programs write
LEAST_MINIFIED, MINIFIED = 5000, 500  # characters of a file, and of its mean line
SNIPPET_CHARACTERS = 160
BEGINNING = "beginning"  # the lines above the first heading
DESCRIBING_LINES = 1000  # of a document, which tell its language

ALIKE = 10  # lines that differ only in their numbers; more of them add nothing
MAX_SHAPES = 10_000  # of lines that are counted: a file may have millions
MAX_FRONT_LINES = 500  # of the front matter of a page
OFFICE = frozenset({"word", "slides", "sheets"})  # readers of files with charts
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
_END = re.compile(r"\r\n|\n|\r")
_LINE = re.compile(r"[^\r\n]+")
_WORD = re.compile(r"\w")
_NUMBER = re.compile(r"[-+]?\d+(?:[.,:/]\d+){0,9}")
_CUE_TIME = re.compile(r"\s*(?:\d+:)?\d\d?:\d\d[.,]\d+\s*-->")
TAG = re.compile(r"<[^<>\n]{0,200}>|\{\\[^{}\n]{0,200}\}")  # of subtitles
_DIALOGUE = re.compile(r"Dialogue:(?:[^,]*,){9}")  # of SubStation Alpha; its words follow
_FRONT_KEY = re.compile(r"[\w\"'-]+\s*[:=]|#")


def decode(
    file: BinaryIO, item: Item, content_hash: str, _: DecodeOptions
) -> list[tuple[Segment, EmbedInput]]:
    """Decode a text or a document of words; raises MediaError."""
    if (reader := reader_of(_suffix(item))) is not None:
        segments = list(_sections(_described(reader.read(file)), item, content_hash))
    else:
        segments = list(_segments(read_text(file, item), item, content_hash))
    if not segments:
        raise MediaError("no text")
    return segments


def read_text(file: BinaryIO, item: Item) -> str:
    """Return the characters of a text without a format of its own; raises MediaError."""
    limit, sort = (MAX_CODE, "code or data") if is_code(item.location) else (MAX_BYTES, "text")
    if item.size > limit:
        raise MediaError(
            f"too large: {item.size / 2**20:.1f} MiB of {sort}, the limit is {limit / 2**20:.0f}"
        )
    text = to_text(file.read(limit))
    if sort != "text" and len(text) > LEAST_MINIFIED:
        mean = len(text) // (text.count("\n") + 1)
        if mean > MINIFIED:
            raise MediaError(f"minified or generated: {mean:,} characters a line")
    return text


def whole(file: BinaryIO, item: Item) -> str:
    """Return all words of a text or a document, without noise; raises MediaError."""
    if (reader := reader_of(_suffix(item))) is not None:
        flows = _flows(reader.read(file))
        return "\n".join("".join(line for _, line in flow) for flow, _ in flows)
    text = read_text(file, item)
    return "" if text.isspace() else "".join(line for _, line in without_noise(text, _suffix(item)))


def reads_otherwise(file: BinaryIO, item: Item, since: int) -> bool:
    """Return whether version `since` gave other passages for this text.

    Version 4 read the numbers of workbooks as they are stored, not as they are shown.
    Version 3 gave a passage of several sections the name of one, and read no files within others.
    Version 2 read no charts and text boxes of Office files, and all rich text by one encoding.
    Version 1 read all other encodings than Unicode as Western European, and kept noise.
    """
    reader = READERS.get(_suffix(item))
    if reader == "sheets" and since > 1:
        from qvsearch.media.office.sheets import has_formats

        if has_formats(file):
            return True
        file.seek(0)
    if since == 2:
        from qvsearch.media.office.drawings import has_drawings

        if reader == "rtf" or (reader in OFFICE and has_drawings(file)):
            return True
    if since > 1:
        return since < 4 and reader is not None and _has_new_places(file, item)
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


def _has_new_places(file: BinaryIO, item: Item) -> bool:
    """Return whether a passage has another section than version 3 named, or a file is within."""
    from qvsearch.media.office.word import has_chunks

    file.seek(0)
    if READERS[_suffix(item)] == "word" and has_chunks(file):
        return True
    file.seek(0)
    contents = cast("Reader", reader_of(_suffix(item))).read(file)
    return any(
        _place(names) != _most(sections, pieces)
        for lines, sections in _flows(contents)
        for pieces, names in _passages(lines, sections)
    )


def read_metadata(file: BinaryIO, item: Item) -> Metadata:
    """Return the language of a text, and what else a document tells of itself."""
    if (reader := reader_of(_suffix(item))) is not None:
        return _described(reader.read(file)).metadata
    if item.size > MAX_BYTES:
        return NO_METADATA
    return _language(to_text(file.read(MAX_BYTES)), item)


def _language(text: str, item: Item) -> Metadata:
    """Return the language of a text; code has none."""
    is_prose = not (is_code(item.location) and _suffix(item))
    return Metadata(language=language_of(text)) if is_prose else NO_METADATA


def _described(contents: Contents) -> Contents:
    """Return the contents of a document with its language."""
    lines = (line for flow in contents.flows for _, line in flow)
    language = language_of("\n".join(islice(lines, DESCRIBING_LINES)))
    return replace(contents, metadata=replace(contents.metadata, language=language))


def _suffix(item: Item) -> str:
    return os.path.splitext(os.fsdecode(item.location))[1].lower()


def _segments(text: str, item: Item, content_hash: str) -> Iterator[tuple[Segment, EmbedInput]]:
    front = front_matter(text)
    code = is_code(item.location)
    metadata = _language(text, item)
    lines = () if text.isspace() else without_noise(text, _suffix(item))  # which is slow if blank
    for pieces in passages(lines, at_functions=code):
        passage = "".join(piece.text for piece in pieces).rstrip("\r\n")
        body = "".join(piece.text for piece in pieces if piece.line > front)
        telling = telling_code(body) if code and _suffix(item) else body  # a README has none
        snippet = _snippet(telling or passage)
        numbers = (pieces[0].line, pieces[-1].line)
        segment = Segment(item, content_hash, lines=numbers, snippet=snippet, metadata=metadata)
        yield segment, EmbedInput(text=passage)


def _sections(
    contents: Contents, item: Item, content_hash: str
) -> Iterator[tuple[Segment, EmbedInput]]:
    """Yield the passages of a document, each with its section, or its first and last one."""
    for flow in _flows(contents):
        for pieces, names in _passages(*flow):
            passage = "".join(piece.text for piece in pieces).rstrip("\n")
            segment = Segment(
                item,
                content_hash,
                section=_place(names),
                snippet=_snippet(passage),
                metadata=contents.metadata,
            )
            yield segment, EmbedInput(text=passage)


def _passages(
    lines: list[tuple[int, str]], sections: Sequence[str | None]
) -> Iterator[tuple[Sequence[Piece], list[str | None]]]:
    """Yield passages, each with the sections of what the one before does not have."""
    before: Sequence[Piece] = ()
    for pieces in passages(lines):
        repeated = set(map(id, before))
        new = (each for each in pieces if id(each) not in repeated and not each.blank)
        yield pieces, list(dict.fromkeys(sections[each.line - 1] for each in new))
        before = pieces


def _place(names: Sequence[str | None]) -> str | None:
    """Return the name of a section, or of the first and the last one."""
    if len(names) < 2:
        return names[0] if names else None
    return " – ".join(each or BEGINNING for each in (names[0], names[-1]))


def _most(sections: Sequence[str | None], pieces: Sequence[Piece]) -> str | None:
    """Return the section of most of a passage, which version 3 named."""
    lengths: Counter[str | None] = Counter()
    for piece in pieces:
        lengths[sections[piece.line - 1]] += len(piece.text)
    return lengths.most_common(1)[0][0]


def _flows(contents: Contents) -> Iterator[tuple[list[tuple[int, str]], list[str | None]]]:
    """Yield the numbered lines of each flow without noise, and the section of every line."""
    size = 0
    for flow in contents.flows:
        lines = [(section, part) for section, line in flow for part in _END.split(line)]
        text = "\n".join(line for _, line in lines).replace("\0", "")
        size += len(text)
        if size > MAX_BYTES:
            raise MediaError(f"too large: more than {MAX_BYTES / 2**20:.0f} MiB of text")
        if text and not text.isspace():
            yield list(without_noise(text, "")), [section for section, _ in lines]


def _snippet(text: str) -> str:
    return " ".join(text.split())[:SNIPPET_CHARACTERS]


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
