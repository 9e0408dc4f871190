"""The user's cache folder: files there are whole or absent, and none is ever needed.

Callers must encode everything that affects a vector in its file name.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import platformdirs

from qvsearch.errors import QvsearchError
from qvsearch.files import make_folder, open_file, remove_file, write_file

if TYPE_CHECKING:
    from qvsearch.types import Vectors

_DIGEST = hashlib.sha256().digest_size


def cache_folder(name: str) -> Path:
    """Return a folder of the user's cache, there or not."""
    return platformdirs.user_cache_path("qvsearch", appauthor=False) / name


def file_name(*decides: object) -> str:
    """Return a name that says nothing to a reader, and is another for anything else."""
    return hashlib.sha256(repr(decides).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def read_vectors(path: Path, shape: tuple[int, int]) -> Vectors | None:
    """Return what was kept there; None where nothing is, or not what was written there."""
    try:
        with open_file(path) as file:
            data = file.readall()
    except OSError:
        return None
    digest, body = data[:_DIGEST], data[_DIGEST:]
    if _digest(path, body) != digest or len(body) != 4 * shape[0] * shape[1]:
        return None
    with suppress(OSError):
        os.utime(path)  # so that what is asked for often stays
    return np.frombuffer(body, dtype="<f4").reshape(shape).astype(np.float32)


def keep_vectors(path: Path, vectors: Vectors, most: int) -> None:
    """Keep vectors (n, dim), and at most so many files in the folder: those unread for longest go.

    Where that cannot be done it costs only the next time.
    """
    body = np.ascontiguousarray(vectors, dtype="<f4").tobytes()
    with suppress(OSError, QvsearchError):
        make_folder(path.parent, private=True)
        write_file(path, _digest(path, body), body, private=True)
    with suppress(OSError), os.scandir(path.parent) as entries:
        files = sorted(
            (each.stat(follow_symlinks=False).st_mtime_ns, each.path) for each in entries
        )
        for _, file in files[: max(0, len(files) - most)]:
            remove_file(Path(file))


def first_time(name: str) -> bool:
    """Tell whether this is asked for the first time; never where that cannot be remembered."""
    path = cache_folder(name)
    try:
        make_folder(path.parent)
        path.touch(exist_ok=False)
    except (OSError, QvsearchError):
        return False
    return True


def _digest(path: Path, body: bytes) -> bytes:
    """Return a checksum of the content and of where it belongs."""
    return hashlib.sha256(path.name.encode() + body).digest()
