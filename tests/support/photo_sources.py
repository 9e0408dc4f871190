"""Photos and words as inputs of every kind."""

from __future__ import annotations

import numpy as np
from PIL import Image

from qvsearch.types import EmbedInput, Frames


def pixels(height: int, width: int, seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height)))


def film(count: int, seed: int) -> Frames:
    frames = np.stack([pixels(64, 96, seed + number) for number in range(count)])
    return Frames(frames, tuple(number / 2 for number in range(count)))


PHOTO = pixels(96, 160, 1)


SOURCES = [  # in no order of length
    EmbedInput("x" * 300),
    EmbedInput("a dog on a beach"),
    EmbedInput(images=(PHOTO,)),
    EmbedInput(),
    EmbedInput("both", images=(pixels(64, 96, 2), pixels(128, 64, 3))),
    EmbedInput("what happens", video=film(5, 4)),
    EmbedInput("and this", images=(pixels(64, 64, 9),), video=film(2, 10)),
    EmbedInput("a dog on a boat"),
    EmbedInput("a dog", instruction="Retrieve images or text relevant to the user's query."),
]
