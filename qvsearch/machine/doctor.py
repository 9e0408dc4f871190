"""Find out what this machine has and what it will be like; collects facts, prints nothing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.indexing import mounts
from qvsearch.library.manifest import check_way
from qvsearch.machine.estimate import MUCH_FASTER, Expected, expect, gemm_rate
from qvsearch.machine.flops import CONFIG_2B, Shapes
from qvsearch.machine.holes import known_hole
from qvsearch.machine.speeds import device_name, kept_speeds
from qvsearch.models.registry import DEFAULT_MODEL, list_models
from qvsearch.types import Detail, Dtype

if TYPE_CHECKING:
    import torch

PACKAGES = "torch transformers faiss-cpu numpy av pillow pillow-heif huggingface-hub rich typer"
SLOW_CONV3D = (2, 9)  # the torch in which Conv3d is 10 to 20 times slower (pytorch#174051)
NEEDED_DISK = 5_000_000_000  # bytes: the 2B model and room for its download
FIXED = " for a new library, which keeps it"


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the report; `trap` is what to do about it, where something should be done."""

    name: str
    value: str
    trap: str | None = None


def examine(library: Path, device: str | None, dtype: str | None) -> Iterator[Fact]:
    """Yield what is here and what stands in the way; takes a few seconds."""
    yield Fact("python", f"{platform.python_version()} on {platform.platform()}")
    for package in PACKAGES.split():
        yield _package(package)
    yield from _formats()
    yield from _traps()
    yield from _weights()
    yield from _place(library)
    yield from _speed(device, dtype)


def _package(name: str) -> Fact:
    try:
        return Fact(name, version(name), known_hole(name, version(name)))
    except PackageNotFoundError:
        return Fact(name, "missing", f"pip install {name}")


def _formats() -> Iterator[Fact]:
    import av
    import pillow_heif
    from PIL import features

    avif = features.check("avif")
    yield Fact("AVIF", "yes" if avif else "no", None if avif else "pip install 'pillow>=11.3'")
    yield _decoder("WebP", "libwebp", features.version("webp"))
    heic = pillow_heif.libheif_info()
    yield _decoder("HEIC", "libheif", heic["libheif"])
    if "libde265" in heic["decoders"]:
        # it tells its version at the end of its name
        yield _decoder("HEVC", "libde265", heic["decoders"]["libde265"].rpartition(" ")[2])
    yield _decoder("video", "FFmpeg", av.ffmpeg_version_info)


def _decoder(name: str, library: str, found: str | None) -> Fact:
    return Fact(name, f"{library} {found or 'of an unknown version'}", known_hole(library, found))


def _traps() -> Iterator[Fact]:
    """Yield the known clashes of the libraries, met here or not."""
    major, minor = version("torch").split(".")[:2]
    if (int(major), int(minor)) == SLOW_CONV3D:
        note = "slow in this torch, but not used: patches go through a linear layer"
    else:
        note = "no trap in this torch"
    yield Fact("Conv3d", note)
    if sys.platform == "darwin":
        copies = _openmp_copies()
        trap = "if it crashes, run with OMP_NUM_THREADS=1" if copies > 1 else None
        yield Fact("libomp", f"{copies} in torch and faiss", trap)


def _openmp_copies() -> int:
    """Count the OpenMP runtimes that torch and faiss bring; two in one process may crash."""
    found = 0
    for package in ("torch", "faiss-cpu"):
        names = [file.name for file in distribution(package).files or ()]
        found += any(name.startswith("libomp") for name in names)
    return found


def _weights() -> Iterator[Fact]:
    try:
        models = list_models()
    except QvsearchError as error:  # a damaged checkpoint must not end the examination
        yield Fact("models", "cannot be listed", str(error))
        return
    for model in models:
        here = "not downloaded" if model.folder is None else str(model.folder)
        wanted = model.name == DEFAULT_MODEL and model.folder is None
        yield Fact(model.name, here, f"qvsearch models pull {model.name}" if wanted else None)


def _place(library: Path) -> Iterator[Fact]:
    shown = str(library) if library.exists() else f"{library} (not made yet)"
    try:
        check_way(library)
        trap = mounts.warning(library)
    except QvsearchError as error:
        trap = str(error)
    yield Fact("library", shown, trap)
    folder = library
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    yield Fact("free disk", f"{free / 1e9:,.1f} GB at {folder}", _disk_trap(free))


def _disk_trap(free: int) -> str | None:
    if free >= NEEDED_DISK:
        return None
    return f"the 2B model alone takes {NEEDED_DISK / 1e9:.1f} GB"


def _speed(device: str | None, dtype: str | None) -> Iterator[Fact]:
    import torch

    from qvsearch.models.devices import dtype_name, pick_device, pick_dtype

    place = pick_device(device)
    kind = pick_dtype(dtype, place, Shapes.of(CONFIG_2B).width)
    name = dtype_name(kind)
    rate = gemm_rate(place, kind)  # which settles the threads
    trap = _faster(device_name(place), name) or _int8_faster(place, name, rate)
    yield Fact("device", f"{device_name(place)}, {name}", trap)
    yield Fact("threads", f"{torch.get_num_threads()} of {os.cpu_count()} cores")
    yield Fact("matrix products", f"{rate / 1e9:,.0f} GFLOP/s, measured for a second")
    for detail in Detail:
        expected = expect(DEFAULT_MODEL, detail, place, name, lambda: rate)
        if expected is not None:
            yield from _expected(detail, expected)


def _faster(device: str, dtype: str) -> str | None:
    """Return how to have other numbers, where `bench` found this one slow with the 2B model."""
    here = kept_speeds(DEFAULT_MODEL, device, dtype)
    times, ways = [], []
    for other in Dtype:
        speeds = kept_speeds(DEFAULT_MODEL, device, other.value)
        found = None if here is None or speeds is None else speeds.times_as_fast(here)
        if found is not None and found >= MUCH_FASTER:
            times.append(f"{other} {found:.1f} times")
            ways.append(f"--dtype {other}{FIXED if other == Dtype.INT8 else ''}")
    if not times:
        return None
    return (
        f"`qvsearch bench` found {' and '.join(times)} as fast as {dtype} on this machine;"
        f" give `index` {' or '.join(ways)}"
    )


def _int8_faster(place: torch.device, dtype: str, rate: float) -> str | None:
    """Return that int8 may be much faster, from one second's products, if `bench` told nothing."""
    import torch

    from qvsearch.models.int8 import check_kernels

    if dtype == Dtype.INT8 or kept_speeds(DEFAULT_MODEL, device_name(place), dtype) is not None:
        return None
    try:
        check_kernels(place)
    except QvsearchError:
        return None
    times = gemm_rate(place, torch.int8) / rate
    if times < MUCH_FASTER:
        return None
    return (
        f"int8 may be about {times:.0f} times as fast (a rough guess: `qvsearch bench` measures);"
        f" give `index` --dtype int8{FIXED}"
    )


def _expected(detail: Detail, expected: Expected) -> Iterator[Fact]:
    """Yield what each kind costs; a passage costs the same at every detail."""
    basis = "measured" if expected.measured else "computed; `qvsearch bench` measures it"
    costs = {f"photo, {detail}": expected.photo, f"video moment, {detail}": expected.moment}
    if detail is Detail.LOW:
        costs["text passage"] = expected.passage
    for name, seconds in costs.items():
        shown = f"{seconds:.3f}" if seconds < 1 else f"{seconds:,.1f}"
        yield Fact(name, f"{shown} s with the 2B model, {basis}")
