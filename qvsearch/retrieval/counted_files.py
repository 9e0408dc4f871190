"""How often the rows of a file count among those that have the words of a query.

A word on most pages of a document is what the document is about: it is found once, not on each of
them. So are words of which some are in the name of a file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.types import Vectors

    Files = NDArray[np.int64]  # by number

ALIKE = 1e-5  # of coverages that are equal but for rounding


def shares(
    files: Files, coverage: Vectors, named: Files, sizes: Callable[[Files], NDArray[np.int64]]
) -> NDArray[np.float64]:
    """Return as how many rows each row (k,) counts, given its file (k,) and its coverage (k,).

    The best rows of a file are one together if they are more than half of its rows, or if it is
    among `named`. `sizes` returns how many rows files have.
    """
    numbers, place = np.unique(files, return_inverse=True)
    best = np.zeros(len(numbers), np.float32)
    np.maximum.at(best, place, coverage)
    is_best = coverage > best[place] - ALIKE
    counts = np.bincount(place[is_best], minlength=len(numbers))
    several = np.flatnonzero(counts > 1)
    is_once = np.isin(numbers, named)
    is_once[several] |= 2 * counts[several] > sizes(numbers[several])
    found: NDArray[np.float64] = np.where(is_best & is_once[place], 1 / counts[place], 1.0)
    return found
