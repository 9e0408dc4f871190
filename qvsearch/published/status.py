"""The state of a shared table: its rows, its publishers and its roots on this computer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.published.mapped_roots import published_roots
from qvsearch.published.publishers import list_publishers

if TYPE_CHECKING:
    from qvsearch.published.library import PublishedLibrary
    from qvsearch.published.mapped_roots import PublishedRoot
    from qvsearch.published.publishers import Publisher
    from qvsearch.types import Fingerprint, Kind


@dataclass(frozen=True, slots=True)
class TableStatus:
    """What a table holds.

    `files` and `rows` are numbers by kind. `version` is the number of its last commit. `indexed` is
    true if its vectors have an index; a search compares the `loose` rows one by one.
    """

    folder: Path
    fingerprint: Fingerprint
    version: int
    files: Mapping[Kind, int]
    rows: Mapping[Kind, int]
    publishers: tuple[Publisher, ...]
    roots: tuple[PublishedRoot, ...]
    indexed: bool
    loose: int


def table_status(library: PublishedLibrary) -> TableStatus:
    """Return the state of a table; no vector is read."""
    table = library.table
    counts = library.counts()
    shape = table.shape
    return TableStatus(
        folder=library.folder,
        fingerprint=library.fingerprint,
        version=table.version,
        files={kind: files for kind, (files, _) in counts.items()},
        rows={kind: rows for kind, (_, rows) in counts.items()},
        publishers=tuple(list_publishers(table)),
        roots=tuple(published_roots(table)),
        indexed=table.is_indexed,
        loose=shape.loose if table.is_indexed else shape.rows,
    )
