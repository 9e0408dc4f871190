"""Reads the words in pictures of committed rows: the step of an indexing run after embedding."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.files import is_below
from qvsearch.indexing.contents import content_of
from qvsearch.indexing.counts import Event
from qvsearch.library.tokens import tokens
from qvsearch.library.words import own_words
from qvsearch.library.words_file import has_full_text
from qvsearch.media import ocr
from qvsearch.media.pages import sampled_part
from qvsearch.media.picture_reader import PictureReader
from qvsearch.media.screenshots import is_screenshot
from qvsearch.paged_text import BREAK, PageText, page_texts, paged_text
from qvsearch.timed_lines import Line, timed_text
from qvsearch.types import Item, Kind, Segment, VideoMode

if TYPE_CHECKING:
    from qvsearch.indexing.batching import Embedded
    from qvsearch.library.library import Library

READER = "ocr"  # the name of this reader in the index of words
SCREENS = "screens"  # and that of the reader of films, which "ocr" read at one frame a moment
AT_ONCE = 8  # pages of a document that are decoded together: 100 MB
FRAMES_AT_ONCE = 32  # of a film, decoded one by one: each job reads its packets anew
SCREEN_SECONDS = 2.0  # a moment of a film is looked at so often,
MOST_SCREENS = 400  # but a long film about so often in all: each takes seconds if it differs
# seconds of work between commits, each of which writes the words of some shards again
COMMIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Reading:
    """How many pictures were read for their words, how many wait, and whether they can be read.

    `languages` are those of the model, as tags (BCP 47).
    """

    installed: bool
    read: int
    waiting: int
    languages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pictures:
    """How many pictures were read for their words, and how many need the extra `[ocr]`."""

    read: int
    unread: int


NO_READING = Reading(installed=False, read=0, waiting=0, languages=())


def reading(library: Library) -> Reading:
    """Return how far the words in a library's pictures are read."""
    installed, waiting = ocr.is_installed(), pictures_to_read(library)
    read = set[int]().union(*_rows_read(library).values()).difference(waiting)
    return Reading(installed, len(read), len(waiting), ocr.LANGUAGES if installed else ())


def pictures_to_read(library: Library, paths: Iterable[bytes] | None = None) -> list[int]:
    """Return the rows below these paths (default: all) whose pictures may have words to be read.

    There are none if this Python's SQLite cannot keep the words.
    """
    if not has_full_text():
        return []
    read = _rows_read(library)
    places = None if paths is None else list(paths)
    mode = library.fingerprint.video_mode
    return [
        row
        for row, segment in library.segments.items()
        if _may_have_words(segment, mode)
        and row not in read[_reader(segment)]
        and (places is None or any(is_below(segment.item.location, path) for path in places))
    ]


def _rows_read(library: Library) -> dict[str, set[int]]:
    """Return the rows that were read, by the name of the reader."""
    return {each: set(library.words.read_by(each).tolist()) for each in (READER, SCREENS)}


def _reader(segment: Segment) -> str:
    return SCREENS if segment.item.kind is Kind.VIDEO else READER


def _may_have_words(segment: Segment, mode: VideoMode) -> bool:
    """Return whether a segment's picture is to be read.

    These are screenshots, scanned pages, pages of documents without a text layer, and frames of
    screen recordings. Clips that have frames beside them are left out.
    """
    if segment.metadata.page:
        return not (segment.clip and mode is VideoMode.BOTH)
    return segment.start is None and is_screenshot(segment.item)  # not a moment of a motion photo


def read_if_installed(
    library: Library,
    paths: Iterable[bytes],
    report: Callable[[Event], None],
    stop: Callable[[], bool],
) -> Pictures:
    """Read words in pictures below these paths; without the extra, count those pictures."""
    if not ocr.is_installed():
        return Pictures(read=0, unread=len(pictures_to_read(library, paths)))
    return Pictures(read_pictures(library, paths, report, stop), unread=0)


def read_pictures(
    library: Library,
    paths: Iterable[bytes],
    report: Callable[[Event], None],
    stop: Callable[[], bool],
    start: Callable[[], PictureReader] = PictureReader,
) -> int:
    """Read words in pictures below these paths, with commits; return the number of rows read.

    A picture is read once for all rows that have it. One that cannot be read counts as read, so
    that it is not tried at each run; files that are away or have changed are left for later.
    """
    rows = pictures_to_read(library, paths)
    if not rows or stop():
        return 0
    report(Event("reading", segments=len(rows)))
    count, texts, since = 0, dict[int, str](), time.monotonic()
    try:
        with start() as reader:
            for some in _read(library.segments, rows, reader, stop):
                texts |= some
                count += len(some)
                report(Event("read", segments=len(some)))
                if time.monotonic() - since > COMMIT_SECONDS:
                    _commit(library, texts)
                    since = time.monotonic()
    finally:
        _commit(library, texts)
    return count


def _commit(library: Library, texts: dict[int, str]) -> None:
    if texts:
        new = {row: _new_lines(library.words.text(row), text) for row, text in texts.items()}
        for reader in (READER, SCREENS):
            some = {row: new[row] for row in new if _reader(library.segments[row]) == reader}
            if some:
                library.add_words(some, reader)
        library.commit()
        texts.clear()


