"""Moves a library to another folder: at every moment one whole library is there.

Within a file system that is one renaming. To another one, the files are copied beside the new
place, read again and compared, and put there by one renaming. Only then the old files are deleted.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from shlex import quote

from qvsearch.errors import QvsearchError
from qvsearch.files import (
    TEMPORARY,
    Seal,
    copy_file,
    is_temporary,
    make_folder,
    move_folder,
    read_seal,
    remove_file,
    remove_folder,
    sync_folder,
    temporary_folder,
)
from qvsearch.library.lock import LOCK_FILES, WriterLock
from qvsearch.library.manifest import (
    MANIFEST,
    Damaged,
    baseline_path,
    check_way,
    columns_path,
    faiss_path,
    read_committed,
    read_manifest,
    sidecar_path,
    unreadable,
    words_path,
)
from qvsearch.library.names import absence, exists

Report = Callable[[int, int], None]  # with the bytes that are copied, and all bytes

_LOCKS = set(map(Path, LOCK_FILES))
_OCCUPIED = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}


def move_library(folder: Path, target: Path, report: Report = lambda _done, _of: None) -> None:
    """Move a library to a folder that is new or empty, and becomes the library.

    Another file system gets verified copies. After an interruption the same call goes on. Raises
    QvsearchError, and changes nothing, if the library cannot be moved; LibraryLocked while another
    process writes.
    """
    for place in (folder, target):
        sweep_leftovers(place)
    if not exists(folder):
        raise QvsearchError(absence(folder))
    _check_target(folder, target)
    make_folder(target.parent)
    lock = WriterLock(folder)
    with lock.held():
        if not exists(folder):  # another process was faster
            raise QvsearchError(absence(folder))
        try:
            move_folder(folder, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise _immovable(folder, target, error) from error
        else:
            lock.folder = target
            return
        if not exists(target):
            _copy_library(folder, target, report)
        elif not _is_copied(folder, target):
            raise QvsearchError(f"{target} is already another library; name a new folder")
        _delete_original(folder, target, lock)


def sweep_leftovers(place: Path) -> None:
    """Delete what an interrupted move to or from a folder left beside it, unless one is at work."""
    left = re.compile(rf"\.{re.escape(place.name)}\.[0-9a-f]{{8}}{re.escape(TEMPORARY)}")
    beside: list[Path] = []
    with suppress(OSError):
        beside += place.parent.iterdir()
    for each in beside:
        if left.fullmatch(each.name) is not None:
            with suppress(QvsearchError, OSError), WriterLock(each).held():
                shutil.rmtree(each)


def _check_target(folder: Path, target: Path) -> None:
    """Raise QvsearchError for a place that no library can be moved to."""
    here, there = (Path(os.path.realpath(each)) for each in (folder, target))
    if here == there:
        raise QvsearchError(f"the library is at {folder} already")
    if folder.is_symlink() and folder.parent != target.parent:
        raise QvsearchError(f"{folder} is a link; move the library itself: {here}")
    for above in there.parents:
        if above == here or _is_library(above):
            raise QvsearchError(f"{target} lies in the library {above}; name another folder")
    check_way(target)
    if target.is_mount():
        raise QvsearchError(
            f"{target} is a whole file system; name a new folder in it: {target / folder.name}"
        )
    if exists(target):
        if folder.stat().st_dev == target.stat().st_dev:
            raise QvsearchError(f"{target} is already a library; name a new folder")
        return  # perhaps a copy that was not finished
    if target.is_dir() and any(target.iterdir()):
        raise QvsearchError(
            f"{target} holds other files; name a new folder: {target / folder.name}"
        )


def _is_library(folder: Path) -> bool:
    try:
        read_committed(folder)
    except QvsearchError:
        return False
    return True


def _immovable(folder: Path, target: Path, error: OSError) -> QvsearchError:
    if error.errno in _OCCUPIED:
        return QvsearchError(f"{target} holds other files; name a new folder")
    return QvsearchError(f"cannot move {folder} to {target}: {error.strerror}")


def _copy_library(folder: Path, target: Path, report: Report) -> None:
    """Copy a library to another file system; raises QvsearchError, and leaves nothing there."""
    read_committed(folder)  # a damaged one has no seals to compare the copies with
    if not os.access(folder.parent, os.W_OK | os.X_OK):
        raise QvsearchError(f"cannot move {folder}: no permission to change {folder.parent}")
    folders, files = _contents(folder)
    whole = sum((folder / each).stat().st_size for each in files)
    free = shutil.disk_usage(target.parent).free
    if free < whole:
        raise QvsearchError(
            f"no space for {target}: it needs {whole:,} bytes, {free:,} are free;"
            " free some and run the same command again"
        )
    staging = temporary_folder(target)
    make_folder(staging)
    lock = WriterLock(staging)
    try:
        with lock.held():
            for each in folders:
                make_folder(staging / each)
            seals: dict[Path, Seal] = {}
            done = 0
            for each in files:
                seals[each] = copy_file(folder / each, staging / each)
                done += seals[each].size
                report(done, whole)
            for each in (Path(), *folders):
                sync_folder(staging / each)
            _verify(folder, staging, seals)
            move_folder(staging, target)
            lock.folder = target
    except OSError as error:
        raise QvsearchError(f"cannot copy {folder} to {target}: {error.strerror}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _contents(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders and the files of a library, relative to it, without locks.

    Raises QvsearchError for anything else, such as a link.
    """
    folders, files = [], []
    try:
        for each in sorted(folder.rglob("*")):
            name = each.relative_to(folder)
            if each.is_dir() and not each.is_symlink():
                folders.append(name)
            elif each.is_file() and not each.is_symlink():
                if name not in _LOCKS and not is_temporary(each):
                    files.append(name)
            else:
                raise QvsearchError(f"{each} is not a plain file; move it away, and try again")
    except OSError as error:
        raise unreadable(folder, error) from error
    return folders, files


