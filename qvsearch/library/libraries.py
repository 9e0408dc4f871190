"""Lists and deletes the libraries of the user's data folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from qvsearch.errors import QvsearchError
from qvsearch.files import remove_file
from qvsearch.library.library import OURS, library_folder
from qvsearch.library.lock import HOLDER, LOCK, WriterLock
from qvsearch.library.manifest import (
    MANIFEST,
    SEGMENTS,
    Damaged,
    exists,
    is_shard_file,
    is_temporary,
    read_committed,
    unreadable,
)
from qvsearch.library.names import default_folder, home


@dataclass(frozen=True, slots=True)
class Shelved:
    """A library of the data folder; `size` is in bytes, `problem` is why it cannot be read."""

    name: str
    folder: Path
    is_default: bool
    size: int
    model: str | None = None
    segments: int | None = None
    problem: str | None = None


def list_libraries() -> Iterator[Shelved]:
    """Yield what the data folder holds, by name; only manifests are read."""
    for folder in sorted(home().iterdir()) if home().is_dir() else []:
        shelved = Shelved(folder.name, folder, folder == default_folder(), 0)
        try:
            if not exists(folder):
                continue
            shelved = replace(shelved, size=_size(folder))
            made = read_committed(folder)
        except (OSError, QvsearchError) as error:
            problem = unreadable(folder, error) if isinstance(error, OSError) else error
            yield replace(shelved, problem=str(problem))
            continue
        rows = sum(file.rows - sum(b - a for a, b in file.dead) for file in made.files)
        yield replace(shelved, model=made.fingerprint.model, segments=rows)


def _size(folder: Path) -> int:
    """Return the bytes of a folder's files; those that go meanwhile count nothing."""
    size = 0
    for each in folder.rglob("*"):
        with suppress(FileNotFoundError):
            size += each.stat().st_size if each.is_file() else 0
    return size


def delete_library(name: str) -> Path:
    """Delete a library, named as by --library; return where it was.

    Only files named as qvsearch names its own are deleted, and the folder if nothing else is in it.
    Raises QvsearchError if there is no such library, and LibraryLocked while another process
    changes it.
    """
    folder = library_folder(name)
    _check_library(folder)
    try:
        with WriterLock(folder).held():
            (folder / MANIFEST).unlink(missing_ok=True)
            if (segments := folder / SEGMENTS).is_dir():
                for each in list(segments.iterdir()):
                    if is_shard_file(each) or is_temporary(each):
                        each.unlink()
                with suppress(OSError):  # something else is in it
                    segments.rmdir()
            for each in list(folder.iterdir()):
                if each.name in OURS - {LOCK, HOLDER, SEGMENTS} or is_temporary(each):
                    each.unlink()
            # The next writer makes another one. Windows keeps it until it is released.
            remove_file(folder / LOCK)
    except OSError as error:
        raise QvsearchError(
            f"cannot delete {folder}: {error.strerror}: {error.filename}"
        ) from error
    with suppress(OSError):  # something else is in it
        folder.rmdir()
    return folder


def _check_library(folder: Path) -> None:
    """Raise QvsearchError unless a library is there, which may be a damaged one."""
    try:
        read_committed(folder)
    except Damaged as error:
        segments = folder / SEGMENTS
        if not any(map(is_shard_file, segments.glob("*.faiss"))):
            raise QvsearchError(
                f"{folder} is no library of qvsearch; nothing was deleted"
            ) from error
