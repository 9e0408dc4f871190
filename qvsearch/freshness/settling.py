"""Changed paths, until each has stopped growing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

STILL_SECONDS = 3.0  # without a change of size or time; cameras and downloads write in steps
MOST_SECONDS = 600.0  # then a file that never rests, e.g. a log, is taken as it is

State = tuple[int, int] | None


@dataclass(slots=True)
class _Pending:
    state: State
    first: float
    since: float
    is_new: bool


class Settling:
    """Paths by the time since their last change; times are in the caller's clock."""

    def __init__(self, still: float = STILL_SECONDS, most: float = MOST_SECONDS) -> None:
        self._still, self._most = still, most
        self._pending: dict[bytes, _Pending] = {}

    def __bool__(self) -> bool:
        """Return whether there are any paths."""
        return bool(self._pending)

    def add(self, paths: Mapping[bytes, bool], now: float) -> None:
        """Add changed paths; True is one that was not there before."""
        for path, is_new in paths.items():
            if (known := self._pending.get(path)) is not None:
                known.state, known.since = _state(path), now
            else:
                self._pending[path] = _Pending(_state(path), now, now, is_new)

    def look(self, now: float) -> None:
        """Look at all paths; those that came and went in between are dropped."""
        for path, each in list(self._pending.items()):
            state = _state(path)
            if state != each.state:
                each.state, each.since = state, now
            if state is None and each.is_new:
                del self._pending[path]

    def settled(self, now: float) -> dict[bytes, bool]:
        """Return the paths that have stopped growing, each with whether it is there."""
        return {
            path: each.state is not None
            for path, each in self._pending.items()
            if now - each.since >= self._still or now - each.first >= self._most
        }

    def waited(self, paths: Iterable[bytes], now: float) -> float:
        """Return for how long the first of these paths has been here."""
        return max((now - self._pending[path].first for path in paths), default=0.0)

    def growing(self, now: float) -> list[bytes]:
        """Return the paths that have not stopped growing and are there."""
        settled = self.settled(now)
        return [
            path
            for path, each in self._pending.items()
            if path not in settled and each.state is not None
        ]

    def remove(self, paths: Iterable[bytes]) -> None:
        """Drop paths, which are being indexed now."""
        for path in paths:
            self._pending.pop(path, None)


def _state(path: bytes) -> State:
    """Return size and time of a file, zeros for anything else, None if nothing is there."""
    try:
        status = Path(os.fsdecode(path)).lstat()
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else (0, 0)
