"""Estimate how long indexing will take, from measured speeds or from one second of products."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.indexing.counts import FINE_MOMENT_SECONDS, MOMENT_SECONDS
from qvsearch.indexing.plan import Plan, plan
from qvsearch.indexing.session import IngestOptions
from qvsearch.library.library import Library
from qvsearch.machine.flops import CONFIG_2B, Shapes, photo_flop, text_flop
from qvsearch.machine.speeds import RunTimer, Speeds, device_name, keep_speeds, read_speeds
from qvsearch.models.gguf import is_gguf
from qvsearch.models.registry import DEFAULT_MODEL, MODELS, find, hidden_size
from qvsearch.runtime.backends import backend_of
from qvsearch.runtime.choice import Choice
from qvsearch.runtime.chosen import new_detail, new_model, new_video_mode
from qvsearch.runtime.creating import check_new
from qvsearch.runtime.llama.pair import Pair, read_pair
from qvsearch.runtime.llama.process import threads
from qvsearch.runtime.loading import open_library
from qvsearch.types import Detail, Fingerprint, Kind, Precision, VideoMode

if TYPE_CHECKING:
    import torch

CLIP_PHOTOS = 2  # photos that a clip costs at most

GEMM_ROWS, GEMM_WIDTH = 256, 2048  # a photo's tokens at low detail, the 2B model's width
GEMM_SECONDS = 1.0
CPU_PRODUCTS, PRODUCTS = 2, 8  # of one timing: on a slow CPU two take half a second
MANY_SEGMENTS = 200  # fewer are soon indexed
MANY_PAGES = 50  # of documents, so that their detail matters
MUCH_FASTER = 1.5  # times: less is not worth another dtype

# a second and core: 8-bit weights with AVX2, 256 tokens at once (Zen 5, llama.cpp of autumn 2026)
LLAMA_FLOP = 70e9

UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60))
LEAST_UNITS = 1.5  # less is written in the next smaller unit


@dataclass(frozen=True, slots=True)
class Expected:
    """Seconds of a photo, a frame of a video and a passage; kinds not `measured` are computed."""

    photo: float
    moment: float
    passage: float
    measured: frozenset[Kind]

    def seconds(
        self, segments: Mapping[Kind, int], mode: VideoMode, page_photos: float = 1.0
    ) -> float:
        """Return how long it takes to embed this many segments of each kind.

        A page of a document costs as much as `page_photos` photos.
        """
        each = {
            Kind.IMAGE: self.photo,
            Kind.VIDEO: self.moment * _pictures(mode),
            Kind.TEXT: self.passage,
            Kind.DOCUMENT: self.photo * page_photos,
        }
        return sum(count * each[kind] for kind, count in segments.items())

    def covers(self, segments: Mapping[Kind, int]) -> bool:
        """Return whether the seconds of all these kinds are measured."""
        needed = {kind for kind, count in segments.items() if count}
        if Kind.DOCUMENT in needed:
            needed = needed - {Kind.DOCUMENT} | {Kind.IMAGE}
        return self.measured.issuperset(needed)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds of a run; `faster` are the seconds with `--dtype int8`, if far fewer."""

    seconds: float
    measured: bool
    faster: float | None = None

    def text(self) -> str:
        """Return the estimate in words."""
        basis = "measured on this machine" if self.measured else "a rough guess"
        other = "" if self.faster is None else f"; with `--dtype int8` about {about(self.faster)}"
        return f"about {about(self.seconds)} ({basis}){other}"