def _verify(folder: Path, staging: Path, seals: dict[Path, Seal]) -> None:
    """Raise QvsearchError unless each copy is what was read, and each shard what was written."""
    for name, seal in seals.items():
        if read_seal(staging / name) != seal:
            raise QvsearchError(
                f"the copy of {name} differs from what was written: the disk may be broken;"
                " nothing was moved"
            )
    manifest = read_manifest(staging / MANIFEST)
    written: dict[Path, Seal] = {}
    for each in manifest.files:
        written[faiss_path(Path(), each.name)] = each.faiss
        written[sidecar_path(Path(), each.name)] = each.sidecar
        if each.facts is not None:
            written[columns_path(Path(), each.name)] = each.facts
        if each.words is not None:
            written[words_path(Path(), each.words.name)] = each.words.seal
    if manifest.baseline is not None:
        written[baseline_path(Path(), manifest.baseline.name)] = manifest.baseline.seal
    for name, seal in written.items():
        if seals.get(name) != seal and name.suffix != ".facts":  # rebuilt if it is missing
            raise Damaged(folder / name, "it is not what was written; nothing was moved")


def _is_copied(folder: Path, target: Path) -> bool:
    """Return whether the other place has every file of the library, byte for byte."""
    _, files = _contents(folder)
    try:
        return all(read_seal(target / each) == read_seal(folder / each) for each in files)
    except QvsearchError:
        return False


def _delete_original(folder: Path, target: Path, lock: WriterLock) -> None:
    """Delete a library that is copied: it loses its name at once, then its files.

    What has come into it meanwhile stays there. Raises QvsearchError if a file cannot be deleted;
    a later move sweeps it.
    """
    folders, files = _contents(folder)
    temporary = [each.relative_to(folder) for each in folder.rglob("*") if is_temporary(each)]
    trash = temporary_folder(folder)
    try:
        move_folder(folder, trash)
        lock.folder = trash
        for each in (*files, *temporary, *_LOCKS):
            remove_file(trash / each)
        for each in (*reversed(folders), Path()):
            remove_folder(trash / each)
        left = [each for each in files if (trash / each).exists()]
        if trash.exists() and not left:
            move_folder(trash, folder)
            lock.folder = folder
    except OSError as error:
        raise QvsearchError(
            f"the library is now {target}, but the old one stays: {error.strerror};"
            f" delete it with: qvsearch libraries delete {quote(str(folder))}"
        ) from error
    if left:
        raise QvsearchError(
            f"the library is now {target}, but {trash / left[0]} cannot be deleted; delete {trash}"
        )
