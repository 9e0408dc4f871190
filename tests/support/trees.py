"""Folders of files, and what a scan finds in them."""

import os
from pathlib import Path

from qvsearch.indexing.scan import (
    Leftovers,
    scan,
    total,
)
from qvsearch.library.rules import ScanOptions
from qvsearch.types import Item, Skipped


def put(root: Path, *names: str | bytes, content: bytes = b"x") -> None:
    for name in names:
        location = os.path.join(os.fsencode(root), os.fsencode(name))
        os.makedirs(os.path.dirname(location), exist_ok=True)
        with open(location, "wb") as file:
            file.write(content)


def walk_all(path: Path | bytes, root: Path | None = None, **options):
    path = os.fsencode(path)
    return list(scan(path, os.fsencode(root) if root else path, ScanOptions(**options)))


def walk(path: Path | bytes, root: Path | None = None, **options) -> list[Item | Skipped]:
    return [one for one in walk_all(path, root, **options) if not isinstance(one, Leftovers)]


def left_aside(path: Path, **options) -> dict[str, int]:
    found = walk_all(path, **options)
    return total(one for one in found if isinstance(one, Leftovers))


def names(path: Path, root: Path | None = None, **options) -> list[bytes]:
    found = walk(path, root, **options)
    assert all(isinstance(one, Item) for one in found), found
    return [one.path for one in found]
