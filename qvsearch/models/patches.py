"""Cuts pixels into the patches that the vision tower takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qvsearch.models.prompt import FRAMES_PER_STEP

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.types import Pixels, Vectors

# A part of a library's fingerprint: raise it if a pixel value changes, below or in a decoder.
PREPROCESSING = 2  # of new libraries
KNOWN_PREPROCESSING = (1, 2)  # see Fingerprint

PATCH = 16  # pixels a side
MERGE = 2  # patches a side that become one token
PATCH_NUMBERS = 3 * FRAMES_PER_STEP * PATCH * PATCH  # colours, frames, rows, columns

# mean and deviation 0.5 on values from 0 to 1, fused in float32 as torchvision's processor does
_NORMALISED = ((np.arange(256, dtype=np.float32) - 127.5) / np.float32(127.5)).astype(np.float32)


def image_patches(image: Pixels) -> tuple[Vectors, tuple[int, int, int]]:
    """Return the patches (n, 1536) float32 of an image (h, w, 3) and its grid (1, h/16, w/16)."""
    return _patches(np.stack((image, image)))


def video_patches(frames: Pixels) -> tuple[Vectors, tuple[int, int, int]]:
    """Return the patches of frames (t, h, w, 3) and their grid; an odd last frame is doubled."""
    if len(frames) % FRAMES_PER_STEP:
        frames = np.concatenate((frames, frames[-1:]))
    return _patches(frames)


def _patches(frames: NDArray[np.uint8]) -> tuple[Vectors, tuple[int, int, int]]:
    """Cut (t, h, w, 3) into patches in the order of transformers' Qwen2VLImageProcessor.

    Four patches that merge into a token stand together; a patch is channel, time, row, column.
    """
    t, height, width, _ = frames.shape
    grid = (t // FRAMES_PER_STEP, height // PATCH, width // PATCH)
    cut = frames.reshape(
        grid[0], FRAMES_PER_STEP, grid[1] // MERGE, MERGE, PATCH, grid[2] // MERGE, MERGE, PATCH, 3
    )
    ordered = cut.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7)
    return _NORMALISED[ordered.reshape(-1, PATCH_NUMBERS)], grid
