"""Picks the device, its number type, its batch limits and its number of threads.

The CPU's choices are measured when a model is loaded, for some tenths of a second in all.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import linear

from qvsearch.errors import QvsearchError
from qvsearch.models.int8 import check_kernels
from qvsearch.types import Dtype, Precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTH = 2048  # of the timed products: the 2B model's width
THREAD_ROWS, THREAD_TURNS = 128, 3  # of the product that compares numbers of threads
MORE_THREADS_GAIN = 1.05  # the least speed-up of more threads: decoders could use those cores
DEFAULT_THREADS = torch.get_num_threads()

BFLOAT16_ROWS = 64  # of the product that compares number types: a text's tokens
BFLOAT16_TURNS = 4  # the first one prepares the kernels
# the least speed-up of bfloat16; measured: 2.5 with instructions for it, 0.3 to 0.5 without
BFLOAT16_GAIN = 1.5
# the width from which a model's time is mostly products; the demo model has 128, and bfloat16
# takes it 1.3 times as long for one query as float32
NARROWEST = 512


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a device's batches."""

    tokens: int  # of a batch: more only cost memory
    padding: float  # the longest sequence of an attention call, over its shortest
    shares: bool  # whether the prefix that prompts share is computed once


LIMITS = {
    "cpu": Limits(1024, 1.25, shares=True),
    "cuda": Limits(16384, 1.25, shares=True),
    # nothing is masked but what comes later, see `attention`: no sequence is padded, and none
    # attends to another's prefix
    "mps": Limits(1024, 1.0, shares=False),
}

DTYPES: dict[str, torch.dtype] = {each: getattr(torch, each) for each in Dtype}


def pick_device(device: str | None) -> torch.device:
    """Return the named device, or the best one here: CUDA, then MPS, then the CPU."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cpu" and torch.backends.mps.is_available():
            device = "mps"
    sentence = (
        f"the device {device!r} is not usable here;"
        f" leave out --device, or name one of {', '.join(LIMITS)}"
    )
    try:
        picked = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for CUDA
        raise QvsearchError(sentence) from error
    if picked.type not in LIMITS:
        raise QvsearchError(sentence)
    return picked


def pick_dtype(dtype: str | None, device: torch.device, width: int) -> torch.dtype:
    """Return the named dtype, or the device's default for a model of this hidden width.

    The CPU's default is bfloat16 if a timed product shows that it is faster, else float32. int8
    stands for a model with 8-bit linear layers; its other layers are float32. Raises QvsearchError
    if the name is unknown or int8 does not run.
    """
    if dtype is not None:
        if dtype not in DTYPES:
            raise QvsearchError(f"no dtype {dtype!r}; there are {', '.join(DTYPES)}")
        if dtype == Dtype.INT8:
            check_kernels(device)
        return DTYPES[dtype]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "mps":
        return torch.float16
    return torch.bfloat16 if bfloat16_pays(width) else torch.float32


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name that `--dtype` uses."""
    return str(dtype).removeprefix("torch.")


def moved(values: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Copy to the device; to CUDA without waiting, which needs pinned memory."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def own_dtype(precision: Precision, device: str | None) -> Dtype | None:
    """Return the dtype that a library's precision needs on a device; None for floats."""
    is_int8 = precision == Precision.INT8 and pick_device(device).type == "cpu"
    return Dtype.INT8 if is_int8 else None


def bfloat16_pays(width: int) -> bool:
    """Return whether a model of this hidden width is much faster in bfloat16 on this CPU."""
    return width >= NARROWEST and _bfloat16_is_faster()


def settle_threads() -> None:
    """Let torch use the number of threads that multiplies fastest.

    Two threads of one core slow each other down, and so do cores that other programs keep busy.
    OMP_NUM_THREADS stays in force, and so does `torch.set_num_threads` after this import. A call of
    it before this import sets the largest number that is tried.
    """
    if torch.get_num_threads() == DEFAULT_THREADS and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(_fastest(DEFAULT_THREADS))


@cache
def _bfloat16_is_faster() -> bool:
    """Compare the fastest product of both types, once in less than a tenth of a second.

    A flag of the processor would not do: without instructions for it, bfloat16 is emulated.
    """
    settle_threads()
    operands = {dtype: _operands(BFLOAT16_ROWS, dtype) for dtype in (torch.float32, torch.bfloat16)}
    seconds = dict.fromkeys(operands, math.inf)
    for _ in range(BFLOAT16_TURNS):
        for dtype in operands:
            seconds[dtype] = min(seconds[dtype], _product_seconds(operands[dtype]))
    return seconds[torch.float32] >= BFLOAT16_GAIN * seconds[torch.bfloat16]


@cache
def _fastest(most: int) -> int:
    """Return `most`, or a half or a quarter of it and so on if that multiplies as fast."""
    operands = _operands(THREAD_ROWS, torch.float32)
    seconds = {most >> halvings: math.inf for halvings in range(most.bit_length())}
    for _ in range(THREAD_TURNS):
        for threads in seconds:
            torch.set_num_threads(threads)
            seconds[threads] = min(seconds[threads], _product_seconds(operands))
    enough = MORE_THREADS_GAIN * min(seconds.values())
    return min(threads for threads, needed in seconds.items() if needed <= enough)


def _operands(rows: int, dtype: torch.dtype) -> Sequence[torch.Tensor]:
    return torch.ones(rows, WIDTH, dtype=dtype), torch.ones(WIDTH, WIDTH, dtype=dtype)


def _product_seconds(operands: Sequence[torch.Tensor]) -> float:
    start = time.perf_counter()
    linear(*operands)
    return time.perf_counter() - start
