"""How fast qvsearch is on a GPU, as Markdown: `tests/bench/gpu.sh`, at most ten minutes.

The model has the configuration of the 2B model, random weights, and the default dtype of the
device. `--parts` selects from:

- `speed`: photos of each detail and passages a second, and the share of the rate of products
- `rerank`: pairs of one query and many documents a second
- `parity`: least cosine with plain transformers in float32
- `rivals`: `side_by_side.py`; `--upstream` names a checkout of Qwen3-VL-Embedding
- `ways`: the same photos and passages with each technique left out or replaced, taking turns
- `compiled`: the same with `torch.compile`

A part that cannot run prints the reason, e.g. that `--seconds` leaves no time for it. The exit code
is 1 if a part failed. `--device cpu --tiny` tries the script without a GPU.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch.nn.attention import SDPBackend, sdpa_kernel

sys.path.insert(0, str(Path(__file__).parent.parent))
import side_by_side
from contenders import Setting, inputs_of
from engine import MIXED, Plain, ours

from qvsearch.errors import QvsearchError
from qvsearch.machine.flops import Shapes
from qvsearch.media.passages import PASSAGE_TOKENS
from qvsearch.models import forward, vision
from qvsearch.models.checkpoint import hidden_width, read_json
from qvsearch.models.devices import dtype_name, pick_device, pick_dtype
from qvsearch.models.forward import ModelInput
from qvsearch.models.network import Network
from qvsearch.models.prompt import embed_prompt, visual_grids
from qvsearch.runtime.local import LocalEmbedder, LocalReranker
from qvsearch.types import Detail, EmbedInput

SIDES = {  # height and width in pixels, for the whole budget
    Detail.LOW: (512, 512),
    Detail.MEDIUM: (768, 1024),
    Detail.HIGH: (1152, 1600),
}
DOCUMENTS = MIXED * 5
REFUSALS = (RuntimeError, ImportError, ValueError, QvsearchError)  # of a kernel or a library
RIVALS_SECONDS, COMPILE_SECONDS = 150, 120  # time that must be left to start these
MOST_TOKENS = 100_000

Embed = Callable[["Bench", Sequence[ModelInput]], np.ndarray]


@dataclass(frozen=True)
class Work:
    """Inputs of one kind, ready for the network, and their arithmetic."""

    name: str
    inputs: list[ModelInput]
    flop: float


@dataclass(frozen=True)
class Way:
    """A way to embed inputs, and the changes that it needs."""

    name: str
    embed: Embed
    around: Callable[[Network], AbstractContextManager[Any]] = lambda _: nullcontext()


class Bench:
    """A device with a loaded checkpoint, and the time left."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.arguments, self.folder = arguments, folder
        self.end = time.monotonic() + arguments.seconds
        self.device = pick_device(arguments.device)
        rivals = side_by_side.options().parse_args(self.rival_words())
        self.weights = side_by_side.weights_in(folder, rivals)
        self.dtype = pick_dtype(arguments.dtype, self.device, hidden_width(self.weights))
        self.shapes = Shapes.of(read_json(self.weights / "config.json"))
        embedder = LocalEmbedder(self.weights, str(self.device), dtype_name(self.dtype))
        self.network = embedder.network
        self.network.load_vision()
        self.plain = Plain(self.weights, self.network)
        self.works = list(self._works())

    def rival_words(self) -> list[str]:
        """Return the options for `side_by_side.py`."""
        given = self.arguments
        words = ["--device", self.device.type, "--folder", str(self.folder)]
        words += ["--text-layers", str(given.text_layers)]
        words += ["--vision-layers", str(given.vision_layers)]
        words += ["--sizes", "1", "8", "all", "--repeats", str(given.repeats)]
        words += ["--every", "6" if given.tiny else "1", "--without", "sentence-transformers"]
        words += ["--tiny"] if given.tiny else []
        return words + (["--upstream", str(given.upstream)] if given.upstream else [])

    def left(self) -> float:
        """Return the seconds left."""
        return self.end - time.monotonic()

    def need(self, seconds: float) -> None:
        """Raise RuntimeError if fewer seconds are left."""
        if self.left() < seconds:
            raise RuntimeError(f"{self.left():.0f} s are left, and this may take {seconds}")

    def rate(self) -> float:
        """Return the FLOP/s of a large matrix product."""
        setting = Setting(self.weights, 0, str(self.device), self.dtype)
        return side_by_side.product_rate(setting, time.perf_counter)

    def prompts(self, sources: Sequence[EmbedInput]) -> list[ModelInput]:
        """Return the inputs of the network."""
        ids = self.network.tokenize([embed_prompt(each) for each in sources], MOST_TOKENS)
        return [ModelInput(i, (each,)) for i, each in zip(ids, sources, strict=True)]

    def _works(self) -> Iterator[Work]:
        rng, count = np.random.default_rng(0), self.arguments.photos
        shrunk = 4 if self.arguments.tiny else 1
        for detail, (height, width) in SIDES.items():
            # about the same arithmetic at each detail
            fewer = max(1, count * SIDES[Detail.LOW][0] ** 2 // (height * width))
            sides = (side // (32 * shrunk) * 32 for side in (height, width))
            photos = rng.integers(0, 256, (fewer, *sides, 3), np.uint8)
            yield self._work(f"photos, {detail}", [EmbedInput(images=(each,)) for each in photos])
        texts = [" ".join(rng.choice(side_by_side.WORDS, PASSAGE_TOKENS)) for _ in range(count)]
        cut = self.network.tokenizer.ids_of(texts)
        texts = [self.network.tokenizer.text(each[:PASSAGE_TOKENS]) for each in cut]
        yield self._work("passages", [EmbedInput(each) for each in texts])

    def _work(self, name: str, sources: Sequence[EmbedInput]) -> Work:
        inputs = self.prompts(sources)
        flop = sum(
            self.shapes.flop(len(each.ids), [rows * columns for rows, columns in grids])
            for each, grids in zip(inputs, map(visual_grids, sources), strict=True)
        )
        return Work(name, inputs, flop)


# ---- the parts


def speed(bench: Bench) -> None:
    """Print inputs per second of each kind, and the row of the table in the docs."""
    print("| | a second | spread | of the rate |\n|---|---|---|---|")
    alone, rates = [], [bench.rate()]
    for work in bench.works:
        everything(bench, work.inputs)  # allocates, and prepares the kernels
        seconds = []
        for _ in range(bench.arguments.repeats):
            seconds.append(timed(lambda work=work: everything(bench, work.inputs)))
            rates.append(bench.rate())
        middle, count = statistics.median(seconds), len(work.inputs)
        share = work.flop / middle / statistics.median(rates)
        spread = f"{count / max(seconds):.1f} to {count / min(seconds):.1f}"
        print(f"| {work.name} | {count / middle:.1f} | {spread} | {share:.2f} |")
        alone.append(f"{middle / count:.4f} s")
    print(f"\nrate of products {statistics.median(rates) / 1e12:.2f} TFLOP/s", end="")
    if bench.device.type == "cuda":
        print(f"; at most {torch.cuda.max_memory_allocated() / 1e9:.1f} GB of memory", end="")
    weights = sum(path.stat().st_size for path in bench.weights.glob("*.safetensors")) / 1e9
    print(f"\n\n| machine | low | medium | high | weights |\n|{'---|' * 5}")
    print(f"| {machine(bench)} | {' | '.join(alone[:3])} | {weights:.1f} GB |")


def rerank(bench: Bench) -> None:
    """Print documents per second that are reranked for one query."""
    reranker = LocalReranker(bench.weights, str(bench.device), dtype_name(bench.dtype))
    documents = side_by_side.make_items(
        bench.folder / "judged", DOCUMENTS[: bench.arguments.photos]
    )
    setting = Setting(bench.weights, side_by_side.MAX_PIXELS)
    inputs = inputs_of(setting, documents)
    query = EmbedInput("a dog on a beach at sunset")
    reranker.score(query, inputs)
    repeats = range(bench.arguments.repeats)
    seconds = [timed(lambda: reranker.score(query, inputs)) for _ in repeats]
    print(
        f"{len(inputs)} documents of 30 to 256 tokens:"
        f" {len(inputs) / statistics.median(seconds):.1f} pairs a second"
        f" ({len(inputs) / max(seconds):.1f} to {len(inputs) / min(seconds):.1f})"
    )


def parity(bench: Bench) -> None:
    """Print the least cosine with the vectors of transformers in float32."""
    exact = Network(bench.weights, str(bench.device), "float32")
    exact.load_vision()
    found = {}
    few = [each for work in bench.works for each in work.inputs[:2]]
    truth = unit(Plain(bench.weights, exact).in_order(few, 1))
    found[f"qvsearch, {dtype_name(bench.dtype)}"] = everything(bench, few)
    found[f"transformers, {dtype_name(bench.dtype)}"] = bench.plain.in_order(few, 1)
    found["qvsearch, float32"] = ours(exact, few, len(few))
    print(f"{len(few)} photos and passages against transformers in float32\n")
    print("| | least cosine |\n|---|---|")
    for name, states in found.items():
        print(f"| {name} | {(unit(states) * truth).sum(1).min():.6f} |")


def rivals(bench: Bench) -> None:
    """Print the output of `side_by_side.py` as a block."""
    bench.need(RIVALS_SECONDS)
    import qwen_vl_utils  # noqa: F401 (the rivals read with it; its absence is the reason)

    print("```")
    try:
        side_by_side.measure(side_by_side.options().parse_args(bench.rival_words()), bench.folder)
    finally:
        print("```")


def ways(bench: Bench) -> None:
    """Print the gain of each technique."""
    take_turns(bench, WAYS)


def compiled(bench: Bench) -> None:
    """Print the gain of `torch.compile`, after compilation."""
    bench.need(COMPILE_SECONDS)
    take_turns(bench, [WAYS[0], Way("compiled", everything, compiling)])


def take_turns(bench: Bench, ways: Sequence[Way]) -> None:
    """Time ways in turns; print inputs per second and the least cosine of each."""
    truth = {work.name: unit(everything(bench, work.inputs)) for work in bench.works}
    found = {way.name: Found(way, bench.works) for way in ways}
    for turn in range(bench.arguments.repeats + 1):  # the first one warms up
        for each in found.values():
            if each.reason is None and bench.left() > 0:
                each.run(bench, truth, is_warm=turn > 0)
    print(f"| way | {' | '.join(work.name for work in bench.works)} | least cosine |")
    print(f"|---|{'---|' * (len(bench.works) + 1)}")
    for each in found.values():
        print(f"| {each.way.name} | {each.line()} |")


class Found:
    """The results of a way so far."""

    def __init__(self, way: Way, works: Sequence[Work]) -> None:
        self.way, self.works = way, works
        self.seconds: dict[str, list[float]] = {work.name: [] for work in works}
        self.cosine, self.reason = 1.0, None

    def run(self, bench: Bench, truth: dict[str, np.ndarray], *, is_warm: bool) -> None:
        """Run all works once; an error of a kernel or a library becomes the reason."""
        try:
            with self.way.around(bench.network):
                for work in self.works:
                    start = time.perf_counter()
                    states = self.way.embed(bench, work.inputs)
                    if is_warm:
                        self.seconds[work.name].append(time.perf_counter() - start)
                    cosines = (unit(states) * truth[work.name]).sum(1)
                    self.cosine = min(self.cosine, float(cosines.min()))
        except REFUSALS as error:
            self.reason = f"{type(error).__name__}: {first_line(error)}"

    def line(self) -> str:
        """Return the cells of a table."""
        if self.reason is not None or not all(self.seconds.values()):
            return self.reason or "no time was left"
        speeds = [
            f"{len(work.inputs) / statistics.median(self.seconds[work.name]):.1f}"
            for work in self.works
        ]
        return " | ".join([*speeds, f"{self.cosine:.6f}"])


# ---- the ways


def everything(bench: Bench, inputs: Sequence[ModelInput]) -> np.ndarray:
    """Embed as `index` does on a GPU: all at once, without a cached prefix."""
    return ours(bench.network, inputs, len(inputs))


@contextmanager
def swapped(owner: object, name: str, value: object) -> Iterator[None]:
    """Replace the value of an attribute."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def unshared(network: Network) -> AbstractContextManager[None]:
    return swapped(network, "_limits", replace(network._limits, shares=False))  # noqa: SLF001


@contextmanager
def unpinned(_: Network) -> Iterator[None]:
    def move(values: np.ndarray, device: torch.device) -> torch.Tensor:
        return torch.from_numpy(values).to(device)

    with swapped(forward, "moved", move), swapped(vision, "moved", move):
        yield


_compiled: dict[Callable[..., Any], Any] = {}


@contextmanager
def compiling(network: Network) -> Iterator[None]:
    """Compile the language model's layer and the vision tower's block, for all lengths."""
    block, layer = type(network.model.visual.blocks[0]), forward._layer  # noqa: SLF001
    with (
        swapped(block, "forward", _once(block.forward)),
        swapped(forward, "_layer", _once(layer)),
    ):
        yield


def _once(function: Callable[..., Any]) -> Any:
    """Return the compiled form of a function, cached."""
    return _compiled.setdefault(function, torch.compile(function, dynamic=True))


WAYS = [
    Way("as it is", everything),
    Way("one at a time", lambda bench, inputs: ours(bench.network, inputs, 1)),
    Way("padded by transformers, 8", lambda bench, inputs: bench.plain.in_order(inputs, 8)),
    Way("beginning not shared", everything, unshared),
    Way("attention: flash", everything, lambda _: sdpa_kernel(SDPBackend.FLASH_ATTENTION)),
    Way("attention: efficient", everything, lambda _: sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION)),
    Way("attention: cudnn", everything, lambda _: sdpa_kernel(SDPBackend.CUDNN_ATTENTION)),
    Way("attention: math", everything, lambda _: sdpa_kernel(SDPBackend.MATH)),
    Way("copies not pinned", everything, unpinned),
]
PARTS: dict[str, Callable[[Bench], None]] = {
    each.__name__: each for each in (speed, rerank, parity, rivals, ways, compiled)
}


# ---- the command


def timed(run: Callable[[], object]) -> float:
    """Return the seconds of a run whose result is in the memory of the CPU."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def unit(states: np.ndarray) -> np.ndarray:
    return states / np.linalg.norm(states, axis=1, keepdims=True)


def first_line(error: BaseException) -> str:
    """Return the start of a message, short enough for a cell of a table."""
    return (str(error).strip().splitlines() or [""])[0][:200].replace("|", "/")


def machine(bench: Bench) -> str:
    name = "cpu" if bench.device.type == "cpu" else torch.cuda.get_device_name()
    return f"{name}, {dtype_name(bench.dtype)}"


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure qvsearch on a GPU.")
    positive = side_by_side.positive
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", help="default: what qvsearch takes on the device")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--upstream", type=Path, help="a checkout of QwenLM/Qwen3-VL-Embedding")
    parser.add_argument("--seconds", type=positive, default=540, help="time for everything")
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--photos", type=positive, default=128, help="of low detail, at a time")
    parser.add_argument("--text-layers", type=positive, default=28)
    parser.add_argument("--vision-layers", type=positive, default=24)
    parser.add_argument("--tiny", action="store_true", help="narrow layers, small photos")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    arguments, failed = options().parse_args(words), 0
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory(prefix="qvsearch-gpu-") as folder:
        try:
            bench = Bench(arguments, Path(folder))
        except QvsearchError as error:
            sys.exit(str(error))
        print(f"## {machine(bench)}\n")
        print(f"torch {torch.__version__}, transformers {transformers.__version__}", end="")
        print(f", {arguments.text_layers}+{arguments.vision_layers} layers, random weights")
        for part in arguments.parts:
            print(f"\n### {part}\n", flush=True)
            try:
                PARTS[part](bench)
            except Exception as error:  # noqa: BLE001 (the other parts' figures are wanted)
                print(f"left out: {type(error).__name__}: {first_line(error)}")
                traceback.print_exc()
                failed = 1
        print(f"\n{arguments.seconds - bench.left():.0f} s in all", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
