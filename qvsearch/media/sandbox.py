"""A process that works on files for its parent, which a hostile one may hang, fill or crash."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, TypeVar

from qvsearch.errors import MediaError, QvsearchError
from qvsearch.media.limits import MOST_BYTES, confine

if TYPE_CHECKING:
    from qvsearch.wire import Array

Work = Callable[..., None]
Answer = TypeVar("Answer")

# multiprocessing asks after all children when it starts one, and then a thread that waits for its
# own at that moment is told nothing: that it has not ended, or not how
_CHILDREN = threading.Lock()

LEAST_WAIT = 0.01  # seconds for the rest of a message; none would be no limit
START_PATIENCE = 120.0  # seconds to start Python, beside everything else that a machine does


class ConfinedProcess:
    """One process, seen from its parent: it calls `work(pipe, *job)` for every job it is given.

    What it finds it sends through the pipe, a message each; a MediaError is the reason why there
    is none. It has `most_bytes` of memory at most. `work` is a function that a fresh Python can
    import by its name. Scripts that use this need the `if __name__ == "__main__":` of Python's
    multiprocessing.
    """

    def __init__(self, work: Work, most_bytes: int = MOST_BYTES) -> None:
        context = get_context("spawn")  # a fork would copy torch's threads half dead
        self._connection, theirs = context.Pipe()
        self._answers = _channel(self._connection)
        self.process = context.Process(target=_serve, args=(theirs, work, most_bytes), daemon=True)
        with _CHILDREN, _interrupts_blocked():  # it is born so, and never dies of Ctrl-C
            self.process.start()
        theirs.close()
        self._broken = False

    def is_usable(self) -> bool:
        """Tell whether it can be given a job."""
        with _CHILDREN:
            return not self._broken and self.process.is_alive()

    def wait_until_ready(self) -> None:
        """Raise QvsearchError if the process ends, or says nothing, instead."""
        try:
            self._wait(time.monotonic() + START_PATIENCE)
            self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            self._kill()
            raise QvsearchError(
                "the processes that decode files do not start; a script that uses qvsearch needs "
                'its work under `if __name__ == "__main__":`'
            ) from error

    def ask(
        self,
        job: tuple[Any, ...],
        seconds: float,
        understand: Callable[[dict[str, Any], list[Array]], Answer],
    ) -> list[Answer]:
        """Return what `understand` makes of each message about a job; it may raise ValueError.

        Raises MediaError with the reason where there is none: the work's own, or that the process
        took longer, crashed or said what nobody understands, of which it is killed.
        """
        deadline = time.monotonic() + seconds
        try:
            self._connection.send(job)
            return [understand(*message) for message in self._messages(deadline)]
        except TimeoutError as error:
            self._kill()
            raise MediaError(f"took longer than {seconds:.3g} s") from error
        except (EOFError, OSError, ValueError) as error:
            raise MediaError(self._crash_reason()) from error

    def _messages(self, deadline: float) -> Iterator[tuple[dict[str, Any], list[Array]]]:
        """Yield what the process says of one job, to its end; raises MediaError for a reason."""
        from qvsearch.wire import receive

        while True:
            self._wait(deadline)
            self._answers.settimeout(max(LEAST_WAIT, deadline - time.monotonic()))
            try:
                said, arrays = receive(self._answers)
            finally:
                self._answers.settimeout(None)  # the pipe is the same, and is written to as well
            reason = said.get("reason", ...)
            if reason is None:
                return
            if isinstance(reason, str):
                raise MediaError(reason)
            yield said, arrays

    def _wait(self, deadline: float) -> None:
        if not self._connection.poll(max(0.0, deadline - time.monotonic())):
            raise TimeoutError

    def _crash_reason(self) -> str:
        code = self._kill()  # it may have closed the pipe and live on
        if code is None or code >= 0:
            return "the decoder crashed"
        names = {each.value: each.name for each in signal.Signals}  # some signals have none
        return f"the decoder crashed ({names.get(-code, f'signal {-code}')})"

    def _kill(self) -> int | None:
        """Make sure that it has ended, and return its exit code."""
        self._broken = True
        with _CHILDREN:
            self.process.kill()
            self.process.join()
            return self.process.exitcode

    def end(self) -> None:
        """Kill it, and free what it leaves."""
        self._kill()
        with _CHILDREN:
            self.process.close()
        self._answers.close()
        self._connection.close()


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    resource_tracker.ensure_running()  # started later, it would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _channel(connection: Connection) -> socket.socket:
    """Return the socket that a pipe is, to be closed apart from it."""
    return socket.socket(socket.AF_UNIX, fileno=os.dup(connection.fileno()))


def _serve(connection: Connection, work: Work, most_bytes: int) -> None:
    """Work on what comes down the pipe until it closes; in the process."""
    confine(most_bytes)  # before there is a second thread, which it would not reach
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _silence()
    from qvsearch.wire import send  # which loads numpy

    pipe = _channel(connection)
    connection.send_bytes(b"ready")
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        reason = None
        try:
            work(pipe, *job)
        except MediaError as error:
            reason = str(error)
        except MemoryError:
            reason = "not enough memory to decode it"
        send(pipe, {"reason": reason})


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
    os._exit(1)  # the main thread may be deep in a decoder


def _silence() -> None:
    """Keep the remarks of C libraries, and the trace of a crash, off the terminal."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)
