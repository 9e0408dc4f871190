"""The locks of a library: one process at a time writes into it, and one watches its folders.

They are locks of the operating system, so each is free the moment its holder dies.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from qvsearch.errors import LibraryLocked, QvsearchError
from qvsearch.files import read_start, remove_file, touch_file, write_file
from qvsearch.library.names import absence

if TYPE_CHECKING:
    from filelock import FileLock

LOCK = "lock"
HOLDER = "lock.json"  # not in the lock file, which other processes cannot read everywhere
WATCH_LOCK, WATCH_HOLDER = "watch.lock", "watch.json"
PUBLISH_LOCK, PUBLISH_HOLDER = "publish.lock", "publish.json"
LOCK_FILES = {LOCK, HOLDER, WATCH_LOCK, WATCH_HOLDER, PUBLISH_LOCK, PUBLISH_HOLDER}
HOLDER_WAIT = 0.5  # seconds: a holder writes this file a moment after it has the lock
HOLDER_POLL = 0.01
_LARGEST_HOLDER = 4096  # bytes


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a lock; `since` is a local date and time."""

    pid: int
    host: str
    since: str


class WriterLock:
    """The right to change one library; taking it again while it is held is free."""

    lock_name, holder_name = LOCK, HOLDER
    refusal = "is being changed by {holder}; wait for its end"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def _lock(self) -> FileLock:
        from filelock import FileLock  # not needed by a query

        # The lock belongs to the object, so any thread may commit.
        return FileLock(self.folder / self.lock_name, thread_local=False)

    @property
    def is_held(self) -> bool:
        """Whether this object holds it."""
        return self._lock.is_locked

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; raises LibraryLocked at once if another process holds it.

        Raises QvsearchError if its folder is gone, e.g. because the library was moved.
        """
        if self.is_held:
            yield
            return
        if not self.folder.is_dir():  # the lock would create it
            raise QvsearchError(absence(self.folder))
        from filelock import Timeout

        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise LibraryLocked(self._refused()) from error
        except OSError as error:
            raise QvsearchError(
                f"cannot write to the library {self.folder}: {error.strerror}"
            ) from error
        try:
            since = datetime.now().astimezone().isoformat(" ", "seconds")
            holder = {"pid": os.getpid(), "host": platform.node(), "since": since}
            write_file(self.folder / self.holder_name, orjson.dumps(holder))
            touch_file(self.folder / self.lock_name)  # `roots` shows when that was last
            yield
        finally:
            remove_file(self.folder / self.holder_name)
            self._lock.release()

    def _refused(self) -> str:
        """Return the sentence that names the holder of the lock, if it is known."""
        deadline = time.monotonic() + HOLDER_WAIT
        path = self.folder / self.holder_name
        name = "another process"
        while (holder := _read_holder(path)) is None or not _may_live(holder):
            if time.monotonic() > deadline:
                break
            time.sleep(HOLDER_POLL)
        else:
            name = f"process {holder.pid} on {holder.host} since {holder.since}"
        return f"the library {self.folder} {self.refusal.format(holder=name)}"


class WatcherLock(WriterLock):
    """The right to watch the folders of one library."""

    lock_name, holder_name = WATCH_LOCK, WATCH_HOLDER
    refusal = "is already watched by {holder}; one is enough"


class PublisherLock(WriterLock):
    """The right to publish one library."""

    lock_name, holder_name = PUBLISH_LOCK, PUBLISH_HOLDER
    refusal = "is being published by {holder}; wait for its end"


def _read_holder(path: Path) -> Holder | None:
    try:
        match orjson.loads(read_start(path, _LARGEST_HOLDER)):
            case {"pid": int(pid), "host": str(host), "since": str(since)}:
                return Holder(pid, host, since)
    except (OSError, ValueError):
        pass
    return None


def _may_live(holder: Holder) -> bool:
    """Return False only if the holder is surely dead; a killed one leaves its file behind."""
    if holder.host != platform.node():
        return True
    import psutil  # a run that gets the lock does not wait for this import

    try:
        return psutil.pid_exists(holder.pid)
    except (OverflowError, OSError):  # a damaged file, or no /proc
        return True
