"""Runs a process that works on files for its parent, and that a hostile file may take over.

The process gives up everything that decoding does not need: unlimited memory, sockets and other
programs. So it can neither send the data that it reads nor start anything. Only Linux lets a
process without privileges give these up; elsewhere only a deadline protects.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from qvsearch.errors import MediaError, QvsearchError

if TYPE_CHECKING:
    from qvsearch.wire import Array

Work = Callable[..., None]
Answer = TypeVar("Answer")

# multiprocessing polls all children when it starts one. A thread that waits for its own child at
# that moment would not learn that it has ended, or how
_CHILDREN = threading.Lock()

LEAST_WAIT = 0.01  # seconds for the rest of a message; 0 would mean no limit
START_PATIENCE = 120.0  # seconds to start Python on a busy machine
END_PATIENCE = 20.0  # seconds; a drive that does not answer may hold a killed process for longer

# beyond the memory that the process has: 100 megapixels took 0.5 to 1.9 GB, by format, and a JPEG
# of 391 in several passes 2.7. RLIMIT_DATA counts the memory that a process may write to; RLIMIT_AS
# also counts mapped files, and address space that is reserved and never used
MOST_BYTES = 3 * 2**30

# by machine: its name in audit(7), and its numbers of the system calls socket, execve, execveat,
# ptrace, process_vm_writev, pidfd_getfd and io_uring_setup, which would make sockets, too
FORBIDDEN = {
    "x86_64": (0xC000003E, (41, 59, 322, 101, 311, 438, 425)),
    "aarch64": (0xC00000B7, (198, 221, 281, 117, 271, 438, 425)),
}
_X32 = 0x40000000  # the same machine's other numbers begin here

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _MACHINE = 0, 4  # offsets in `struct seccomp_data`
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_SET_SECCOMP, _FILTER, _SET_NO_NEW_PRIVILEGES = 22, 2, 38  # of prctl(2)


class ConfinedProcess:
    """One process, seen from its parent: it calls `work(pipe, *job)` for every job.

    The work sends each result through the pipe as a message; it raises MediaError with the reason
    if there is none. It has at most `most_bytes` of memory. `work` must be a function that a fresh
    Python can import by its name. Scripts that use this need the `if __name__ == "__main__":` of
    Python's multiprocessing.
    """

    def __init__(self, work: Work, most_bytes: int = MOST_BYTES) -> None:
        context = get_context("spawn")  # a fork would copy torch's threads half dead
        self._connection, theirs = context.Pipe()
        self._answers = _channel(self._connection)
        self.process = context.Process(target=_serve, args=(theirs, work, most_bytes), daemon=True)
        with _CHILDREN, _interrupts_blocked():  # it inherits the block, and never dies of Ctrl-C
            self.process.start()
        theirs.close()
        self._broken = False

    def is_usable(self) -> bool:
        """Return whether it can be given a job."""
        with _CHILDREN:
            return not self._broken and self.process.is_alive()

    def wait_until_ready(self) -> None:
        """Wait until the process has started; raises QvsearchError if it does not."""
        try:
            self._wait(time.monotonic() + START_PATIENCE)
            self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            self._kill()
            raise QvsearchError(
                "the processes that decode files do not start; a script that uses qvsearch needs "
                'its work under `if __name__ == "__main__":`'
            ) from error

    def run(
        self,
        job: tuple[Any, ...],
        seconds: float,
        read: Callable[[dict[str, Any], list[Array]], Answer],
    ) -> list[Answer]:
        """Run a job; return `read` of each message about it.

        Raises MediaError with the work's own reason. If the process takes longer, crashes, or sends
        a message for which `read` raises ValueError, it is killed, and that is the reason.
        """
        deadline = time.monotonic() + seconds
        try:
            self._connection.send(job)
            return [read(*message) for message in self._messages(deadline)]
        except TimeoutError as error:
            self._kill()
            raise MediaError(f"took longer than {seconds:.3g} s") from error
        except (EOFError, OSError, ValueError) as error:
            raise MediaError(self._crash_reason()) from error

    def _messages(self, deadline: float) -> Iterator[tuple[dict[str, Any], list[Array]]]:
        """Yield the messages about one job, to its end; raises MediaError for a reason."""
        from qvsearch.wire import BadMessage, receive

        while True:
            self._wait(deadline)
            self._answers.settimeout(max(LEAST_WAIT, deadline - time.monotonic()))
            try:
                message, arrays = receive(self._answers)
                orjson.dumps(message)
            except orjson.JSONEncodeError as error:
                # halves of characters, and numbers of more than 64 bits, cannot be stored
                raise BadMessage("a message that no library can hold") from error
            finally:
                self._answers.settimeout(None)  # the pipe is the same, and is written to as well
            reason = message.get("reason", ...)
            if reason is None:
                return
            if isinstance(reason, str):
                raise MediaError(reason)
            yield message, arrays

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
        """Kill it, and return its exit code; None if it has not ended after END_PATIENCE."""
        self._broken = True
        with _CHILDREN:
            self.process.kill()
            self.process.join(END_PATIENCE)
            return self.process.exitcode

    def end(self) -> None:
        """Kill it, and free its resources."""
        has_ended = self._kill() is not None
        with _CHILDREN:
            if has_ended:
                self.process.close()
        self._answers.close()
        self._connection.close()


class LastingProcess:
    """A confined process that starts with the first job, and anew after one that has broken it.

    It takes one job at a time; another thread may `kill` or `end` it. `ended` is the message if a
    job comes after that.
    """

    def __init__(
        self, work: Work, most_bytes: int = MOST_BYTES, ended: str = "the process has ended"
    ) -> None:
        self._work, self._most_bytes, self._ended = work, most_bytes, ended
        self._process: ConfinedProcess | None = None
        self._lock = threading.Lock()
        self._closed = False

    def is_usable(self) -> bool:
        """Return whether it runs, and can be given another job."""
        process = self._process
        return process is not None and process.is_usable()

    def run(
        self,
        job: tuple[Any, ...],
        seconds: float,
        read: Callable[[dict[str, Any], list[Array]], Answer],
    ) -> list[Answer]:
        """Run a job as `ConfinedProcess` does; raises QvsearchError if no process starts."""
        return self._running().run(job, seconds, read)

    def _running(self) -> ConfinedProcess:
        process = self._process
        if process is not None and process.is_usable():
            return process
        with self._lock:
            if self._closed:
                raise QvsearchError(self._ended)
            if self._process is not None:
                self._process.end()
                self._process = None
            process = self._process = ConfinedProcess(self._work, self._most_bytes)
        process.wait_until_ready()
        return process

    def kill(self) -> None:
        """Kill it, so that its job fails at once, and start no other."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.process.kill()

    def end(self) -> None:
        """Kill it, and free its resources."""
        with self._lock:
            self._closed = True
            process, self._process = self._process, None
        if process is not None:
            process.end()


