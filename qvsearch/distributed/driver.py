"""A run on a cluster, step by step: files are found, embedded by nodes, and committed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qvsearch.distributed.messages import item_block, outcomes_of
from qvsearch.errors import QvsearchError
from qvsearch.indexing.changes import (
    Missing,
    ScanResult,
    Target,
    compare,
    missing,
    resolve,
    scan_targets,
    unreachable,
)
from qvsearch.indexing.contents import Content, content_of
from qvsearch.indexing.counts import Counts, Event, Summary
from qvsearch.library.rules import scans_of
from qvsearch.types import Item, Skipped

if TYPE_CHECKING:
    from qvsearch.distributed.destination import Destination
    from qvsearch.indexing.session import IngestOptions
    from qvsearch.library.rules import ScanOptions
    from qvsearch.types import Segment

    # tables of files to tables of their outcomes, in any order, until `stop` returns True
    Embed = Callable[[Sequence[Any], Callable[[], bool]], Iterator[Any]]

BLOCK_FILES = 32  # a dead node repeats the blocks that it had
BLOCKS_AN_ACTOR = 8  # at least, so that the last blocks keep all actors busy
MOST_BLOCKS = 50_000  # Ray keeps a record of each in the driver's memory
MOST_ROWS = 20_000  # that wait for a commit: 160 MB of vectors of 2048 numbers


def index(
    destination: Destination,
    paths: Sequence[bytes],
    embed: Embed,
    actors: int,
    options: IngestOptions,
    report: Callable[[Event], None],
    stop: Callable[[], bool],
) -> Summary:
    """Bring the rows of one publisher up to date with absolute paths that all nodes see.

    A file is unchanged if its size and time are; `options` has the scan, `prune`, `force` and
    `commit_seconds`. After `stop` returned True, finished blocks are committed. Raises QvsearchError
    if no path exists, or if the model or the cluster fails; what is finished is committed before.
    """
    run = _Run(destination, options, report, stop)
    # 1. The folders are scanned, and compared with the rows of the table.
    targets = resolve(destination.roots, paths)
    scans = scans_of({}, [target.root for target in targets], options.scan)
    items = run.begin(targets, scans)
    try:
        # 2. Blocks of files are embedded by nodes; finished ones are committed from time to time.
        if items and not run.stopped():
            for block in embed(_blocks(items, actors), run.stopped):
                run.take(block)
    finally:
        run.commit()
    # 3. Files that are gone are removed.
    if not run.stopped():
        run.remove_missing(targets, scans)
    return run.summary(targets)


def _blocks(items: Sequence[Item], actors: int) -> list[Any]:
    """Return tables of files, in order."""
    size = min(BLOCK_FILES, -(-len(items) // (actors * BLOCKS_AN_ACTOR)))
    size = max(1, size, -(-len(items) // MOST_BLOCKS))
    return [item_block(items[start : start + size]) for start in range(0, len(items), size)]


class _Run:
    """The files of one run, and the rows that wait for its next commit."""

    def __init__(
        self,
        destination: Destination,
        options: IngestOptions,
        report: Callable[[Event], None],
        stop: Callable[[], bool],
    ) -> None:
        self._destination, self._options, self._report, self._stop = (
            destination,
            options,
            report,
            stop,
        )
        self._stopped = False
        self._counts = Counts(report, destination.fingerprint.video_mode)
        self._known: dict[bytes, Segment] = {}  # a segment of each file before this run
        self._contents: set[Content] = set()  # of these
        self._moved: set[Content] = set()  # contents at a new place
        self._files, self._missing = ScanResult(), Missing([], [])
        self._left: dict[bytes, Item] = {}
        self._committed = time.monotonic()

    def stopped(self) -> bool:
        """Return whether the run is to end early; once True, always True."""
        self._stopped = self._stopped or self._stop()
        return self._stopped

    def begin(
        self, targets: Sequence[Target], scans: dict[bytes, ScanOptions]
    ) -> list[Item]:
        """Scan the targets, count the files that need no work, and return the others."""
        files = scan_targets(targets, scans, self.stopped, self._destination.roots)
        for place, item in files.items.items():  # each computer sees another ctime and inode
            files.items[place] = replace(item, ctime_ns=None, inode=None)
        self._files = files
        self._known = self._destination.known()
        self._contents = set(map(content_of, self._known.values()))
        changes = compare(files, self._known, {}, self._options.force, retry_failed=False)
        for skipped in files.skipped:
            self._counts.skipped(skipped)
        for item in changes.unchanged:
            self._counts.unchanged(item)
        items = [*changes.to_do, *changes.older]
        self._left = {item.location: item for item in items}
        self._counts.planned(items)
        return items

    def take(self, block: Any) -> None:  # noqa: ANN401 - pyarrow has no types
        """Add the rows of a block, and commit if it is time."""
        segments = 0
        for outcome in outcomes_of(block, self._destination.fingerprint.dim):
            place = outcome.path if isinstance(outcome, Skipped) else outcome.item.location
            item = self._left.pop(place, None)
            if item is None:
                raise QvsearchError(f"a node sent a file that it was not given: {place!r}")
            if isinstance(outcome, Skipped):
                self._counts.skipped(outcome, item)
                continue
            self._destination.add(outcome)
            content = content_of(outcome.segments[0])
            if place not in self._known and content in self._contents:
                self._moved.add(content)
            segments += len(outcome.segments)
            self._counts.stored("indexed", item, len(outcome.segments), anew=False)
        self._counts.embedded(segments)
        late = time.monotonic() - self._committed >= self._options.commit_seconds
        if late or self._destination.waiting >= MOST_ROWS:
            self.commit()

    def commit(self) -> None:
        """Make everything up to here last."""
        if files := self._destination.commit():
            self._report(Event("committed", files=files))
        self._committed = time.monotonic()

    def remove_missing(
        self, targets: Sequence[Target], scans: dict[bytes, ScanOptions]
    ) -> None:
        """Remove the rows of files that are gone."""
        self._missing = missing(
            targets, self._files, self._known, self._moved, scans, self._options.prune
        )
        gone = [self._known[place].item for place in self._missing.gone]
        self._destination.remove(gone)
        for item in gone:
            self._counts.removed(item)

    def summary(self, targets: Iterable[Target]) -> Summary:
        """Return what the run did."""
        return self._counts.summary(
            self._files,
            self._missing,
            unreachable(targets, self._options.prune),
            interrupted=self._stopped,
            left=len(self._left),
            checked=0,
        )
