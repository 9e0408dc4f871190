"""What reaches the watcher: changes in folders, lines of its worker, and the wish to end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Ready:
    """From now on each change below a root is reported."""

    root: bytes


@dataclass(frozen=True, slots=True)
class Changed:
    """Paths below a root that were added, changed or deleted; True for those that were added."""

    root: bytes
    paths: Mapping[bytes, bool]


@dataclass(frozen=True, slots=True)
class Lost:
    """The system does not report the changes below a root: not from the start, or not any more."""

    root: bytes
    error: Exception
    from_the_start: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A record that a worker, known by its process id, has printed."""

    pid: int
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker has ended with this exit code."""

    pid: int
    code: int


@dataclass(frozen=True, slots=True)
class Wake:
    """Somebody wants the watcher to look at its state."""


Message: TypeAlias = Ready | Changed | Lost | Line | Ended | Wake
Inbox: TypeAlias = SimpleQueue[Message]  # a signal handler may put into it
