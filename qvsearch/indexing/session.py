"""One indexing run: what is under way, what waits for a commit, and the counts.

It knows neither how files are found nor how they are decoded or embedded.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.files import is_below
from qvsearch.indexing.batching import Embedded
from qvsearch.indexing.changes import (
    Content,
    Found,
    Target,
    compare,
    content_of,
    estimated_segments,
    known_failures,
    known_files,
    same_failure,
    unreachable,
)
from qvsearch.indexing.missing import Kept, missing
from qvsearch.indexing.sources import Sources
from qvsearch.library.failures import Failure
from qvsearch.library.pending import Pending, without
from qvsearch.library.rules import NO_RULES, Rules, ScanOptions
from qvsearch.media.dates import name_date
from qvsearch.types import READING, Event, Item, Kind, Metadata, Segment, Skipped

if TYPE_CHECKING:
    from qvsearch.indexing.changes import Changes
    from qvsearch.library.library import Library
    from qvsearch.types import Vectors

MOST_UNCOMMITTED = 10_000  # files whose new rows wait in memory: 40 MB of pictures' vectors
READ_ANEW = "read anew: qvsearch reads such files better now"


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How to index; `commit_seconds` are of work.

    The include and exclude of `scan` come to those that the library remembers, or replace them with
    `forget_rules`; for good where the path given is a root, for this run where it lies in one.
    """

    scan: ScanOptions = ScanOptions()
    forget_rules: bool = False
    prune: bool = False
    retry_failed: bool = False
    force: bool = False
    commit_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did, in files but for `segments`, the vectors added.

    found = indexed + unchanged + skipped, and indexed = embedded + reused. `left` are the files
    that an interrupted run did not come to. Nothing was removed of `unreachable`, given paths that
    are not there, and of `kept`. `read_anew` are unchanged files that are among the indexed because
    an older version had read them otherwise; `checked` are files whose status had changed, so that
    their contents were compared. `left_aside` counts files of no kind that is taken, by suffix;
    they are not among `found`. `left_out` files stay though they are clutter now, or left out by
    include and exclude.
    """

    found: int
    indexed: int
    embedded: int
    reused: int
    unchanged: int
    skipped: int
    removed: int
    segments: int
    seconds: float
    interrupted: bool
    left: int
    failures: tuple[Skipped, ...]
    unreachable: tuple[bytes, ...]
    kept: tuple[Kept, ...]
    read_anew: int = 0
    checked: int = 0
    left_aside: Mapping[str, int] = field(default_factory=dict)
    left_out: int = 0


@dataclass(slots=True)
class _Underway:
    """A file that is being decoded or embedded, and those of the same content found meanwhile."""

    item: Item
    content: Content
    twins: list[Item] = field(default_factory=list)


class Run:
    """The state of one run: what is under way, what waits for the next commit, and the counts."""

    def __init__(
        self,
        library: Library,
        options: IngestOptions,
        report: Callable[[Event], None],
        stop: Callable[[], bool],
    ) -> None:
        self._library, self._options = library, options
        self._report, self._stop = report, stop
        self._started = self._committed = time.monotonic()
        self._stopped = False
        self._rows_of_place = library.by_location()
        self._known = known_files(library, self._rows_of_place)
        self._failures = known_failures(library)
        self._failures_before = dict(self._failures)
        self._sources = Sources(library)
        self._underway: dict[bytes, _Underway] = {}
        self._by_content: dict[Content, _Underway] = {}
        self._second_chances: list[Item] = []
        self._moved: set[Content] = set()
        self._anew: set[bytes] = set()  # unchanged files that are read otherwise now
        self._dying: list[int] = []  # rows to be removed at the next commit, readable until then
        self._uncommitted = 0  # files
        self._rules = library.rules  # as they were committed last
        self._refused = False  # by the disk, at a commit
        self._left = 0
        self._checked = 0
        self._findable: set[bytes] = set()  # of those left: unchanged files, which have their rows
        self._paths: tuple[bytes, ...] = ()
        self._first: dict[bytes, Rules] = {}  # of given paths that were no roots before
        self._pending: list[Pending] = []  # of other runs
        self._counts: Counter[str] = Counter()
        self._segments = 0
        self._skipped: list[Skipped] = []
        self._kept: list[Kept] = []
        self._left_aside: Mapping[str, int] = {}
        self._left_out = 0

    def stopped(self) -> bool:
        """Tell whether the run is to end early; once yes, always yes."""
        self._stopped = self._stopped or self._stop()
        return self._stopped

    def remember(self, scans: Mapping[bytes, ScanOptions]) -> None:
        """Let the library remember which files are wanted; the next commit makes it last."""
        for root, options in scans.items():
            rules = Rules(options.include, options.exclude)
            self._library.set_rules(root, rules)
            if root not in self._library.roots and rules != NO_RULES:
                self._first[root] = rules

    def begin(self, targets: Sequence[Target], found: Found) -> Changes:
        """Count what needs no work and return what was found, sorted."""
        options = self._options
        self._left_aside = found.left_aside
        changes = compare(found, self._known, self._failures, options.force, options.retry_failed)
        for skipped in (*found.skipped, *changes.skipped):
            self._skip(skipped)
        for item in changes.unchanged:
            if not self._known[item.location].is_older:
                self._failures.pop(item.location, None)
            self._count("unchanged", item)
        self._checked = len(changes.touched)
        self._left = len(changes.to_do) + len(changes.touched) + len(changes.older)
        if self._left and not options.force:
            for rows in self._rows_of_place.values():
                self._sources.add(rows)
        self._findable = {item.location for item in (*changes.touched, *changes.older)}
        self._paths = tuple(target.path for target in targets)
        here = set(self._paths).difference(unreachable(targets, options.prune))
        self._pending = list(
            without(
                self._library.load_pending(),
                lambda path: any(is_below(path, ours) for ours in here),
                self._left,
            )
        )
        self._save_pending()
        return changes

    def before(self, item: Item) -> Segment:
        """Return a segment of a known file as it was before this run."""
        return self._known[item.location]

    def keep(self, item: Item) -> None:
        """Count a known file as unchanged and leave its rows alone."""
        self._finish(item)
        self._count("unchanged", item)

    def read_anew(self, item: Item) -> None:
        """Have a known file, which is unchanged, decoded and embedded again."""
        self._anew.add(item.location)
        self._sources.outdate(content_of(self._known[item.location]))

    def refresh(self, item: Item, metadata: Metadata | None = None) -> None:
        """Write the rows of an unchanged file again, with the same vectors.

        `item` has its status now; `metadata`, if given, is what the present version reads.
        """
        rows = self._rows_of_place[item.location]
        segments = [replace(self._library.segments[row], item=item) for row in rows]
        if metadata is not None:
            segments = [_refreshed(segment, metadata) for segment in segments]
        if self._replace_rows(item, segments, self._library.vectors(rows)):
            self.keep(item)
            self._commit_if_due()

    def plan(self, items: Sequence[Item]) -> None:
        """Report how much there is to look into."""
        changed = (item.location for item in items if item.location not in self._anew)
        self._findable.difference_update(changed)
        by_kind: Counter[Kind] = Counter()
        for item in items:
            by_kind[item.kind] += self._estimate(item)
        total = by_kind.total()
        self._report(Event("planned", files=len(items), estimate=total, by_kind=by_kind))

    def jobs(self, hashes: Iterable[tuple[Item, str | Skipped]]) -> Iterator[tuple[Item, str]]:
        """Yield what has to be decoded; what the library or this run has already is copied."""
        for item, digest in hashes:
            if self.stopped():
                return
            if isinstance(digest, Skipped):
                self._fail(digest, item)
                continue
            content = (item.kind, digest)
            if (source := self._sources.find(content)) is not None:
                self._store(item, source, "reused")
                self._commit_if_due()
            elif content in self._by_content:
                self._by_content[content].twins.append(item)
            else:
                underway = _Underway(item, content)
                self._underway[item.location] = self._by_content[content] = underway
                yield item, digest

    def embedded(self, segments: int) -> None:
        """Report a batch of so many segments, of files that need not be finished."""
        self._report(Event("embedded", segments=segments))

    def take(self, outcome: Embedded | Skipped) -> None:
        """Store a file that is embedded, and those of the same content; or note its failure."""
        location = outcome.path if isinstance(outcome, Skipped) else outcome.item.location
        underway = self._underway.pop(location)
        del self._by_content[underway.content]
        if isinstance(outcome, Skipped):
            self._fail(outcome, underway.item)
            self._second_chances += underway.twins
        else:
            outcome = _as_read_now(outcome)
            self._store(underway.item, outcome, "indexed")
            for twin in underway.twins:
                self._store(twin, outcome, "reused")
        self._commit_if_due()

    def second_chances(self) -> list[Item]:
        """Return files whose content failed elsewhere: that file may have vanished meanwhile."""
        items, self._second_chances = self._second_chances, []
        return items

    def remove_missing(
        self, targets: Sequence[Target], found: Found, scans: Mapping[bytes, ScanOptions]
    ) -> None:
        """Take out of the library what is gone from the targets."""
        lost = missing(targets, found, self._known, self._moved, scans, self._options.prune)
        self._kept, self._left_out = lost.kept, lost.left_out
        for location in lost.gone:
            self._dying += self._rows_of_place[location]
            self._uncommitted += 1
            self._count("removed", self._known[location].item)
        reachable = [target.path for target in targets if target.exists]
        for place in [place for place in self._failures if not os.path.lexists(place)]:
            if any(is_below(place, path) for path in reachable):
                del self._failures[place]

    def commit(self) -> None:
        """Make everything up to here last; what the disk refused once is not tried again."""
        if self._refused:
            return
        self._refused = True
        if self._uncommitted or self._library.rules != self._rules:
            self._library.remove(self._dying)
            self._library.commit()
            self._report(Event("committed", files=self._uncommitted))
            self._dying, self._uncommitted = [], 0
            self._rules = self._library.rules
        if self._failures != self._failures_before:
            self._library.save_failures(self._failures.values())
            self._failures_before = dict(self._failures)
        self._save_pending()
        self._refused = False
        self._committed = time.monotonic()

    def summary(self, targets: Sequence[Target]) -> Summary:
        """Return what was done; whatever was looked into is indexed or skipped."""
        counts = self._counts
        indexed = counts["indexed"] + counts["reused"]
        return Summary(
            found=indexed + counts["unchanged"] + len(self._skipped),
            indexed=indexed,
            embedded=counts["indexed"],
            reused=counts["reused"],
            unchanged=counts["unchanged"],
            skipped=len(self._skipped),
            removed=counts["removed"],
            segments=self._segments,
            seconds=time.monotonic() - self._started,
            interrupted=self._stopped,
            left=self._left,
            failures=tuple(self._skipped),
            unreachable=unreachable(targets, self._options.prune),
            kept=tuple(self._kept),
            read_anew=counts[READ_ANEW],
            checked=self._checked,
            left_aside=self._left_aside,
            left_out=self._left_out,
        )

    def _save_pending(self) -> None:
        """Write how many files are left, for `status` and `search`."""
        left = self._left - len(self._findable)
        first = {root: rules for root, rules in self._first.items() if root in self._paths}
        own = [Pending(self._paths, left, first)] if left else []
        if self._library.load_pending() != [*self._pending, *own]:
            self._library.save_pending([*self._pending, *own])

    def _finish(self, item: Item) -> None:
        """Note that nothing is left to do for a file."""
        self._left -= 1
        self._findable.discard(item.location)

    def _commit_if_due(self) -> None:
        is_late = time.monotonic() - self._committed >= self._options.commit_seconds
        if is_late or self._uncommitted >= MOST_UNCOMMITTED:
            self.commit()

    def _store(self, item: Item, source: Embedded, state: str) -> None:
        """Add an item's rows and count it."""
        is_new = item.location not in self._rows_of_place
        segments = [replace(segment, item=item) for segment in source.segments]
        if state == "reused":
            segments = [replace(each, metadata=_renamed(each.metadata, item)) for each in segments]
        if not self._replace_rows(item, segments, source.vectors):
            return
        if is_new and state == "reused":
            self._moved.add(content_of(segments[0]))
        self._segments += len(segments)
        self._finish(item)
        reason = READ_ANEW if item.location in self._anew else None
        if reason is not None:
            self._counts[reason] += 1
        self._count(state, item, len(segments), self._estimate(item), reason)

    def _replace_rows(self, item: Item, segments: Sequence[Segment], vectors: Vectors) -> bool:
        """Add an item's rows; those it had before die in the same commit. False if it failed."""
        library, location = self._library, item.location
        try:
            library.add_root(item.root)
            library.add(segments, vectors)
        except QvsearchError as error:  # the model's vectors are no unit vectors
            self._fail(Skipped(location, str(error)), item)
            return False
        rows = list(islice(reversed(library.segments), len(segments)))[::-1]
        known = location in self._rows_of_place
        # a copy of a copy is not needed, unless the first one dies now
        if known or not self._sources.has(content_of(segments[0])):
            self._sources.add(rows)
        if known:
            self._dying += self._rows_of_place[location]
        self._rows_of_place[location] = rows
        self._failures.pop(location, None)
        self._uncommitted += 1
        return True

    def _fail(self, skipped: Skipped, item: Item) -> None:
        """Note a failure, and how often this state of the file has failed by now."""
        before = self._failures.get(item.location)
        again = before is not None and same_failure(before, item)
        tries = 1 + (before.tries if before is not None and again else 0)
        asked = self._options.retry_failed or self._options.force
        self._failures[item.location] = Failure(
            item.location, item.size, item.mtime_ns, skipped.reason, tries, READING[item.kind]
        )
        self._finish(item)
        skipped = replace(skipped, known=again and not asked)
        self._skip(skipped, item.kind, self._estimate(item))

    def _estimate(self, item: Item) -> int:
        return estimated_segments(item, self._library.fingerprint.video_mode)

    def _skip(self, skipped: Skipped, kind: Kind | None = None, estimate: int = 0) -> None:
        self._skipped.append(skipped)
        event = Event("skipped", skipped.path, kind, reason=skipped.reason, estimate=estimate)
        self._report(event)

    def _count(
        self,
        state: str,
        item: Item,
        segments: int = 0,
        estimate: int = 0,
        reason: str | None = None,
    ) -> None:
        self._counts[state] += 1
        self._report(Event(state, item.location, item.kind, segments, reason, estimate=estimate))


def _as_read_now(found: Embedded) -> Embedded:
    """Return what was decoded just now, with the version that did it."""
    now = (replace(each, reading=READING[each.item.kind]) for each in found.segments)
    return replace(found, segments=tuple(now))


def _renamed(metadata: Metadata, item: Item) -> Metadata:
    """Return the metadata of a file's content under another name: a date may be of the name."""
    if item.kind is Kind.TEXT or (metadata.taken is not None and metadata.taken_from != "name"):
        return metadata
    taken = name_date(os.fsdecode(os.path.basename(item.location)))
    return replace(metadata, taken=taken, taken_from=None if taken is None else "name")


def _refreshed(segment: Segment, said: Metadata) -> Segment:
    """Return a segment with new metadata; what only decoding shows is kept."""
    before = segment.metadata
    duration = said.duration or before.duration
    said = replace(said, page=before.page, duration=duration, damaged=before.damaged)
    return replace(segment, metadata=said, reading=READING[segment.item.kind])