def confine(most_bytes: int = MOST_BYTES) -> None:
    """Limit this thread for good, and the threads that it starts from now on."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash must leave no picture on disk
    # numpy reserves 41 MB for each thread when it is loaded: on 64 cores nearly all there is
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["OPENCV_FOR_THREADS_NUM"] = "1"  # files are decoded side by side already
    if sys.platform != "linux":
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = _held_bytes() + most_bytes
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    machine = os.uname().machine
    if machine in FORBIDDEN and sys.maxsize > 2**32:  # a 32-bit Python has other numbers
        _forbid(*FORBIDDEN[machine])


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    resource_tracker.ensure_running()  # started later, it would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _channel(connection: Connection) -> socket.socket:
    """Return the socket of a pipe; it must be closed too."""
    return socket.socket(socket.AF_UNIX, fileno=os.dup(connection.fileno()))


def _serve(connection: Connection, work: Work, most_bytes: int) -> None:
    """Run the jobs that come through the pipe until it closes; in the process."""
    confine(most_bytes)  # before there is a second thread, which it would not reach
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
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
    """Keep the messages of C libraries, and the trace of a crash, off the terminal."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _held_bytes() -> int:
    """Return the bytes that count already: a script's own modules are loaded into its workers."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[5])
    except OSError:  # no /proc here
        return 0
    return pages * resource.getpagesize()


def _forbid(machine: int, calls: tuple[int, ...]) -> None:
    """Have the kernel refuse system calls, by seccomp(2); old kernels have no such filter."""
    last = len(calls) + 1  # instructions from the first comparison to the refusal
    program = [
        (_LOAD, 0, 0, _MACHINE),
        (_EQUAL, 1, 0, machine),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, last, 0, _X32),
        *((_EQUAL, last - 1 - place, 0, call) for place, call in enumerate(calls)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    libc = ctypes.CDLL(None)
    zero = ctypes.c_ulong(0)
    libc.prctl(_SET_NO_NEW_PRIVILEGES, ctypes.c_ulong(1), zero, zero, zero)
    filter_ = ctypes.byref(_Program(len(program), code))
    libc.prctl(_SET_SECCOMP, ctypes.c_ulong(_FILTER), filter_, zero, zero)
