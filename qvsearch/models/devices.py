"""Which device computes, with which numbers, and how its batches are made."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from qvsearch.errors import QvsearchError
from qvsearch.models.bfloat16 import bfloat16_pays
from qvsearch.models.int8 import check_kernels
from qvsearch.types import Dtype, Precision


@dataclass(frozen=True, slots=True)
class Limits:
    """How a device's batches are made."""

    tokens: int  # of a batch: past this it only costs memory
    padding: float  # the longest sequence of an attention call, over its shortest
    shares: bool  # whether what prompts begin with is computed once


LIMITS = {
    "cpu": Limits(1024, 1.25, shares=True),
    "cuda": Limits(16384, 1.25, shares=True),
    # sdpa with a mask gives NaN on MPS (sentence-transformers#3498), so no sequence is padded there
    # and none attends to another's beginning: without a mask, and causal, sdpa is right
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
        found = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for CUDA
        raise QvsearchError(sentence) from error
    if found.type not in LIMITS:
        raise QvsearchError(sentence)
    return found


def pick_dtype(dtype: str | None, device: torch.device, width: int) -> torch.dtype:
    """Return the named dtype, or the device's own for a model of this hidden width.

    The CPU's own is bfloat16 if a timed product shows that it pays, else float32. int8 stands for a
    model whose linear layers multiply such, and whose rest is float32. Raises QvsearchError if the
    name is unknown or int8 does not run.
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
    """Return what `--dtype` calls it."""
    return str(dtype).removeprefix("torch.")


def attention(device: torch.device) -> str:
    """Return transformers' name of the attention that is right on a device."""
    # with padding, sdpa gives NaN on MPS (sentence-transformers#3498)
    return "eager" if device.type == "mps" else "sdpa"


def own_dtype(precision: Precision, device: str | None) -> Dtype | None:
    """Return what a library's own vectors are computed with on a device; None for floats."""
    is_int8 = precision == Precision.INT8 and pick_device(device).type == "cpu"
    return Dtype.INT8 if is_int8 else None
