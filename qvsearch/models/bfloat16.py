"""Whether this processor multiplies bfloat16 so much faster than float32 that a model gains."""

from __future__ import annotations

import math
import time
from functools import cache

import torch
from torch.nn.functional import linear

from qvsearch.models.threads import settle_threads

ROWS, WIDTH = 64, 2048  # of the product that is timed: a text's tokens, the 2B model's width
TURNS = 4  # the first one prepares the kernels
# times as fast; measured: 2.5 with instructions for bfloat16, 0.3 to 0.5 without
WORTH = 1.5
# the width from which a model's time is mostly products; the demo model has 128, and one query
# takes it 1.3 times as long in bfloat16 as in float32
NARROWEST = 512


def bfloat16_pays(width: int) -> bool:
    """Return whether a model of this hidden width is much faster in bfloat16 on this CPU."""
    return width >= NARROWEST and _is_faster()


@cache
def _is_faster() -> bool:
    """Compare both types' fastest product, once in less than a tenth of a second.

    A flag of the processor would not do: without instructions for it, bfloat16 is emulated.
    """
    settle_threads()
    operands = {
        dtype: (torch.ones(ROWS, WIDTH, dtype=dtype), torch.ones(WIDTH, WIDTH, dtype=dtype))
        for dtype in (torch.float32, torch.bfloat16)
    }
    seconds = dict.fromkeys(operands, math.inf)
    for _ in range(TURNS):
        for dtype, (states, weights) in operands.items():
            start = time.perf_counter()
            linear(states, weights)
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - start)
    return seconds[torch.float32] >= WORTH * seconds[torch.bfloat16]
