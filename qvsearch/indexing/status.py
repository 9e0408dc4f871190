"""The state of a library: its files, its failures, and changes on the disk since."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qvsearch.indexing.changes import MAX_TRIES, Target, same_failure, same_identity, scan_targets
from qvsearch.indexing.mounts import Identities
from qvsearch.indexing.reading import NO_READING, Reading, reading
from qvsearch.library.columns import suffix_of
from qvsearch.library.filters import orientation_of
from qvsearch.library.places import place_table
from qvsearch.library.rules import Rules, left_out, scans_of
from qvsearch.library.words_file import has_full_text
from qvsearch.published.opening import is_large_table
from qvsearch.times import date_text, time_taken
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
    items: dict[bytes, Item] = {}
    notes: dict[str, dict[bytes, Any]] = {"damaged": {}, "pictures": {}, "partial": {}}
    segments: Counter[Kind] = Counter()
    older: Counter[bytes] = Counter()
    for segment in library.segments.values():
        items[segment.item.location] = segment.item
        older[segment.item.location] += segment.is_older
        segments[segment.item.kind] += 1
        for name, files_with in notes.items():
            if (value := getattr(segment.metadata, name)) is not None:
                files_with[segment.item.location] = value
    failures = library.load_failures()
    for each in failures:  # a file that fails to be read anew keeps its old rows
        if each.path in older and each.tries >= MAX_TRIES and same_failure(each, items[each.path]):
            del older[each.path]
    counts = Counter(item.kind for item in items.values())
    unreachable = tuple(root for root in library.roots if not Path(os.fsdecode(root)).exists())
    targets = [Target(root, root, root not in unreachable) for root in library.roots]
    scans = scans_of(library.rules, library.roots, as_before=True)
    files = scan_targets(targets, scans, lambda: False, library.roots)
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


@dataclass(frozen=True, slots=True)
class Field:
    """A field for filters: its options, the number of files that have it, and their values.

    `values` counts files, the most frequent first. `least` and `most` are the first and last date
    (ISO 8601), the fewest and most pixels (width, height), seconds, or the south-western and
    north-eastern corners (latitude, longitude) of the box around all places. The box may cross 180
    degrees.
    """

    name: str
    options: tuple[str, ...]
    files: int
    values: dict[str, int] = field(default_factory=dict)
    least: str | float | tuple[float, float] | None = None
    most: str | float | tuple[float, float] | None = None


def library_fields(library: Library) -> tuple[Field, ...]:
    """Return the fields that the files of a library can be filtered by."""
    segments = library.files() if is_large_table(library) else library.segments.values()
    files = list({each.item.location: each for each in segments}.values())
    metadata = [each.metadata for each in files]
    dates = sorted(time_taken(each) for each in files if each.metadata.taken)
    sizes = sorted(_sizes(files), key=lambda size: size[0] * size[1])
    seconds = sorted(each.duration for each in metadata if each.duration is not None)
    places = [
        (float(each.latitude), float(each.longitude))
        for each in metadata
        if each.latitude is not None and each.longitude is not None
    ]
    cities, countries = _cities_and_countries(places)
    titled = sum(each.title is not None for each in metadata)
    paged = sum(each.page is not None for each in files)
    tags = (each.language for each in metadata if each.language)
    return (
        _counted("kind", ("--kind",), (each.item.kind for each in files)),
        _counted("path", ("--under", "--glob"), (os.fsdecode(each.item.root) for each in files)),
        _ranged("taken", ("--after", "--before"), [date_text(date) for date in dates]),
        _counted("camera", ("--camera",), (each.camera for each in metadata if each.camera)),
        _ranged("place", ("--near",), _box(places), len(places)),
        _counted("country", ("--place",), countries),
        _counted("city", ("--place",), cities),
        _ranged("size", ("--min-size",), sizes),
        _counted("orientation", ("--orientation",), (orientation_of(*size) for size in sizes)),
        _ranged("duration", ("--duration",), seconds),
        _counted("suffix", ("--suffix",), _suffixes(files)),
        Field("title", ("--title",), titled),
        _counted("author", ("--author",), (each.author for each in metadata if each.author)),
        _keywords([each.keywords for each in metadata if each.keywords]),
        _counted("rating", ("--rating",), (each.rating for each in metadata if each.rating)),
        Field("page", ("--page",), paged),
        _counted("language", ("--language",), tags),
    )


def _suffixes(files: Iterable[Segment]) -> Iterator[str]:
    """Yield the suffix of each file that has one, without the dot."""
    return filter(None, (suffix_of(each.item.root, each.item.path) for each in files))


def _keywords(of_files: Sequence[Sequence[str]]) -> Field:
    counts = Counter(each for keywords in of_files for each in dict.fromkeys(keywords))
    return Field("keyword", ("--keyword",), len(of_files), dict(counts.most_common()))


def _cities_and_countries(
    places: Sequence[tuple[float, float]],
) -> tuple[Iterator[str], Iterator[str]]:
    """Return the names of the cities and of the countries that coordinates are in, if any."""
    cities = filter(None, (place_table().city(*each) for each in places))
    countries = filter(None, (place_table().country(*each) for each in places))
    return cities, countries


def _sizes(files: Iterable[Segment]) -> list[tuple[int, int]]:
    return [
        (each.width, each.height)
        for each in files
        if each.width is not None and each.height is not None
    ]


def _counted(name: str, options: tuple[str, ...], values: Iterable[object]) -> Field:
    counts = Counter(map(str, values))
    return Field(name, options, counts.total(), dict(counts.most_common()))


def _ranged(
    name: str,
    options: tuple[str, ...],
    ordered: Sequence[str] | Sequence[float] | Sequence[tuple[float, float]],
    files: int | None = None,
) -> Field:
    files = len(ordered) if files is None else files
    if not ordered:
        return Field(name, options, files)
    return Field(name, options, files, least=ordered[0], most=ordered[-1])


def _box(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the south-western and north-eastern corners of the narrowest box, if any."""
    if not places:
        return []
    latitudes, around = sorted(place[0] for place in places), sorted(place[1] for place in places)
    # the box leaves out the widest gap around the globe; among equal gaps the one over 180 degrees
    gaps = [(around[0] + 360 - around[-1], around[0], around[-1])]
    gaps += [(following - each, following, each) for each, following in pairwise(around)]
    _, west, east = max(gaps, key=lambda gap: gap[0])
    return [(latitudes[0], west), (latitudes[-1], east)]
