"""Reads the words in pictures of committed rows: the step of an indexing run after embedding."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.files import is_below
from qvsearch.indexing.contents import content_of
from qvsearch.indexing.counts import Event
from qvsearch.library.words_file import has_full_text
from qvsearch.media import ocr
from qvsearch.media.picture_reader import PictureReader
from qvsearch.timed_lines import Line, timed_text
from qvsearch.types import Item, Kind, Segment, VideoMode

if TYPE_CHECKING:
    from qvsearch.library.library import Library

READER = "ocr"  # the name of this reader in the index of words
AT_ONCE = 8  # pictures of one film that are decoded together: 100 MB
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


NO_READING = Reading(installed=False, read=0, waiting=0, languages=())


def reading(library: Library) -> Reading:
    """Return how far the words in a library's pictures are read."""
    installed, read = ocr.is_installed(), len(library.words.read_by(READER))
    waiting = len(pictures_to_read(library))
    return Reading(installed, read, waiting, ocr.LANGUAGES if installed else ())


def pictures_to_read(library: Library, paths: Iterable[bytes] | None = None) -> list[int]:
    """Return the rows below these paths (default: all) whose pictures may have words to be read.

    These are screenshots, scanned pages, pages of documents without a text layer, and frames of
    screen recordings. Clips that have frames beside them are left out. There are none if this
    Python's SQLite cannot keep the words.
    """
    if not has_full_text():
        return []
    read = set(library.words.read_by(READER).tolist())
    places = None if paths is None else list(paths)
    clips = library.fingerprint.video_mode is not VideoMode.BOTH
    return [
        row
        for row, segment in library.segments.items()
        if segment.metadata.page
        and row not in read
        and (clips or not segment.clip)
        and (places is None or any(is_below(segment.item.location, path) for path in places))
    ]


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
            for item, pictures in _parts(library, rows):
                if stop():
                    break
                segments = [library.segments[each[0]] for each in pictures]
                for place, words in reader.read(item, segments, stop).items():
                    texts |= dict.fromkeys(pictures[place], _timed(segments[place], words))
                    count += len(pictures[place])
                    report(Event("read", segments=len(pictures[place])))
                if time.monotonic() - since > COMMIT_SECONDS:
                    _commit(library, texts)
                    since = time.monotonic()
    finally:
        _commit(library, texts)
    return count


def _commit(library: Library, texts: dict[int, str]) -> None:
    if texts:
        library.add_words(dict(texts), READER)
        library.commit()
        texts.clear()


def _parts(library: Library, rows: Iterable[int]) -> Iterator[tuple[Item, list[list[int]]]]:
    """Yield a file of each content that is there, with the rows of each of some pictures of it."""

    def picture(row: int) -> tuple[Kind, str, int, float]:
        segment = library.segments[row]
        return *content_of(segment), segment.page or 0, segment.start or 0.0

    ordered = sorted(rows, key=picture)
    for _, same in groupby(ordered, key=lambda row: content_of(library.segments[row])):
        pictures = [list(each) for _, each in groupby(same, key=picture)]
        items = [library.segments[row].item for numbers in pictures for row in numbers]
        if (there := next(filter(_is_there, items), None)) is not None:
            for at in range(0, len(pictures), AT_ONCE):
                yield there, pictures[at : at + AT_ONCE]


def _is_there(item: Item) -> bool:
    """Return whether a file is as it was when it was indexed."""
    try:
        status = Path(os.fsdecode(item.location)).stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (item.size, item.mtime_ns)


def _timed(segment: Segment, words: str) -> str:
    """Return the words of a moment with its time before each line, like those of subtitles."""
    if segment.start is None:
        return words
    return timed_text(Line(segment.start, each) for each in words.splitlines())


def unread_note(library: Library, paths: Iterable[bytes]) -> str | None:
    """Return a note about pictures whose words are not read, if the extra is not installed."""
    if ocr.is_installed():
        return None
    count = len(pictures_to_read(library, paths))
    pictures = "1 picture looks" if count == 1 else f"{count:,} pictures look"
    remedy = 'pip install "qvsearch[ocr]"'
    return f"{pictures} like a screenshot or a page; to find the words: {remedy}" if count else None
