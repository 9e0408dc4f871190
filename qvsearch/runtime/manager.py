"""Start, list and end the processes that keep a model loaded; `server` says what they do."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qvsearch.cache import cache_folder
from qvsearch.errors import QvsearchError
from qvsearch.files import PRIVATE_FILE, make_folder
from qvsearch.runtime.sockets import (
    HELLO_SECONDS,
    Kept,
    find_keeper,
    greet,
    make_socket_folder,
    peer,
    sockets,
)
from qvsearch.wire import receive, send

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_IDLE = 30 * 24 * 3600.0  # seconds


@dataclass(frozen=True, slots=True)
class Running:
    """A warm process: what it keeps loaded, since when (Unix time), and where it listens.

    `idle` of `limit` seconds have gone by without a question; `memory` is in bytes, None where the
    system does not say. `kept` None is a process that gives no answer, of which only `pid` is true.
    """

    socket: Path
    pid: int
    model: str = ""
    kept: Kept | None = None
    since: float = 0.0
    idle: float = 0.0
    limit: float = 0.0
    memory: int | None = None


def start(kept: Kept, model: str, idle: float) -> Running:
    """Start a process that keeps a model loaded, unless there is one; returns once it answers.

    `idle` is after how many seconds without a question it ends. If another command is starting the
    same, this waits for it. Raises QvsearchError with its own reason where it cannot. An exception
    while it loads, Ctrl-C for one, ends it.
    """
    if not 1 <= idle <= _MOST_IDLE:
        raise QvsearchError(f"--idle is {idle:g} seconds; it is from 1s to 43200m, 30 days")
    make_socket_folder()
    with _turn(kept.socket.with_suffix(".turn")):
        connection = find_keeper(kept)
        if connection is None:
            _launch(kept, model, idle)
        else:
            connection.close()
        found = _look(kept.socket)
    if found is None:
        raise QvsearchError(
            f"the process that keeps {model} loaded has ended at once; {_log(kept)}"
        )
    return found


def running() -> list[Running]:
    """Return all warm processes of this user, whatever their version."""
    return [found for path in sockets() if (found := _look(path)) is not None]


def stop(process: Running) -> None:
    """End a warm process; one that gives no answer is killed."""
    greeted = greet(process.socket)
    if greeted is None:
        _kill(process)
        return
    connection, _ = greeted
    with connection, suppress(OSError, ValueError, EOFError):
        send(connection, {"do": "stop"})
        receive(connection)
        connection.recv(1)  # which ends when the process does


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Wait until no other command starts the same process, and keep others waiting meanwhile."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _launch(kept: Kept, model: str, idle: float) -> None:
    """Start the process, detached from this terminal, and wait for its first word."""
    order = {"kept": asdict(kept), "model": model, "socket": str(kept.socket), "idle": idle}
    # -P: a file called torch.py in the current folder is not what is meant
    command = [sys.executable, "-P", "-m", "qvsearch.runtime.server", json.dumps(order)]
    with _log_file(kept) as log:
        process = subprocess.Popen(  # noqa: S603 (this Python, this package)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    try:
        assert process.stdout is not None  # noqa: S101 (a pipe was asked for)
        with process.stdout as pipe:
            said = json.loads(pipe.readline() or b"{}")
    except BaseException:
        process.kill()
        process.wait()
        raise
    if "ready" not in said:
        process.wait()
        raise QvsearchError(
            said.get("failed") or f"the process that was to load {model} has ended; {_log(kept)}"
        )
    process.returncode = 0  # it lives on, which Popen would warn of


def _look(path: Path) -> Running | None:
    """Return what listens at a socket; None where it is stale."""
    greeted = greet(path)
    if greeted is None:
        pid = _listening(path)
        return None if pid is None else Running(path, pid)
    connection, hello = greeted
    with connection:
        return _running(path, peer(connection).pid, hello)


def _running(path: Path, pid: int, hello: dict[str, Any]) -> Running:
    try:
        kept = Kept(**hello["kept"])
        since, idle, limit = (float(hello[name]) for name in ("since", "idle", "limit"))
        memory = None if hello["memory"] is None else int(hello["memory"])
        return Running(path, pid, str(hello["model"]), kept, since, idle, limit, memory)
    except (KeyError, TypeError, ValueError):  # of a version that says other things
        return Running(path, pid)


def _listening(path: Path) -> int | None:
    """Return the id of the process that listens at a socket without an answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(HELLO_SECONDS)
        try:
            connection.connect(os.fspath(path))
            found = peer(connection)
        except OSError:
            return None
    return found.pid if found.uid == os.getuid() else None


def _kill(process: Running) -> None:
    pid = _listening(process.socket)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
    with suppress(OSError):
        process.socket.unlink()


@contextmanager
def _log_file(kept: Kept) -> Iterator[int]:
    """Give a new file for what goes wrong later; nowhere, where the cache takes none."""
    path = _log_path(kept)
    try:
        make_folder(path.parent, private=True)
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except (OSError, QvsearchError):
        log = os.open(os.devnull, os.O_WRONLY)
    try:
        yield log
    finally:
        os.close(log)


def _log_path(kept: Kept) -> Path:
    return cache_folder("warm") / f"{kept.socket.stem}.log"


def _log(kept: Kept) -> str:
    return f"see {_log_path(kept)}"
