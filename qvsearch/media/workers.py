"""Decodes files in confined processes, because a hostile file may hang, fill or crash a decoder.

Each process has a thread and a pipe of its own: if it dies in the middle of a message, only its
file is lost. A shared queue or lock could not promise that.
"""

from __future__ import annotations

import math
import os
import queue
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from qvsearch import media
from qvsearch.errors import MediaError
from qvsearch.media.pages import PART_PIXELS
from qvsearch.media.parts import PartTask
from qvsearch.media.sandbox import LastingProcess, Work
from qvsearch.types import READING, Decoded, DecodeOptions, Item, Kind, Skipped, VideoMode

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from qvsearch.types import Metadata
    from qvsearch.wire import Array

DecodeFunction = Callable[[Item, str, DecodeOptions], Decoded]
Outcome = TypeVar("Outcome")
Task = Callable[[LastingProcess], Outcome]
Pending = tuple[Item, Task[Outcome], "Future[Outcome]"]

STOP_SECONDS = 0.2  # between two calls of `stop` while a decoder works

LOOK_AHEAD_PIXELS = 100_000_000  # 300 MB of them may wait for the model
LOOK_AHEAD_FILES = 64  # texts have no pixels, but passages
# all pictures of a video together have at most so many pixels, and all its clips as many: 150 MB
FILM_PIXELS = 50_000_000
FILMED_PICTURES = 3  # a photo and two moments of the film within it, which most films have at most
MAX_WORKERS = 16  # enough for the fastest GPU; each holds 100 MB

# seconds by the wall clock, on a machine whose cores all compute vectors meanwhile: 100 megapixels
# of PNG took 50 there, and 4 on an idle one
PATIENCE = {Kind.IMAGE: 120.0, Kind.VIDEO: 120.0, Kind.TEXT: 60.0, Kind.DOCUMENT: 120.0}
# a second more for so many bytes: a slow network drive delivers them, and they play, in a second
PATIENT_BYTES = 1_000_000
MOST_PATIENCE = 600.0  # meanwhile the files behind it wait

HEADER_SECONDS = 5.0  # for one film's header; a network drive that sleeps takes longer
LONGEST_FILM = 7 * 24 * 3600.0  # seconds: more is nonsense
MOST_PAGES = 1e7  # of a document: more is nonsense


def patience(item: Item) -> float:
    """Return the seconds after which a file's decoder counts as hanging."""
    return min(PATIENCE[item.kind] + item.size / PATIENT_BYTES, MOST_PATIENCE)


