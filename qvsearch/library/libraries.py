"""Lists and deletes libraries of the user's data folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.files import is_temporary, remove_file
from qvsearch.formats import utc_text
from qvsearch.library.creation import FILES
from qvsearch.library.library import Library
from qvsearch.library.lock import HOLDER, LOCK, WriterLock
from qvsearch.library.manifest import (
    MANIFEST,
    SEGMENTS,
    Damaged,
    read_committed,
    unreadable,
)
from qvsearch.library.names import default_folder, exists, home, library_folder
from qvsearch.library.searches import SEARCHES, is_search_file
from qvsearch.library.sweeping import is_shard_file
from qvsearch.types import Kind


@dataclass(frozen=True, slots=True)
class Shelved:
    """A library of the data folder: `size` in bytes, `problem` if it cannot be read.

    `files` counts those of each kind. `changed` is the time of the last commit (ISO 8601, UTC).
    `failed` files could not be indexed; `not_indexed` are left by an unfinished run.
    """

    name: str
    folder: Path
    is_default: bool
    size: int
    model: str | None = None
    segments: int | None = None
    files: Mapping[Kind, int] = field(default_factory=dict)
    changed: str | None = None
    failed: int = 0
    not_indexed: int = 0
    problem: str | None = None


def list_libraries() -> Iterator[Shelved]:
    """Yield the libraries of the data folder, by name; no vector is read."""
    for folder in sorted(home().iterdir()) if home().is_dir() else []:
        shelved = Shelved(folder.name, folder, folder == default_folder(), 0)
        try:
            if is_temporary(folder) or not exists(folder):
                continue
            shelved = replace(shelved, size=_size(folder))
            manifest = folder / MANIFEST
            if manifest.exists():
                shelved = replace(shelved, changed=utc_text(manifest.stat().st_mtime_ns))
            shelved = replace(shelved, model=read_committed(folder).fingerprint.model)
            shelved = _counted(shelved, Library.open(folder))
        except (OSError, QvsearchError) as error:
            problem = unreadable(folder, error) if isinstance(error, OSError) else error
            shelved = replace(shelved, problem=str(problem))
        yield shelved


def _counted(shelved: Shelved, library: Library) -> Shelved:
    """Return the record of a library with the numbers of its files."""
    items = library.columns.items
    files = {
        kind: len(np.unique(items[rows]))
        for kind, rows in zip(Kind, library.by_kind, strict=True)
        if len(rows)
    }
    return replace(
        shelved,
        segments=sum(map(len, library.by_kind)),
        files=files,
        failed=len(library.load_failures()),
        not_indexed=sum(run.files for run in library.load_pending()),
    )


def _size(folder: Path) -> int:
    """Return the bytes of a folder's files; files deleted meanwhile count as 0."""
    size = 0
    for each in folder.rglob("*"):
        with suppress(FileNotFoundError):
            size += each.stat().st_size if each.is_file() else 0
    return size


def delete_library(name: str) -> Path:
    """Delete a library, named as for --library; return its folder.

    Deletes only files with names that qvsearch gives, and the folder if nothing else is in it.
    Raises QvsearchError if there is no such library, LibraryLocked while another process writes.
    """
    folder = library_folder(name)
    _check_library(folder)
    try:
        with WriterLock(folder).held():
            (folder / MANIFEST).unlink(missing_ok=True)
            for inner, is_ours in ((SEGMENTS, is_shard_file), (SEARCHES, is_search_file)):
                if not (place := folder / inner).is_dir():
                    continue
                for each in list(place.iterdir()):
                    if is_ours(each) or is_temporary(each):
                        each.unlink()
                with suppress(OSError):  # something else is in it
                    place.rmdir()
            for each in list(folder.iterdir()):
                if each.name in FILES - {LOCK, HOLDER, SEGMENTS, SEARCHES} or is_temporary(each):
                    each.unlink()
            # The next writer creates another one. Windows keeps it until it is released.
            remove_file(folder / LOCK)
    except OSError as error:
        raise QvsearchError(
            f"cannot delete {folder}: {error.strerror}: {error.filename}"
        ) from error
    with suppress(OSError):  # something else is in it
        folder.rmdir()
    return folder


def _check_library(folder: Path) -> None:
    """Raise QvsearchError unless a library is there, damaged or not."""
    try:
        read_committed(folder)
    except Damaged as error:
        segments = folder / SEGMENTS
        if not any(map(is_shard_file, segments.glob("*.faiss"))):
            raise QvsearchError(
                f"{folder} is not a library of qvsearch; nothing was deleted"
            ) from error
