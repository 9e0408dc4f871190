"""Reads the words in pictures: screenshots, scanned pages, and frames of screen recordings.

The models are in the wheel of rapidocr (PP-OCRv6 small) and are named by their paths, so that it
never downloads any.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qvsearch import media
from qvsearch.types import DecodeOptions, Item, Kind, Segment
from qvsearch.wire import send

if TYPE_CHECKING:
    import socket

    from qvsearch.types import EmbedInput, Pixels

# which the model's table of 18,708 characters covers; it has no Cyrillic, Arabic, Indic, Thai or
# Korean letters, and not all of Vietnamese and accented Greek
LANGUAGES = (
    *("zh", "ja", "en", "af", "az", "bs", "ca", "cs", "cy", "da", "de", "es", "et", "eu", "fi"),
    *("fr", "ga", "gl", "hr", "hu", "id", "is", "it", "la", "lb", "lt", "lv", "mi", "ms", "mt"),
    *("nl", "no", "oc", "pl", "pt", "qu", "rm", "ro", "sk", "sl", "sq", "sv", "sw", "tl", "tr"),
    "uz",
)
MOST_PIXELS = 4_000_000  # of a picture: a page of A4 at 200 dots an inch has them
STRIP_PIXELS = 16_000_000  # of a long strip, e.g. a whole web page
PIECE_SIDE = 2000  # the engine reduces pictures with a longer side
OVERLAP = 100  # pixels of two pieces of a strip, so that each line is whole in one of them
# a frame shows another screen if so many squares differ by more: some digits do that, and a mouse
# pointer, but neither a blinking cursor nor the minute of a clock
BLOCK, LEAST_CHANGE, CHANGED_BLOCKS = 16, 24, 4  # pixels, of 255, squares
LONGEST_TEXT = 100_000  # characters of a picture; a dense page has 10,000
_DETECTOR, _RECOGNISER = "PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx"


def is_installed() -> bool:
    """Return whether the packages of the extra `[ocr]` are installed; nothing is loaded."""
    return all(find_spec(name) is not None for name in ("rapidocr", "onnxruntime"))


def work(pipe: socket.socket, item: Item, segments: Sequence[Segment]) -> None:
    """Send the words in the pictures of some segments of one file, in the process.

    Each message has the place of the segment in `segments`. A frame that shows the screen of the
    one before has its words. Raises MediaError if the file cannot be decoded.
    """
    shown, text = None, ""
    for place, pixels in _pictures(item, segments):
        if shown is None or item.kind is not Kind.VIDEO or is_another_screen(shown, pixels):
            shown, text = pixels, read(pixels)
        send(pipe, {"place": place, "text": text})


def read(pixels: Pixels) -> str:
    """Return the words in a picture (h, w, 3), a line for each line of it, from the top down."""
    found = [_engine()(piece[:, :, ::-1], use_cls=False) for piece in _pieces(pixels)]
    lines = [line for each in found for line in each.txts or ()]
    return "\n".join(" ".join(line.split()) for line in lines)[:LONGEST_TEXT]


def is_another_screen(one: Pixels, other: Pixels) -> bool:
    """Return whether two frames (h, w, 3) of a film, as decoded, differ by a number or more."""
    if one.shape != other.shape:
        return True
    changes = (np.maximum(one, other) - np.minimum(one, other)).max(axis=2)
    height, width = (side // BLOCK for side in changes.shape)
    blocks = changes.reshape(height, BLOCK, width, BLOCK).mean(axis=(1, 3))
    return int((blocks > LEAST_CHANGE).sum()) >= CHANGED_BLOCKS


@cache
def _engine() -> Any:  # noqa: ANN401 - rapidocr has no types
    import rapidocr

    folder = Path(rapidocr.__file__).parent / "models"
    return rapidocr.RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.use_cls": False,  # it would turn one line of ten upside down
            "Global.max_side_len": PIECE_SIDE,
            "Det.model_path": str(folder / _DETECTOR),
            "Rec.model_path": str(folder / _RECOGNISER),
            # several threads wait for each other by spinning: ten times the cost on busy machines
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            "EngineConfig.onnxruntime.enable_cpu_mem_arena": False,
        }
    )


def _pieces(pixels: Pixels) -> Iterator[Pixels]:
    """Yield a picture whole, or in overlapping pieces if it is a long strip."""
    height, width, _ = pixels.shape
    if max(height, width) <= PIECE_SIDE or not _is_strip(height, width):
        yield pixels
        return
    cuts = [*range(0, max(height, width) - OVERLAP, PIECE_SIDE - OVERLAP), max(height, width)]
    for start, end in pairwise(cuts):
        stretch = slice(start, min(end + OVERLAP, max(height, width)))
        yield pixels[stretch] if height > width else pixels[:, stretch]


def _is_strip(height: float, width: float) -> bool:
    return max(height, width) > 2.5 * min(height, width)


def _pictures(item: Item, segments: Sequence[Segment]) -> Iterator[tuple[int, Pixels]]:
    """Yield the picture of each segment that can be decoded, with its place."""
    if item.kind is Kind.VIDEO:
        from qvsearch.media.video import screens

        moments = [(each.start or 0.0, each.end or 0.0) for each in segments]
        with (
            warnings.catch_warnings(action="ignore"),
            media.open_unchanged(item, segments[0].content_hash) as file,
        ):
            yield from screens(file, item, MOST_PIXELS, moments)
        return
    with warnings.catch_warnings(action="ignore"):
        decoded = _decoded(item, segments)
    places = {_place(segment): number for number, segment in enumerate(segments)}
    for segment, source in decoded:
        if (place := places.get(_place(segment))) is not None:
            yield place, source.images[0]


def _place(segment: Segment) -> tuple[int | None, float | None]:
    return segment.page, segment.start


def _decoded(item: Item, segments: Sequence[Segment]) -> Sequence[tuple[Segment, EmbedInput]]:
    content_hash, first = segments[0].content_hash, segments[0]
    is_strip = first.width and first.height and _is_strip(first.height, first.width)
    options = DecodeOptions(STRIP_PIXELS if is_strip else MOST_PIXELS)
    if item.kind is Kind.IMAGE:
        return media.decode(item, content_hash, options).segments
    with media.open_unchanged(item, content_hash) as file:
        from qvsearch.media.document import decode_pages

        pages = [each.page for each in segments if each.page is not None]
        return decode_pages(file, item, content_hash, options, pages)
