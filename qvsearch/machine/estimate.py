"""Say how long the work will take here: as `bench` measured it, or computed from one second."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.indexing.counts import FINE_MOMENT_SECONDS, MOMENT_SECONDS
from qvsearch.indexing.plan import Plan, plan
from qvsearch.indexing.session import IngestOptions
from qvsearch.library.library import Library
from qvsearch.machine.flops import CONFIG_2B, Shapes
from qvsearch.machine.speeds import device_name, kept_speeds
from qvsearch.media.text import PASSAGE_TOKENS
from qvsearch.models.prompt import PROMPT_TOKENS, TOKEN_PIXELS
from qvsearch.models.registry import DEFAULT_MODEL, MODELS, find, hidden_size
from qvsearch.runtime.loading import (
    Choice,
    check_new,
    new_detail,
    new_model,
    new_video_mode,
    open_library,
)
from qvsearch.types import Detail, Dtype, Kind, Precision, VideoMode

if TYPE_CHECKING:
    import torch

CLIP_PHOTOS = 2  # photos that a clip costs at most

GEMM_ROWS, GEMM_WIDTH = 256, 2048  # a photo's tokens at low detail, the 2B model's width
GEMM_SECONDS = 1.0
CPU_PRODUCTS, PRODUCTS = 2, 8  # timed at a time: on a slow CPU two take half a second
MANY_SEGMENTS = 200  # of a first run: with fewer its end is near
MUCH_FASTER = 1.5  # times: less is not worth other numbers


UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60))
LEAST_UNITS = 1.5  # less is told in the next smaller unit


@dataclass(frozen=True, slots=True)
class Expected:
    """Seconds that a photo, a picture of a video and a passage take, measured or computed."""

    photo: float
    moment: float
    passage: float
    measured: bool

    def seconds(self, segments: Mapping[Kind, int], mode: VideoMode) -> float:
        """Return how long it takes to embed so many segments of each kind."""
        each = {
            Kind.IMAGE: self.photo,
            Kind.VIDEO: self.moment * _pictures(mode),
            Kind.TEXT: self.passage,
        }
        return sum(count * each[kind] for kind, count in segments.items())


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds that a run will take here; `faster` are those with `--dtype int8`, if much fewer."""

    seconds: float
    measured: bool
    faster: float | None = None

    def text(self) -> str:
        """Return it in words, rounded to what is known."""
        basis = "measured by qvsearch bench" if self.measured else "a rough guess"
        other = "" if self.faster is None else f"; with --dtype int8 about {about(self.faster)}"
        return f"about {about(self.seconds)} on this machine ({basis}){other}"


def plan_index(
    folder: Path, paths: Sequence[bytes], choice: Choice, how: IngestOptions
) -> tuple[Plan, Estimate | None]:
    """Return what `index` would do and, as far as can be told, how long it would take.

    A library that is not there yet counts as empty; nothing is downloaded or written. Raises
    QvsearchError where none can be made.
    """
    library = open_library(folder, choice) if Library.exists(folder) else None
    if library is None:
        check_new(folder, new_model(choice))
    mode = new_video_mode(choice) if library is None else library.fingerprint.video_mode
    planned = plan(library, paths, how, mode)
    return planned, estimate(library, choice, planned.by_kind)


def estimate(
    library: Library | None, choice: Choice, segments: Mapping[Kind, int]
) -> Estimate | None:
    """Return how long it takes to embed so many segments; None for none or if nothing is known.

    A library that is not there yet, or has no row, may still take other numbers.
    """
    if not any(segments.values()):
        return None
    made = None if library is None else library.fingerprint
    model = _name(new_model(choice)) if made is None else made.model
    detail = new_detail(choice) if made is None else made.detail
    mode = new_video_mode(choice) if made is None else made.video_mode
    precision = Precision.FLOAT if made is None else made.precision
    expected = _expect_here(model, detail, choice, precision)
    if expected is None:
        return None
    seconds = expected.seconds(segments, mode)
    is_fixed = choice.dtype is not None or (library is not None and library.generation > 0)
    other = None if is_fixed else _expect_int8(model, detail, choice)
    if other is None or other.measured != expected.measured:
        return Estimate(seconds, expected.measured)
    faster = other.seconds(segments, mode)
    return Estimate(seconds, expected.measured, faster if faster * MUCH_FASTER <= seconds else None)


def advice(library: Library, choice: Choice, segments: Mapping[Kind, int]) -> str | None:
    """Return how to index a new library much faster; None if there is no such way or little to do.

    Measuring costs two seconds.
    """
    if library.generation or sum(segments.values()) < MANY_SEGMENTS:
        return None
    found = estimate(library, choice, segments)
    if found is None or found.faster is None:
        return None
    return (
        f"this will take {found.text()}; the library keeps what it begins with:"
        " to choose int8, press Ctrl-C now and add the option"
    )


