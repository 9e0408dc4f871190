"""How many threads multiply fastest on this processor, at this moment."""

from __future__ import annotations

import math
import os
import time
from functools import cache

import torch
from torch.nn.functional import linear

ROWS, WIDTH = 128, 2048  # of the product that is timed: the 2B model's width
TURNS = 3
WORTH = 1.05  # what more threads have to gain: they are cores that decoders would have
DEFAULT = torch.get_num_threads()


def settle_threads() -> None:
    """Let torch use as many threads as multiply fastest, measured once in some tenths of a second.

    Two threads of one core, or cores that other programs are busy on, slow each other down. What
    OMP_NUM_THREADS says stays, and so does what `torch.set_num_threads` says once this is imported;
    what it says before is taken for torch's own number, the most that are tried.
    """
    if torch.get_num_threads() == DEFAULT and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(_fastest(DEFAULT))


@cache
def _fastest(most: int) -> int:
    """Return `most` or, where that multiplies as fast, a half or a quarter of it and so on."""
    states, weights = torch.ones(ROWS, WIDTH), torch.ones(WIDTH, WIDTH)
    seconds = {most >> halvings: math.inf for halvings in range(most.bit_length())}
    for _ in range(TURNS):
        for threads in seconds:
            torch.set_num_threads(threads)
            start = time.perf_counter()
            linear(states, weights)
            seconds[threads] = min(seconds[threads], time.perf_counter() - start)
    enough = WORTH * min(seconds.values())
    return min(threads for threads, needed in seconds.items() if needed <= enough)
