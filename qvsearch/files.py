# ruff: noqa: PTH101, PTH102, PTH105, PTH106, PTH108  (pathlib would hide which operations are done)
"""Writes files atomically and durably: after a crash each is whole, or it is not there.

Only this module changes files of a library. Every operation goes through its `os`, so that tests
can record it, or let it fail.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader, FileIO
from pathlib import Path
from typing import BinaryIO

from qvsearch.errors import QvsearchError

MIB = 1024 * 1024
WHOLE_FILE = 4 * MIB  # up to this size a content hash reads everything
SAMPLE = MIB  # of a larger file: the first, the middle and the last of this many bytes
READ_SIZE = MIB
TEMPORARY = ".tmp"
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700  # modes that exclude other users


@dataclass(frozen=True, slots=True)
class Seal:
    """The size in bytes and the sha256 in hex of a whole file."""

    size: int
    sha256: str


def write_file(path: Path, *parts: bytes | memoryview, private: bool = False) -> Seal:
    """Write the parts, one after the other, to a file at `path`, atomically and durably.

    Readers see the old file or the new one; only the user can read a `private` one. If it raises
    QvsearchError the old file is still there; if only the last sync failed, possibly the new one.
    """
    temporary = _temporary(path)
    try:
        try:
            seal = _write_new(temporary, parts, PRIVATE_FILE if private else 0o666)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        sync_folder(path.parent)
    except OSError as error:
        needed = sum(memoryview(part).nbytes for part in parts)
        raise QvsearchError(_failure(path, needed, error)) from error
    return seal


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Give an empty file, which replaces `path` durably if the block ends without an error.

    For what is too large for `write_file`. After an error nothing of it is left. Raises
    QvsearchError if it cannot be written; an OSError about another file passes through.
    """
    temporary = _temporary(path)
    try:
        try:
            with open(temporary, "x+b") as file:  # noqa: PTH123 - beside the others here
                yield file
                file.flush()
                _sync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        sync_folder(path.parent)
    except OSError as error:
        if error.filename not in (None, str(temporary)):
            raise
        raise QvsearchError(_failure(path, None, error)) from error


def make_folder(path: Path, *, private: bool = False) -> None:
    """Create a folder and those above it, durably; an existing folder stays as it is.

    A `private` folder gets its mode even if it exists; those above it do not.
    """
    if path.is_dir():
        if private and stat.S_IMODE(path.stat().st_mode) != PRIVATE_FOLDER:
            with suppress(OSError):  # another user's
                os.chmod(path, PRIVATE_FOLDER)
        return
    try:
        if not path.parent.is_dir():
            make_folder(path.parent)
        try:
            os.mkdir(path, PRIVATE_FOLDER if private else 0o777)
        except FileExistsError:
            if not path.is_dir():
                raise
        sync_folder(path.parent)
    except OSError as error:
        reason = "a file has that name" if isinstance(error, FileExistsError) else error.strerror
        raise QvsearchError(f"cannot create the folder {path}: {reason}") from error


def move_file(path: Path, target: Path) -> None:
    """Move a file within one file system; the folder of `target` must exist."""
    try:
        os.replace(path, target)
        sync_folder(target.parent)
    except OSError as error:
        raise QvsearchError(f"cannot move {path} to {target}: {error.strerror}") from error


def move_folder(path: Path, target: Path) -> None:
    """Move a folder within one file system, to a new name or in place of an empty folder.

    Raises OSError if that is impossible; its number is EXDEV for another file system.
    """
    os.replace(path, target)
    for folder in {path.parent, target.parent}:
        sync_folder(folder)


def copy_file(path: Path, target: Path) -> Seal:
    """Copy a plain file to a new one, durably but for its name; return the seal of what was read.

    Raises QvsearchError.
    """

    def parts(file: FileIO) -> Iterator[bytes]:
        try:
            while part := file.read(READ_SIZE):
                yield part
        except OSError as error:
            raise QvsearchError(f"cannot read {path}: {error.strerror}") from error

    with _opened(path) as file:
        status = os.fstat(file.fileno())
        try:
            return _write_new(target, parts(file), stat.S_IMODE(status.st_mode) & 0o777)
        except OSError as error:
            raise QvsearchError(_failure(target, status.st_size, error)) from error


