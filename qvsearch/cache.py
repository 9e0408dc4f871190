"""The user's cache folder, whose files are whole or absent, and may be deleted at any time.

Callers must encode everything that affects a vector in its file name.
"""

from __future__ import annotations

import hashlib
import math
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
    """Return a folder of the user's cache; it may not exist."""
    return platformdirs.user_cache_path("qvsearch", appauthor=False) / name


def file_name(*decides: object) -> str:
    """Return a file name that is a hash of all arguments."""
    return hashlib.sha256(repr(decides).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def read_vectors(path: Path, shape: tuple[int, int]) -> Vectors | None:
    """Return the cached vectors (shape); None if there are none, or the file is damaged."""
    body = read(path)
    if body is None or len(body) != 4 * shape[0] * shape[1]:
        return None
    return np.frombuffer(body, dtype="<f4").reshape(shape).astype(np.float32)


def keep_vectors(path: Path, vectors: Vectors, most: int) -> None:
    """Cache vectors (n, dim), and delete the least recently used files beyond `most`."""
    keep(path, np.ascontiguousarray(vectors, dtype="<f4").tobytes())
    trim(path.parent, most_files=most)


def read(path: Path) -> bytes | None:
    """Return the content of a cached file; None if there is none, or it is damaged."""
    try:
        with open_file(path) as file:
            data = file.readall()
    except OSError:
        return None
    digest, body = data[:_DIGEST], data[_DIGEST:]
    if _digest(path, body) != digest:
        return None
    with suppress(OSError):
        os.utime(path)  # so that often used files stay
    return body


def keep(path: Path, body: bytes) -> None:
    """Cache a file; a failure is ignored, since it only costs time on the next use."""
    with suppress(OSError, QvsearchError):
        make_folder(path.parent, private=True)
        write_file(path, _digest(path, body), body, private=True)


def trim(folder: Path, *, most_files: float = math.inf, most_bytes: float = math.inf) -> None:
    """Delete the least recently used files of a folder beyond a number or a size."""
    with suppress(OSError), os.scandir(folder) as entries:
        statuses = [(each.stat(follow_symlinks=False), each.path) for each in entries]
        statuses.sort(key=lambda entry: -entry[0].st_mtime_ns)
        size = 0
        for number, (status, file) in enumerate(statuses):
            size += status.st_size
            if number >= most_files or size > most_bytes:
                remove_file(Path(file))


def first_time(name: str) -> bool:
    """Return True on the first call with a name; always False if that cannot be stored."""
    path = cache_folder(name)
    try:
        make_folder(path.parent)
        path.touch(exist_ok=False)
    except (OSError, QvsearchError):
        return False
    return True


def _digest(path: Path, body: bytes) -> bytes:
    """Return a checksum of the content and the file name."""
    return hashlib.sha256(path.name.encode() + body).digest()
