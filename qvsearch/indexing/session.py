"""One indexing run: files are stored as they finish, and commits make them last."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.files import is_below
from qvsearch.indexing.batching import Embedded
from qvsearch.indexing.changes import (
    Missing,
    ScanResult,
    Target,
    compare,
    known_failures,
    known_files,
    missing,
    same_failure,
    unreachable,
)
from qvsearch.indexing.contents import Content, ContentIndex, content_of
from qvsearch.indexing.counts import Counts, Event, Summary
from qvsearch.indexing.roots import remembered_rules
from qvsearch.library.failures import Failure
from qvsearch.library.pending import Pending, without
from qvsearch.library.rules import NO_RULES, Rules, ScanOptions, rules_of, widened
from qvsearch.media.dates import name_date
from qvsearch.media.pages import sampled_part
from qvsearch.types import READING, Item, Kind, Metadata, Segment, Skipped

if TYPE_CHECKING:
    from qvsearch.indexing.changes import Changes
    from qvsearch.library.library import Library
    from qvsearch.types import Vectors

MOST_UNCOMMITTED = 10_000  # files whose new rows wait in memory: 40 MB of vectors of pictures


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How to index; `commit_seconds` of work lie between commits.

    The include and exclude of `scan` are added to the library's own rules, or replace them with
    `forget_rules`. They last if the given path is a root, and hold for this run if it lies in one.
    With `as_before` each root is scanned as in its earlier runs, without `scan`. Files of
    `later` are left as they are, e.g. because they are still being written. `decode_workers` is
    the number of processes that decode (default: as `Decoders` has it). With `ocr` the words in
    pictures are read after all else.
    """

    scan: ScanOptions = ScanOptions()
    forget_rules: bool = False
    prune: bool = False
    retry_failed: bool = False
    force: bool = False
    as_before: bool = False
    later: Collection[bytes] = frozenset()
    commit_seconds: float = 30.0
    decode_workers: int | None = None
    ocr: bool = False


