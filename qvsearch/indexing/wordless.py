"""Words for the rows of an older library: their files are read again, without a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from qvsearch.indexing.batching import with_words
from qvsearch.indexing.changes import same_state
from qvsearch.indexing.counts import Event
from qvsearch.library.words_file import FILE, has_full_text
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

    Texts that are among the `scanned` files as they were indexed are read again; other texts are
    left for a later run. A row of another kind gets only what `about` has of its file.
    """
    for rows in library.without_words() if has_full_text() else ():
        if stop():
            return
        texts: dict[int, str] = {}
        unread: dict[bytes, list[int]] = {}
        for row in rows.tolist():
            item = library.segments[row].item
            if item.kind is not Kind.TEXT:
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
        found = {_place(each[0]): with_words(*each).words for each in outcome.segments}
        for row in files[outcome.item.location]:
            texts[row] = found.get(_place(library.segments[row])) or ""
    return texts


def _place(segment: Segment) -> Place:
    """Return where a row is in its file."""
    return segment.lines, segment.start, segment.end, segment.page, segment.section