class Decoders:
    """Worker processes that decode files; a context manager that kills them at its end.

    They call `decode`, a function that a fresh Python can import by its name. Scripts that use
    this need the `if __name__ == "__main__":` of Python's multiprocessing.
    """

    def __init__(
        self,
        workers: int | None = None,
        decode: DecodeFunction = media.decode,
        patience: Callable[[Item], float] = patience,
    ) -> None:
        count = workers or min(max(1, (os.cpu_count() or 1) - 1), MAX_WORKERS)
        self._patience = patience
        self._threads = ThreadPoolExecutor(count, "decoder")
        # last in, first out: a second process starts only when there is work for it
        self._idle: queue.LifoQueue[LastingProcess] = queue.LifoQueue()
        work = partial(_work, decode, media.look)
        ended = "the decode processes have ended"
        self._workers = [LastingProcess(work, ended=ended) for _ in range(count)]
        for worker in self._workers:
            self._idle.put(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.kill()  # its thread sees the end of the pipe and returns
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.end()

    def decode(
        self,
        jobs: Iterable[tuple[Item, str]],
        options: DecodeOptions,
        stop: Callable[[], bool] = lambda: False,
        *,
        in_parts: bool = False,
    ) -> Iterator[Decoded | Skipped]:
        """Yield the result of each (item, content hash), in order, until `stop` returns True.

        Jobs are taken as there is room for their results. A long document has only the pages of
        its first part; with `in_parts` there is a result for each of its parts. Raises
        QvsearchError if no process can be started.
        """
        make = _parts if in_parts else _task
        tasks = (
            (item, make(item, content_hash, options, self._patience(item)))
            for item, content_hash in jobs
        )
        return self._in_order(tasks, lambda ahead, item: _has_room(ahead, item, options), stop)

    def look(
        self, items: Iterable[tuple[Item, int]], stop: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[Item, Metadata | None | Skipped]]:
        """Yield the item of each (item, version), and the result of `media.look`; as `decode`."""
        tasks = ((item, partial(_look, item, since, self._patience(item))) for item, since in items)
        return self._in_order(tasks, lambda ahead, _: len(ahead) < LOOK_AHEAD_FILES, stop)

    def _in_order(
        self,
        tasks: Iterable[tuple[Item, Task[Outcome]]],
        has_room: Callable[[Sequence[Pending[Outcome]], Item], bool],
        stop: Callable[[], bool],
    ) -> Iterator[Outcome]:
        """Yield the outcome of each task; later ones run ahead as far as `has_room` allows.

        A task whose outcome has `more` runs again at once.
        """
        upcoming = iter(tasks)
        task = next(upcoming, None)
        pending: deque[Pending[Outcome]] = deque()
        try:
            while task is not None or pending:
                while task is not None and has_room(pending, task[0]):
                    pending.append((*task, self._threads.submit(self._run, task[1])))
                    task = next(upcoming, None)
                item, begun, first = pending.popleft()
                while not futures.wait([first], STOP_SECONDS).done:
                    if stop():  # a decoder that hangs delays nobody who wants to leave
                        return
                outcome = first.result()
                if isinstance(outcome, Decoded) and outcome.more:
                    pending.appendleft((item, begun, self._threads.submit(self._run, begun)))
                    if not outcome.segments:  # it is tried again
                        continue
                yield outcome
        finally:  # the caller may stop early
            for _, _, future in pending:
                future.cancel()

    def _run(self, task: Task[Outcome]) -> Outcome:
        """Give one task a process; in a thread, and there are as many threads as processes."""
        worker = self._idle.get()
        try:
            return task(worker)
        finally:
            self._idle.put(worker)


def film_lengths(paths: Sequence[Path], seconds: float) -> dict[Path, float]:
    """Return the lengths of films in seconds, as many as can be read from headers in `seconds`.

    They are read in random order, so that the other lengths can be estimated from them.
    """
    return _lengths(paths, seconds, _send_length, LONGEST_FILM)


def page_counts(paths: Sequence[Path], seconds: float) -> dict[Path, float]:
    """Return the numbers of pages of documents, as `film_lengths` those of films."""
    return _lengths(paths, seconds, _send_pages, MOST_PAGES)


def _lengths(
    paths: Sequence[Path], seconds: float, send_length: Work, most: float
) -> dict[Path, float]:
    """Return the lengths under `most` that `send_length` sends for files."""
    lengths: dict[Path, float] = {}
    deadline = time.monotonic() + seconds
    process = LastingProcess(send_length)
    try:
        for path in random.Random(0).sample(paths, len(paths)):  # noqa: S311 - nothing is hidden
            if (left := deadline - time.monotonic()) <= 0:
                break
            try:
                [lengths[path]] = process.run(
                    (path,), min(left, HEADER_SECONDS), partial(_read_length, most)
                )
            except (MediaError, ValueError):  # the decoder will report it
                continue
    finally:
        process.end()
    return lengths


def _has_room(
    ahead: Sequence[Pending[Decoded | Skipped]], item: Item, options: DecodeOptions
) -> bool:
    """Return whether one more file may be decoded ahead; the first always may."""
    if not ahead:
        return True
    if len(ahead) >= LOOK_AHEAD_FILES:
        return False
    held = sum(_pixels_held(each, future, options) for each, _, future in ahead)
    return held + _most_pixels(item, options) <= LOOK_AHEAD_PIXELS


def _most_pixels(item: Item, options: DecodeOptions) -> int:
    """Return the most pixels that a file's inputs may hold together."""
    film = FILM_PIXELS * (2 if options.video_mode is VideoMode.BOTH else 1)
    pictures = FILMED_PICTURES if options.films else 1
    most = {Kind.IMAGE: options.max_pixels * pictures, Kind.VIDEO: film, Kind.TEXT: 0}
    return most.get(item.kind, PART_PIXELS)


def _pixels_held(item: Item, future: Future[Decoded | Skipped], options: DecodeOptions) -> int:
    if not future.done() or future.exception():
        return _most_pixels(item, options)
    result = future.result()
    if isinstance(result, Skipped):
        return 0
    sources = [source for _, source in result.segments]
    arrays = [image for source in sources for image in source.images]
    arrays += [source.video.pixels for source in sources if source.video is not None]
    return sum(pixels.size // 3 for pixels in arrays)


def _task(
    item: Item, content_hash: str, options: DecodeOptions, seconds: float
) -> Task[Decoded | Skipped]:
    return partial(_decode, item, content_hash, options, seconds)


def _parts(
    item: Item, content_hash: str, options: DecodeOptions, seconds: float
) -> Task[Decoded | Skipped]:
    def decode(options: DecodeOptions, worker: LastingProcess) -> Decoded | Skipped:
        return _decode(item, content_hash, options, seconds, worker)

    return PartTask(item, options, decode, MOST_PATIENCE)


def _decode(
    item: Item, content_hash: str, options: DecodeOptions, seconds: float, worker: LastingProcess
) -> Decoded | Skipped:
    """Decode a file in a process."""
    from qvsearch.media import worker_messages  # which loads numpy

    try:
        segments = worker.run(
            ("decode", item, content_hash, options),
            seconds,
            lambda message, arrays: worker_messages.read_segment(
                message, arrays, item, content_hash
            ),
        )
    except MediaError as error:
        return Skipped(item.location, str(error))
    return Decoded(item, tuple(segments))


def _look(
    item: Item, since: int, seconds: float, worker: LastingProcess
) -> tuple[Item, Metadata | None | Skipped]:
    """Read a file's header in a process."""
    from qvsearch.media import worker_messages  # which loads numpy

    try:
        answers = worker.run(("look", item, since), seconds, worker_messages.read_metadata)
    except MediaError as error:
        return item, Skipped(item.location, str(error))
    if len(answers) != 1:  # a hostile file may have caused a second answer
        return item, Skipped(item.location, "the decoder crashed")
    return item, answers[0]


def _work(
    decode: Callable[..., Decoded],
    look: Callable[..., Metadata | None],
    pipe: socket.socket,
    task: str,
    *job: object,
) -> None:
    """Decode one file, or look at it, in the process; `job` holds the function's arguments."""
    from qvsearch.media import worker_messages  # which loads numpy

    if task == "look":
        worker_messages.send_metadata(pipe, look(*job))
        return
    segments = deque(decode(*job).segments)
    while segments:  # one by one: a film is never here and with the parent at once
        worker_messages.send_segment(pipe, segments.popleft())


def _send_length(pipe: socket.socket, path: Path) -> None:
    """Read the length of one film from its header, in the process."""
    from qvsearch.media.packets import DAMAGE, open_container
    from qvsearch.wire import send

    try:
        with path.open("rb") as file, open_container(file) as container:
            lengths = [
                float(stream.duration * stream.time_base)
                for stream in container.streams.video
                if stream.duration and stream.time_base
            ]
            send(pipe, {"length": max(lengths, default=(container.duration or 0) / 1_000_000)})
    except DAMAGE as error:
        raise MediaError(str(error)) from error


def _send_pages(pipe: socket.socket, path: Path) -> None:
    """Read the number of pages of one document, in the process."""
    from qvsearch.wire import send

    try:
        status = path.stat()
    except OSError as error:
        raise MediaError(str(error)) from error
    item = Item(os.fsencode(path), b"", Kind.DOCUMENT, status.st_size, status.st_mtime_ns)
    metadata = media.look(item, READING[item.kind])
    send(pipe, {"length": None if metadata is None else metadata.pages})


def _read_length(most: float, message: dict[str, Any], _: list[Array]) -> float:
    length = message.get("length")
    if not isinstance(length, (int, float)) or not 0 < length < most:
        raise ValueError("not the length of a film or a document")
    return math.ceil(length * 1000) / 1000
