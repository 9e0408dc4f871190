"""A server: a process that keeps one model loaded and computes for the same user, until idle.

It decodes no files and opens no library. `manager` starts it with
`python -m qvsearch.runtime.server ORDER`.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from qvsearch.errors import QvsearchError
from qvsearch.files import PRIVATE_FILE
from qvsearch.models import st_files
from qvsearch.models.registry import RERANKER, ST, resolve
from qvsearch.runtime.client import BEAT, ServerKey, peer
from qvsearch.types import EmbedInput
from qvsearch.wire import BadMessage, receive, send, unpack_inputs

if TYPE_CHECKING:
    from qvsearch.runtime.local import LocalEmbedder
    from qvsearch.runtime.st_embedder import StEmbedder
    from qvsearch.wire import Array

    Compute = Callable[[dict[str, Any], Sequence[EmbedInput]], Array]

MOST_CLIENTS = 64  # at once; others load the model themselves
MESSAGE_SECONDS = 10.0  # for a message; a client that stops in the middle of one is cut off


@dataclass(frozen=True, slots=True)
class Order:
    """The model to load, the socket to listen at, and the seconds to wait for a request.

    `adapter` is the folder of the adapter of the model.
    """

    key: ServerKey
    model: str
    socket: str
    idle: float
    adapter: str | None = None


class Server:
    """Responds on a socket; its model computes one request after the other."""

    def __init__(self, order: Order, compute: Compute) -> None:
        """Take the order, and a function that computes with the loaded model."""
        self._order = order
        self._compute = compute
        self._model = ThreadPoolExecutor(1)  # its queue keeps the order of the requests
        self._guard = threading.Lock()
        self._clients = self._at_work = 0
        self._since = time.time()
        self._last = time.monotonic()

    def serve(self, listener: socket.socket) -> None:
        """Respond to every client, until there was no request for the seconds of the order."""
        while (left := self._time_left()) > 0:
            listener.settimeout(left)
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:  # the client has left already, or there is no descriptor for it
                time.sleep(BEAT / 10)
                continue
            threading.Thread(target=self._meet, args=(connection,), daemon=True).start()

    def _time_left(self) -> float:
        with self._guard:
            waited = 0.0 if self._at_work else time.monotonic() - self._last
        return self._order.idle - waited

    def _meet(self, connection: socket.socket) -> None:
        """Serve one client until it leaves or sends an invalid message."""
        with connection, self._guest() as welcome, suppress(OSError, ValueError, EOFError):
            connection.settimeout(MESSAGE_SECONDS)
            if not welcome or peer(connection).uid != os.getuid():
                return
            send(connection, self._hello())
            while self._has_request(connection):
                self._reply(connection, *receive(connection))

    def _has_request(self, connection: socket.socket) -> bool:
        """Wait for the first byte of a request, at most for the seconds of the order."""
        connection.settimeout(self._order.idle)
        begun = bool(connection.recv(1, socket.MSG_PEEK))
        connection.settimeout(MESSAGE_SECONDS)
        return begun

    def _reply(
        self, connection: socket.socket, header: dict[str, Any], arrays: list[Array]
    ) -> None:
        match header.get("do"):
            case "stop":
                send(connection, {"state": "done"})
                os.kill(os.getpid(), signal.SIGTERM)
            case "compute":
                inputs = unpack_inputs(header.get("inputs"), arrays)
                with self._work():
                    self._respond(connection, header, inputs)
            case _:
                raise BadMessage("an unknown request")

    def _respond(
        self, connection: socket.socket, header: dict[str, Any], inputs: Sequence[EmbedInput]
    ) -> None:
        """Compute, with a sign of life each BEAT; the request of a client that left is canceled."""
        future = self._model.submit(self._compute, header, inputs)
        try:
            while not wait([future], BEAT).done:
                send(connection, {"state": "busy"})
        except OSError:
            future.cancel()
            raise
        from qvsearch.models.network import WeightsChanged

        error = future.exception()
        if error is None:
            send(connection, {"state": "done"}, [future.result()])
        elif isinstance(error, WeightsChanged):
            os.kill(os.getpid(), signal.SIGTERM)  # the client loads the new ones
            raise BadMessage("a request to a model that is gone") from error
        elif isinstance(error, QvsearchError):
            send(connection, {"state": "failed", "reason": str(error)})
        else:
            traceback.print_exception(error)
            raise BadMessage("a request that the model cannot compute") from error

    def _hello(self) -> dict[str, Any]:
        with self._guard:
            idle = 0.0 if self._at_work else time.monotonic() - self._last
        return {
            "kept": asdict(self._order.key),  # the name in the greetings of every version
            "model": self._order.model,
            "pid": os.getpid(),
            "since": self._since,
            "idle": idle,
            "limit": self._order.idle,
            "memory": _resident(),
        }

    @contextmanager
    def _guest(self) -> Iterator[bool]:
        """Count a client in and out; yields whether there is room for it."""
        with self._guard:
            self._clients += 1
            welcome = self._clients <= MOST_CLIENTS
        try:
            yield welcome
        finally:
            with self._guard:
                self._clients -= 1

    @contextmanager
    def _work(self) -> Iterator[None]:
        with self._guard:
            self._at_work += 1
        try:
            yield
        finally:
            with self._guard:
                self._at_work -= 1
                self._last = time.monotonic()


def load(order: Order) -> Compute:
    """Load the model of an order and try it; raises QvsearchError if that fails."""
    key = order.key
    trial = EmbedInput(text="warm")
    if key.role == RERANKER:
        _check_revision(order, resolve(order.model, adapter=order.adapter).revision)
        from qvsearch.runtime.local import LocalReranker

        reranker = LocalReranker(order.model, key.device, key.dtype, order.adapter)
        reranker.score(trial, [trial])
    else:
        embedder = _embedder(order)
        embedder.embed([trial])

    def compute(header: dict[str, Any], inputs: Sequence[EmbedInput]) -> Array:
        if key.role == RERANKER:
            query, *documents = inputs
            return np.array(reranker.score(query, documents), np.float64)
        return embedder.embed_to(inputs, header["dim"])

    return compute


def _embedder(order: Order) -> LocalEmbedder | StEmbedder:
    key = order.key
    if order.model.startswith(ST):
        weights = st_files.resolve(order.model, revision=key.revision.removeprefix(ST))
        _check_revision(order, f"{ST}{weights.revision}")
        from qvsearch.runtime.st_embedder import StEmbedder

        return StEmbedder(weights, key.device, key.dtype)
    _check_revision(order, resolve(order.model, adapter=order.adapter).revision)
    from qvsearch.models.devices import own_dtype
    from qvsearch.runtime.local import LocalEmbedder

    dtype = key.dtype or own_dtype(key.precision, key.device)
    return LocalEmbedder(order.model, key.device, dtype, adapter=order.adapter)


def _check_revision(order: Order, revision: str) -> None:
    if revision != order.key.revision:
        raise QvsearchError(
            f"{order.model} is now at revision {revision}, not {order.key.revision}"
        )


def read_order(text: str) -> Order:
    """Return the order that a process was started with."""
    fields = json.loads(text)
    key = ServerKey(**fields["key"])
    return Order(key, fields["model"], fields["socket"], fields["idle"], fields["adapter"])


def run(order: Order, ready: Callable[[], None]) -> None:
    """Load the model, listen, call `ready`, and serve; raises QvsearchError if it cannot start."""
    path = Path(order.socket)
    with _alone(path.with_suffix(".lock"), order.model):
        compute = load(order)
        path.unlink(missing_ok=True)  # left by a server that was killed: no other is alive
        try:
            with _listen(path) as listener:
                ready()
                Server(order, compute).serve(listener)
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def _alone(path: Path, model: str) -> Iterator[None]:
    """Hold a lock that a killed process loses; raises QvsearchError if another has it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise QvsearchError(
                f"another process keeps {model} loaded or is about to;"
                " end it with: qvsearch warm --stop"
            ) from error
        yield
    finally:
        os.close(lock)


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(os.fspath(path))
        path.chmod(PRIVATE_FILE)
        listener.listen(MOST_CLIENTS)
    except OSError as error:
        listener.close()
        raise QvsearchError(
            f"cannot listen at {path}: {error}; set XDG_RUNTIME_DIR to a folder of your own"
        ) from error
    return listener


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit


def _resident() -> int | None:
    """Return the bytes of memory that this process has; None if the system does not report it."""
    try:
        return int(psutil.Process().memory_info().rss)
    except (psutil.Error, OSError):
        return None


def _send_status(**status: str) -> None:
    """Send a line to the process that waits for this one; fails if that has ended."""
    sys.stdout.write(json.dumps(status) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the order in the first argument, and exit at once at its end."""
    order = read_order(sys.argv[1])
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o077)
    os.chdir("/")

    def ready() -> None:
        _send_status(ready=order.socket)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    try:
        run(order, ready)
    except QvsearchError as error:
        _send_status(failed=str(error))
    except SystemExit:  # by a signal
        pass
    sys.stderr.flush()
    os._exit(0)  # without waiting for a request that is still being computed


if __name__ == "__main__":
    main()
