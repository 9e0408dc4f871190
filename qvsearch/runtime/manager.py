"""Starts, lists and ends the servers, each a process that keeps one model loaded."""

from __future__ import annotations

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
from qvsearch.runtime.client import (
    HELLO_SECONDS,
    ServerKey,
    find_server,
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
    """A server: its model, its start (Unix time) and the socket that it listens at.

    It has been idle for `idle` of `limit` seconds. `memory` is in bytes, None if the system does
    not report it. If the server does not respond, `key` is None, and only `pid` is valid.
    """

    socket: Path
    pid: int
    model: str = ""
    key: ServerKey | None = None
    since: float = 0.0
    idle: float = 0.0
    limit: float = 0.0
    memory: int | None = None


def start(key: ServerKey, model: str, idle: float, adapter: Path | None = None) -> Running:
    """Start the server of a model, unless there is one; returns when it responds.

    `adapter` is the folder of the adapter of the model. It ends after `idle` seconds without a
    request. If another command is starting the same server,
    this waits for it. Raises QvsearchError with the server's reason if it cannot start. An
    exception while it loads, such as Ctrl-C, ends it.
    """
    if not 1 <= idle <= _MOST_IDLE:
        raise QvsearchError(f"--idle is {idle:g} seconds; it must be from 1s to 43200m, 30 days")
    make_socket_folder()
    with _turn(key.socket.with_suffix(".turn")):
        connection = find_server(key)
        if connection is None:
            _launch(key, model, idle, adapter)
        else:
            connection.close()
        server = _look(key.socket)
    if server is None:
        raise QvsearchError(f"the process that keeps {model} loaded has ended at once; {_log(key)}")
    return server


def running() -> list[Running]:
    """Return all servers of this user, whatever their version."""
    return [server for path in sockets() if (server := _look(path)) is not None]


def stop(process: Running) -> None:
    """End a server; one that does not respond is killed."""
    greeted = greet(process.socket)
    if greeted is None:
        _kill(process)
        return
    connection, _ = greeted
    with connection, suppress(OSError, ValueError, EOFError):
        send(connection, {"do": "stop"})
        receive(connection)
        connection.recv(1)  # returns when the process has ended


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Wait until no other command starts the same server, and keep others waiting meanwhile."""
    import fcntl  # which a system without sockets does not have

    lock = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _launch(key: ServerKey, model: str, idle: float, adapter: Path | None) -> None:
    """Start the process, detached from this terminal, and wait for its first message."""
    order = {"key": asdict(key), "model": model, "socket": str(key.socket), "idle": idle}
    order["adapter"] = None if adapter is None else str(adapter)
    # -P: a file called torch.py in the current folder must not be imported
    command = [sys.executable, "-P", "-m", "qvsearch.runtime.server", json.dumps(order)]
    with _log_file(key) as log:
        process = subprocess.Popen(  # noqa: S603 (this Python, this package)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    try:
        assert process.stdout is not None  # noqa: S101 (stdout is a pipe)
        with process.stdout as pipe:
            message = json.loads(pipe.readline() or b"{}")
    except BaseException:
        process.kill()
        process.wait()
        raise
    if "ready" not in message:
        process.wait()
        raise QvsearchError(
            message.get("failed") or f"the process that was to load {model} has ended; {_log(key)}"
        )
    process.returncode = 0  # it lives on, and Popen would warn about that


def _look(path: Path) -> Running | None:
    """Return the server that listens at a socket; None if the socket is stale."""
    greeted = greet(path)
    if greeted is None:
        pid = _listening(path)
        return None if pid is None else Running(path, pid)
    connection, hello = greeted
    with connection:
        return _running(path, peer(connection).pid, hello)


def _running(path: Path, pid: int, hello: dict[str, Any]) -> Running:
    try:
        key = ServerKey(**hello["kept"])
        since, idle, limit = (float(hello[name]) for name in ("since", "idle", "limit"))
        memory = None if hello["memory"] is None else int(hello["memory"])
        return Running(path, pid, str(hello["model"]), key, since, idle, limit, memory)
    except (KeyError, TypeError, ValueError):  # of another version
        return Running(path, pid)


def _listening(path: Path) -> int | None:
    """Return the id of the process that listens at a socket and does not respond."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(HELLO_SECONDS)
        try:
            connection.connect(os.fspath(path))
            process = peer(connection)
        except OSError:
            return None
    return process.pid if process.uid == os.getuid() else None


def _kill(process: Running) -> None:
    pid = _listening(process.socket)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
    with suppress(OSError):
        process.socket.unlink()


@contextmanager
def _log_file(key: ServerKey) -> Iterator[int]:
    """Open a new file for the errors of the server; without a cache they are discarded."""
    path = _log_path(key)
    try:
        make_folder(path.parent, private=True)
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except (OSError, QvsearchError):
        log = os.open(os.devnull, os.O_WRONLY)
    try:
        yield log
    finally:
        os.close(log)


def _log_path(key: ServerKey) -> Path:
    return cache_folder("warm") / f"{key.socket.stem}.log"


def _log(key: ServerKey) -> str:
    return f"see {_log_path(key)}"
