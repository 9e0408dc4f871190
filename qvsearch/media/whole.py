"""A whole file as one input of the model: a picture, frames, pages, or all of a text."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qvsearch import media
from qvsearch.errors import MediaError
from qvsearch.media import sampling, spread
from qvsearch.media.pixels import FACTOR, smart_resize
from qvsearch.types import Decoded, EmbedInput, Frames, Kind, Segment

if TYPE_CHECKING:
    from qvsearch.types import DecodeOptions, Item, Pixels

# the published class's FPS, MAX_FRAMES and MAX_TOTAL_PIXELS (QwenLM/Qwen3-VL-Embedding 8ce3aab)
FPS, MAX_FRAMES = 1.0, 64
TOTAL_PIXELS = 10 * 768 * FACTOR**2
MOST_PAGES = 8  # as many as stand for a document in a query
# qwen-vl-utils' VIDEO_MIN_TOKEN_NUM and VIDEO_MAX_TOKEN_NUM, of one frame
LEAST_FRAME, MOST_FRAME = 128 * FACTOR**2, 768 * FACTOR**2


def decode(
    item: Item,
    content_hash: str,
    options: DecodeOptions,
    *,
    fps: float = FPS,
    max_frames: int = MAX_FRAMES,
) -> Decoded:
    """Return the one segment of a file and its input; raises MediaError.

    It takes the place of `media.decode` in a worker. The `options` hold for pictures. A video has
    `fps` frames a second, at most `max_frames`, in the published sizes. A document has MOST_PAGES
    pictures of pages at most, spread evenly, together of TOTAL_PIXELS at most.
    """
    if item.kind is Kind.IMAGE:
        return media.decode(item, content_hash, replace(options, films=False))
    if item.kind is Kind.TEXT:
        return _text(item, content_hash)
    if item.kind is Kind.DOCUMENT:
        return _document(item, content_hash, options)
    whole = sampling.decode(item, content_hash, options, fps=fps, max_frames=max_frames)
    [(segment, source)] = whole.segments
    assert source.video is not None  # noqa: S101 - `sampling.decode` returns nothing else
    frames = Frames(_resized(source.video.pixels), source.video.times)
    return Decoded(item, ((segment, EmbedInput(video=frames)),))


def _document(item: Item, content_hash: str, options: DecodeOptions) -> Decoded:
    most = min(options.page_pixels or options.max_pixels, TOTAL_PIXELS // MOST_PAGES)
    limited = replace(options, page_pixels=most)
    pages = spread.decode(item, content_hash, limited, most=MOST_PAGES).segments
    pictures = tuple(image for _, source in pages for image in source.images)
    segment = replace(pages[0][0], page=None, snippet=None)
    return Decoded(item, ((segment, EmbedInput(images=pictures)),))


def _text(item: Item, content_hash: str) -> Decoded:
    """Return a text as one input, without the noise that passages leave out."""
    from qvsearch.media import text

    with media.open_unchanged(item, content_hash) as file:
        words = text.whole(file, item)
    if not words.strip():
        raise MediaError("no text")
    segment = Segment(item, content_hash)
    return Decoded(item, ((segment, EmbedInput(words.strip())),))


def _resized(frames: Pixels) -> Pixels:
    """Resize frames (t, h, w, 3) to the sizes of qwen-vl-utils' `fetch_video`, by Pillow."""
    from PIL import Image

    count, height, width, _ = frames.shape
    budget = max(min(MOST_FRAME, TOTAL_PIXELS // count * 2), int(LEAST_FRAME * 1.05))
    height, width = smart_resize(height, width, min_pixels=LEAST_FRAME, max_pixels=budget)
    size, bicubic = (width, height), Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(each).resize(size, bicubic)) for each in frames])
