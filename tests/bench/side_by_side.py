"""qvsearch beside other software for the model: `python tests/bench/side_by_side.py`.

The others are:

- the published classes, from the checkout of Qwen3-VL-Embedding in `--upstream`;
- sentence-transformers, if it is installed;
- transformers, called directly, with padding.

All have one copy of random weights with the 2B model's widths, the same files and the same pixel
budget. They take turns in one process, in reverse order every second time. The file of a photo has
the size that the model sees, so that none resamples. The small tokenizer of the checkpoint makes
texts with the wanted number of tokens.

`rate` is 2 x parameters x tokens of every item alone, divided by the time and by the rate of a
matrix product measured in between. With few layers, the last one weighs more than with 28, and
qvsearch computes least of it. `--text-layers 28 --vision-layers 24` is the true model.

Every repetition is kept in `--folder`; a later run with the same options continues. On one thread,
CPU time is measured, which other work of the machine hardly changes; on several threads or a GPU,
wall time.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))
from contenders import EMBEDDERS, RERANKERS, Absent, Item, Setting, share
from support.reference import (
    TINY_TEXT,
    TINY_VISION,
    WIDE_TEXT,
    WIDE_VISION,
    Reference,
    make_tokenizer,
    write_checkpoint,
)

from qvsearch.errors import QvsearchError
from qvsearch.models.checkpoint import hidden_width
from qvsearch.models.devices import dtype_name, pick_device, pick_dtype

MAX_PIXELS = 768 * 1024  # the budget of detail medium
TABLES = ["embed", "rerank"]
NOT_MEASURED = ("folder", "repeats", "tables")  # options that do not change the measurement
SIDES = {56: (224, 256), 100: (320, 320), 256: (512, 512), 580: (640, 928)}  # of a photo's tokens
# tokens of items beside the prompt: positive for texts, negative for photos
EMBEDDED = [23, 31, 40, 48, 60, 75, 90, 110, 135, 160, 190, 240, 300]
EMBEDDED += [-56, -56, -56, -56, -100, -100, -100, -256, -256, -256, -256, -580, -580]
DOCUMENTS = [*range(30, 240, 15), -56, -56, -100, -100, -256, -256]
QUERY = Item("a dog on a beach at sunset")
WORDS = ["a", "dog", "on", "the", "beach", "at", "sunset"]
FIRST = ("upstream", "transformers")  # all others are compared with the first of these

Ways = dict[str, Callable[[], np.ndarray]]


def write_weights(arguments: argparse.Namespace, folder: Path) -> None:
    """Write the checkpoint, with all files that the others need."""
    text, vision = WIDE_TEXT, WIDE_VISION
    if arguments.tiny:
        text, vision = TINY_TEXT, TINY_VISION
    text = text | {"num_hidden_layers": arguments.text_layers}
    deep = [each for each in (5, 11, 17) if each < arguments.vision_layers] or [0]
    vision = vision | {"depth": arguments.vision_layers, "deepstack_visual_indexes": deep}
    write_checkpoint(folder, text, vision, dtype=torch.bfloat16)
    Reference.load(folder).processor.save_pretrained(folder)


def make_items(folder: Path, lengths: Sequence[int]) -> list[Item]:
    """Write photos and make texts, in mixed order."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    tokenizer = make_tokenizer()
    items = []
    for number, length in enumerate(lengths):
        if length < 0:
            height, width = SIDES[-length]
            coarse = rng.integers(0, 256, (height // 32, width // 32, 3), np.uint8)
            path = folder.absolute() / f"{number}.png"
            Image.fromarray(coarse).resize((width, height)).save(path)
            items.append(Item(photo=path))
        else:
            words = " ".join(rng.choice(WORDS, length))
            ids = tokenizer(words)["input_ids"][:length]
            items.append(Item(tokenizer.decode(ids)))
    return [items[row] for row in rng.permutation(len(items))]


def product_rate(setting: Setting, clock: Callable[[], float]) -> float:
    """Return the FLOP/s of a matrix product with the widths of the model."""
    rows = 512 if setting.device == "cpu" else 8192
    text = json.loads((setting.folder / "config.json").read_text())["text_config"]
    placed = {"device": setting.device, "dtype": setting.dtype}
    states = torch.randn(rows, text["hidden_size"], **placed)
    weights = torch.randn(text["intermediate_size"], text["hidden_size"], **placed)
    for times in (1, 2):  # the first run only warms up
        start = clock()
        for _ in range(times):
            found = torch.nn.functional.linear(states, weights)
        float(found[0, 0])  # waits for a GPU
    return 2 * 2 * states.numel() * len(weights) / (clock() - start)


def products_of(model: torch.nn.Module, run: Callable[[], object]) -> int:
    """Return the FLOP of the layers of a model during a call."""
    done = 0

    def add(module: torch.nn.Module, arguments: tuple[torch.Tensor, ...], _: object) -> None:
        nonlocal done
        weight = module.weight
        # each row of the input meets every weight; for the convolution, patches are rows
        patches = arguments[0].numel() // weight[0].numel()
        done += 2 * patches * weight.numel()

    layers = (torch.nn.Linear, torch.nn.Conv3d)
    hooks = [
        each.register_forward_hook(add) for each in model.modules() if isinstance(each, layers)
    ]
    run()
    for hook in hooks:
        hook.remove()
    return done


def load(table: dict, setting: Setting, without: Sequence[str]) -> dict:
    """Return the installed contenders, with one copy of the weights; print the missing ones."""
    loaded: dict = {}
    for name, make in table.items():
        if name in without:
            continue
        try:
            run, model = make(setting)
        except Absent as reason:
            print(f"  {name} is left out: {reason}")
            continue
        if loaded:
            share(next(iter(loaded.values()))[1], model)
        loaded[name] = run, model
        gc.collect()
    return loaded


def take_turns(ways: Ways, turn: int, setting: Setting, clock: Callable[[], float]) -> dict:
    """Run all once; return their times, the rates in between, and the agreement."""
    rates, seconds, found = [product_rate(setting, clock)], {}, {}
    for name in list(ways) if turn % 2 == 0 else reversed(ways):
        start = clock()
        found[name] = ways[name]()
        seconds[name] = clock() - start
        rates.append(product_rate(setting, clock))
    names = [name for rival in FIRST for name in ways if name.split(",")[0] == rival]
    truth = found[(names or list(ways))[0]]
    agreement = {name: agree(each, truth) for name, each in found.items()}
    return {"seconds": seconds, "rates": rates, "agreement": agreement}


def agree(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return the least cosine of rows, or the largest differences of scores and logits."""
    if found.ndim == 2:
        return {"least cosine": float((found * truth).sum(1).min())}
    scores, true_scores = (1 / (1 + np.exp(-each.astype(np.float64))) for each in (found, truth))
    return {
        "logits apart": float(np.abs(found - truth).max()),
        "scores apart": float(np.abs(scores - true_scores).max()),
    }


class Kept:
    """Repetitions in a file for these options, so that an interrupted run can continue."""

    def __init__(self, folder: Path, name: str, told: dict) -> None:
        digest = zlib.crc32(json.dumps(told, sort_keys=True).encode())
        self.path, self.told = folder / f"{name}-{digest:08x}.json", told
        self.repetitions: list[dict] = []
        if self.path.exists():
            self.repetitions = json.loads(self.path.read_text())["repetitions"]

    def add(self, repetition: dict) -> None:
        self.repetitions.append(repetition)
        self.path.write_text(json.dumps({"told": self.told, "repetitions": self.repetitions}))


def spread(values: Sequence[float], digits: int) -> str:
    """Return the median and the extremes as text."""
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:8.{digits}f}{f'({least:.{digits}f} to {most:.{digits}f})':>18}"


def report(runs: Sequence[dict], products: int) -> None:
    """Print a line for each contender; ratios are those of each repetition."""
    rates = [rate for run in runs for rate in run["rates"]]
    print(
        f"  {len(runs)} repetitions, a product's rate {statistics.median(rates) / 1e9:.0f}", end=""
    )
    print(f" GFLOP/s ({min(rates) / 1e9:.0f} to {max(rates) / 1e9:.0f})")
    print(f"  {'':28}{'seconds':>8}{'':18}{'rate':>8}{'':18}{'qvsearch':>8}  times as fast")
    for name in runs[0]["seconds"]:
        seconds = [run["seconds"][name] for run in runs]
        reached = [
            products / spent / statistics.median(run["rates"])
            for run, spent in zip(runs, seconds, strict=True)
        ]
        ours = "qvsearch" + name[len(name.split(",")[0]) :]
        times = [run["seconds"][name] / run["seconds"].get(ours, float("nan")) for run in runs]
        agreed = (f"{what} {value}" for what, value in worst(runs, name).items())
        ratio = " " * 26 if name == ours else spread(times, 2)
        print(f"  {name:28}{spread(seconds, 1)}{spread(reached, 2)}{ratio}  {', '.join(agreed)}")
    for rival in dict.fromkeys(name.split(",")[0] for name in runs[0]["seconds"]):
        if rival != "qvsearch" and any(name.startswith("qvsearch") for name in runs[0]["seconds"]):
            best = [fastest(run, rival) / fastest(run, "qvsearch") for run in runs]
            print(f"  the best of {rival:24} takes {spread(best, 2)} times the best of qvsearch")
    sys.stdout.flush()


def fastest(run: dict, contender: str) -> float:
    return min(s for name, s in run["seconds"].items() if name.split(",")[0] == contender)


def worst(runs: Sequence[dict], name: str) -> dict[str, str]:
    """Return the least agreement of all repetitions, with as many digits as needed."""
    found = [run["agreement"][name] for run in runs]
    return {
        what: f"{min(each[what] for each in found):.6f}"
        if what == "least cosine"
        else f"{max(each[what] for each in found):.0e}"
        for what in found[0]
    }


def compare(
    name: str, ways: Ways, products: int, setting: Setting, arguments: argparse.Namespace
) -> None:
    """Time the contenders in turns until there are enough repetitions, and print the table."""
    told = {key: str(value) for key, value in vars(arguments).items() if key not in NOT_MEASURED}
    kept = Kept(setting.folder.parent, name, told | {"contenders": list(ways)})
    by_process = arguments.threads == 1 and setting.device == "cpu"
    clock = time.process_time if by_process else time.perf_counter
    for turn in range(len(kept.repetitions), arguments.repeats):
        print(f"  {name}: repetition {turn + 1} of {arguments.repeats}", file=sys.stderr)
        kept.add(take_turns(ways, turn, setting, clock))
    report(kept.repetitions, products)


def measure_embedding(setting: Setting, arguments: argparse.Namespace) -> None:
    items = make_items(setting.folder.parent / "photos", EMBEDDED[:: arguments.every])
    print(f"{len(items)} texts and photos embedded")
    loaded = load(EMBEDDERS, setting, arguments.without)
    run, model = loaded.get("transformers") or EMBEDDERS["transformers"](setting)
    products = products_of(model, lambda: run(items, 1))
    sizes = dict.fromkeys(min(size or len(items), len(items)) for size in arguments.sizes)
    ways = {
        f"{name}, {size}": lambda run=run, size=size: run(items, size)
        for name, (run, _) in loaded.items()
        for size in sizes
    }
    compare("embed", ways, products, setting, arguments)


def measure_reranking(setting: Setting, arguments: argparse.Namespace) -> None:
    documents = make_items(setting.folder.parent / "documents", DOCUMENTS[:: arguments.every])
    print(f"{len(documents)} documents judged for one query, by rivals one at a time")
    loaded = load(RERANKERS, setting, arguments.without)
    run, model = loaded.get("transformers") or RERANKERS["transformers"](setting)
    products = products_of(model, lambda: run(QUERY, documents))
    ways = {name: lambda run=run: run(QUERY, documents) for name, (run, _) in loaded.items()}
    compare("rerank", ways, products, setting, arguments)


def weights_in(folder: Path, arguments: argparse.Namespace) -> Path:
    """Return the checkpoint in a folder; write it if it does not exist."""
    weights = folder / "weights"
    shape = f"{arguments.text_layers} {arguments.vision_layers} {arguments.tiny}"
    written = folder / "weights.txt"  # written last, so that half a checkpoint is not used
    if not written.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_weights(arguments, weights)
        written.write_text(shape)
    if written.read_text() != shape:
        sys.exit(f"{weights} has other layers; give another --folder")
    return weights


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    """Print the requested tables."""
    device = pick_device(arguments.device)
    weights = weights_in(folder, arguments)
    torch.set_num_threads(arguments.threads)
    dtype = pick_dtype(arguments.dtype, device, hidden_width(weights))
    arguments.dtype = dtype_name(dtype)  # times are kept for each dtype
    setting = Setting(weights, MAX_PIXELS, arguments.device, dtype, arguments.upstream)
    where = "cpu" if setting.device == "cpu" else torch.cuda.get_device_name()
    print(f"{where}, {arguments.dtype}, {arguments.threads} threads, torch {torch.__version__}")
    if "embed" in arguments.tables:
        measure_embedding(setting, arguments)
        gc.collect()
    if "rerank" in arguments.tables:
        measure_reranking(setting, arguments)


def positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def batch_size(word: str) -> int | None:
    """Read a batch size; None is all items."""
    return None if word == "all" else positive(word)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure qvsearch beside others.")
    parser.add_argument("--upstream", type=Path, help="a checkout of QwenLM/Qwen3-VL-Embedding")
    parser.add_argument("--folder", type=Path, help="keeps weights and times; else temporary")
    parser.add_argument("--repeats", type=positive, default=5)
    parser.add_argument("--every", type=positive, default=2, help="1 takes all 26 items, 2 half")
    parser.add_argument(
        "--sizes", nargs="+", type=batch_size, default=[1, 8], help="of batches, as in: 1 4 8 all"
    )
    parser.add_argument("--text-layers", type=positive, default=4)
    parser.add_argument("--vision-layers", type=positive, default=3)
    parser.add_argument("--without", nargs="+", default=[], choices=EMBEDDERS)
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16", "float16"],
        help="default: what qvsearch takes on the device",
    )
    parser.add_argument("--tiny", action="store_true", help="narrow layers, to try the command")
    return parser


def main(words: Sequence[str] | None = None) -> None:
    arguments = options().parse_args(words)
    with tempfile.TemporaryDirectory() as temporary:
        try:
            measure(arguments, arguments.folder or Path(temporary))
        except QvsearchError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
