"""Words for the rows of an older library: their files are read again, without a model."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from qvsearch.indexing.batching import with_words
from qvsearch.indexing.changes import same_state
from qvsearch.indexing.counts import Event
from qvsearch.library.words_file import FILE, has_full_text
from qvsearch.media.subtitles import spoken_between
from qvsearch.timed_lines import timed_lines
from qvsearch.types import Kind, Skipped

if TYPE_CHECKING:
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
    """Add words to all rows without any, in a commit for each shard.

    `decoders` decode as `media.words` does. Files among the `scanned` ones that are as they were
    indexed are read again; others are left for a later run. A picture gets only what `about` has
    of its file.
    """
    for rows in library.without_words() if has_full_text() else ():
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
            library.add_words(texts, FILE)
            library.commit()


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
