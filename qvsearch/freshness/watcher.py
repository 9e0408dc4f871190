"""Brings a library up to date whenever files change: the story of `qvsearch watch`.

Changed files are indexed once they have stopped growing. Whole roots are scanned at the start, when
they come back, when files are gone, and once in an hour in case the system dropped a change.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from qvsearch.errors import ExitCode
from qvsearch.formats import path_fields
from qvsearch.freshness import power
from qvsearch.freshness.followed import Followed, Notice
from qvsearch.freshness.messages import Changed, Ended, Inbox, Line, Lost, Message, Ready, Wake
from qvsearch.freshness.relevance import wanted
from qvsearch.freshness.settling import Settling
from qvsearch.freshness.worker import LAST, Worker
from qvsearch.library.lock import WatcherLock
from qvsearch.library.manifest import read_committed

LOOK_SECONDS = 2.0  # between looks at the roots, and at files that grow
LOOK_SHARE = 10  # looks at files that grow take at most one in so many seconds
GATHER_SECONDS = 10.0  # that settled files wait at most for others that still grow
IDLE_SECONDS = 60.0  # that the worker, with its model, waits for more
SCAN_SECONDS = 3600.0  # between scans of all roots
SLEPT_SECONDS = 60.0  # by which clocks differ after the computer has slept
MANY_CHANGES = 8000  # at once; half of what the system's queue holds, so some may be lost
FIRST_RETRY, LAST_RETRY = 10.0, 600.0  # seconds


@dataclass(frozen=True, slots=True)
class Settings:
    """How to watch: the command that starts a worker, and whether to work on battery."""

    worker: tuple[str, ...]
    on_battery: bool = False


@dataclass(frozen=True, slots=True)
class _Batch:
    """What the worker is indexing: changed paths by root, and roots that are scanned."""

    paths: Mapping[bytes, Mapping[bytes, bool]]
    roots: frozenset[bytes]


class Watcher:
    """Watches the roots of one library until `stop`; `tell` gets notices and `show` records.

    Records are those of `index --json`, without the ones of unchanged files, and `error` with a
    message.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        tell: Callable[[Notice], None],
        show: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._folder, self._settings = folder, settings
        self._tell, self._show = tell, show
        self._inbox: Inbox = SimpleQueue()
        self._followed = Followed(folder, self._inbox, tell)
        self._settling: dict[bytes, Settling] = {}  # by root
        self._scans: set[bytes] = set()  # roots to scan
        self._worker: Worker | None = None
        self._batch: _Batch | None = None
        self._stopping = False
        self._waits_for_power = False
        self._retry = FIRST_RETRY
        self._failure: str | None = None  # the last reason, which is told once
        now = time.monotonic()
        self._looked, self._not_before, self._worked, self._scanned = -LOOK_SECONDS, now, now, now
        self._settles = now
        self._clocks = time.time() - now

    def run(self) -> None:
        """Watch until `stop`; what the worker has finished then is committed.

        Raises LibraryLocked if the library is watched already, and QvsearchError if it is gone or
        has no roots.
        """
        read_committed(self._folder)  # there is a library, before its folder gets a lock
        with WatcherLock(self._folder).held():
            try:
                while not self._stopping:
                    self._take_messages(LOOK_SECONDS if self._is_idle else LOOK_SECONDS / 4)
                    self._look(time.monotonic())
            finally:
                self._followed.end()
                self._end_worker()

    def stop(self) -> None:
        """End after the batch under way; the second call ends that at once. For signal handlers."""
        if self._stopping and self._worker is not None:
            self._worker.kill()
        self._stopping = True
        self._inbox.put(Wake())

    @property
    def _is_idle(self) -> bool:
        return not (self._scans or any(self._settling.values()))

    # ------------------------------------------------------------------ messages

    def _take_messages(self, seconds: float) -> None:
        """Handle all messages, waiting for the first one."""
        try:
            message: Message = self._inbox.get(timeout=seconds)
            while True:
                self._handle(message)
                message = self._inbox.get_nowait()
        except Empty:
            return

    def _handle(self, message: Message) -> None:
        match message:
            case Ready(root):
                self._scans.add(root)
            case Changed(root, paths):
                self._take_changes(root, paths)
            case Lost():
                self._followed.lost(message)
            case Line(pid, record) if self._is_ours(pid) and self._batch is not None:
                self._take_record(record)
            case Ended(pid, code) if self._is_ours(pid):
                self._worker = None
                if self._batch is not None:
                    self._fail(f"the indexing process ended with code {code}")

    def _is_ours(self, pid: int) -> bool:
        """Return whether this is the present worker, not one that was told to end."""
        return self._worker is not None and self._worker.pid == pid

    def _take_changes(self, root: bytes, paths: Mapping[bytes, bool]) -> None:
        if root in paths and not Path(os.fsdecode(root)).is_file():
            self._followed.follow_anew(root)
            return
        if len(paths) >= MANY_CHANGES:
            self._scans.add(root)
        ours = {path: new for path, new in paths.items() if self._followed.concerns(root, path)}
        self._settling.setdefault(root, Settling()).add(ours, time.monotonic())

    def _take_record(self, record: Mapping[str, Any]) -> None:
        state = record["state"]
        if state == "error":
            self._fail(str(record["message"]), is_locked=record["code"] == ExitCode.LOCKED)
            return
        self._show(record)
        if state in LAST:
            if record.get("interrupted"):
                self._put_back()
            self._batch = None
            self._retry, self._failure = FIRST_RETRY, None
            self._worked = time.monotonic()

    def _fail(self, reason: str, *, is_locked: bool = False) -> None:
        """Put the batch back, for a later try; a lock is soon free."""
        self._put_back()
        self._batch = None
        if not self._stopping and reason != self._failure:
            self._tell(Notice("retry", None, reason))
        self._failure = reason
        self._worked = time.monotonic()
        self._not_before = self._worked + self._retry
        self._retry = FIRST_RETRY if is_locked else min(2 * self._retry, LAST_RETRY)

    def _put_back(self) -> None:
        if self._batch is not None:
            self._scans |= self._batch.roots
            for root, paths in self._batch.paths.items():
                new = dict.fromkeys(paths, False)
                self._settling.setdefault(root, Settling()).add(new, time.monotonic())

    # ------------------------------------------------------------------ work

    def _look(self, now: float) -> None:
        """Look at roots and growing files from time to time; start or end work if that is due."""
        if now >= self._settles:
            for settling in self._settling.values():
                settling.look(now)
            self._settles = now + LOOK_SHARE * (time.monotonic() - now)
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._followed.look()
            for root in self._settling.keys() - set(self._followed.reachable):
                del self._settling[root]  # a scan finds its files when it is back
            self._plan_scans(now)
            self._look_at_power()
        if self._batch is None and now >= self._not_before and not self._waits_for_power:
            self._start_batch(now)
        is_over = self._waits_for_power or now - self._worked >= IDLE_SECONDS
        if self._batch is None and self._worker is not None and is_over:
            self._worker.close()
            self._worker = None

    def _plan_scans(self, now: float) -> None:
        """Have all roots scanned once in an hour, and after the computer has slept."""
        clocks = time.time() - now
        slept = clocks - self._clocks > SLEPT_SECONDS
        self._clocks = clocks
        if slept or now - self._scanned >= SCAN_SECONDS:
            self._scanned = now
            self._scans.update(self._followed.reachable)

    def _look_at_power(self) -> None:
        waits = not self._settings.on_battery and power.on_battery()
        if waits != self._waits_for_power:
            self._waits_for_power = waits
            self._tell(Notice("battery" if waits else "power"))
            if waits and self._batch is not None and self._worker is not None:
                self._worker.interrupt()

    def _start_batch(self, now: float) -> None:
        """Send to the worker what is due: roots to scan, and paths that have stopped growing."""
        reachable = set(self._followed.reachable)
        scans, self._scans = self._scans & reachable, set()
        settled = {
            root: each.settled(now) for root, each in self._settling.items() if root in reachable
        }
        due = {root: each for root, each in settled.items() if self._is_due(root, each, now)}
        if not scans and not due:
            return
        # a scan finds the settled paths of its root; it must not find those that grow
        parts = [wanted(root, each) for root, each in due.items() if root not in scans]
        roots = scans.union(*(part.roots for part in parts))
        growing = [path for each in self._settling.values() for path in each.growing(now)]
        batch = due | {root: settled.get(root, {}) for root in roots}
        for root, each in batch.items():
            self._settling.setdefault(root, Settling()).remove(each)
        paths = [path for part in parts for path in part.paths]
        gone = [path for part in parts for path in part.gone]
        if roots or paths or gone:
            self._batch = _Batch(batch, frozenset(roots))
            self._send({"paths": [*paths, *sorted(roots)], "gone": gone, "later": growing})

    def _is_due(self, root: bytes, settled: Mapping[bytes, bool], now: float) -> bool:
        settling = self._settling[root]
        waited = settling.waited(settled, now)
        return bool(settled) and (not settling.growing(now) or waited >= GATHER_SECONDS)

    def _send(self, request: Mapping[str, list[bytes]]) -> None:
        if self._worker is None:
            self._worker = Worker(self._settings.worker, self._inbox)
        self._worker.send(
            {name: [path_fields("path", path) for path in each] for name, each in request.items()}
        )

    def _end_worker(self) -> None:
        """Let the worker commit what it has finished, and wait for its end."""
        if self._worker is None:
            return
        if self._batch is None:
            self._worker.close()
        else:
            self._worker.interrupt()
        while self._worker is not None:
            self._handle(self._inbox.get())