def plan_index(
    folder: Path, paths: Sequence[bytes], choice: Choice, how: IngestOptions
) -> tuple[Plan, Estimate | None]:
    """Return what `index` would do and, if that can be estimated, how long it would take.

    A library that does not exist counts as empty. Nothing is downloaded or written. Raises
    QvsearchError if no library can be created in this folder.
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
    """Return how long it takes to embed this many segments.

    None if there are none, if servers compute, or if the speed of the model is unknown. A library
    that does not exist or has no row may still be of int8.
    """
    if not any(segments.values()) or choice.servers:
        return None
    fingerprint = None if library is None else library.fingerprint
    chosen = new_model(choice) if fingerprint is None else fingerprint.model
    if backend_of(chosen) is not None:
        return _estimate_gguf(chosen, fingerprint, choice, segments)
    model = _name(chosen) if fingerprint is None else chosen
    detail = new_detail(choice) if fingerprint is None else fingerprint.detail
    mode = new_video_mode(choice) if fingerprint is None else fingerprint.video_mode
    precision = Precision.FLOAT if fingerprint is None else fingerprint.precision
    device, dtype = _numbers(model, choice, precision)
    expected = _expect_here(model, detail, device, dtype)
    if expected is None:
        return None
    page_photos = _page_photos(detail, fingerprint, choice)
    seconds = expected.seconds(segments, mode, page_photos)
    measured = expected.covers(segments)
    is_fixed = choice.dtype is not None or (library is not None and library.generation > 0)
    if is_fixed or not runs_int8(device):
        return Estimate(seconds, measured)
    import torch

    other = _expect_here(model, detail, device, torch.int8)
    if other is not None and measured and other.covers(segments):
        faster = other.seconds(segments, mode, page_photos)
    elif model in MODELS:  # whose layers are as wide as the products
        faster = seconds * _rate(device, dtype) / _rate(device, torch.int8)
    else:
        return Estimate(seconds, measured)
    return Estimate(seconds, measured, faster if faster * MUCH_FASTER <= seconds else None)


def _estimate_gguf(
    model: str, fingerprint: Fingerprint | None, choice: Choice, segments: Mapping[Kind, int]
) -> Estimate | None:
    """Return how long a GGUF file takes; None for other engines, whose speed nobody knows."""
    if not is_gguf(model):
        return None
    if fingerprint is None:
        pair, detail = read_pair(model, choice.mmproj), choice.detail or Detail.LOW
    else:
        pair, detail = read_pair(model, fingerprint.mmproj), fingerprint.detail
    expected = expect_gguf(pair, detail)
    page_photos = _page_photos(detail, fingerprint, choice)
    seconds = expected.seconds(segments, VideoMode.FRAMES, page_photos)
    return Estimate(seconds, expected.covers(segments))


def _page_photos(detail: Detail, fingerprint: Fingerprint | None, choice: Choice) -> float:
    """Return the cost of a page of a document, in photos."""
    pages = choice.document_detail if fingerprint is None else fingerprint.document_detail
    return 1.0 if pages is None else photo_flop(pages) / photo_flop(detail)


def page_advice(library: Library, segments: Mapping[Kind, int]) -> str | None:
    """Return how to read small print in a new library of many pages; None if it does already."""
    fingerprint = library.fingerprint
    detail = fingerprint.document_detail or fingerprint.detail
    pages = segments.get(Kind.DOCUMENT, 0)
    if library.generation or detail is Detail.HIGH or pages < MANY_PAGES:
        return None
    times = photo_flop(Detail.HIGH) / photo_flop(detail)
    return (
        f"these are about {pages:,} pages of documents, and at {detail} detail small print is lost;"
        f" at high detail a page takes {times:.0f} times as long, and the detail is fixed once the"
        " library has files: to use it, press Ctrl-C now and add --document-detail high"
    )


def advice(library: Library, choice: Choice, segments: Mapping[Kind, int]) -> str | None:
    """Return how to index a new library much faster; None if there is no way or little to do.

    Measuring takes two seconds.
    """
    if library.generation or sum(segments.values()) < MANY_SEGMENTS:
        return None
    result = estimate(library, choice, segments)
    if result is None or result.faster is None:
        return None
    return (
        f"this will take {result.text()}; the dtype is fixed once the library has files:"
        " to use int8, press Ctrl-C now and add the option"
    )


def keep_run_speeds(timer: RunTimer, fingerprint: Fingerprint, choice: Choice) -> None:
    """Keep the speeds of a run for later estimates."""
    speeds = timer.speeds()
    if speeds != Speeds() and is_gguf(fingerprint.model):
        pair = read_pair(fingerprint.model, fingerprint.mmproj)
        keep_speeds(pair.revision, _llama(), pair.numbers, speeds)
    elif speeds != Speeds() and backend_of(fingerprint.model) is None:
        from qvsearch.models.devices import dtype_name

        device, dtype = _numbers(fingerprint.model, choice, fingerprint.precision)
        keep_speeds(fingerprint.model, device_name(device), dtype_name(dtype), speeds)


def expect(
    model: str, detail: Detail, device: torch.device, dtype: str, rate: Callable[[], float]
) -> Expected | None:
    """Return what the inputs of a model cost here: measured speeds, or else computed ones.

    Computed speeds follow from a measured one, or from `rate`, which returns the FLOP/s of matrix
    products. None for a model of unknown size without any measured speed.
    """
    speeds = read_speeds(model, device_name(device), dtype) or Speeds()
    if speeds.photo.get(detail) or speeds.moment.get(detail) or speeds.passage:
        return expect_at(speeds, detail, math.nan)
    if model not in MODELS:
        return None
    share = MODELS[model].parameters / MODELS[DEFAULT_MODEL].parameters
    return expect_at(Speeds(), detail, share / rate())


def expect_at(speeds: Speeds, detail: Detail, seconds_per_flop: float) -> Expected:
    """Return what inputs cost by measured speeds; the rest follows from one of these.

    Without any it follows from `seconds_per_flop`, of the arithmetic of the 2B model.
    """
    photo, moment, passage = speeds.photo.get(detail), speeds.moment.get(detail), speeds.passage
    costs = {Kind.IMAGE: photo, Kind.VIDEO: moment, Kind.TEXT: passage}
    flop = {
        Kind.IMAGE: photo_flop(detail),
        Kind.VIDEO: photo_flop(detail),
        Kind.TEXT: text_flop(),
    }
    measured = {kind: seconds for kind, seconds in costs.items() if seconds is not None}
    if measured:
        kind, seconds = next(iter(measured.items()))
        seconds_per_flop = seconds / flop[kind]
    photo, moment, passage = (
        measured.get(kind, flop[kind] * seconds_per_flop) for kind in (*costs,)
    )
    return Expected(photo, moment, passage, frozenset(measured))


def expect_gguf(pair: Pair, detail: Detail) -> Expected:
    """Return what inputs cost a GGUF file: measured speeds, or else computed ones, a guess."""
    share = (pair.text.parameters + pair.vision.parameters) / MODELS[DEFAULT_MODEL].parameters
    speeds = read_speeds(pair.revision, _llama(), pair.numbers) or Speeds()
    return expect_at(speeds, detail, share / (LLAMA_FLOP * threads()))


def _llama() -> str:
    """Return the name of llama.cpp on this computer, as a device."""
    return f"llama.cpp ({platform.machine()})"


def gemm_rate(device: torch.device, dtype: torch.dtype, seconds: float = GEMM_SECONDS) -> float:
    """Return the FLOP/s of the matrix product that the model mostly consists of.

    It is measured for this many seconds. The fastest timing counts, so that other work of the
    machine does not change an estimate.
    """
    import torch

    from qvsearch.models.devices import settle_threads
    from qvsearch.models.int8 import Int8Linear

    if device.type == "cpu":
        settle_threads()
    stored = torch.float32 if dtype == torch.int8 else dtype
    layer = torch.nn.Linear(
        GEMM_WIDTH, 3 * GEMM_WIDTH, bias=False, device=device, dtype=stored
    ).requires_grad_(False)
    multiply = Int8Linear(layer) if dtype == torch.int8 else layer
    left = torch.ones(GEMM_ROWS, GEMM_WIDTH, device=device, dtype=stored)
    multiply(left).sum().item()
    products = CPU_PRODUCTS if device.type == "cpu" else PRODUCTS
    start, best = time.perf_counter(), math.inf
    while (begin := time.perf_counter()) < start + seconds:
        for _ in range(products):
            product = multiply(left[:])  # a new tensor, so that no result is reused
        product[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - begin)
    return 2 * GEMM_ROWS * GEMM_WIDTH * 3 * GEMM_WIDTH * products / best


def runs_int8(device: torch.device) -> bool:
    """Return whether a device can compute in int8."""
    from qvsearch.models.int8 import check_kernels

    try:
        check_kernels(device)
    except QvsearchError:
        return False
    return True


@cache
def _rate(device: torch.device, dtype: torch.dtype) -> float:
    return gemm_rate(device, dtype)


def _numbers(model: str, choice: Choice, precision: Precision) -> tuple[torch.device, torch.dtype]:
    """Return the device and the dtype that a model will run with."""
    from qvsearch.models.devices import own_dtype, pick_device, pick_dtype

    device = pick_device(choice.device)
    dtype = choice.dtype or own_dtype(precision, choice.device)
    return device, pick_dtype(dtype, device, _width(model))


def _expect_here(
    model: str, detail: Detail, device: torch.device, dtype: torch.dtype
) -> Expected | None:
    from qvsearch.models.devices import dtype_name

    return expect(model, detail, device, dtype_name(dtype), lambda: _rate(device, dtype))


def _width(model: str) -> int:
    """Return a model's hidden width; that of the 2B model if the model is not on this computer."""
    try:
        weights = find(model)
    except QvsearchError:  # the model of a library was in a folder that is gone
        weights = None
    return Shapes.of(CONFIG_2B).width if weights is None else hidden_size(weights)


def _name(model: str) -> str:
    """Return the name of a model in a library's fingerprint."""
    weights = None if backend_of(model) is not None else find(model)
    return model if weights is None else weights.name


def _pictures(mode: VideoMode) -> float:
    """Return the average cost of a video's segment, in frames."""
    if mode is VideoMode.BOTH:
        clips, fine = 1 / MOMENT_SECONDS, 1 / FINE_MOMENT_SECONDS
        return (CLIP_PHOTOS * clips + fine) / (clips + fine)
    return CLIP_PHOTOS if mode is VideoMode.CLIPS else 1


def about(seconds: float) -> str:
    """Return a time in one unit, rounded as a guess deserves: `2 minutes`, `1.5 hours`."""
    for unit, length in UNITS:
        number = seconds / length
        if number >= LEAST_UNITS:
            rounded = round(2 * number) / 2 if number < 3 else round(number)
            return f"{5 * round(number / 5) if number > 20 else rounded:g} {unit}s"
    number = max(1, round(seconds))
    return f"{number} second" + "s" * (number > 1)