def with_pictures_read(
    file: Embedded, mode: VideoMode, reader: PictureReader | None
) -> tuple[Embedded, Pictures]:
    """Return a file, as decoded by `mode`, with the words in its pictures added to its own.

    A `reader` of None stands for one that is not installed.
    """
    segments = dict(enumerate(file.segments))
    rows = [row for row, segment in segments.items() if _may_have_words(segment, mode)]
    if reader is None:
        return file, Pictures(read=0, unread=len(rows))
    texts: dict[int, str] = {}
    for some in _read(segments, rows, reader):
        texts |= some
    for row, text in texts.items():
        own = own_words(segments[row])
        words = own.added(_new_lines(own.text, text), _reader(segments[row])).text
        segments[row] = replace(segments[row], words=words)
    return replace(file, segments=tuple(segments.values())), Pictures(read=len(texts), unread=0)


def _read(
    segments: Mapping[int, Segment],
    rows: Iterable[int],
    reader: PictureReader,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[dict[int, str]]:
    """Yield the words of one picture after another, for each row that has it."""
    for item, pictures in _files(segments, rows):
        parts = [_screens(segments[numbers[0]]) for numbers in pictures]
        words = _words(item, list(chain.from_iterable(parts)), reader, stop)
        for numbers, screens in zip(pictures, parts, strict=True):
            texts = list(islice(words, len(screens)))
            if len(texts) < len(screens):
                return  # stopped
            yield dict.fromkeys(numbers, _text(screens, texts))


def _words(
    item: Item, screens: Sequence[Segment], reader: PictureReader, stop: Callable[[], bool]
) -> Iterator[str]:
    """Yield the words of each screen of a file, in order, until a stop."""
    at_once = FRAMES_AT_ONCE if item.kind is Kind.VIDEO else AT_ONCE
    for at in range(0, len(screens), at_once):
        if stop():
            return
        some = screens[at : at + at_once]
        read = reader.read(item, some, stop)
        for place in range(len(some)):
            if place not in read:
                return
            yield read[place]


def _screens(segment: Segment) -> list[Segment]:
    """Return the parts of a moment of a film of which one frame each is read; else the segment."""
    if segment.item.kind is not Kind.VIDEO or segment.start is None or segment.end is None:
        return [segment]
    length = segment.metadata.duration or segment.end
    seconds = segment.end - segment.start
    count = max(1, round(seconds / max(SCREEN_SECONDS, length / MOST_SCREENS)))
    starts = [segment.start + seconds * place / count for place in range(count)]
    return [
        replace(segment, start=start, end=end) for start, end in pairwise([*starts, segment.end])
    ]


def _text(screens: Sequence[Segment], texts: Sequence[str]) -> str:
    """Return the words of a picture, each line at the first screen in a row with it."""
    parts, before = [], set[str]()
    for screen, text in zip(screens, texts, strict=True):
        lines = text.splitlines()
        parts.append(_at_place(screen, "\n".join(each for each in lines if each not in before)))
        before = set(lines)
    return "\n".join(filter(None, parts))


def _files(
    segments: Mapping[int, Segment], rows: Iterable[int]
) -> Iterator[tuple[Item, list[list[int]]]]:
    """Yield a file of each content that is there, with the rows of each of its pictures."""

    def picture(row: int) -> tuple[Kind, str, int, float]:
        segment = segments[row]
        return *content_of(segment), segment.page or 0, segment.start or 0.0

    ordered = sorted(rows, key=picture)
    for _, same in groupby(ordered, key=lambda row: content_of(segments[row])):
        pictures = [list(each) for _, each in groupby(same, key=picture)]
        items = [segments[row].item for numbers in pictures for row in numbers]
        if (there := next(filter(_is_there, items), None)) is not None:
            yield there, pictures


def _new_lines(own: str | None, text: str) -> str:
    """Return the lines that were read in a picture and that its page does not have as text."""
    if not own:
        return text
    page, *_ = page_texts(own, 1)
    known = {tuple(tokens(line)) for line in page.text.splitlines()}
    number, *lines = text.split("\n") if text.startswith(BREAK) else ("", *text.split("\n"))
    new = "\n".join(each for each in lines if tuple(tokens(each)) not in known)
    return f"{number}\n{new}" if number and new else new


def _is_there(item: Item) -> bool:
    """Return whether a file is as it was when it was indexed."""
    try:
        status = Path(os.fsdecode(item.location)).stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (item.size, item.mtime_ns)


def _at_place(segment: Segment, words: str) -> str:
    """Return the words of a moment with its time before each line, like those of subtitles.

    Those of a long document have the number of their page, since other pages may be before them.
    """
    if words and segment.page is not None and sampled_part(segment.metadata) is not None:
        return paged_text(None, [PageText(segment.page, words)]) or ""
    if segment.start is None:
        return words
    return timed_text(Line(segment.start, each) for each in words.splitlines())


def unread_note(count: int) -> str:
    """Return a note about pictures whose words were not read, since the extra is missing."""
    pictures = "1 picture looks" if count == 1 else f"{count:,} pictures look"
    remedy = 'pip install "qvsearch[ocr]"'
    return f"{pictures} like a screenshot or a page; to find the words: {remedy}"
