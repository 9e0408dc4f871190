"""Follows one root: changes below it arrive as messages, from the system or by polling."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.files import is_below
from qvsearch.freshness.messages import Changed, Inbox, Lost, Ready
from qvsearch.freshness.polling import polled
from qvsearch.indexing.mounts import shared_type

if TYPE_CHECKING:
    from watchfiles import Change

STEP_MS = 250  # between looks at what the system has reported
GATHER_MS = 1000  # at most, for changes that come together
# the errors of watchfiles have no number of their own
LIMITS = ("limit reached", "(os error 24)", "(os error 28)")
LIMIT_TEXT = (
    "the system allows too few inotify watches; more with:"
    " sudo sysctl fs.inotify.max_user_watches=1048576 fs.inotify.max_user_instances=512"
)


def polling_reason(root: bytes) -> str | None:
    """Return why the system does not report changes below a root; None if it does."""
    kind = shared_type(Path(os.fsdecode(root)))
    return None if kind is None else f"it is on a network ({kind})"


def failure_reason(error: Exception) -> str:
    """Return why the system cannot report changes, from an error of watchfiles."""
    text = str(error)
    return LIMIT_TEXT if any(each in text for each in LIMITS) else text


class Follower:
    """A thread that puts a message into the inbox for each group of changes, until `end`."""

    def __init__(self, root: bytes, inbox: Inbox, *, polls: bool) -> None:
        self.root = root
        self._inbox, self._polls = inbox, polls
        self._end = threading.Event()
        threading.Thread(target=self._follow, name="follower", daemon=True).start()

    def end(self) -> None:
        """Stop following; nothing arrives after a moment."""
        self._end.set()

    def _follow(self) -> None:
        is_ready = False
        try:
            changes = polled(self.root, self._end) if self._polls else self._reported()
            for paths in changes:
                if self._end.is_set():
                    return
                if not is_ready:
                    is_ready = True
                    self._inbox.put(Ready(self.root))
                if paths:
                    self._inbox.put(Changed(self.root, paths))
        except (OSError, RuntimeError, ValueError) as error:
            if not self._end.is_set():
                self._inbox.put(Lost(self.root, error, not is_ready))

    def _reported(self) -> Iterator[dict[bytes, bool]]:
        """Yield the changes that the system reports; the first, empty ones once it does."""
        from watchfiles import watch

        place = Path(os.fsdecode(self.root))
        is_file = place.is_file()
        for changes in watch(
            # a file that is replaced has a new inode, which only its folder reports
            place.parent if is_file else place,
            watch_filter=None,
            debounce=GATHER_MS,
            step=STEP_MS,
            stop_event=self._end,
            rust_timeout=STEP_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
            force_polling=False,
            recursive=not is_file,
            # True would hide that a limit is reached, and leave out what comes after
            ignore_permission_denied=False,
        ):
            yield self._paths(changes)

    def _paths(self, changes: Iterable[tuple[Change, str]]) -> dict[bytes, bool]:
        """Return each path with whether it was added; one that was also deleted was there."""
        paths: dict[bytes, bool] = {}
        real = os.path.realpath(self.root)
        for change, text in changes:
            path = os.fsencode(text)
            if not is_below(path, self.root) and is_below(path, real):  # macOS resolves links
                path = self.root + path[len(real) :]
            if is_below(path, self.root):
                paths[path] = change.name == "added" and paths.get(path, True)
        return paths
