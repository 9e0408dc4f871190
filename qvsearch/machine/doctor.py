"""Examine this machine: versions, formats, models, disk, traps and the cost of an input."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.indexing import mounts
from qvsearch.library.manifest import check_way
from qvsearch.library.words_file import has_full_text
from qvsearch.machine.estimate import MUCH_FASTER, Expected, expect, gemm_rate, runs_int8
from qvsearch.machine.flops import CONFIG_2B, Shapes
from qvsearch.machine.speeds import device_name, read_speeds
from qvsearch.models.registry import DEFAULT_MODEL, list_models
from qvsearch.types import Detail, Dtype, Kind

if TYPE_CHECKING:
    import torch

PACKAGES = (
    "torch tokenizers safetensors transformers faiss-cpu numpy av pillow pillow-heif"
    " huggingface-hub rich typer"
)
SLOW_CONV3D = (2, 9)  # the torch in which Conv3d is 10 to 20 times slower (pytorch#174051)
NEEDED_DISK = 5_000_000_000  # bytes: the 2B model and room for its download
FIXED = " for a new library"  # an existing one keeps its precision


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the report; `trap` is a problem and its remedy, if there is one."""

    name: str
    value: str
    trap: str | None = None


@dataclass(frozen=True, slots=True)
class Hole:
    """A security hole of a library before version `mended`; `package` brings the library."""

    mended: tuple[int, ...]
    advisory: str
    package: str


# holes that an indexed file can reach; for each library the worst of those mended last
HOLES = {
    "FFmpeg": Hole((8, 1, 2), "CVE-2026-8461", "av"),
    "pillow": Hole((13, 0, 0), "GHSA-5x8w-8jj5-q52h", "pillow"),
    "libwebp": Hole((1, 3, 2), "CVE-2023-4863", "pillow"),
    "libheif": Hole((1, 23, 4), "CVE-2026-84383", "pillow-heif"),
    "libde265": Hole((1, 1, 2), "GHSA-xp3h-6f5r-8cxp", "pillow-heif"),
}


def examine(library: Path, device: str | None, dtype: str | None) -> Iterator[Fact]:
    """Yield facts about this machine; takes a few seconds."""
    yield Fact("python", f"{platform.python_version()} on {platform.platform()}")
    for package in PACKAGES.split():
        yield _package(package)
    yield _extra("sentence-transformers", "st", "--model st:ID")
    yield from _formats()
    yield _full_text()
    yield from _traps()
    yield from _weights()
    yield from _place(library)
    yield from _speed(device, dtype)


def _package(name: str) -> Fact:
    try:
        return Fact(name, version(name), known_hole(name, version(name)))
    except PackageNotFoundError:
        return Fact(name, "missing", f"pip install {name}")


def _extra(package: str, extra: str, use: str) -> Fact:
    """Return the version of a package that few need, or how to install it; it is no trap."""
    try:
        return Fact(package, version(package))
    except PackageNotFoundError:
        return Fact(package, f'not installed; for {use}: pip install "qvsearch[{extra}]"')


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
        # its name ends with its version
        yield _decoder("HEVC", "libde265", heic["decoders"]["libde265"].rpartition(" ")[2])
    yield _decoder("video", "FFmpeg", av.ffmpeg_version_info)


def _full_text() -> Fact:
    """Return the version of SQLite, which indexes words."""
    if has_full_text():
        return Fact("SQLite", sqlite3.sqlite_version)
    trap = "it has no full-text index (FTS5), so that searches by words find nothing"
    return Fact("SQLite", sqlite3.sqlite_version, f"{trap}; use another build of Python")


def _decoder(name: str, library: str, number: str | None) -> Fact:
    value = f"{library} {number or 'of an unknown version'}"
    return Fact(name, value, known_hole(library, number))


