"""Decodes files in processes of their own, which a hostile file may hang, fill or crash.

Each process has a thread and a pipe to itself: one that dies in the middle of a message takes
nothing but its file along, which a queue or a lock shared between them could not promise.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Self

from qvsearch import media
from qvsearch.errors import MediaError, QvsearchError
from qvsearch.media.confine import confine
from qvsearch.types import Decoded, EmbedInput, Item, Kind, Segment, Skipped, VideoMode

if TYPE_CHECKING:
    from qvsearch.media.answers import Answer

# multiprocessing asks after all children when it starts one, and then a thread that waits for its
# own at that moment is told nothing: that it has not ended, or not how
_CHILDREN = threading.Lock()

DecodeFunction = Callable[[Item, str, int, VideoMode], Decoded]

# seconds by the wall clock, on a machine whose cores all compute vectors meanwhile: 100 megapixels
# of PNG took 50 there, and 4 on an idle one
PATIENCE = {Kind.IMAGE: 120.0, Kind.VIDEO: 120.0, Kind.TEXT: 60.0}
# a second more for each: what a slow network drive delivers, and what plays in that second
PATIENT_BYTES = 1_000_000
MOST_PATIENCE = 600.0  # meanwhile the files behind it wait
STOP_SECONDS = 0.2  # how often `stop` is asked while a decoder works
LEAST_WAIT = 0.01  # seconds for the rest of a message; none would be no limit
START_PATIENCE = 120.0  # seconds to start Python, beside everything else that a machine does

LOOK_AHEAD_PIXELS = 100_000_000  # 300 MB of them may wait for the model
LOOK_AHEAD_FILES = 64  # texts have no pixels, but passages
FILM_PIXELS = 50_000_000  # the most of all pictures of a video, and again of all its clips
MAX_WORKERS = 16  # as many as the fastest GPU takes; each holds 100 MB


def patience(item: Item) -> float:
    """Return the seconds after which a file's decoder is taken to hang."""
    return min(PATIENCE[item.kind] + item.size / PATIENT_BYTES, MOST_PATIENCE)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What to make of files: images of at most `max_pixels`, and videos by their mode."""

    max_pixels: int
    video_mode: VideoMode

    def most_pixels(self, kind: Kind) -> int:
        """Return the most that a file's inputs may hold together."""
        film = FILM_PIXELS * (2 if self.video_mode is VideoMode.BOTH else 1)
        return {Kind.IMAGE: self.max_pixels, Kind.VIDEO: film, Kind.TEXT: 0}[kind]


