"""The inputs of `bench`: random photos, a film and texts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from qvsearch.indexing.baseline_queries import QUERIES
from qvsearch.media.pixels import smart_resize
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.types import EmbedInput, Item, Kind

if TYPE_CHECKING:
    from numpy.random import Generator

    from qvsearch.types import Detail, Pixels

PHOTO = (3000, 4000)  # pixels, height and width: 12 megapixels
FILM = (1080, 1920)
FILM_SECONDS, SCENE_SECONDS, FRAME_RATE = 6, 3, 25
COARSE = 16  # pixels that one random value covers
SHIFT = 8  # pixels that a scene moves by from frame to frame
CHARACTERS = 6_000  # of a text: more than a passage has with any tokenizer


def photos(detail: Detail) -> Iterator[EmbedInput]:
    """Yield inputs of a 12-megapixel photo's size at a detail, without end."""
    size = smart_resize(*PHOTO, max_pixels=detail.max_pixels)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    while True:
        yield EmbedInput(images=(pixels,))


def texts() -> Iterator[str]:
    """Yield long texts without end; each begins differently, so that no prefix is cached."""
    for seed in count():
        rng = np.random.default_rng(seed)
        words = " ".join(QUERIES).split()
        yield f"{seed:x} {' '.join(rng.choice(words, CHARACTERS // 4))}"


def queries() -> Iterator[EmbedInput]:
    """Yield queries of about eight words, without end."""
    for text in texts():
        yield EmbedInput(text=" ".join(text.split()[:8]), instruction=QUERY_INSTRUCTION)


def write_photo(folder: Path) -> Item:
    """Write a JPEG with 12 megapixels."""
    path = folder / "photo.jpg"
    Image.fromarray(_picture(np.random.default_rng(0), *PHOTO)).save(path, quality=90)
    return _item(path, Kind.IMAGE)


def write_film(folder: Path) -> Item:
    """Write a film of two moving scenes, with the size and rate of a phone's."""
    import av

    path, rng = folder / "film.mp4", np.random.default_rng(0)
    height, width = FILM
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(FRAME_RATE))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(FILM_SECONDS // SCENE_SECONDS):
            scene = _picture(rng, *FILM)
            for step in range(SCENE_SECONDS * FRAME_RATE):
                picture = np.roll(scene, step * SHIFT, axis=1)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return _item(path, Kind.VIDEO)


def _picture(rng: Generator, height: int, width: int) -> Pixels:
    colour = rng.integers(0, 128, 3, np.uint8)  # which distinguishes scenes
    cells = (-(-height // COARSE), -(-width // COARSE), 3)
    coarse = colour + rng.integers(0, 128, cells, np.uint8)
    picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture)


def _item(path: Path, kind: Kind) -> Item:
    status = path.stat()
    return Item(os.fsencode(path), b"", kind, status.st_size, status.st_mtime_ns)
