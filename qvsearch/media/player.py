"""Moments of videos as files that browsers play, made in confined processes and cached."""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from qvsearch import cache
from qvsearch.errors import MediaError, QvsearchError
from qvsearch.files import make_folder
from qvsearch.media.clips import MOST_BYTES as MOST_MEMORY
from qvsearch.media.clips import is_filled, patience, unfinished
from qvsearch.media.playable import write_playable
from qvsearch.media.sandbox import LastingProcess
from qvsearch.types import Kind, Skipped
from qvsearch.wire import BadMessage, send

if TYPE_CHECKING:
    import socket

    from qvsearch.types import Item, Segment
    from qvsearch.wire import Array

LONGEST = 60.0  # seconds of a moment
MOST_BYTES = 2 * 2**30  # of all moments in the cache
VERSION = 1  # of the files; a part of their names in the cache
REMEMBERED = 10_000  # files that browsers play themselves


class Player:
    """Makes moments for browsers; a context manager, safe for several threads."""

    def __init__(self, processes: int = 2, folder: Path | None = None) -> None:
        self._folder = folder or cache.cache_folder("moments")
        self._processes = [
            LastingProcess(_work, MOST_MEMORY, "the server ends") for _ in range(processes)
        ]
        self._idle: queue.LifoQueue[LastingProcess] = queue.LifoQueue()
        for each in self._processes:
            self._idle.put(each)
        self._lock = threading.Lock()
        self._making: dict[Path, threading.Lock] = {}
        self._plain: dict[str, None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._processes:
            each.end()

    def moment(self, segment: Segment, start: float, end: float) -> Path | None | Skipped:
        """Return the file of a moment `[start, end)`, in seconds, of at most LONGEST.

        None if browsers play the file itself. The reason of a Skipped is for people.
        """
        location = segment.item.location
        if segment.item.kind is not Kind.VIDEO and segment.metadata.duration is None:
            return Skipped(location, "only a video plays")
        if segment.item_id in self._plain:
            return None
        start, end = round(start, 2), round(min(end, start + LONGEST), 2)
        path = self._folder / f"{cache.file_name(VERSION, segment.item_id, start, end)}.mp4"
        with self._lock:
            making = self._making.setdefault(path, threading.Lock())
        try:
            with making:  # who asks for the same waits for it
                if path.is_file():
                    path.touch()  # so that often used files stay
                    return path
                if not self._make(segment, start, end, path):
                    self._plain[segment.item_id] = None
                    while len(self._plain) > REMEMBERED:
                        self._plain.pop(next(iter(self._plain)))
                    return None
        except MediaError as error:
            return Skipped(location, str(error))
        except (OSError, QvsearchError) as error:
            return Skipped(location, f"the moment cannot be written: {error}")
        finally:
            with self._lock:
                self._making.pop(path, None)
        cache.trim(self._folder, most_bytes=MOST_BYTES)
        return path

    def _make(self, segment: Segment, start: float, end: float, path: Path) -> bool:
        """Write a moment to the cache; return False if browsers play the file itself."""
        make_folder(self._folder, private=True)
        process = self._idle.get()
        try:
            with unfinished(self._folder) as target:
                job = (segment.item, segment.content_hash, start, end, target)
                answers = process.run(job, patience(start, end), _read_result)
                if answers == [False]:
                    return False
                if answers != [True] or not is_filled(target):  # the process was taken over
                    raise MediaError("nothing was written")
                target.replace(path)
                return True
        finally:
            self._idle.put(process)


def _work(
    pipe: socket.socket, item: Item, content_hash: str, start: float, end: float, target: Path
) -> None:
    """Write one moment, in the process."""
    send(pipe, {"written": write_playable(item, content_hash, start, end, target)})


def _read_result(message: dict[str, Any], _: list[Array]) -> bool:
    written = message.get("written")
    if not isinstance(written, bool):
        raise BadMessage("not a result")
    return written
