"""The cost of indexing apart from the model: `python tests/bench/indexing.py`.

`--tables` selects from six tables:

- `photos`: JPEGs of 12 megapixels are indexed with the demo model, and only decoded, with all
  cores. The two take turns, and the ratio of each pair is printed.
- `share`: the same photos are indexed with a model of the 2B model's widths and few of its layers.
  Printed are the wall time outside the model, its share of the full model's time, and the memory.
- `decoders`: the same with each number of decode processes in `--decoders`, in turns. Few layers
  stand for a machine with more cores.
- `draft`: the same photos, or those of `--jpegs`, are decoded in this process with and without
  `draft`, in turns. Printed are the times, how far the pixels, the hashes and the demo model's
  vectors move, and for what share of the photos hashes and patches change.
- `unchanged`: a whole process finds every file of a large library unchanged. Printed are its time
  and its memory above that of `--help`; it loads no model. The same follows for files with a new
  ctime, once and again.
- `flat`: the memory of all processes while many small pictures are indexed, after each tenth.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from qvsearch.models import devices  # before the reference, which sets one thread

sys.path.insert(0, str(Path(__file__).parent.parent))
from support.reference import TINY_TEXT, TINY_VISION, WIDE_TEXT, WIDE_VISION, write_checkpoint

from qvsearch import media
from qvsearch.files import content_hash
from qvsearch.indexing import pipeline as ingest
from qvsearch.indexing.counts import Event
from qvsearch.indexing.pipeline import IngestOptions, index
from qvsearch.indexing.scan import scan
from qvsearch.library.library import Library
from qvsearch.library.rules import ScanOptions
from qvsearch.machine.flops import CONFIG_2B, Shapes
from qvsearch.media.workers import Decoders
from qvsearch.models.registry import fingerprint, hidden_size, resolve
from qvsearch.runtime.choice import Choice
from qvsearch.runtime.creating import open_or_create
from qvsearch.runtime.local import LocalEmbedder
from qvsearch.types import READING, DecodeOptions, Detail, EmbedInput, Item, Kind, Segment

WIDE, HIGH = 4000, 3000
QUALITY = 88
DIM = 128  # the demo model's
IN_A_FOLDER = 500
Report = Callable[[Event], None]
RUN = "import sys; from qvsearch.cli.app import main; code = main(sys.argv[1:])"
WATCHED = f"""
{RUN}
from pathlib import Path
(peak,) = [line for line in Path("/proc/self/status").open() if line.startswith("VmHWM")]
print(peak.split()[1], "torch" in sys.modules, file=sys.stderr)
"""


class Timed:
    """An embedder that adds up its seconds."""

    def __init__(self, embedder: LocalEmbedder) -> None:
        self.embedder, self.seconds = embedder, 0.0

    def embed(self, inputs: Sequence[EmbedInput]) -> np.ndarray:
        start = time.perf_counter()
        try:
            return self.embedder.embed(inputs)
        finally:
            self.seconds += time.perf_counter() - start


def write_photos(folder: Path, count: int, wide: int = WIDE, high: int = HIGH) -> None:
    """Write JPEGs of some megabytes: shapes and shades of all sizes, with noise."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 4, (high, wide, 3)).astype(np.float32)
    for number in range(count):
        picture = np.zeros((high, wide, 3), np.float32)
        for power in range(2, 9):
            size = (max(1, wide * 2**power // 1024), max(1, high * 2**power // 1024))
            part = rng.normal(0, 90 / power, (size[1], size[0], 3)).clip(-127, 127) + 128
            picture += enlarged(part.astype(np.uint8), (wide, high)) - np.float32(128)
        picture += np.roll(noise, number * 997, axis=1) + 128
        pixels = picture.clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04d}.jpg", quality=QUALITY)


def enlarged(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def files_in(folder: Path) -> list[Item]:
    path = os.fsencode(folder)
    return [item for item in scan(path, path, ScanOptions()) if isinstance(item, Item)]


def run_index(
    folder: Path, library: Path, embedder: Timed, report: Report = lambda _: None
) -> float:
    """Return the seconds of indexing a folder with a loaded model."""
    made = open_or_create(library, Choice("demo", None, Detail.LOW))
    start = time.perf_counter()
    index(
        made,
        [os.fsencode(folder)],
        lambda: embedder,
        IngestOptions(ScanOptions()),
        report,
        lambda: False,
    )
    return time.perf_counter() - start


def photos(folder: Path, temporary: Path, repeats: int) -> None:
    items = files_in(folder)
    megabytes = sum(item.size for item in items) / 1e6
    embedder = Timed(LocalEmbedder("demo", "cpu"))
    ratios = []
    for turn in range(repeats):
        took = run_index(folder, temporary / f"demo-{turn}", embedder)
        start = time.perf_counter()
        with Decoders() as decoders:
            for _ in decoders.decode(
                [(item, "") for item in items], DecodeOptions(Detail.LOW.max_pixels)
            ):
                pass
        alone = time.perf_counter() - start
        ratios.append(alone / took)
        print(
            f"  index {took:.1f} s, of which the model {embedder.seconds:.1f}; decode {alone:.1f} s"
        )
        embedder.seconds = 0.0
    print(
        f"{len(items)} photos, {megabytes:.0f} MB: the demo model indexes at"
        f" {statistics.median(ratios):.2f} of the rate of decoding alone"
        f" ({min(ratios):.2f} to {max(ratios):.2f}, {repeats} turns)"
    )


def wide_model(temporary: Path, given: argparse.Namespace) -> Timed:
    """Return a model with the 2B model's widths and the dimensions of a demo library."""
    text, vision = WIDE_TEXT, WIDE_VISION
    if given.tiny:
        text, vision = TINY_TEXT | {"hidden_size": DIM}, TINY_VISION | {"out_hidden_size": DIM}
    text = text | {"num_hidden_layers": given.text_layers}
    vision = vision | {"depth": given.vision_layers, "deepstack_visual_indexes": [0]}
    with tempfile.TemporaryDirectory(dir=temporary) as weights:
        write_checkpoint(Path(weights), text, vision, dtype=torch.bfloat16)
        torch.set_num_threads(devices.DEFAULT_THREADS)
        devices.settle_threads()
        embedder = Timed(LocalEmbedder(weights, "cpu", given.dtype, DIM))
        embedder.embedder.network.load_vision()
    print(f"{embedder.embedder.network.dtype}, {torch.get_num_threads()} threads")
    return embedder


def decoders(folder: Path, temporary: Path, given: argparse.Namespace) -> None:
    embedder = wide_model(temporary, given)
    embedder.embed([EmbedInput(images=(np.zeros((512, 512, 3), np.uint8),))])
    photos = len(files_in(folder))
    seconds: dict[int, list[float]] = {count: [] for count in given.decoders}
    for turn in range(given.repeats):
        for count in given.decoders if turn % 2 == 0 else reversed(given.decoders):
            embedder.seconds = 0.0
            library = temporary / f"decoders-{turn}-{count}"
            ingest.Decoders = partial(Decoders, count)  # type: ignore[assignment, misc]
            seconds[count].append(run_index(folder, library, embedder))
            print(f"  {count} processes: {seconds[count][-1]:.1f} s, model {embedder.seconds:.1f}")
    for count, took in seconds.items():
        print(
            f"{given.text_layers}+{given.vision_layers} layers, {count} decode processes:"
            f" {photos / statistics.median(took):.2f} photos/s"
            f" ({photos / max(took):.2f} to {photos / min(took):.2f}, {given.repeats} turns)"
        )


def share(folder: Path, temporary: Path, given: argparse.Namespace) -> None:
    embedder = wide_model(temporary, given)
    full = Shapes.of(CONFIG_2B)
    few = full.shallow(given.text_layers, given.vision_layers)
    tokens = Detail.LOW.max_pixels // 1024
    times = full.flop(tokens + 24, [tokens]) / few.flop(tokens + 24, [tokens])
    library = Library.create(temporary / "wide", fingerprint(resolve("demo"), DIM, Detail.LOW))
    before, peaks = resident(), [0.0]
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    took = run_index(folder, library.folder, embedder, lambda _: peaks.append(resident("VmHWM")))
    beside = took - embedder.seconds
    of_all = beside / (beside + times * embedder.seconds)
    layers = f"{given.text_layers}+{given.vision_layers}"
    print(
        f"{len(list(folder.iterdir()))} photos in {took:.1f} s with {layers}"
        f" layers; {beside:.1f} s are not the model: {beside / took:.1%}, or {of_all:.1%} with"
        f" 28+24 layers, which take {times:.1f} times as long; this process and its decoders hold"
        f" at most {max(peaks) - before:,.0f} MB above the loaded model's {before:,.0f}"
    )


def draft(folder: Path, repeats: int) -> None:
    embedder = LocalEmbedder("demo", "cpu")
    items = [item for item in files_in(folder) if item.kind is Kind.IMAGE]
    for detail in Detail:
        both = [DecodeOptions(detail.max_pixels, draft=draft) for draft in (False, True)]
        times: tuple[list[float], ...] = ([], [])
        moved, bits, cosines, patched = [], [], [], 0
        for item in items:
            for _ in range(repeats):
                decoded = []
                for options, seconds in zip(both, times, strict=True):
                    start = time.perf_counter()
                    decoded += media.decode(item, "", options).segments
                    seconds.append(time.perf_counter() - start)
            (whole, before), (reduced, after) = decoded
            moved.append(np.abs(before.images[0].astype(int) - after.images[0]).mean())
            if whole.dhash is not None and reduced.dhash is not None:
                bits.append((whole.dhash ^ reduced.dhash).bit_count())
            patched += whole.patches != reduced.patches
            vectors = embedder.embed([before, after])
            cosines.append(float(vectors[0] @ vectors[1]))
        ms = [statistics.median(seconds) * 1000 for seconds in times]
        print(
            f"{detail}: {len(items)} photos, {ms[0]:.0f} ms whole, {ms[1]:.0f} ms with draft;"
            f" pixels move by {statistics.median(moved):.2f} of 255 (at most {max(moved):.2f}),"
            f" cosine {statistics.median(cosines):.6f} (at least {min(cosines):.6f});"
            f" {sum(map(bool, bits))} hashes change, by at most {max(bits, default=0)} bits,"
            f" and {patched} patches"
        )


def unchanged(temporary: Path, files: int, repeats: int) -> None:
    root = temporary / "many"
    for number in range(files):
        if number % IN_A_FOLDER == 0:
            (root / f"{number // IN_A_FOLDER:05d}").mkdir(parents=True)
        (root / f"{number // IN_A_FOLDER:05d}" / f"{number:07d}.jpg").write_bytes(b"%d" % number)
    weights = resolve("demo")
    library = Library.create(
        temporary / "library", fingerprint(weights, hidden_size(weights), Detail.LOW)
    )
    rng = np.random.default_rng(0)
    library.add_root(os.fsencode(root))
    found = files_in(root)
    vectors = rng.standard_normal((len(found), hidden_size(weights)), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    library.add(
        [
            Segment(item, content_hash(item.location, item.size), reading=READING[item.kind])
            for item in found
        ],
        vectors,
    )
    library.commit()

    def watched(*arguments: str) -> tuple[float, float, bool]:
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", WATCHED, *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
        kilobytes, torch_loaded = done.stderr.split()[-2:]
        return time.perf_counter() - start, int(kilobytes) / 1024, torch_loaded == "True"

    def told(what: str, runs: Sequence[tuple[float, float, bool]]) -> None:
        seconds = [each[0] for each in runs]
        print(
            f"{files:,} files {what}: {statistics.median(seconds):.2f} s"
            f" ({min(seconds):.2f} to {max(seconds):.2f}, {len(runs)} runs),"
            f" {max(each[1] for each in runs) - start:.0f} MB above the {start:.0f} of --help,"
            f" torch loaded: {any(each[2] for each in runs)}"
        )

    start = watched("--help")[1]
    runs = [watched("index", str(root), "-l", str(library.folder), "-q") for _ in range(repeats)]
    told("as they were", runs)
    for path in root.glob("*/*"):
        path.chmod(0o640)
    told("of another ctime", [watched("index", str(root), "-l", str(library.folder), "-q")])
    told("as they were", [watched("index", str(root), "-l", str(library.folder), "-q")])


def flat(temporary: Path, files: int) -> None:
    root = temporary / "small"
    rng = np.random.default_rng(0)
    for number in range(files):
        if number % IN_A_FOLDER == 0:
            (root / f"{number // IN_A_FOLDER:05d}").mkdir(parents=True)
        coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
        pixels = enlarged(coarse, (128, 96))
        Image.fromarray(pixels).save(root / f"{number // IN_A_FOLDER:05d}" / f"{number:06d}.jpg")
    embedder = Timed(LocalEmbedder("demo", "cpu"))
    embedder.embed([EmbedInput(images=(np.zeros((96, 128, 3), np.uint8),))])
    before = resident()
    lines: list[float] = []
    seen = 0

    def report(event: Event) -> None:
        nonlocal seen
        seen += event.state == "indexed"
        if seen >= (len(lines) + 1) * files / 10:
            lines.append(resident() - before)

    run_index(root, temporary / "small-library", embedder, report)
    print(
        f"{files:,} pictures, MB of this process and its decoders above the loaded model's"
        f" {before:,.0f}, tenth by tenth: {', '.join(f'{each:.0f}' for each in lines)}"
    )


def resident(field: str = "VmRSS") -> float:
    """Return the MB of this process and its children, now or, by VmHWM, at their peaks."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return sum(
        int(line.split()[1]) / 1024
        for process in ("self", *children)
        for line in Path(f"/proc/{process}/status").read_text().splitlines()
        if line.startswith(field)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure indexing beside the model.")
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--text-layers", type=int, default=2)
    parser.add_argument("--vision-layers", type=int, default=2)
    parser.add_argument("--dtype", help="of that model (default: the CPU's own)")
    parser.add_argument("--decoders", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--jpegs", type=Path, help="a folder of photos for the table `draft`")
    tables = ("photos", "share", "decoders", "draft", "unchanged", "flat")
    parser.add_argument("--tables", nargs="+", default=tables, choices=tables)
    parser.add_argument("--tiny", action="store_true", help="narrow layers and small photos")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="qvsearch-bench-") as name:
        temporary = Path(name)
        # baseline vectors of other weights must not enter the user's cache
        os.environ["XDG_CACHE_HOME"] = name
        if {"photos", "share", "decoders", "draft"} & {*given.tables}:
            shrunk = 10 if given.tiny else 1
            write_photos(temporary / "photos", given.photos, WIDE // shrunk, HIGH // shrunk)
        if "photos" in given.tables:
            photos(temporary / "photos", temporary, given.repeats)
        if "share" in given.tables:
            share(temporary / "photos", temporary, given)
        if "decoders" in given.tables:
            decoders(temporary / "photos", temporary, given)
        if "draft" in given.tables:
            draft(given.jpegs or temporary / "photos", given.repeats)
        if "unchanged" in given.tables:
            unchanged(temporary, given.files, given.repeats)
        if "flat" in given.tables:
            flat(temporary, given.pictures)


if __name__ == "__main__":
    main()
