"""Small pictures of images, pages and moments of videos, as WebP, kept in the user's cache."""

from __future__ import annotations

import io
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from qvsearch import cache
from qvsearch.media import stills
from qvsearch.media.places import page_place
from qvsearch.media.stills import NO_PICTURE
from qvsearch.media.workers import Decoders
from qvsearch.types import DecodeOptions, Kind, Skipped

if TYPE_CHECKING:
    from qvsearch.types import Pixels, Segment

SIDE = 320  # pixels of the longer side, for a grid of pictures
QUALITY = 80  # of WebP: about 12 KB for a photo of 320 pixels
MOST_BYTES = 512 * 2**20  # of all pictures in the cache
TRIM_EVERY = 256  # pictures made; a folder of 40,000 takes 0.1 s to look through
VERSION = 1  # of the pictures; a part of their names in the cache
AHEAD = 64  # pictures that `in_order` makes before they are taken: 1 MB of WebP
MOST_THREADS = 16  # as there are decode processes at most


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels (h, w, 3) uint8 RGB of a picture, and the width and height of the original."""

    pixels: Pixels
    width: int
    height: int

    def webp(self) -> bytes:
        """Return the pixels as WebP."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(self.pixels).save(buffer, "WEBP", quality=QUALITY, method=4)
        return buffer.getvalue()


class Thumbnails:
    """Makes pictures in confined processes; a context manager, safe for several threads."""

    def __init__(self, workers: int | None = None, folder: Path | None = None) -> None:
        self._decoders = Decoders(workers, decode=stills.decode)
        self._folder = folder or cache.cache_folder("thumbnails")
        self._lock = threading.Lock()
        self._made = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._decoders.__exit__()

    def webp(
        self,
        segment: Segment,
        side: int = SIDE,
        *,
        start: float | None = None,
        end: float | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> bytes | Skipped:
        """Return the picture of an image, page or moment, as WebP from the cache or made now.

        It is upright and in sRGB; its longer side has `side` pixels at most. The moment is
        `[start, end)` in seconds, else that of the segment; the page is the segment's. The reason
        of a Skipped is for people.
        """
        if segment.item.kind is Kind.TEXT:
            return Skipped(segment.item.location, NO_PICTURE)
        place = _place(segment, start, end)
        path = self._folder / cache.file_name(VERSION, segment.item_id, place, side)
        if (kept := cache.read(path)) is not None:
            return kept
        shown = self.picture(segment, side, start=start, end=end, stop=stop)
        if isinstance(shown, Skipped):
            return shown
        webp = shown.webp()
        cache.keep(path, webp)
        with self._lock:
            self._made += 1
            is_due = self._made % TRIM_EVERY == 1
        if is_due:
            cache.trim(self._folder, most_bytes=MOST_BYTES)
        return webp

    def in_order(
        self, places: Iterable[tuple[Segment, float | None, float | None]], side: int = SIDE
    ) -> Generator[bytes | Skipped, None, None]:
        """Yield `webp` of each (segment, start, end), in order; several are made at a time.

        Few are made ahead, so that ten thousand take no memory. It may be left early.
        """
        stopping = threading.Event()
        waiting: deque[Future[bytes | Skipped]] = deque()
        pool = ThreadPoolExecutor(min((os.cpu_count() or 1) + 1, MOST_THREADS), "thumbnail")

        def make(segment: Segment, start: float | None, end: float | None) -> bytes | Skipped:
            return self.webp(segment, side, start=start, end=end, stop=stopping.is_set)

        try:
            for place in places:
                waiting.append(pool.submit(make, *place))
                if len(waiting) >= AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            stopping.set()
            pool.shutdown(cancel_futures=True)

    def picture(
        self,
        segment: Segment,
        side: int,
        *,
        start: float | None = None,
        end: float | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Picture | Skipped:
        """Return what `webp` shows as pixels, with the size of the original; without the cache."""
        place = _place(segment, start, end)
        options = DecodeOptions(max_pixels=side * side, moments=(place,) if place else ())
        for outcome in self._decoders.decode([(segment.item, segment.content_hash)], options, stop):
            if isinstance(outcome, Skipped):
                return outcome
            shown, source = outcome.segments[0]
            pixels = source.images[0] if source.video is None else source.video.pixels[0]
            width = shown.width or segment.width or pixels.shape[1]
            height = shown.height or segment.height or pixels.shape[0]
            # a page has no pixels of its own; a picture is not enlarged
            is_page = segment.item.kind is Kind.DOCUMENT
            longest = max(pixels.shape[:2]) if is_page else max(width, height)
            return Picture(_shaped(pixels, width, height, min(side, longest)), width, height)
        return Skipped(segment.item.location, "interrupted")


def _place(
    segment: Segment, start: float | None, end: float | None
) -> tuple[float, float] | tuple[()]:
    """Return the given moment, else that of the segment; without an end it has a second.

    A document's is the place of its page (`media.places`). An image has none, unless a moment of
    the film within it is wanted.
    """
    if segment.item.kind is Kind.DOCUMENT:
        return page_place(segment.page or 1)
    is_still = segment.metadata.duration is None or start is segment.start is None
    if segment.item.kind is Kind.IMAGE and is_still:
        return ()
    if start is None:
        start, end = segment.start or 0.0, segment.end if end is None else end
    return start, start + 1.0 if end is None else end


def _shaped(pixels: Pixels, width: int, height: int, side: int) -> Pixels:
    """Return pixels in the shape of the original, the longer side of `side` pixels.

    Those of the model have sides in multiples of 32.
    """
    import numpy as np
    from PIL import Image

    share = side / max(width, height)
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
