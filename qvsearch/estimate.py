"""Compute how long the work will take on this machine, from the model's shapes and one second."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.fingerprint import (
    Choice,
    new_detail,
    new_model,
    new_video_mode,
    open_library,
)
from qvsearch.ingest import IngestOptions, Plan, plan
from qvsearch.library import Library
from qvsearch.models.weights import DEFAULT_MODEL, MODELS
from qvsearch.prompt import TOKEN_PIXELS
from qvsearch.types import Detail

if TYPE_CHECKING:
    import torch

# the 2B model's shapes: a photo costs 2 FLOP a parameter and token in both towers, the vision
# tower having four patches a token and attention over all of them
TEXT_PARAMETERS = 1.41e9
VISION_PARAMETERS = 0.30e9
VISION_LAYERS, VISION_WIDTH = 24, 1024
PATCHES_PER_TOKEN = 4
PROMPT_TOKENS = 30

GEMM_ROWS, GEMM_WIDTH = 256, 2048  # a photo's tokens at low detail, the text tower's width
GEMM_SECONDS = 1.0


def plan_index(
    folder: Path, paths: Sequence[bytes], choice: Choice, how: IngestOptions
) -> tuple[Plan, float | None]:
    """Return what `index` would do and the seconds it would take, as far as that can be told.

    A library that is not there yet counts as empty; nothing is downloaded or written.
    """
    library = open_library(folder, choice) if Library.exists(folder) else None
    mode = new_video_mode(choice) if library is None else library.fingerprint.video_mode
    planned = plan(library, paths, how, mode)
    model = new_model(choice) if library is None else library.fingerprint.model
    known = MODELS.get(model)
    if known is None or not planned.segments:
        return planned, None
    detail = new_detail(choice) if library is None else library.fingerprint.detail
    size = known.parameters / MODELS[DEFAULT_MODEL].parameters
    return planned, planned.segments * size * photo_flop(detail) / _rate(choice, library)


def _rate(choice: Choice, library: Library | None) -> float:
    from qvsearch.models.network import own_dtype, pick_device, pick_dtype

    device = pick_device(choice.device)
    own = None if library is None else own_dtype(library.fingerprint.precision, choice.device)
    return gemm_rate(device, pick_dtype(choice.dtype or own, device))


def photo_flop(detail: Detail) -> float:
    """Return what embedding one large photo costs with the 2B model."""
    tokens = detail.max_pixels // TOKEN_PIXELS
    patches = tokens * PATCHES_PER_TOKEN
    text = 2 * TEXT_PARAMETERS * (tokens + PROMPT_TOKENS)
    vision = 2 * VISION_PARAMETERS * patches
    attention = 4 * VISION_LAYERS * VISION_WIDTH * patches**2
    return text + vision + attention


def gemm_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return FLOP/s of the product that the model mostly consists of."""
    import torch

    from qvsearch.models.int8 import Int8Linear

    kept = torch.float32 if dtype == torch.int8 else dtype
    layer = torch.nn.Linear(
        GEMM_WIDTH, 3 * GEMM_WIDTH, bias=False, device=device, dtype=kept
    ).requires_grad_(False)
    multiply = Int8Linear(layer) if dtype == torch.int8 else layer
    left = torch.ones(GEMM_ROWS, GEMM_WIDTH, device=device, dtype=kept)
    multiply(left).sum().item()
    start, count = time.perf_counter(), 0
    while time.perf_counter() < start + GEMM_SECONDS:
        for _ in range(8):
            product = multiply(left)
        product[0, 0].item()  # waits for the device
        count += 8
    seconds = time.perf_counter() - start
    return 2 * GEMM_ROWS * GEMM_WIDTH * 3 * GEMM_WIDTH * count / seconds