class Decoders:
    """Worker processes that decode files; a context manager, at whose end they are killed.

    `decode` is what they call: a function that a fresh Python can import by its name. Scripts
    that use this need the `if __name__ == "__main__":` of Python's multiprocessing.
    """

    def __init__(
        self,
        workers: int | None = None,
        decode: DecodeFunction = media.decode,
        patience: Callable[[Item], float] = patience,
    ) -> None:
        count = workers or min(max(1, (os.cpu_count() or 1) - 1), MAX_WORKERS)
        self._decode_function = decode
        self._patience = patience
        self._threads = ThreadPoolExecutor(count, "decoder", initializer=_keep_from_interrupts)
        # last in, first out: a second process starts only when there is work for it
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(None)
        self._lock = threading.Lock()
        self._running: set[_Worker] = set()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closed = True
            for worker in self._running:
                worker.process.kill()  # its thread sees the pipe's end and returns
        self._threads.shutdown(cancel_futures=True)
        for worker in self._running:
            worker.end()

    def decode(
        self,
        jobs: Iterable[tuple[Item, str]],
        max_pixels: int,
        video_mode: VideoMode = VideoMode.FRAMES,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[Decoded | Skipped]:
        """Yield what became of each (item, content hash), in order, until `stop` says so.

        Jobs are taken as there is room for what they will hold. Raises QvsearchError where no
        process can be started.
        """
        wanted = _Wanted(max_pixels, video_mode)
        upcoming = iter(jobs)
        job = next(upcoming, None)
        pending: deque[tuple[Item, Future[Decoded | Skipped]]] = deque()
        try:
            while job is not None or pending:
                while job is not None and _has_room(pending, job[0], wanted):
                    pending.append((job[0], self._threads.submit(self._run, *job, wanted)))
                    job = next(upcoming, None)
                first = pending.popleft()[1]
                while not futures.wait([first], STOP_SECONDS).done:
                    if stop():  # a decoder that hangs keeps nobody who wants to leave
                        return
                yield first.result()
        finally:  # the caller may want no more
            for _, future in pending:
                future.cancel()

    def _run(self, item: Item, content_hash: str, wanted: _Wanted) -> Decoded | Skipped:
        """Have one file decoded; in a thread, of which there are as many as processes."""
        worker = self._idle.get()
        try:
            if worker is None or not worker.is_usable():
                dead, worker = worker, None
                worker = self._replace(dead)
            return worker.decode(item, content_hash, wanted, self._patience(item))
        finally:
            self._idle.put(worker)

    def _replace(self, old: _Worker | None) -> _Worker:
        with self._lock:
            if self._closed:
                raise QvsearchError("the decode processes have ended")
            if old is not None:
                self._running.remove(old)
                old.end()
            worker = _Worker(self._decode_function)
            self._running.add(worker)
        worker.wait_until_ready()
        return worker


def _has_room(
    pending: Iterable[tuple[Item, Future[Decoded | Skipped]]], item: Item, wanted: _Wanted
) -> bool:
    """Tell whether one more file may be decoded ahead; the first always may."""
    ahead = list(pending)
    pixels = sum(_pixels_held(*entry, wanted) for entry in ahead) + wanted.most_pixels(item.kind)
    return not ahead or (len(ahead) < LOOK_AHEAD_FILES and pixels <= LOOK_AHEAD_PIXELS)


def _pixels_held(item: Item, future: Future[Decoded | Skipped], wanted: _Wanted) -> int:
    if not future.done() or future.exception():
        return wanted.most_pixels(item.kind)
    result = future.result()
    if isinstance(result, Skipped):
        return 0
    sources = [source for _, source in result.segments]
    media = [image for source in sources for image in source.images]
    media += [source.video.pixels for source in sources if source.video is not None]
    return sum(pixels.size // 3 for pixels in media)


def _keep_from_interrupts() -> None:
    """Block Ctrl-C in this thread, so that the processes it starts are born with it blocked."""
    # started later, the tracker would lift the block from the thread
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


class _Worker:
    """One process, seen from its parent."""

    def __init__(self, decode: DecodeFunction) -> None:
        from qvsearch.media import answers  # which loads numpy

        context = get_context("spawn")  # a fork would copy torch's threads half dead
        self._connection, theirs = context.Pipe()
        self._answers = answers.channel(self._connection)
        self.process = context.Process(target=_serve, args=(theirs, decode), daemon=True)
        with _CHILDREN:
            self.process.start()
        theirs.close()
        self._broken = False

    def is_usable(self) -> bool:
        """Tell whether it can be given a file."""
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

    def decode(
        self, item: Item, content_hash: str, wanted: _Wanted, seconds: float
    ) -> Decoded | Skipped:
        """Return what the process makes of a file; kills it where it takes longer."""
        deadline = time.monotonic() + seconds
        segments: list[tuple[Segment, EmbedInput]] = []
        try:
            self._connection.send((item, content_hash, wanted.max_pixels, wanted.video_mode))
            while (answer := self._answer(item, content_hash, deadline)) is not None:
                if isinstance(answer, str):
                    return Skipped(item.location, answer)
                segments.append(answer)
        except TimeoutError:
            self._kill()
            return Skipped(item.location, f"took longer than {seconds:.3g} s")
        except (EOFError, OSError, ValueError):  # or it says what no decoder does
            return Skipped(item.location, self._crash_reason())
        return Decoded(item, tuple(segments))

    def _answer(self, item: Item, content_hash: str, deadline: float) -> Answer:
        from qvsearch.media import answers

        self._wait(deadline)
        self._answers.settimeout(max(LEAST_WAIT, deadline - time.monotonic()))
        try:
            return answers.hear(self._answers, item, content_hash)
        finally:
            self._answers.settimeout(None)  # the pipe is the same, and is written to as well

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
        """Free what a killed process leaves."""
        with _CHILDREN:
            self.process.join()
            self.process.close()
        self._answers.close()
        self._connection.close()


def _serve(connection: Connection, decode: DecodeFunction) -> None:
    """Decode what comes down the pipe until it closes; in the worker process."""
    confine()  # before there is a second thread, which it would not reach
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _silence()
    from qvsearch.media import answers  # which loads numpy

    pipe = answers.channel(connection)
    connection.send_bytes(b"ready")
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            segments = deque(decode(*job).segments)
        except MediaError as error:
            answers.tell(pipe, str(error))
            continue
        except MemoryError:
            answers.tell(pipe, "not enough memory to decode it")
            continue
        while segments:  # one by one: a film is not here and with the parent at once
            answers.tell(pipe, segments.popleft())
        answers.tell(pipe, None)


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
