"""Tells a screenshot, a scanned page or a chart from a photo.

On a page most of the ground is one level, and where it changes, it changes sharply; in a photo most
changes are soft, for lenses, light and surfaces are. It reads no text and knows no layout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageChops

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.types import Pixels

# steps are differences of grey, of 255, between neighbours in a row
EVEN_STEP = 1  # at most: what a program drew, even after JPEG; a camera's own noise does more
NOISY_STEP = 4  # at most: the same ground after a scanner
SHARP_STEP = 40  # at least: the edge of a letter, also of grey on grey and after resizing

LEAST_SHARP = 0.012  # of all steps: a slide with two lines of text; a thing on white makes 0.011
BRIGHT = 128  # the least grey of paper and slides; night skies and dark rooms are even, too


def is_page(pixels: Pixels) -> bool:
    """Tell whether a picture (h, w, 3), as embedded, shows text or lines rather than a scene."""
    grey = Image.fromarray(pixels).convert("L")
    left = grey.crop((0, 0, grey.width - 1, grey.height))
    right = grey.crop((1, 0, grey.width, grey.height))
    steps = _shares(ImageChops.difference(left, right))
    sharp = steps[SHARP_STEP:].sum()
    if sharp < LEAST_SHARP:
        return False
    contrast = sharp / max(1e-9, steps[NOISY_STEP + 1 : SHARP_STEP].sum())
    even, noisy = steps[: EVEN_STEP + 1].sum(), steps[: NOISY_STEP + 1].sum()
    drawn = even > 0.45 and even > 0.8 * noisy
    levels = _shares(grey)
    near_levels = np.convolve(levels, np.ones(5), "same")
    ground, bright = near_levels.max(), near_levels.argmax() >= BRIGHT
    paper = np.convolve(levels, np.ones(17), "same").max()  # with its shades
    screen = drawn and ground > 0.25 and contrast > 0.3
    # the soft steps of a photo on a slide or a web page
    illustrated = drawn and ground > 0.45 and contrast > 0.17 and bright
    scan = noisy > 0.6 and paper > 0.3 and contrast > 0.45 and bright and sharp > 0.05
    return bool(screen or illustrated or scan)


def _shares(grey: Image.Image) -> NDArray[np.float64]:
    return np.array(grey.histogram()) / (grey.width * grey.height)
