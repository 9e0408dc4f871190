"""Look a library over: what it holds, what failed, what on the disk has changed since."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.output import path_fields
from qvsearch.types import Fingerprint, Item, Kind

if TYPE_CHECKING:
    from qvsearch.failures import Failure
    from qvsearch.library import Library


@dataclass(frozen=True, slots=True)
class Holding:
    """How much of a kind a library holds."""

    kind: Kind
    items: int
    segments: int


@dataclass(frozen=True, slots=True)
class Status:
    """What `qvsearch status` says; `size` is in bytes, paths are absolute.

    A root that cannot be reached makes none of its files `gone`.
    """

    folder: Path
    fingerprint: Fingerprint
    holdings: tuple[Holding, ...]
    roots: tuple[bytes, ...]
    unreachable: tuple[bytes, ...]
    changed: tuple[bytes, ...]
    gone: tuple[bytes, ...]
    failures: tuple[Failure, ...]
    size: int


def library_status(library: Library) -> Status:
    """Compare a library with the disk by looking at every file's size and time."""
    items: dict[bytes, Item] = {}
    segments: Counter[Kind] = Counter()
    for segment in library.segments.values():
        items[segment.item.location] = segment.item
        segments[segment.item.kind] += 1
    counts = Counter(item.kind for item in items.values())
    unreachable = tuple(root for root in library.roots if not Path(os.fsdecode(root)).exists())
    changed, gone = [], []
    for location, item in items.items():
        if item.root in unreachable:
            continue
        try:
            status = Path(os.fsdecode(location)).stat()
        except OSError:
            gone.append(location)
            continue
        if (status.st_size, status.st_mtime_ns) != (item.size, item.mtime_ns):
            changed.append(location)
    return Status(
        folder=library.folder,
        fingerprint=library.fingerprint,
        holdings=tuple(
            Holding(kind, counts[kind], segments[kind]) for kind in Kind if counts[kind]
        ),
        roots=tuple(library.roots),
        unreachable=unreachable,
        changed=tuple(sorted(changed)),
        gone=tuple(sorted(gone)),
        failures=tuple(library.load_failures()),
        size=sum(each.stat().st_size for each in library.folder.rglob("*") if each.is_file()),
    )


def status_record(status: Status) -> dict[str, object]:
    """Return what `status --json` says."""
    return {
        **path_fields("library", os.fsencode(status.folder)),
        "model": asdict(status.fingerprint),
        "bytes": status.size,
        "kinds": {
            each.kind.value: {"items": each.items, "segments": each.segments}
            for each in status.holdings
        },
        "roots": [
            {**path_fields("path", root), "reachable": root not in status.unreachable}
            for root in status.roots
        ],
        "changed": [path_fields("path", path) for path in status.changed],
        "gone": [path_fields("path", path) for path in status.gone],
        "failed": [
            {**path_fields("path", each.path), "reason": each.reason, "tries": each.tries}
            for each in status.failures
        ],
    }
