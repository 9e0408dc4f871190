"""Words that an older version did not store: their files are read again, without a model."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.indexing.batching import with_words
from qvsearch.indexing.changes import same_state
from qvsearch.indexing.counts import Event
from qvsearch.library.words_file import FILE, PAGES, has_full_text
from qvsearch.media.pages import sampled_part
from qvsearch.media.subtitles import spoken_between
from qvsearch.paged_text import BREAK
from qvsearch.timed_lines import timed_lines
from qvsearch.types import KIND_CODES, Kind, Skipped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.library import Library
    from qvsearch.media.workers import Decoders
    from qvsearch.types import Item, Segment

Place = tuple[object, ...]


def add_missing_words(
    library: Library,
    scanned: Mapping[bytes, Item],
    decoders: Decoders,
    report: Callable[[Event], None],
    stop: Callable[[], bool],
) -> None:
    """Add words to rows without any, and to those of long documents, in a commit for each shard.

    `decoders` decode as `media.words` does. Files among the `scanned` ones that are as they were
    indexed are read again; others are left for a later run. A picture gets only what `about` has
    of its file.
    """
    lacking = [(rows, FILE) for rows in library.without_words()]
    for rows, reader in [*lacking, (without_pages_between(library), PAGES)]:
        if stop():
            return
        texts: dict[int, str] = {}
        unread: dict[bytes, list[int]] = {}
        for row in rows.tolist():
            item = library.segments[row].item
            if item.kind is Kind.IMAGE:
                texts[row] = ""
            elif item.location in scanned and same_state(item, scanned[item.location]):
                unread.setdefault(item.location, []).append(row)
        if unread:
            report(Event("words", files=len(unread)))
            texts |= _read_again(library, unread, decoders, stop)
        if texts:
            segments = library.segments
            parts = {row: _part(segments[row], text, reader) for row, text in texts.items()}
            library.add_words(parts, reader)
            library.commit()


def lacks_words(library: Library) -> bool:
    """Return whether some words were not stored, of files which may be away."""
    if not has_full_text():
        return False
    return bool(library.without_words()) or len(without_pages_between(library)) > 0


def without_pages_between(library: Library) -> NDArray[np.int64]:
    """Return the rows of long documents between which there are pages whose words were not read."""
    rows = np.flatnonzero(library.kinds == KIND_CODES[Kind.DOCUMENT])
    if not len(rows):
        return rows
    columns = library.columns
    rows = rows[np.lexsort((columns.pages[rows], columns.items[rows]))]
    items, pages = columns.items[rows], columns.pages[rows]
    gaps = (np.diff(pages, append=0) > 1) & (np.diff(items, append=-1) == 0)
    unread = np.setdiff1d(rows[gaps], library.words.read_by(PAGES))
    metadata = (library.segments[row].metadata for row in unread.tolist())
    # in a short document pages between others could not be drawn
    return unread[[sampled_part(each) is not None for each in metadata]]


def _part(segment: Segment, text: str, reader: str) -> str:
    """Return the part of a row's text that a reader has looked for."""
    if segment.page is None:
        return text
    own, mark, behind = text.partition(BREAK)
    return f"{mark}{behind}" if reader == PAGES else own.removesuffix("\n")


def _read_again(
    library: Library,
    files: Mapping[bytes, Sequence[int]],
    decoders: Decoders,
    stop: Callable[[], bool],
) -> dict[int, str]:
    """Return the text of each row of files; empty if its file cannot be read or has no such place.

    Files that a stop leaves out are not among them.
    """
    first = [library.segments[rows[0]] for rows in files.values()]
    jobs = ((segment.item, segment.content_hash) for segment in first)
    texts: dict[int, str] = {}
    for outcome in decoders.decode(jobs, library.fingerprint.decode_options, stop):
        if isinstance(outcome, Skipped):
            texts.update(dict.fromkeys(files[outcome.path], ""))
            continue
        found = [with_words(*each) for each in outcome.segments]
        rows = {row: library.segments[row] for row in files[outcome.item.location]}
        texts |= _of_moments(rows, found) if outcome.item.kind is Kind.VIDEO else _of(rows, found)
    return texts


def _of(rows: Mapping[int, Segment], found: Iterable[Segment]) -> dict[int, str]:
    """Return the text of each row: that of the segment at the same place.

    Passages of one long line are at the same place, in the same order.
    """
    words: defaultdict[Place, deque[str]] = defaultdict(deque)
    for each in found:
        words[_place(each)].append(each.words or "")
    places = {row: words[_place(segment)] for row, segment in rows.items()}
    return {row: each.popleft() if each else "" for row, each in places.items()}


def _of_moments(rows: Mapping[int, Segment], found: Iterable[Segment]) -> dict[int, str]:
    """Return the lines that are spoken in each row of a film."""
    lines = sorted(line for each in found for line in timed_lines(each.words or ""))
    return {
        row: spoken_between(lines, segment.start or 0.0, segment.end or math.inf) or ""
        for row, segment in rows.items()
    }


def _place(segment: Segment) -> Place:
    """Return where a row is in its file."""
    return segment.lines, segment.start, segment.end, segment.page, segment.section
