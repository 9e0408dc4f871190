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