def known_hole(library: str, number: str | None) -> str | None:
    """Return the hole of a library's version, and the remedy; None if no hole is known."""
    hole = HOLES.get(library)
    match = re.search(r"\d+(?:\.\d+)+", number or "")
    if hole is None or match is None:
        return None
    if tuple(map(int, match[0].split("."))) >= hole.mended:
        return None
    return (
        f"a hostile file can use a known hole of {library} before"
        f" {'.'.join(map(str, hole.mended))} ({hole.advisory}): pip install -U {hole.package}"
    )


def _traps() -> Iterator[Fact]:
    """Yield the known clashes of the libraries, whether they occur here or not."""
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
    count = 0
    for package in ("torch", "faiss-cpu"):
        names = [file.name for file in distribution(package).files or ()]
        count += any(name.startswith("libomp") for name in names)
    return count


def _weights() -> Iterator[Fact]:
    try:
        models = list_models()
    except QvsearchError as error:  # a damaged checkpoint must not end the report
        yield Fact("models", "cannot be listed", str(error))
        return
    for model in models:
        place = "not downloaded" if model.folder is None else str(model.folder)
        is_missing = model.name == DEFAULT_MODEL and model.folder is None
        yield Fact(model.name, place, f"qvsearch models pull {model.name}" if is_missing else None)


def _place(library: Path) -> Iterator[Fact]:
    shown = str(library) if library.exists() else f"{library} (does not exist yet)"
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
    rate = gemm_rate(place, kind)  # it also sets the number of threads
    trap = _faster(device_name(place), name) or _int8_faster(place, name, rate)
    yield Fact("device", f"{device_name(place)}, {name}", trap)
    yield Fact("threads", f"{torch.get_num_threads()} of {os.cpu_count()} cores")
    yield Fact("matrix products", f"{rate / 1e9:,.0f} GFLOP/s, measured for a second")
    for detail in Detail:
        expected = expect(DEFAULT_MODEL, detail, place, name, lambda: rate)
        if expected is not None:
            yield from _expected(detail, expected)


def _faster(device: str, dtype: str) -> str | None:
    """Return the dtypes that were measured to be much faster with the 2B model, if any."""
    here = read_speeds(DEFAULT_MODEL, device, dtype)
    times, ways = [], []
    for other in Dtype:
        speeds = read_speeds(DEFAULT_MODEL, device, other.value)
        ratio = None if here is None or speeds is None else speeds.times_as_fast(here)
        if ratio is not None and ratio >= MUCH_FASTER:
            times.append(f"{other} is {ratio:.1f} times")
            ways.append(f"--dtype {other}{FIXED if other == Dtype.INT8 else ''}")
    if not times:
        return None
    return (
        f"{' and '.join(times)} as fast as {dtype}, measured on this machine;"
        f" run `index` with {' or '.join(ways)}"
    )


def _int8_faster(place: torch.device, dtype: str, rate: float) -> str | None:
    """Return that int8 may be much faster, from one second of products, if it is not measured."""
    import torch

    is_measured = read_speeds(DEFAULT_MODEL, device_name(place), Dtype.INT8) is not None
    if dtype == Dtype.INT8 or is_measured or not runs_int8(place):
        return None
    times = gemm_rate(place, torch.int8) / rate
    if times < MUCH_FASTER:
        return None
    return (
        f"int8 may be about {times:.0f} times as fast (a rough guess: `qvsearch bench` measures);"
        f" run `index` with --dtype int8{FIXED}"
    )


def _expected(detail: Detail, expected: Expected) -> Iterator[Fact]:
    """Yield the cost of each kind; a passage costs the same at every detail."""
    costs = [
        (f"photo, {detail}", Kind.IMAGE, expected.photo),
        (f"video moment, {detail}", Kind.VIDEO, expected.moment),
    ]
    if detail is Detail.LOW:
        costs.append(("text passage", Kind.TEXT, expected.passage))
    for name, kind, seconds in costs:
        is_measured = kind in expected.measured
        basis = "measured" if is_measured else "computed; `qvsearch bench` measures it"
        shown = f"{seconds:.3f}" if seconds < 1 else f"{seconds:,.1f}"
        yield Fact(name, f"{shown} s with the 2B model, {basis}")