class Session:
    """The files of one run between the scan and the last commit.

    `known` has a segment of each file as it was before this run; do not mutate it.
    """

    def __init__(
        self,
        library: Library,
        options: IngestOptions,
        report: Callable[[Event], None],
        stop: Callable[[], bool],
    ) -> None:
        self._library, self._options, self._stop = library, options, stop
        self._stopped = False
        self._rows = library.by_location()  # the present rows of each file
        self.known = known_files(library, self._rows)
        self._contents = ContentIndex(library)
        self.counts = Counts(report, library.fingerprint.video_mode)
        self._remaining = _Remaining(library)
        self._commits = _Commits(library, self._remaining, options.commit_seconds, report)
        self._second_chances: list[Item] = []
        self._moved: set[Content] = set()  # contents at a new place
        self._anew: set[bytes] = set()  # unchanged files that are decoded otherwise now
        self._files, self._missing = ScanResult(), Missing([], [])
        self._checked = 0

    def stopped(self) -> bool:
        """Return whether the run is to end early; once True, always True."""
        self._stopped = self._stopped or self._stop()
        return self._stopped

    def set_rules(self, scans: Mapping[bytes, ScanOptions], roots: Collection[bytes]) -> None:
        """Set the rules of the given roots, which last from the next commit on."""
        library = self._library
        remembered = dict.fromkeys(library.roots, NO_RULES) | remembered_rules(library)
        for root in roots:
            rules = rules_of(scans[root])
            if root in remembered and not self._options.forget_rules:
                rules = widened(remembered[root], rules)
            self._library.set_rules(root, rules)
            if root not in self._library.roots and rules != NO_RULES:
                self._remaining.rules[root] = rules

    def begin(self, targets: Sequence[Target], files: ScanResult) -> Changes:
        """Count the files that need no work and return all files, sorted by what they need."""
        options, failures = self._options, self._commits.failures
        self._files = files
        changes = compare(files, self.known, failures, options.force, options.retry_failed)
        for skipped in (*files.skipped, *changes.skipped):
            self.counts.skipped(skipped)
        for item in changes.unchanged:
            if not self.known[item.location].is_older:
                failures.pop(item.location, None)
            self.counts.unchanged(item)
        self._checked = len(changes.touched)
        away = unreachable(targets, options.prune)
        self._remaining.begin(changes, [target.path for target in targets], away)
        if self._remaining.files and not options.force:
            for rows in self._rows.values():
                self._contents.add(rows)
        return changes

    def keep(self, item: Item) -> None:
        """Count a known file as unchanged and leave its rows alone."""
        self._remaining.finish(item)
        self.counts.unchanged(item)

    def read_anew(self, item: Item) -> None:
        """Have a known file, which is unchanged, decoded and embedded again."""
        self._anew.add(item.location)
        self._contents.outdate(content_of(self.known[item.location]))

    def refresh(self, item: Item, metadata: Metadata | None = None) -> None:
        """Write the rows of an unchanged file again, with the same vectors.

        `item` has its status now; `metadata`, if given, is what the present version reads.
        """
        rows = self._rows[item.location]
        segments = [replace(self._library.segments[row], item=item) for row in rows]
        if metadata is not None:
            segments = [_refreshed(segment, metadata) for segment in segments]
        if self._replace_rows(item, segments, self._library.vectors(rows), rows):
            self.keep(item)
            self._commits.commit_if_due()

    def plan(self, items: Sequence[Item]) -> None:
        """Report the files to read; changed ones have no rows that can be found until then."""
        self._remaining.changed(item for item in items if item.location not in self._anew)
        self.counts.planned(items)

    def jobs(self, hashes: Iterable[tuple[Item, str | Skipped]]) -> Iterator[tuple[Item, str]]:
        """Yield the files to decode; rows of known content are copied, or will be when embedded."""
        for item, digest in hashes:
            if self.stopped():
                return
            if isinstance(digest, Skipped):
                self._fail(digest, item)
                continue
            content = (item.kind, digest)
            if (source := self._contents.find(item, content)) is not None:
                self._store(item, source, "reused")
                self._commits.commit_if_due()
            elif self._contents.start(item, content):
                yield item, digest

    def take(self, outcome: Embedded | Skipped) -> None:
        """Store a file that is embedded, and those of the same content; or store its failure."""
        location = outcome.path if isinstance(outcome, Skipped) else outcome.item.location
        underway = self._contents.finish(location)
        if isinstance(outcome, Skipped):
            self._fail(outcome, underway.item)
            self._second_chances += underway.twins
        else:
            outcome = as_read_now(outcome)
            self._store(underway.item, outcome, "indexed")
            for twin in underway.twins:
                self._store(twin, outcome, "reused")
        self._commits.commit_if_due()

    def second_chances(self) -> list[Item]:
        """Return files whose content failed in another file, which may have vanished meanwhile."""
        items, self._second_chances = self._second_chances, []
        return items

    def remove_missing(self, targets: Sequence[Target], scans: Mapping[bytes, ScanOptions]) -> None:
        """Remove files from the library that are gone from the targets, and their failures."""
        self._missing = missing(
            targets, self._files, self.known, self._moved, scans, self._options.prune
        )
        for location in self._missing.gone:
            self._commits.remove(self._rows[location])
            self.counts.removed(self.known[location].item)
        reachable = [target.path for target in targets if target.exists]
        failures = self._commits.failures
        for place in [place for place in failures if not os.path.lexists(place)]:
            if any(is_below(place, path) for path in reachable):
                del failures[place]

    def commit(self) -> None:
        """Make everything up to here last."""
        self._commits.commit()

    def summary(self, targets: Sequence[Target]) -> Summary:
        """Return what the run did."""
        return self.counts.summary(
            self._files,
            self._missing,
            unreachable(targets, self._options.prune),
            interrupted=self._stopped,
            left=self._remaining.files,
            checked=self._checked,
        )

    def _store(self, item: Item, source: Embedded, state: str) -> None:
        """Add a file's rows and count it."""
        is_new = item.location not in self._rows
        segments = [replace(segment, item=item) for segment in source.segments]
        if state == "reused":
            segments = [replace(each, metadata=_renamed(each.metadata, item)) for each in segments]
        if not self._replace_rows(item, segments, source.vectors, source.rows):
            return
        if is_new and state == "reused":
            self._moved.add(content_of(segments[0]))
        self._remaining.finish(item)
        self.counts.stored(
            state,
            item,
            len(segments),
            anew=item.location in self._anew,
            sampled=sampled_part(segments[0].metadata) is not None,
        )

    def _replace_rows(
        self, item: Item, segments: Sequence[Segment], vectors: Vectors, copied: Sequence[int]
    ) -> bool:
        """Add a file's rows; its former rows die in the same commit. False if that failed.

        The words of `copied` rows are theirs; without any, they have come with the segments.
        """
        library, location = self._library, item.location
        try:
            library.add_root(item.root)
            library.add(segments, vectors, copied)
        except QvsearchError as error:  # the model's vectors are no unit vectors
            self._fail(Skipped(location, str(error)), item)
            return False
        rows = list(islice(reversed(library.segments), len(segments)))[::-1]
        before = self._rows.get(location)
        # a copy of a copy is not needed, unless the first one dies now
        if before is not None or not self._contents.has(content_of(segments[0])):
            self._contents.add(rows)
        self._rows[location] = rows
        self._commits.replaced(location, before or [])
        return True

    def _fail(self, skipped: Skipped, item: Item) -> None:
        """Store a failure, with the number of times that this state of the file has failed."""
        failures = self._commits.failures
        before = failures.get(item.location)
        again = before is not None and same_failure(before, item)
        tries = 1 + (before.tries if before is not None and again else 0)
        retried = self._options.retry_failed or self._options.force
        failures[item.location] = Failure(
            item.location, item.size, item.mtime_ns, skipped.reason, tries, READING[item.kind]
        )
        self._remaining.finish(item)
        self.counts.skipped(replace(skipped, known=again and not retried), item)


