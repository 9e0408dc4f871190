"""The list of unfinished indexing runs: `unfinished.json` beside the manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from qvsearch.files import read_start, remove_file, write_file
from qvsearch.formats import path_fields, read_path
from qvsearch.library.rules import Rules, read_rules, rules_records

PENDING = "unfinished.json"
LARGEST = 1_000_000  # bytes


@dataclass(frozen=True, slots=True)
class Pending:
    """The absolute paths of a run, and the number of files that it has not indexed yet.

    `rules` are those of paths that were not roots before; a library has rules for its roots only.
    """

    paths: tuple[bytes, ...]
    files: int
    rules: Mapping[bytes, Rules] = field(default_factory=dict)


def without(
    runs: Iterable[Pending], done: Callable[[bytes], bool], files: int = 0
) -> Iterator[Pending]:
    """Yield the runs without the paths that are done and had `files`, and without finished runs."""
    for run in runs:
        paths = tuple(path for path in run.paths if not done(path))
        if paths == run.paths:
            yield run
        elif paths:
            rules = {root: each for root, each in run.rules.items() if root in paths}
            yield Pending(paths, max(1, run.files - files), rules)


def write_pending(folder: Path, runs: Iterable[Pending]) -> None:
    """Replace a library's list of unfinished runs."""
    records = [
        {
            "paths": [path_fields("path", path) for path in run.paths],
            "files": run.files,
            "rules": rules_records(run.rules),
        }
        for run in runs
    ]
    if records:
        write_file(folder / PENDING, orjson.dumps(records))
    else:
        remove_file(folder / PENDING)


def read_pending(folder: Path) -> list[Pending]:
    """Return a library's unfinished runs; none if the list cannot be read, as it only informs."""
    try:
        records = orjson.loads(read_start(folder / PENDING, LARGEST))
        return [
            Pending(
                tuple(map(read_path, record["paths"])),
                max(0, int(record["files"])),
                read_rules(record.get("rules", [])),
            )
            for record in records
        ]
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return []
