"""The roots of a library, each followed while it is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qvsearch.errors import QvsearchError
from qvsearch.freshness.events import Follower, failure_reason, polling_reason
from qvsearch.freshness.messages import Inbox, Lost
from qvsearch.freshness.polling import POLL_SECONDS
from qvsearch.freshness.relevance import concerns
from qvsearch.library.aliases import file_identity, is_there
from qvsearch.library.manifest import MANIFEST, read_committed
from qvsearch.library.names import option
from qvsearch.library.rules import NO_RULES


@dataclass(frozen=True, slots=True)
class Notice:
    """What happens to the watcher: its state, the root that it concerns, and the reason."""

    state: str
    root: bytes | None = None
    reason: str | None = None


@dataclass(slots=True)
class _Root:
    concerns: Callable[[bytes], bool]
    follower: Follower | None = None
    identity: tuple[int, int] | None = None
    is_away: bool = False
    must_poll: str | None = None  # why


class Followed:
    """Follows the roots that a library has now; each `look` adapts to what has changed."""

    def __init__(self, folder: Path, inbox: Inbox, tell: Callable[[Notice], None]) -> None:
        self._folder, self._inbox, self._tell = folder, inbox, tell
        self._roots: dict[bytes, _Root] = {}
        self._read: tuple[int, int] | None = None  # of the manifest file

    @property
    def reachable(self) -> list[bytes]:
        """The roots that are followed now."""
        return [root for root, each in self._roots.items() if each.follower is not None]

    def look(self) -> None:
        """Follow roots that came, and leave those that went.

        Raises QvsearchError if the library is gone or has no roots.
        """
        self._look_at_library()
        for root, each in self._roots.items():
            identity = file_identity(root)
            if identity is None and not is_there(root):
                if not each.is_away:
                    self._leave(each)
                    each.is_away = True
                    self._tell(Notice("away", root))
            elif each.follower is None or identity != each.identity:
                self._leave(each)
                self._follow(root, each, identity)

    def concerns(self, root: bytes, path: bytes) -> bool:
        """Return whether a change below a root may concern the library."""
        each = self._roots.get(root)
        return each is not None and each.follower is not None and each.concerns(path)

    def follow_anew(self, root: bytes) -> None:
        """Follow a root anew at the next look: it may be another folder of that name now."""
        if root in self._roots:
            self._leave(self._roots[root])

    def lost(self, message: Lost) -> None:
        """Follow a root anew at the next look; by polling if the system cannot report changes."""
        each = self._roots.get(message.root)
        if each is None or not is_there(message.root):
            return
        self._leave(each)
        if message.from_the_start:
            each.must_poll = failure_reason(message.error)
        else:
            self._tell(Notice("lost", message.root, str(message.error)))

    def end(self) -> None:
        """Stop following."""
        for each in self._roots.values():
            self._leave(each)

    def _look_at_library(self) -> None:
        try:
            status = (self._folder / MANIFEST).stat()
            state = (status.st_mtime_ns, status.st_ino)
        except OSError:
            state = None
        if state is not None and state == self._read:
            return
        manifest = read_committed(self._folder)
        self._read = state
        roots = [root for root in manifest.roots if root is not None]
        if not roots:
            raise QvsearchError(
                f"the library {self._folder} has no folders yet; add one with:"
                f" qvsearch index FOLDER{option(self._folder)}"
            )
        for root in [root for root in self._roots if root not in roots]:
            self._leave(self._roots.pop(root))
        for root in roots:
            rules = manifest.rules.get(root, NO_RULES)
            test = concerns(root, rules, os.fsencode(self._folder))
            self._roots.setdefault(root, _Root(test)).concerns = test

    def _follow(self, root: bytes, each: _Root, identity: tuple[int, int] | None) -> None:
        reason = each.must_poll or polling_reason(root)
        each.follower = Follower(root, self._inbox, polls=reason is not None)
        each.identity = identity
        if each.is_away:
            self._tell(Notice("back", root))
        elif reason is None:
            self._tell(Notice("watching", root))
        else:
            self._tell(Notice("polling", root, f"every {POLL_SECONDS:.0f} s: {reason}"))
        each.is_away = False

    def _leave(self, each: _Root) -> None:
        if each.follower is not None:
            each.follower.end()
        each.follower = None