def _expect_int8(model: str, detail: Detail, choice: Choice) -> Expected | None:
    """Return what int8 costs; None if it does not run on the device."""
    from qvsearch.models.devices import pick_device
    from qvsearch.models.int8 import check_kernels

    try:
        check_kernels(pick_device(choice.device))
    except QvsearchError:
        return None
    return _expect_here(model, detail, replace(choice, dtype=Dtype.INT8), Precision.INT8)


def expect(
    model: str, detail: Detail, device: torch.device, dtype: str, rate: Callable[[], float]
) -> Expected | None:
    """Return what a model's inputs cost here: measured where `bench` was run, else computed.

    `rate` gives the FLOP/s of matrix products. None where neither can be.
    """
    kept = kept_speeds(model, device_name(device), dtype)
    if kept is not None and kept.passage is not None:
        photo, moment = kept.photo.get(detail), kept.moment.get(detail)
        if photo is not None and moment is not None:
            return Expected(photo, moment, kept.passage, measured=True)
    known = MODELS.get(model)
    if known is None:
        return None
    scale = known.parameters / MODELS[DEFAULT_MODEL].parameters / rate()
    photo = photo_flop(detail) * scale
    passage = Shapes.of(CONFIG_2B).flop(PASSAGE_TOKENS + PROMPT_TOKENS) * scale
    return Expected(photo, photo, passage, measured=False)


def photo_flop(detail: Detail) -> float:
    """Return what embedding one large photo costs with the 2B model."""
    tokens = detail.max_pixels // TOKEN_PIXELS
    return Shapes.of(CONFIG_2B).flop(tokens + PROMPT_TOKENS, [tokens])


def gemm_rate(device: torch.device, dtype: torch.dtype, seconds: float = GEMM_SECONDS) -> float:
    """Return FLOP/s of the product that the model mostly consists of, measured for so long.

    It is the best of many: what else the machine does in that time must not change an estimate.
    """
    import torch

    from qvsearch.models.int8 import Int8Linear
    from qvsearch.models.threads import settle_threads

    if device.type == "cpu":
        settle_threads()
    kept = torch.float32 if dtype == torch.int8 else dtype
    layer = torch.nn.Linear(
        GEMM_WIDTH, 3 * GEMM_WIDTH, bias=False, device=device, dtype=kept
    ).requires_grad_(False)
    multiply = Int8Linear(layer) if dtype == torch.int8 else layer
    left = torch.ones(GEMM_ROWS, GEMM_WIDTH, device=device, dtype=kept)
    multiply(left).sum().item()
    products = CPU_PRODUCTS if device.type == "cpu" else PRODUCTS
    start, best = time.perf_counter(), math.inf
    while (begun := time.perf_counter()) < start + seconds:
        for _ in range(products):
            product = multiply(left[:])  # a new tensor, of which nothing is known
        product[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - begun)
    return 2 * GEMM_ROWS * GEMM_WIDTH * 3 * GEMM_WIDTH * products / best


def _expect_here(
    model: str, detail: Detail, choice: Choice, precision: Precision
) -> Expected | None:
    from qvsearch.models.devices import dtype_name, own_dtype, pick_device, pick_dtype

    device = pick_device(choice.device)
    asked = choice.dtype or own_dtype(precision, choice.device)
    dtype = pick_dtype(asked, device, _width(model))
    return expect(model, detail, device, dtype_name(dtype), lambda: gemm_rate(device, dtype))


def _width(model: str) -> int:
    """Return a model's hidden width; that of the 2B model if the model is not on this computer."""
    try:
        found = find(model)
    except QvsearchError:  # the folder that a library's model had
        found = None
    return Shapes.of(CONFIG_2B).width if found is None else hidden_size(found)


def _name(model: str) -> str:
    """Return the name that a library keeps of a model."""
    found = find(model)
    return model if found is None else found.name


def _pictures(mode: VideoMode) -> float:
    """Return how many pictures a video's segment costs on average."""
    if mode is VideoMode.BOTH:
        clips, fine = 1 / MOMENT_SECONDS, 1 / FINE_MOMENT_SECONDS
        return (CLIP_PHOTOS * clips + fine) / (clips + fine)
    return CLIP_PHOTOS if mode is VideoMode.CLIPS else 1


def about(seconds: float) -> str:
    """Return a time rounded to what a guess at it is worth: `2 minutes`, `1.5 hours`."""
    for unit, length in UNITS:
        number = seconds / length
        if number >= LEAST_UNITS:
            rounded = round(2 * number) / 2 if number < 3 else round(number)
            return f"{5 * round(number / 5) if number > 20 else rounded:g} {unit}s"
    number = max(1, round(seconds))
    return f"{number} second" + "s" * (number > 1)
