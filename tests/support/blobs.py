"""Vectors with known groups."""

import numpy as np

from support.made_rows import unit


def blobs(rng, sizes, dim=24, spread=0.15):
    """Unit vectors around as many random directions, and the true group of each."""
    centres = unit(rng.standard_normal((len(sizes), dim)))
    truth = np.repeat(np.arange(len(sizes)), sizes)
    order = rng.permutation(len(truth))
    return unit(centres[truth] + spread * rng.standard_normal((len(truth), dim)))[order], truth[
        order
    ]


def scattered(rng, count, dim=24):
    return unit(rng.standard_normal((count, dim)))
