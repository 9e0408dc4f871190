"""Where the roots of shared tables lie on this computer, in the user's settings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import platformdirs
from filelock import FileLock

from qvsearch.errors import QvsearchError
from qvsearch.files import make_folder, read_start, write_file
from qvsearch.formats import path_fields, read_path
from qvsearch.library.aliases import is_there
from qvsearch.published.publishers import list_publishers
from qvsearch.published.schema import READ, published
from qvsearch.published.sql import quoted

if TYPE_CHECKING:
    from qvsearch.published.address import Address
    from qvsearch.published.engine import Table
    from qvsearch.types import Item

_FILE = "published-roots.json"
LARGEST = 4_000_000  # bytes
LOCK_SECONDS = 10.0  # of another process that changes them
COMPARED = 50  # files; enough to tell another folder from the root


@dataclass(frozen=True, slots=True)
class PublishedRoot:
    """A root of a table: its name `PUBLISHER/FOLDER`, its number of files, and its folder here.

    `path` is None if it is not mapped.
    """

    name: str
    files: int
    path: bytes | None

    @property
    def reachable(self) -> bool:
        """Whether its folder is there now."""
        return self.path is not None and is_there(self.path)


def published_roots(table: Table) -> list[PublishedRoot]:
    """Return the roots of a table by name."""
    here = mapped_roots(table.address)
    counts = {name: n for each in list_publishers(table) for name, n in each.roots.items()}
    return [PublishedRoot(name, n, here.get(name)) for name, n in sorted(counts.items())]


def mapped_roots(address: Address) -> dict[str, bytes]:
    """Return the absolute paths of a table's roots on this computer, by their names."""
    return _read().get(str(address), {})


def map_root(table: Table, name: str, folder: bytes) -> tuple[PublishedRoot, int, int]:
    """Store that a root of a table is an absolute `folder` here.

    Return the root, how many of its files the folder has, and how many were compared. A name may be
    given without its publisher if only one root has it. Raises QvsearchError if there is no such
    root, or if the folder is not there or has none of the files that are compared.
    """
    roots = published_roots(table)
    found = [each for each in roots if name in (each.name, each.name.partition("/")[2])]
    if len(found) != 1:
        raise _not_one(table.address, name, found, roots)
    if not is_there(folder):
        raise QvsearchError(f"{os.fsdecode(folder)} is not there; nothing was changed")
    root = found[0]
    compared = _some_files(table, root.name)
    same = sum(_is_in(folder, item) for item in compared)
    if compared and not same:
        first = compared[0]
        sought = os.fsdecode(first.path or os.path.basename(first.root))
        raise QvsearchError(
            f"{os.fsdecode(folder)} has none of {len(compared)} files of {root.name} that were"
            f" compared, e.g. {sought} of {first.size:,} bytes; nothing was changed: give the"
            " folder that has them"
        )
    keep_roots(table.address, {root.name: folder})
    return PublishedRoot(root.name, root.files, folder), same, len(compared)


def unmap_root(address: Address, name: str) -> str:
    """Forget where a root of a table lies here, and return its whole name.

    The table is not read, since it may be gone. Raises QvsearchError if no such root is mapped.
    """
    with _changed() as mapped:
        here = mapped.get(str(address), {})
        found = [each for each in here if name in (each, each.partition("/")[2])]
        if len(found) != 1:
            there = ", ".join(found or here) or "none"
            what = "several roots" if found else "no root"
            raise QvsearchError(f"{what} {name} of {address} is mapped here; mapped are: {there}")
        del here[found[0]]
        if not here:
            del mapped[str(address)]
    return found[0]


def _not_one(
    address: Address, name: str, found: Sequence[PublishedRoot], roots: Sequence[PublishedRoot]
) -> QvsearchError:
    what = "several roots" if found else "no root"
    there = ", ".join(each.name for each in found or roots) or "none"
    return QvsearchError(f"{address} has {what} {name}; there are: {there}")


def keep_own_roots(address: Address, roots: Mapping[str, bytes]) -> None:
    """Store where the roots of a library that is published from here lie.

    A folder that the user gave stays while it is there.
    """
    before = mapped_roots(address)
    keep_roots(
        address,
        {name: p for name, p in roots.items() if name not in before or not is_there(before[name])},
    )


def keep_roots(address: Address, roots: Mapping[str, bytes]) -> None:
    """Add to the mapped roots of a table."""
    if roots:
        with _changed() as mapped:
            mapped[str(address)] = mapped.get(str(address), {}) | dict(roots)


@contextmanager
def _changed() -> Iterator[dict[str, dict[str, bytes]]]:
    """Yield all mapped roots, to be changed; nobody else changes them meanwhile."""
    make_folder(_path().parent)
    with FileLock(_path().with_suffix(".lock"), timeout=LOCK_SECONDS):
        mapped = _read()
        before = {place: dict(each) for place, each in mapped.items()}
        yield mapped
        if mapped != before:
            _write(mapped)


def _write(mapped: Mapping[str, Mapping[str, bytes]]) -> None:
    record = {
        place: {name: path_fields("path", path) for name, path in sorted(each.items())}
        for place, each in sorted(mapped.items())
    }
    write_file(_path(), orjson.dumps(record), private=True)


def _some_files(table: Table, name: str) -> list[Item]:
    """Return some files of a root, which folders are compared with."""
    where = f"root = {quoted(name)} AND ordinal = 0"
    rows = published(table.scan(READ, where, limit=COMPARED), str(table.address))
    return [each.segment.item for each in rows]


def _is_in(folder: bytes, item: Item) -> bool:
    """Return whether a file is in a folder with its size."""
    path = os.path.join(folder, item.path) if item.path else folder
    try:
        return Path(os.fsdecode(path)).stat().st_size == item.size
    except OSError:
        return False


def _read() -> dict[str, dict[str, bytes]]:
    """Return all mapped roots; none if the file is missing or damaged, as it can be made again."""
    try:
        record = orjson.loads(read_start(_path(), LARGEST))
        return {
            place: {name: read_path(path) for name, path in each.items()}
            for place, each in record.items()
        }
    except (AttributeError, OSError, TypeError, ValueError):
        return {}


def _path() -> Path:
    return platformdirs.user_config_path("qvsearch", appauthor=False) / _FILE
