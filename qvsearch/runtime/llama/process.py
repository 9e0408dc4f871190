"""Starts llama.cpp in a process of its own, sends it requests, and ends it."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import secrets
import select
import socket
import subprocess
import sys
import tempfile
import weakref
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import orjson

from qvsearch.errors import QvsearchError
from qvsearch.runtime.client import has_sockets
from qvsearch.runtime.llama.pair import Pair, memory
from qvsearch.runtime.llama.server import Order

ENDING_SECONDS = 5.0  # after which the process is killed
LOADING_SECONDS = 1800.0  # of the largest file on a slow network drive
ANSWER_SECONDS = 1800.0  # of the longest input on a slow computer
_LOG_BYTES = 2000  # of the end of its log, for a message


class Ended(QvsearchError):
    """The process has ended by itself; the next one may do better with other inputs."""


class Process:
    """llama.cpp on one model. It ends with this object, and with this process however that ends."""

    def __init__(self, pair: Pair, device: str | None = None) -> None:
        """Load the model; `device` `cpu` uses no GPU. Raises QvsearchError if that fails."""
        check_engine()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `end`)
        folder = Path(tempfile.mkdtemp(prefix="qvsearch-"))  # for this user only
        order = Order(
            model=str(pair.text.path),
            mmproj=str(pair.vision.path),
            socket=str(folder / "llama.sock"),
            key=secrets.token_hex(16),
            marker=f"<__media_{secrets.token_hex(16)}__>",
            threads=threads(),
            gpu=device != "cpu",
        )
        self.marker = order.marker
        self._order, self._connection = order, _Connection(order.socket)
        self._process = _started(self._log)
        self.end = weakref.finalize(self, _end, self._process, self._connection, self._log, folder)
        try:
            message = _greeted(self._process, order)
        except BaseException:
            self.end()
            raise
        if "ready" not in message:
            reason = self._reason() or message.get("failed")
            self.end()
            raise QvsearchError(
                f"llama.cpp cannot load {pair.text.path} with {pair.vision.path.name} ({reason});"
                f" it needs about {memory(pair) / 1e9:.1f} GB of free memory"
            )

    def post(self, path: str, content: object) -> object:
        """Return the JSON answer to a JSON request.

        Raises QvsearchError with the reason of a refusal, and Ended if the process has ended.
        """
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {self._order.key}",
        }
        try:
            self._connection.request("POST", path, orjson.dumps(content), headers)
            answer = self._connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            reason = self._reason() or error
            self.end()
            raise Ended(
                f"llama.cpp ended while it computed ({reason}); there may be too little memory"
            ) from error
        result = orjson.loads(body)
        if answer.status != http.client.OK:
            raise QvsearchError(f"llama.cpp refused an input: {_message(result)}")
        return result

    def _reason(self) -> str:
        """Return the last line of the log."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - _LOG_BYTES))
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1].strip() if lines else ""


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket of the file system."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_SECONDS)
        self.sock.connect(self._path)


def check_engine() -> None:
    """Raise QvsearchError if llama.cpp is not installed, or cannot be reached on this system."""
    if not has_sockets():
        raise QvsearchError(
            "a GGUF file needs Unix sockets, which this system does not have;"
            " start llama-server, and give its URL with --server"
        )
    if importlib.util.find_spec("xllamacpp") is None:
        raise QvsearchError('a GGUF file needs xllamacpp: pip install "qvsearch[gguf]"')


def threads() -> int:
    """Return OMP_NUM_THREADS, as for our own models, or the number of cores."""
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdecimal() and int(chosen):
        return int(chosen)
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _started(log: IO[bytes]) -> subprocess.Popen[bytes]:
    # -P: a file called json.py in the current folder must not be imported
    command = [sys.executable, "-P", "-m", "qvsearch.runtime.llama.server"]
    return subprocess.Popen(  # noqa: S603 (this Python, this package)
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,  # Ctrl-C is for this process
    )


def _greeted(process: subprocess.Popen[bytes], order: Order) -> dict[str, Any]:
    """Send the order and return the first message; empty if the process has ended."""
    assert process.stdin is not None  # noqa: S101 (a pipe)
    assert process.stdout is not None  # noqa: S101 (a pipe)
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        process.stdin.flush()
    if not select.select([process.stdout], [], [], LOADING_SECONDS)[0]:
        return {"failed": f"it did not load in {LOADING_SECONDS:.0f} s"}
    message: dict[str, Any] = json.loads(process.stdout.readline() or b"{}")
    return message


def _end(
    process: subprocess.Popen[bytes], connection: _Connection, log: IO[bytes], folder: Path
) -> None:
    connection.close()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # what was not written is lost with the process
            pipe.close()  # type: ignore[union-attr]  # both are pipes
    try:
        process.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    log.close()
    with suppress(OSError):  # the process removes its socket, unless it was killed
        (folder / "llama.sock").unlink(missing_ok=True)
        folder.rmdir()


def _message(result: object) -> str:
    error = result.get("error") if isinstance(result, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return str(message or result)[:200]
