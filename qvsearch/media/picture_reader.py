"""A confined process that reads the words in pictures, seen from its parent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Self

from qvsearch.errors import MediaError
from qvsearch.media import ocr
from qvsearch.media.sandbox import LastingProcess
from qvsearch.media.workers import STOP_SECONDS, patience
from qvsearch.types import Item, Segment

if TYPE_CHECKING:
    from qvsearch.wire import Array

MOST_BYTES = 5 * 2**29  # 2.5 GB: a dense picture took 1.0 to 1.4, and decoding it up to 1.9 before
# seconds by the wall clock for one picture, beside the decoding of its file: a dense page took 5
# on a quiet core, and 200 on a machine with seven times as much work as cores
PICTURE_SECONDS = 300.0

Work = Callable[..., None]


def reading_patience(item: Item, pictures: int) -> float:
    """Return the seconds after which a process that reads pictures of a file counts as hanging."""
    return patience(item) + PICTURE_SECONDS * pictures


class PictureReader:
    """Reads pictures one file after another; a context manager that ends its process.

    The process calls `work(pipe, item, segments)`, a function that a fresh Python can import by
    its name, and starts with the first file.
    """

    def __init__(
        self, work: Work = ocr.work, patience: Callable[[Item, int], float] = reading_patience
    ) -> None:
        self._patience = patience
        ended = "the process that reads pictures has ended"
        self._process = LastingProcess(work, MOST_BYTES, ended)
        self._thread = ThreadPoolExecutor(1, "ocr")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # its thread sees the end of the pipe and returns
        self._thread.shutdown()
        self._process.end()

    def read(
        self, item: Item, segments: Sequence[Segment], stop: Callable[[], bool] = lambda: False
    ) -> dict[int, str]:
        """Return the words of segments of one file, by their places in `segments`.

        The text is empty for a picture without words, and for one that cannot be read, e.g.
        because it crashes the process. Those behind it are read all the same. If `stop` returns
        True, only those that are finished are in the result.
        """
        texts: dict[int, str] = {}
        left = list(range(len(segments)))
        while left:
            done: dict[int, str] = {}
            future = self._thread.submit(self._run, item, [segments[each] for each in left], done)
            while not wait([future], STOP_SECONDS).done:
                if stop():
                    return texts | {left[place]: text for place, text in dict(done).items()}
            failed = future.exception()
            if failed is not None and not isinstance(failed, MediaError):
                raise failed
            texts |= {left[place]: text for place, text in done.items()}
            left = [place for place in left if place not in texts]
            if failed is None or self._process.is_usable():  # the file has no pictures for them
                return texts | dict.fromkeys(left, "")
            if left:  # the first one has ended the process
                texts[left.pop(0)] = ""
        return texts

    def _run(self, item: Item, segments: Sequence[Segment], done: dict[int, str]) -> None:
        """Fill in the words of segments as they come."""

        def take(message: dict[str, Any], arrays: list[Array]) -> None:
            place, text = message.get("place"), message.get("text")
            if type(place) is not int or place not in range(len(segments)) or place in done:
                raise ValueError("a message about another picture")
            if type(text) is not str or len(text) > ocr.LONGEST_TEXT or arrays:
                raise ValueError("no words of a picture")
            done[place] = text

        seconds = self._patience(item, len(segments))
        self._process.run((item, segments), seconds, take)
