"""Changes below a folder, found by listing it again and again."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

POLL_SECONDS = 60.0  # between listings
SHARE = 10  # listings take at most one in so many seconds

Snapshot = dict[bytes, tuple[int, int]]  # size and time of change of each file


def polled(
    root: bytes, end: threading.Event, seconds: float = POLL_SECONDS
) -> Iterator[dict[bytes, bool]]:
    """Yield changed paths below a root, each with whether it was added, until `end` is set.

    The first, empty ones come after the first listing. A listing without the root, e.g. because a
    network is away, is passed over.
    """
    before: Snapshot | None = None
    while not end.is_set():
        started = time.monotonic()
        now = _listing(root, end)
        if before is None or now is None:
            changes = {}
        else:
            changes = {path: path not in before for path in now if now[path] != before.get(path)}
            changes |= dict.fromkeys(before.keys() - now.keys(), False)
        if end.is_set():
            return
        yield changes
        before = before if now is None else now
        end.wait(max(seconds, SHARE * (time.monotonic() - started)))


def _listing(root: bytes, end: threading.Event) -> Snapshot | None:
    """Return all files below a root, or it itself if it is a file; None if it is not there.

    A folder that cannot be read has no files.
    """
    try:
        status = Path(os.fsdecode(root)).stat()
        if not stat.S_ISDIR(status.st_mode):
            return {root: (status.st_size, status.st_mtime_ns)}
        with os.scandir(root):
            pass
    except OSError:
        return None
    files: Snapshot = {}
    folders = [root]
    while folders and not end.is_set():
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        each = entry.stat(follow_symlinks=False)
                        files[entry.path] = (each.st_size, each.st_mtime_ns)
        except OSError:
            continue
    return files
