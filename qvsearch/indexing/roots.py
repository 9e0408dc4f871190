"""The roots of a library: what each holds, where it lies, and its rules."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.indexing.mounts import file_system
from qvsearch.library.aliases import is_there
from qvsearch.library.lock import LOCK
from qvsearch.library.rules import NO_RULES, Rules
from qvsearch.types import Kind

if TYPE_CHECKING:
    from qvsearch.library.library import Library


@dataclass(frozen=True, slots=True)
class Root:
    """An indexed folder or file, with the number of its files of each kind.

    `file_system` is None if it is not reachable, or if the system does not tell.
    """

    path: bytes
    reachable: bool
    items: Mapping[Kind, int]
    rules: Rules
    file_system: str | None


def library_roots(library: Library) -> list[Root]:
    """Return the roots in the order of adding; of the disk, only the roots are looked at."""
    counts: dict[bytes, Counter[Kind]] = {root: Counter() for root in library.roots}
    for rows in library.by_location().values():
        item = library.segments[rows[0]].item
        counts[item.root][item.kind] += 1
    return [_root(root, counts[root], library.rules.get(root, NO_RULES)) for root in library.roots]


def _root(path: bytes, items: Mapping[Kind, int], rules: Rules) -> Root:
    reachable = is_there(path)
    kind = file_system(Path(os.fsdecode(path))) if reachable else None
    return Root(path, reachable, {kind: items.get(kind, 0) for kind in Kind}, rules, kind or None)


@dataclass(frozen=True, slots=True)
class Absent:
    """A root that is not there, and how many of its `files` another root has, too.

    `other` is the one that has the most of them, `shared`; None if there is none.
    """

    path: bytes
    files: int
    other: bytes | None
    shared: int

    @property
    def is_elsewhere(self) -> bool:
        """Whether the other root has more than half of the files."""
        return 2 * self.shared > self.files


def absent_roots(library: Library) -> list[Absent]:
    """Return the roots that are not there, e.g. because their folder has a new name."""
    away = [root for root in library.roots if not is_there(root)]
    if not away:
        return []
    contents: dict[bytes, list[str]] = {root: [] for root in library.roots}
    for rows in library.by_location().values():
        segment = library.segments[rows[0]]
        contents[segment.item.root].append(segment.content_hash)
    present = {root: set(contents[root]) for root in library.roots if root not in away}
    return [_absent(root, contents[root], present) for root in away]


def _absent(root: bytes, contents: list[str], present: Mapping[bytes, set[str]]) -> Absent:
    shared = {each: sum(one in hashes for one in contents) for each, hashes in present.items()}
    other = max(shared, key=shared.__getitem__, default=None)
    return Absent(root, len(contents), other, 0 if other is None else shared[other])


def last_run(folder: Path) -> float | None:
    """Return when a command last took the lock of a library, as Unix time; None if never."""
    try:
        return (folder / LOCK).stat().st_mtime
    except OSError:
        return None


def remembered_rules(library: Library) -> dict[bytes, Rules]:
    """Return the rules of a library's roots, and those of folders that unfinished runs will add."""
    waiting = {root: each for run in library.load_pending() for root, each in run.rules.items()}
    return {
        **{root: each for root, each in waiting.items() if root not in library.roots},
        **library.rules,
    }
