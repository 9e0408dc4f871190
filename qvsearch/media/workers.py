"""Decodes files in processes of their own, which a hostile file may hang, fill or crash.

Each process has a thread and a pipe to itself: one that dies in the middle of a message takes
nothing but its file along, which a queue or a lock shared between them could not promise.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar

from qvsearch import media
from qvsearch.errors import MediaError, QvsearchError
from qvsearch.media.patience import patience
from qvsearch.media.sandbox import ConfinedProcess
from qvsearch.types import Decoded, Item, Kind, Skipped, VideoMode

if TYPE_CHECKING:
    import socket

    from qvsearch.types import Metadata

DecodeFunction = Callable[[Item, str, int, VideoMode], Decoded]
Outcome = TypeVar("Outcome")
Task = Callable[[ConfinedProcess], Outcome]

STOP_SECONDS = 0.2  # how often `stop` is asked while a decoder works

LOOK_AHEAD_PIXELS = 100_000_000  # 300 MB of them may wait for the model
LOOK_AHEAD_FILES = 64  # texts have no pixels, but passages
FILM_PIXELS = 50_000_000  # the most of all pictures of a video, and again of all its clips
MAX_WORKERS = 16  # as many as the fastest GPU takes; each holds 100 MB


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
        self._threads = ThreadPoolExecutor(count, "decoder")
        # last in, first out: a second process starts only when there is work for it
        self._idle: queue.LifoQueue[ConfinedProcess | None] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(None)
        self._lock = threading.Lock()
        self._running: set[ConfinedProcess] = set()
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
        tasks = (
            (item, partial(_decode, item, content_hash, wanted, self._patience(item)))
            for item, content_hash in jobs
        )
        return self._in_order(tasks, lambda ahead, item: _has_room(ahead, item, wanted), stop)

    def look(
        self, items: Iterable[tuple[Item, int]], stop: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[Item, Metadata | None | Skipped]]:
        """Yield each (item, version)'s item with what `media.look` returns; as `decode` does."""
        tasks = ((item, partial(_look, item, since, self._patience(item))) for item, since in items)
        return self._in_order(tasks, lambda ahead, _: len(ahead) < LOOK_AHEAD_FILES, stop)

    def _in_order(
        self,
        tasks: Iterable[tuple[Item, Task[Outcome]]],
        has_room: Callable[[Sequence[tuple[Item, Future[Outcome]]], Item], bool],
        stop: Callable[[], bool],
    ) -> Iterator[Outcome]:
        """Yield what comes of each task, worked on ahead as far as `has_room` allows."""
        upcoming = iter(tasks)
        task = next(upcoming, None)
        pending: deque[tuple[Item, Future[Outcome]]] = deque()
        try:
            while task is not None or pending:
                while task is not None and has_room(pending, task[0]):
                    pending.append((task[0], self._threads.submit(self._run, task[1])))
                    task = next(upcoming, None)
                first = pending.popleft()[1]
                while not futures.wait([first], STOP_SECONDS).done:
                    if stop():  # a decoder that hangs keeps nobody who wants to leave
                        return
                yield first.result()
        finally:  # the caller may want no more
            for _, future in pending:
                future.cancel()

    def _run(self, task: Task[Outcome]) -> Outcome:
        """Give one task a process; in a thread, of which there are as many as processes."""
        worker = self._idle.get()
        try:
            if worker is None or not worker.is_usable():
                dead, worker = worker, None
                worker = self._replace(dead)
            return task(worker)
        finally:
            self._idle.put(worker)

    def _replace(self, old: ConfinedProcess | None) -> ConfinedProcess:
        with self._lock:
            if self._closed:
                raise QvsearchError("the decode processes have ended")
            if old is not None:
                self._running.remove(old)
                old.end()
            worker = ConfinedProcess(partial(_work, self._decode_function, media.look))
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


def _decode(
    item: Item, content_hash: str, wanted: _Wanted, seconds: float, worker: ConfinedProcess
) -> Decoded | Skipped:
    """Return what a process makes of a file."""
    from qvsearch.media import worker_messages  # which loads numpy

    try:
        segments = worker.ask(
            ("decode", item, content_hash, wanted.max_pixels, wanted.video_mode),
            seconds,
            lambda said, arrays: worker_messages.understand(said, arrays, item, content_hash),
        )
    except MediaError as error:
        return Skipped(item.location, str(error))
    return Decoded(item, tuple(segments))


def _look(
    item: Item, since: int, seconds: float, worker: ConfinedProcess
) -> tuple[Item, Metadata | None | Skipped]:
    """Return an item with what a process reads in its file's header."""
    from qvsearch.media import worker_messages  # which loads numpy

    try:
        found = worker.ask(("look", item, since), seconds, worker_messages.understand_metadata)
    except MediaError as error:
        return item, Skipped(item.location, str(error))
    if len(found) != 1:  # a hostile file may have made it answer twice
        return item, Skipped(item.location, "the decoder crashed")
    return item, found[0]


def _work(
    decode: Callable[..., Decoded],
    look: Callable[..., Metadata | None],
    pipe: socket.socket,
    what: str,
    *job: object,
) -> None:
    """Decode one file in a process, or look at it: `job` is what that function takes."""
    from qvsearch.media import worker_messages  # which loads numpy

    if what == "look":
        worker_messages.tell_metadata(pipe, look(*job))
        return
    segments = deque(decode(*job).segments)
    while segments:  # one by one: a film is not here and with the parent at once
        worker_messages.tell(pipe, segments.popleft())
