"""Where warm processes listen, what each keeps loaded, and whose they are; it computes nothing."""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs

from qvsearch.cache import cache_folder, file_name
from qvsearch.errors import QvsearchError
from qvsearch.files import PRIVATE_FOLDER, make_folder
from qvsearch.models.patches import PREPROCESSING
from qvsearch.models.prompt import PROMPT_LAYOUT
from qvsearch.types import Precision
from qvsearch.version import __version__
from qvsearch.wire import receive

SUFFIX = ".sock"
HELLO_SECONDS = 2.0  # a process that says nothing for so long hangs


@dataclass(frozen=True, slots=True)
class Kept:
    """What a warm process keeps loaded, and all that decides what it answers.

    `device` and `dtype` are as asked for, None for this machine's own: which those are is known
    only with torch, for which nobody who asks is to wait. A library's `precision` tells what is
    this machine's own, so it is FLOAT where a dtype was asked for.
    """

    role: str
    revision: str
    device: str | None
    dtype: str | None
    precision: Precision = Precision.FLOAT  # of the libraries that it is for
    version: str = __version__
    prompt_layout: int = PROMPT_LAYOUT
    preprocessing: int = PREPROCESSING

    @property
    def socket(self) -> Path:
        """Where the process that keeps this listens."""
        return socket_folder() / f"{file_name(self)[:16]}{SUFFIX}"


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end of a socket, as the system knows it."""

    pid: int
    uid: int


def socket_folder() -> Path:
    """Return the user's own folder for sockets, there or not: in the cache where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a runtime folder that the system does not give
        runtime = platformdirs.user_runtime_path("qvsearch", appauthor=False)
    return runtime if _is_private(runtime.parent) else cache_folder("run")


def make_socket_folder() -> Path:
    """Make the folder for sockets; raises QvsearchError where others can reach into it."""
    folder = socket_folder()
    make_folder(folder, private=True)
    if not _is_private(folder):
        raise QvsearchError(
            f"{folder} is not this user's alone; give it mode 0700, or set XDG_RUNTIME_DIR"
        )
    return folder


def greet(path: Path) -> tuple[socket.socket, dict[str, Any]] | None:
    """Connect to a warm process of this user and return what it says of itself.

    None where there is no such process: nothing listens, another user does, or none that answers.
    """
    if not _is_private(path.parent):
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(HELLO_SECONDS)
        connection.connect(os.fspath(path))
        if peer(connection).uid == os.getuid():
            return connection, receive(connection)[0]
    except (OSError, ValueError, EOFError):
        pass
    connection.close()
    return None


def find_keeper(kept: Kept) -> socket.socket | None:
    """Connect to the process that keeps exactly this loaded, if there is one."""
    greeted = greet(kept.socket)
    if greeted is None:
        return None
    connection, hello = greeted
    if hello.get("kept") == asdict(kept):
        return connection
    connection.close()
    return None


def sockets() -> Iterator[Path]:
    """Yield the sockets of all warm processes of this user, live or stale."""
    with suppress(OSError):
        yield from sorted(socket_folder().glob(f"*{SUFFIX}"))


def peer(connection: socket.socket) -> Peer:
    """Return the process at the other end."""
    if sys.platform == "darwin":
        local, credentials, process = 0, 1, 2  # SOL_LOCAL, LOCAL_PEERCRED, LOCAL_PEERPID
        _, uid = struct.unpack_from("=II", connection.getsockopt(local, credentials, 128))
        return Peer(connection.getsockopt(local, process), uid)
    size = struct.calcsize("3i")
    said = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid, uid, _ = struct.unpack("3i", said)
    return Peer(pid, uid)


def _is_private(folder: Path) -> bool:
    """Tell whether a folder is this user's and lets in nobody else."""
    try:
        state = folder.lstat()
    except OSError:
        return False
    ours = stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid()
    return ours and not stat.S_IMODE(state.st_mode) & ~PRIVATE_FOLDER & 0o777
