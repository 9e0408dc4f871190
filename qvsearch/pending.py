"""What an unfinished indexing run has left to do, `unfinished.json` beside the manifest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import orjson

from qvsearch.durable import open_file, remove_file, write_file
from qvsearch.fields import path_field, read_path

PENDING = "unfinished.json"
LARGEST = 1_000_000  # bytes


@dataclass(frozen=True, slots=True)
class Pending:
    """The absolute paths given to a run, and how many files it has not indexed yet."""

    paths: tuple[bytes, ...]
    files: int


def write_pending(folder: Path, runs: Iterable[Pending]) -> None:
    """Replace a library's list of unfinished runs."""
    records = [{"paths": list(map(path_field, run.paths)), "files": run.files} for run in runs]
    if records:
        write_file(folder / PENDING, orjson.dumps(records))
    else:
        remove_file(folder / PENDING)


def read_pending(folder: Path) -> list[Pending]:
    """Return a library's unfinished runs; a list that cannot be read is empty: it only informs."""
    try:
        with open_file(folder / PENDING) as file:
            records = orjson.loads(file.read(LARGEST) or b"")
        return [
            Pending(tuple(map(read_path, record["paths"])), max(0, int(record["files"])))
            for record in records
        ]
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return []
