"""The state of a library: its files, its failures, and changes on the disk since."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qvsearch.indexing.changes import MAX_TRIES, Target, same_failure, same_identity, scan_targets
from qvsearch.indexing.mounts import Identities
from qvsearch.indexing.reading import NO_READING, Reading, reading
from qvsearch.library.rules import Rules, left_out, scans_of
from qvsearch.library.words_file import has_full_text
from qvsearch.media.pages import sampled_part
from qvsearch.types import Fingerprint, Item, Kind, Skipped, Stored

if TYPE_CHECKING:
    from qvsearch.library.failures import Failure
    from qvsearch.library.library import Library
    from qvsearch.library.pending import Pending
    from qvsearch.library.rules import ScanOptions
    from qvsearch.types import Segment


@dataclass(frozen=True, slots=True)
class Holding:
    """How many files and segments of a kind a library has."""

    kind: Kind
    items: int
    segments: int


@dataclass(frozen=True, slots=True)
class Status:
    """The record of `qvsearch status`; `size` is in bytes, paths are absolute.

    Files of a root that cannot be reached are not `gone`. `older` are the files that an older
    version read; at most their `older_segments` are embedded again by the next `index`. `touched`
    are files of the same size and time whose status changed, so that it compares their contents. It
    also reads the words of the files `without_words`, which an older version indexed.
    `left_aside` counts files of unsupported suffixes in the roots. `left_out` are files that the
    library has and that `index` now leaves out by their names. `pending` are unfinished runs.
    `damaged` are indexed files with their missing parts. `vendored` counts files of other people's
    code. `pictures` are the number of pictures within documents, which are not indexed, and that of
    their documents; `partial` are indexed files with the part that is. `ocr` is how far words in
    pictures are read.
    """

    folder: Path
    fingerprint: Fingerprint
    holdings: tuple[Holding, ...]
    roots: tuple[bytes, ...]
    unreachable: tuple[bytes, ...]
    changed: tuple[bytes, ...]
    gone: tuple[bytes, ...]
    failures: tuple[Failure, ...]
    damaged: tuple[tuple[bytes, str], ...]
    size: int
    store: Stored
    older: int = 0
    older_segments: int = 0
    touched: int = 0
    without_words: int = 0
    left_aside: Mapping[str, int] = field(default_factory=dict)
    left_out: tuple[Skipped, ...] = ()
    rules: Mapping[bytes, Rules] = field(default_factory=dict)
    pending: tuple[Pending, ...] = ()
    vendored: int = 0
    pictures: tuple[int, int] = (0, 0)
    partial: tuple[tuple[bytes, str], ...] = ()
    ocr: Reading = NO_READING


def library_status(library: Library) -> Status:
    """Compare a library with the disk by looking at every file's size and time."""
    known: dict[bytes, Segment] = {}
    notes: dict[str, dict[bytes, Any]] = {"damaged": {}, "pictures": {}, "partial": {}}
    segments: Counter[Kind] = Counter()
    older: Counter[bytes] = Counter()
    for segment in library.segments.values():
        known[segment.item.location] = segment
        older[segment.item.location] += segment.is_older
        segments[segment.item.kind] += 1
        _note(segment, notes)
    items = {location: segment.item for location, segment in known.items()}
    failures = library.load_failures()
    for each in failures:  # a file that fails to be read anew keeps its old rows
        if each.path in older and each.tries >= MAX_TRIES and same_failure(each, items[each.path]):
            del older[each.path]
    counts = Counter(item.kind for item in items.values())
    unreachable = tuple(root for root in library.roots if not Path(os.fsdecode(root)).exists())
    targets = [Target(root, root, root not in unreachable) for root in library.roots]
    scans = scans_of(library.rules, library.roots, as_before=True)
    files = scan_targets(targets, scans, lambda: False, library.roots, known)
    unseen = [item for location, item in items.items() if location not in files.items]
    changed, gone, touched = [], [], 0
    identities = Identities()
    for location, item in items.items():
        if item.root in unreachable:
            continue
        try:
            status = Path(os.fsdecode(location)).stat()
        except OSError:
            gone.append(location)
            continue
        if (status.st_size, status.st_mtime_ns) != (item.size, item.mtime_ns):
            changed.append(location)
            continue
        ctime_ns, inode = identities.of(location, status)
        touched += not same_identity(item, replace(item, ctime_ns=ctime_ns, inode=inode))
    return Status(
        folder=library.folder,
        fingerprint=library.fingerprint,
        holdings=tuple(
            Holding(kind, counts[kind], segments[kind]) for kind in Kind if counts[kind]
        ),
        roots=tuple(library.roots),
        unreachable=unreachable,
        changed=tuple(sorted(changed)),
        gone=tuple(sorted(gone)),
        failures=tuple(failures),
        damaged=tuple(sorted(notes["damaged"].items())),
        size=sum(each.stat().st_size for each in library.folder.rglob("*") if each.is_file()),
        store=library.store,
        older=len(+older),
        older_segments=older.total(),
        touched=touched,
        without_words=_without_words(library),
        left_aside=files.left_aside,
        vendored=files.vendored,
        pictures=(sum(notes["pictures"].values()), len(notes["pictures"])),
        partial=tuple(sorted(notes["partial"].items())),
        left_out=tuple(_left_out(unseen, scans)),
        rules=library.rules,
        pending=tuple(library.load_pending()),
        ocr=reading(library),
    )


def _note(segment: Segment, notes: Mapping[str, dict[bytes, Any]]) -> None:
    """Add what a segment shows of its file to the notes of all files, by their names."""
    location, metadata = segment.item.location, segment.metadata
    for name, files in notes.items():
        if (value := getattr(metadata, name)) is not None:
            files[location] = value
    if (part := sampled_part(metadata)) is not None:
        notes["partial"][location] = part


def _without_words(library: Library) -> int:
    """Return the number of files whose words were not read."""
    if not has_full_text():
        return 0
    rows = [row for each in library.without_words() for row in each.tolist()]
    return len({library.segments[row].item.location for row in rows})


def _left_out(items: Iterable[Item], scans: Mapping[bytes, ScanOptions]) -> Iterator[Skipped]:
    """Yield the files that are left out by their names, sorted."""
    tests: dict[bytes, Callable[[bytes], str | None]] = {}
    for item in sorted(items, key=lambda item: item.location):
        if item.root not in tests:
            tests[item.root] = left_out(item.root, scans[item.root])
        if (reason := tests[item.root](item.path)) is not None:
            yield Skipped(item.location, reason)
