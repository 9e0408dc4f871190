"""Copies a file under a new name, whole or not at all; nothing is replaced."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from qvsearch.files import TEMPORARY, open_file

UNFINISHED = ".qvsearch-"  # prefix of what is being written in a folder of the user
CHUNK = 8 << 20  # bytes
_OPEN_FILES = "/proc/self/fd"
_CLONE = 0x40049409  # ioctl FICLONE of linux/fs.h: both files share their blocks
# errors of file systems that cannot do it, or only within one of them
_UNABLE = {errno.EXDEV, errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS, errno.EPERM}


class Changed(OSError):
    """The source changed while it was copied."""


def copy_new(source: bytes, target: Path, check_room: Callable[[], None]) -> None:
    """Copy a plain file, with its times, to a name that must be free.

    On a file system that shares blocks this takes no space; otherwise `check_room` is called
    before the first byte is written. Raises Changed, FileExistsError or another OSError. Then, and
    after a kill, the target is not there; a kill may leave a temporary file where Linux's unnamed
    files do not exist.
    """
    with open_file(source) as file:
        before = os.fstat(file.fileno())
        with _unnamed(target) as (copy, give_name):
            if not _clone(file, copy):
                check_room()
                _copy_bytes(file, copy)
            after = os.fstat(file.fileno())
            state = (before.st_size, before.st_mtime_ns)
            if (after.st_size, after.st_mtime_ns) != state or os.fstat(copy).st_size != state[0]:
                raise Changed(errno.EAGAIN, "changed while it was copied")
            os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
            os.fsync(copy)
            give_name()


@contextmanager
def _unnamed(target: Path) -> Iterator[tuple[int, Callable[[], None]]]:
    """Yield a new file and the function that gives it its name; it is removed without one."""
    try:
        os.stat(_OPEN_FILES)  # noqa: PTH116 - beside the others here
        descriptor = os.open(target.parent, os.O_TMPFILE | os.O_WRONLY, 0o666)
    except (AttributeError, OSError):  # not Linux, or a file system without them
        with _temporary(target) as named:
            yield named
        return
    unnamed = f"{_OPEN_FILES}/{descriptor}"  # a link to the file without a name, see open(2)
    try:
        # Python follows a link only if it is given the descriptor of a folder, which is not used
        yield descriptor, lambda: os.link(unnamed, target, src_dir_fd=descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _temporary(target: Path) -> Iterator[tuple[int, Callable[[], None]]]:
    path = target.with_name(f"{UNFINISHED}{secrets.token_hex(4)}{TEMPORARY}")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)

    def give_name() -> None:
        try:
            os.link(path, target)
        except FileExistsError:
            raise
        except OSError:  # FAT has no second names
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, "exists", os.fspath(target)) from None
            os.rename(path, target)  # noqa: PTH104 - beside the others here

    try:
        yield descriptor, give_name
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            os.unlink(path)  # noqa: PTH108 - beside the others here


def _clone(file: FileIO, copy: int) -> bool:
    """Let a copy share the blocks of a file; return whether the file system can."""
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.ioctl(copy, _CLONE, file.fileno())
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
        return False
    return True


def _copy_bytes(file: FileIO, copy: int) -> None:
    """Copy all bytes: in the kernel, if it can, which may let a server do it."""
    try:
        while os.copy_file_range(file.fileno(), copy, CHUNK):
            pass
    except (AttributeError, OSError) as error:
        if getattr(error, "errno", errno.ENOSYS) not in _UNABLE:
            raise
    while data := file.read(CHUNK):  # what is left: all of it, or nothing
        rest = memoryview(data)
        while rest.nbytes:
            rest = rest[os.write(copy, rest) :]
