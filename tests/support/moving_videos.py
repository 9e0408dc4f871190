"""Small videos that move, and such that stand still."""

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 160, 96


RATE = 10


def scene(seed, width=WIDTH, height=HEIGHT):
    """A coloured picture of smooth blots, unlike any other."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 10, 3), np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def still(seed, seconds, rate=RATE, **size):
    return [scene(seed, **size)] * round(seconds * rate)


def moving(seed, seconds, rate=RATE):
    """A scene over which a white square goes from left to right, once in four seconds."""
    frames, background = [], scene(seed)
    for n in range(round(seconds * rate)):
        pixels = background.copy()
        x = int((n / rate / 4 % 1) * (WIDTH - 30))
        pixels[30:60, x : x + 30] = 255
        frames.append(pixels)
    return frames
