"""Paths on disk: whether they exist, and which lead to one file over links and bind mounts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def aliases(path: bytes, roots: Iterable[bytes] = ()) -> tuple[bytes, ...]:
    """Return an absolute path, its resolved path, and its paths below each of the roots.

    Roots are compared by device and inode, not by name. A relative root is that of a shared table
    that is not on this computer; the path below the current folder may begin with its name.
    """
    names = dict.fromkeys((path, os.path.realpath(path)))
    by_identity: dict[tuple[int, int], list[bytes]] = {}
    for root in roots:
        if not root.startswith(b"/"):
            names[os.path.relpath(path)] = None
            continue
        if (identity := file_identity(root)) is not None:
            by_identity.setdefault(identity, []).append(root)
    for name in tuple(names) if by_identity else ():
        for above, rest in _splits(name):
            identity = file_identity(above)
            for root in by_identity.get(identity, ()) if identity is not None else ():
                names[os.path.join(root, rest) if rest else root] = None
    return tuple(names)


def is_there(path: bytes) -> bool:
    """Return whether a path exists; True if that cannot be determined.

    A relative path is below a root of a shared table that is not on this computer.
    """
    if not Path(os.fsdecode(path)).is_absolute():
        return True
    try:
        Path(os.fsdecode(path)).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def file_identity(path: bytes) -> tuple[int, int] | None:
    """Return the device and the inode of a file or folder: the same under each of its names.

    None if there is no file, or if the file system has no inodes.
    """
    try:
        status = Path(os.fsdecode(path)).stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if status.st_ino else None


def _splits(path: bytes) -> Iterable[tuple[bytes, bytes]]:
    """Yield a path and each folder above it, each with the rest of the path."""
    rest = b""
    while True:
        yield path, rest
        above, name = os.path.split(path)
        if above == path:
            return
        path, rest = above, os.path.join(name, rest) if rest else name
