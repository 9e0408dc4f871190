"""A run on a cluster, step by step: files are found, embedded by nodes, and committed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from qvsearch.distributed.blocks import Job
from qvsearch.distributed.buckets import is_bucket, scan_bucket
from qvsearch.distributed.destination import Destination
from qvsearch.distributed.messages import item_block, outcomes_of
from qvsearch.distributed.opening import new_fingerprint, open_table
from qvsearch.errors import QvsearchError
from qvsearch.indexing.batching import Embedded
from qvsearch.indexing.changes import (
    Missing,
    ScanResult,
    Target,
    collected,
    compare,
    missing,
    scan_targets,
    unreachable,
)
from qvsearch.indexing.contents import Content, content_of
from qvsearch.indexing.counts import Counts, Event, Summary
from qvsearch.indexing.reading import Pictures
from qvsearch.library.aliases import is_there
from qvsearch.library.rules import of_kinds, scans_of
from qvsearch.media.pages import sampled_part
from qvsearch.published.engine import Table
from qvsearch.published.schema import About
from qvsearch.types import Detail, Item, Skipped

if TYPE_CHECKING:
    from qvsearch.distributed.cluster import Pool
    from qvsearch.indexing.session import IngestOptions
    from qvsearch.library.rules import ScanOptions
    from qvsearch.published.address import Address
    from qvsearch.runtime.choice import Choice
    from qvsearch.types import Segment, Vectors

BLOCK_FILES = 32  # a dead node repeats the blocks that it had
BLOCKS_AN_ACTOR = 8  # at least, so that the last blocks keep all actors busy
MOST_BLOCKS = 50_000  # Ray keeps a record of each in the driver's memory
MOST_ROWS = 20_000  # that wait for a commit: 160 MB of vectors of 2048 numbers


class Nodes(Protocol):
    """Computes on several computers; raises QvsearchError if the model or a node fails."""

    pool: Pool

    def baseline(self, job: Job, stop: Callable[[], bool]) -> Vectors | None:
        """Return the vectors of the generic queries; None if stopped."""
        ...

    def outcomes(self, job: Job, blocks: Sequence[Any], stop: Callable[[], bool]) -> Iterator[Any]:
        """Yield the outcomes of blocks of files in any order, until `stop` returns True."""
        ...


@dataclass(frozen=True, slots=True)
class Order:
    """A folder, or a prefix of a bucket, that all nodes see, and the table that gets its rows.

    `name` is the publisher's.
    """

    root: bytes
    address: Address
    name: str
    choice: Choice


def index(
    order: Order,
    nodes: Nodes,
    options: IngestOptions,
    report: Callable[[Event], None],
    stop: Callable[[], bool],
) -> Summary | None:
    """Bring the rows of a folder in a published table up to date; None if stopped at the start.

    A file is unchanged if its size and time are. `options` has the scan, `prune`, `force`,
    `decode_workers`, `ocr` and `commit_seconds`. After `stop` returned True, finished blocks are
    committed. Raises QvsearchError if the folder is not there, or if the model or the cluster
    fails. Finished blocks are committed before.
    """
    # 1. The table is opened, or created with the generic queries that its calibration needs.
    table = open_table(order.address, order.choice)
    if table is None:
        table = _create(order, nodes, stop)
        if table is None:
            return None
    destination = Destination(table, order.name, order.root)
    decoders = options.decode_workers or nodes.pool.decoders
    job = Job(destination.fingerprint, order.choice, decoders, options.ocr)
    run = _Run(destination, options, report, stop)
    # 2. The folder is scanned, and compared with the rows of the table.
    items = run.begin()
    try:
        # 3. Nodes embed blocks of files; what is finished is committed from time to time.
        if items and not run.stopped():
            for block in nodes.outcomes(job, _blocks(items, nodes.pool.actors), run.stopped):
                run.take(block)
    finally:
        run.commit()
    # 4. Files that are gone are removed.
    if not run.stopped():
        run.remove_missing()
    destination.finish(whole=not run.stopped())
    return run.summary()


def _create(order: Order, nodes: Nodes, stop: Callable[[], bool]) -> Table | None:
    """Create the table; None if stopped."""
    _target(order.root, is_known=False)  # a folder that is not there creates nothing
    detail = Detail.MEDIUM if nodes.pool.gpus or order.choice.servers else Detail.LOW
    fingerprint = new_fingerprint(order.choice, detail)
    job = Job(fingerprint, order.choice, nodes.pool.decoders)
    baseline = nodes.baseline(job, stop)
    if baseline is None:
        return None
    return Table(order.address, create=About(fingerprint, baseline))


def _target(root: bytes, *, is_known: bool) -> Target:
    """Return the target of a run; raises QvsearchError for one that is not there and never was."""
    exists = is_bucket(root) or is_there(root)
    if not (exists or is_known):
        raise QvsearchError(
            f"{os.fsdecode(root)} does not exist; this computer and all nodes must see it there"
        )
    return Target(root, root, exists, is_known)


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
        self._destination, self._options = destination, options
        self._report, self._stop = report, stop
        self._stopped = False
        self._counts = Counts(report, destination.fingerprint.video_mode)
        self._known: dict[bytes, Segment] = {}  # a segment of each file before this run
        self._contents: set[Content] = set()  # of these
        self._pictures: list[Pictures] = []
        self._moved: set[Content] = set()  # contents at a new place
        self._files, self._missing = ScanResult(), Missing([], [])
        self._targets: list[Target] = []
        self._scans: dict[bytes, ScanOptions] = {}
        self._left: dict[bytes, Item] = {}
        self._committed = time.monotonic()

    def stopped(self) -> bool:
        """Return whether the run is to end early; once True, always True."""
        self._stopped = self._stopped or self._stop()
        return self._stopped

    def begin(self) -> list[Item]:
        """Scan the folder, count the files that need no work, and return the others."""
        root = self._destination.root
        self._known = self._destination.known()
        self._contents = set(map(content_of, self._known.values()))
        self._targets = [_target(root, is_known=bool(self._known))]
        scans = scans_of({}, [root], self._options.scan)
        self._scans = of_kinds(scans, self._destination.fingerprint.kinds)
        if is_bucket(root):
            self._files = collected(scan_bucket(root, self._scans[root], self.stopped))
        else:
            self._files = scan_targets(self._targets, self._scans, self.stopped, known=self._known)
        items = self._files.items
        for place, item in items.items():  # each computer sees another ctime and inode
            items[place] = replace(item, ctime_ns=None, inode=None)
        changes = compare(self._files, self._known, {}, self._options.force, retry_failed=False)
        for skipped in self._files.skipped:
            self._counts.skipped(skipped)
        for item in changes.unchanged:
            self._counts.unchanged(item)
        todo = [*changes.to_do, *changes.older]
        self._left = {item.location: item for item in todo}
        self._counts.planned(todo)
        return todo

    def take(self, block: Any) -> None:  # noqa: ANN401 - pyarrow has no types
        """Add the rows of a block, and commit if it is time."""
        segments = 0
        for outcome in outcomes_of(block, self._destination.fingerprint.dim):
            if isinstance(outcome, Pictures):
                self._pictures.append(outcome)
                continue
            place = outcome.path if isinstance(outcome, Skipped) else outcome.item.location
            item = self._left.pop(place, None)
            if item is None:
                raise QvsearchError(f"a node sent a file that it was not given: {place!r}")
            if isinstance(outcome, Embedded):
                outcome = self._destination.add(outcome)
            if isinstance(outcome, Skipped):
                self._counts.skipped(outcome, item)
                continue
            content = content_of(outcome.segments[0])
            if place not in self._known and content in self._contents:
                self._moved.add(content)
            segments += len(outcome.segments)
            sampled = sampled_part(outcome.segments[0].metadata) is not None
            self._counts.stored("indexed", item, len(outcome.segments), sampled=sampled)
        self._counts.embedded(segments)
        late = time.monotonic() - self._committed >= self._options.commit_seconds
        if late or self._destination.waiting >= MOST_ROWS:
            self.commit()

    def commit(self) -> None:
        """Make everything up to here last."""
        if files := self._destination.commit():
            self._report(Event("committed", files=files))
        self._committed = time.monotonic()

    def remove_missing(self) -> None:
        """Remove the rows of files that are gone."""
        self._missing = missing(
            self._targets, self._files, self._known, self._moved, self._scans, self._options.prune
        )
        gone = [self._known[place].item for place in self._missing.gone]
        self._destination.remove(gone)
        for item in gone:
            self._counts.removed(item)

    def summary(self) -> Summary:
        """Return what the run did."""
        summary = self._counts.summary(
            self._files,
            self._missing,
            unreachable(self._targets, self._options.prune),
            interrupted=self._stopped,
            left=len(self._left),
            checked=0,
        )
        return replace(
            summary,
            pictures_read=sum(each.read for each in self._pictures),
            pictures_unread=sum(each.unread for each in self._pictures),
        )