class _Remaining:
    """The files that a run has still to do, saved with each commit for `status` and `search`."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self.files = 0
        self.rules: dict[bytes, Rules] = {}  # of given paths that are no roots yet
        self._paths: tuple[bytes, ...] = ()
        self._others: list[Pending] = []  # what other runs have left
        self._findable: set[bytes] = set()  # of these files, unchanged ones, which have their rows

    def begin(self, changes: Changes, paths: Sequence[bytes], away: Collection[bytes]) -> None:
        """Save the files that have to be looked into, at paths of which some are `away`."""
        looked = [*changes.touched, *changes.older]
        self.files = len(changes.to_do) + len(looked)
        self._findable = {item.location for item in looked}
        self._paths = tuple(paths)
        here = set(paths).difference(away)
        self._others = list(
            without(
                self._library.load_pending(),
                lambda path: any(is_below(path, ours) for ours in here),
                self.files,
            )
        )
        self.save()

    def changed(self, items: Iterable[Item]) -> None:
        """Count files as not indexed whose contents have changed."""
        self._findable.difference_update(item.location for item in items)

    def finish(self, item: Item) -> None:
        """Count a file as done."""
        self.files -= 1
        self._findable.discard(item.location)

    def save(self) -> None:
        """Write how many files are left, if that has changed."""
        left = self.files - len(self._findable)
        rules = {root: rules for root, rules in self.rules.items() if root in self._paths}
        own = [Pending(self._paths, left, rules)] if left else []
        if self._library.load_pending() != [*self._others, *own]:
            self._library.save_pending([*self._others, *own])


class _Commits:
    """The rows and failures that wait for the next commit."""

    def __init__(
        self,
        library: Library,
        remaining: _Remaining,
        seconds: float,
        report: Callable[[Event], None],
    ) -> None:
        self._library, self._remaining = library, remaining
        self._seconds, self._report = seconds, report
        self._committed = time.monotonic()
        self._files = 0
        self._dying: list[int] = []  # rows to be removed by the commit, readable until then
        self._refused = False  # by the disk
        self._rules = library.rules  # as they are on the disk, like the failures saved
        self.failures = known_failures(library)
        self._saved = dict(self.failures)

    def replaced(self, location: bytes, rows: Sequence[int]) -> None:
        """Count a file that has new rows; its former rows are removed by the commit."""
        self.failures.pop(location, None)
        self.remove(rows)

    def remove(self, rows: Sequence[int]) -> None:
        """Have the next commit remove the rows of a file."""
        self._dying += rows
        self._files += 1

    def commit_if_due(self) -> None:
        """Commit if enough time has passed since the last one, or if enough files wait."""
        is_late = time.monotonic() - self._committed >= self._seconds
        if is_late or self._files >= MOST_UNCOMMITTED:
            self.commit()

    def commit(self) -> None:
        """Write everything up to here; after the disk refused that once, do nothing."""
        if self._refused:
            return
        self._refused = True
        if self._files or self._library.rules != self._rules:
            self._library.remove(self._dying)
            self._library.commit()
            self._report(Event("committed", files=self._files))
            self._dying, self._files = [], 0
            self._rules = self._library.rules
        if self.failures != self._saved:
            self._library.save_failures(self.failures.values())
            self._saved = dict(self.failures)
        self._remaining.save()
        self._refused = False
        self._committed = time.monotonic()


def as_read_now(source: Embedded) -> Embedded:
    """Return a file that was decoded just now, with the present reading version."""
    now = (replace(each, reading=READING[each.item.kind]) for each in source.segments)
    return replace(source, segments=tuple(now))


def _renamed(metadata: Metadata, item: Item) -> Metadata:
    """Return the metadata of a file's content under another name, which may have a date."""
    if item.kind is Kind.TEXT or (metadata.taken is not None and metadata.taken_from != "name"):
        return metadata
    taken = name_date(os.fsdecode(os.path.basename(item.location)))
    return replace(metadata, taken=taken, taken_from=None if taken is None else "name")


def _refreshed(segment: Segment, metadata: Metadata) -> Segment:
    """Return a segment with new metadata; what only decoding shows is kept."""
    before = segment.metadata
    duration = metadata.duration or before.duration
    page, damaged, partial = before.page, before.damaged, metadata.partial or before.partial
    metadata = replace(metadata, page=page, duration=duration, damaged=damaged, partial=partial)
    return replace(segment, metadata=metadata, reading=READING[segment.item.kind])