def read_seal(path: Path) -> Seal:
    """Return the seal of a plain file as it is on the disk; raises QvsearchError."""
    digest, size = hashlib.sha256(), 0
    with _opened(path) as file:
        if hasattr(os, "posix_fadvise"):  # not from memory, if the system follows the advice
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        try:
            while part := file.read(READ_SIZE):
                digest.update(part)
                size += len(part)
        except OSError as error:
            raise QvsearchError(f"cannot read {path}: {error.strerror}") from error
    return Seal(size, digest.hexdigest())


def temporary_folder(path: Path) -> Path:
    """Return a name beside `path` for a folder that shall become it, or that it was."""
    return _temporary(path)


def remove_file(path: Path) -> None:
    """Delete a file, if that is possible now."""
    with suppress(OSError):
        os.unlink(path)


def remove_folder(path: Path) -> None:
    """Delete an empty folder, if that is possible now."""
    with suppress(OSError):
        os.rmdir(path)


def touch_file(path: Path) -> None:
    """Set a file's time of change to now, if that is possible."""
    with suppress(OSError):
        os.utime(path)


def is_temporary(path: Path) -> bool:
    """Return whether a path has the name of one that is being written, or was left so."""
    return path.name.startswith(".") and path.name.endswith(TEMPORARY)


def open_file(location: Path | bytes) -> FileIO:
    """Open a plain file for reading, without waiting; raises OSError for anything else."""
    # Non-blocking, because opening a FIFO without a writer would wait for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(location, flags)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):  # FileIO refuses a folder, too, but neither names nor closes it
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(location))
        raise OSError(errno.EINVAL, "not a plain file", os.fspath(location))
    return FileIO(descriptor)


def read_start(location: Path | bytes, most: int) -> bytes:
    """Return the first `most` bytes of a plain file; raises OSError for anything else."""
    with BufferedReader(open_file(location)) as file:
        return file.read(most)


def content_hash(location: bytes, size: int) -> str:
    """Return a hash of a file's content, in hex; of a large file only samples are read.

    Raises OSError if the file cannot be read, is not a plain file, or is not `size` bytes long.
    """
    with open_file(location) as file:
        return hash_open_file(file, size)


def hash_open_file(file: FileIO | BinaryIO, size: int) -> str:
    """Return the content hash of an open file; raises as `content_hash` does."""
    if os.fstat(file.fileno()).st_size != size:
        raise OSError(errno.EAGAIN, f"changed while it was read: {size} bytes before")
    if size <= WHOLE_FILE:
        ranges = [(0, size)]
    else:
        ranges = [(start, SAMPLE) for start in (0, (size - SAMPLE) // 2, size - SAMPLE)]
    digest = hashlib.blake2b(size.to_bytes(8, "little"), digest_size=16)
    for start, length in ranges:
        file.seek(start)
        while length:
            data = file.read(min(length, READ_SIZE))
            if not data:
                raise OSError(errno.EAGAIN, f"changed while it was read: {size} bytes before")
            digest.update(data)
            length -= len(data)
    return digest.hexdigest()


def _opened(path: Path) -> FileIO:
    """Open a plain file for reading; raises QvsearchError."""
    try:
        return open_file(path)
    except OSError as error:
        raise QvsearchError(f"cannot read {path}: {error.strerror}") from error


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")


def _write_new(path: Path, parts: Iterable[bytes | memoryview], mode: int) -> Seal:
    """Write a new file and wait until it is on the disk."""
    digest = hashlib.sha256()
    size = 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, mode)
    try:
        for part in parts:
            digest.update(part)
            rest = memoryview(part).cast("B")
            size += rest.nbytes
            while rest.nbytes:
                rest = rest[os.write(descriptor, rest) :]
        _sync(descriptor)
    finally:
        # A network disk may report only here that the data did not arrive.
        os.close(descriptor)
    return Seal(size, digest.hexdigest())


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)
    if sys.platform == "darwin":
        # There fsync leaves the data in the drive's own cache.
        import fcntl

        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    if sys.platform == "win32":
        return  # folders cannot be opened there
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failure(path: Path, needed: int | None, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        size = "" if needed is None else f": it needs {needed:,} bytes"
        return (
            f"no space for {path.name} in {path.parent}{size}"
            f" ({error.strerror}); free some and run the same command again"
        )
    return f"cannot write {path.name} in {path.parent}: {error.strerror}"


def is_below(path: bytes, folder: bytes) -> bool:
    """Return whether an absolute path is the folder or below it."""
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")


def is_within(path: bytes, folders: Collection[bytes]) -> bool:
    """Return whether an absolute path is one of many folders or below one; a set is quick."""
    while path not in folders:
        above = os.path.dirname(path)
        if above == path:
            return False
        path = above
    return True
