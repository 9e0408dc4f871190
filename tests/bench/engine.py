"""How near the forward pass comes to the limit of the machine: `python tests/bench/engine.py`.

The model has the widths of the 2B model, random weights, and fewer layers, in float32 on the CPU.
Prompts are token numbers, as many as with the published tokenizer. qvsearch is compared with:

- transformers' own forward pass, which pads, in batches of a given size and in order;
- an earlier batching of qvsearch: sorted by length, with at most a tenth of padding.

All take turns in one run, and the rate of a matrix product is measured in between.

`rate` is 2 x parameters x tokens of every item alone, divided by the time and by the measured rate.
`busy` counts the products that were really computed. `28+24` is the resulting `rate` for all 28 and
24 layers, in which the last layer has a smaller share. On one thread, CPU time is measured, which
other work of the machine hardly changes; on several threads, wall time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from support.padded import padded
from support.reference import TINY_TEXT, TINY_VISION, WIDE_TEXT, WIDE_VISION, write_checkpoint

from qvsearch.models.forward import Beginning, ModelInput
from qvsearch.models.network import Network
from qvsearch.models.vision import LinearPatchEmbed
from qvsearch.types import EmbedInput

TRUE_LAYERS = {"text": 28, "vision": 24, "mergers": 4}
TURN, END = 16, 5  # tokens before and after the content
PAIR = 80  # the reranker's system turn, its instruction and a query of 7 tokens
SIDES = {56: (224, 256), 100: (320, 320), 256: (512, 512), 580: (640, 928)}  # of a photo's tokens
TEXTS = [23, 31, 40, 48, 60, 75, 90, 110, 135, 160, 190, 240, 300]
PHOTOS = [56, 56, 56, 56, 100, 100, 100, 256, 256, 256, 256, 580, 580]
SHORT = [*range(10, 50, 2)]  # tokens of documents: captions
MIXED = [
    *range(30, 240, 15),
    *(-photo for photo in (56, 56, 100, 100, 256, 256)),
]  # with passages and photos


@dataclass
class Engine:
    """A way to compute the states of all items, with its times and its products."""

    name: str
    run: Callable[[], np.ndarray]
    seconds: list[float] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    states: np.ndarray | None = None


class Items:
    """Prompts of exact lengths."""

    def __init__(self, network: Network) -> None:
        self.config, self.tokenizer = network.model.config, network.tokenizer
        self.rng = np.random.default_rng(0)

    def ids(self, count: int) -> list[int]:
        return [int(token) for token in self.rng.integers(0, 256, count)]

    def item(self, beginning: list[int], tokens: int) -> ModelInput:
        """Return the prompt of a text or, if negative, of a photo with that many tokens."""
        if tokens > 0:
            return ModelInput(beginning + self.ids(tokens + END), (EmbedInput("text"),))
        pixels = self.rng.integers(0, 256, (*SIDES[-tokens], 3), np.uint8)
        config = self.config
        photo = [self.tokenizer.id("<|vision_start|>"), *[config.image_token_id] * -tokens]
        ids = beginning + photo + [self.tokenizer.id("<|vision_end|>")] + self.ids(END)
        return ModelInput(ids, (EmbedInput(images=(pixels,)),))

    def items(self, turn: int, lengths: Sequence[int]) -> list[ModelInput]:
        beginning = self.ids(turn)
        made = [self.item(beginning, tokens) for tokens in lengths]
        return [made[row] for row in self.rng.permutation(len(made))]


def ours(network: Network, items: Sequence[ModelInput], size: int) -> np.ndarray:
    """Embed batches of the given size, without a cached prefix."""
    network._beginning = Beginning.empty(network.model)  # noqa: SLF001
    parts = [items[row : row + size] for row in range(0, len(items), size)]
    return np.concatenate([network.last_hidden(part) for part in parts])


class Plain:
    """The forward pass of transformers over padded batches, with the weights of a checkpoint."""

    def __init__(self, folder: Path, network: Network) -> None:
        from transformers import Qwen3VLModel

        self._network = network
        self.model = Qwen3VLModel.from_pretrained(folder, dtype=network.model.dtype)
        embed = self.model.visual.patch_embed  # its convolution would decide every comparison
        self.model.visual.patch_embed = LinearPatchEmbed.of(embed.proj)
        self.model.to(network.device).eval()

    @torch.inference_mode()
    def states(self, batches: Sequence[Sequence[ModelInput]]) -> np.ndarray:
        """Return the states of batches of prompts, in order."""
        found = []
        for batch in batches:
            tensors = padded(self._network, batch)
            tensors = {name: each.to(self.model.device) for name, each in tensors.items()}
            last = tensors["attention_mask"].sum(1) - 1
            states = self.model(**tensors, use_cache=False).last_hidden_state
            found.append(states[torch.arange(len(batch)), last].float().cpu().numpy())
        return np.concatenate(found)

    def in_order(self, items: Sequence[ModelInput], size: int) -> np.ndarray:
        """Take batches of the given size."""
        return self.states([items[row : row + size] for row in range(0, len(items), size)])

    def sorted(self, items: Sequence[ModelInput]) -> np.ndarray:
        """Batch as an earlier qvsearch: by length, at most a tenth of padding, 1,024 tokens."""
        order = sorted(range(len(items)), key=lambda row: len(items[row].ids))
        batches: list[list[int]] = []
        for row in order:
            length, batch = len(items[row].ids), batches[-1] if batches else []
            fits = length * (len(batch) + 1) <= 1024
            if batch and fits and length <= len(items[batch[0]].ids) * 1.1:
                batch.append(row)
            else:
                batches.append([row])
        states = self.states([[items[row] for row in batch] for batch in batches])
        return states[np.argsort(np.concatenate(batches))]


def count_products(model: torch.nn.Module, done: Counter[str]) -> None:
    """Make every linear layer of a model count its multiplications by its kind of layer."""

    def kind(name: str) -> str:
        parts = name.split(".")
        if "layers" in parts:
            is_last = int(parts[2]) == len(model.language_model.layers) - 1
            return "last" if is_last else "text"
        return "vision" if "blocks" in parts else "mergers" if "merger" in name else "patches"

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear | LinearPatchEmbed):

            def add(
                module: torch.nn.Module,
                arguments: tuple[torch.Tensor, ...],
                _: object,
                of: str = kind(name),
            ) -> None:
                rows = arguments[0].numel() // arguments[0].shape[-1]
                done[of] += 2 * rows * module.weight.numel()  # type: ignore[operator, union-attr]

            module.register_forward_hook(add)


def whole(done: Counter[str], layers: dict[str, int]) -> float:
    """Return the products of a model with all layers."""
    scale = {of: TRUE_LAYERS[of] / layers[of] for of in layers}
    scale["text"] = (TRUE_LAYERS["text"] - 1) / (layers["text"] - 1)
    return sum(count * scale.get(of, 1) for of, count in done.items())


def product_rate(clock: Callable[[], float]) -> float:
    """Return the FLOP/s of a large matrix product."""
    states, weights = torch.randn(512, 2048), torch.randn(6144, 2048)
    start = clock()
    for _ in range(4):
        torch.nn.functional.linear(states, weights)
    return 4 * 2 * states.numel() * len(weights) / (clock() - start)


def compare(
    engines: Sequence[Engine],
    done: Counter[str],
    layers: dict[str, int],
    repeats: int,
    clock: Callable[[], float],
) -> None:
    """Time the engines in turns and print a line for each; ratios are to the first."""
    rates = [product_rate(clock)]
    for turn in range(repeats):
        for engine in engines if turn % 2 == 0 else reversed(engines):
            done.clear()
            start = clock()
            engine.states = engine.run()
            engine.seconds.append(clock() - start)
            engine.done = done.copy()
            rates.append(product_rate(clock))
    rate = statistics.median(rates)
    print(f"  a product's rate {rate / 1e9:.0f} GFLOP/s ({min(rates) / 1e9:.0f} to", end="")
    print(f" {max(rates) / 1e9:.0f})\n  {'':24}seconds      (spread)   rate   busy  28+24  differs")
    first = engines[0]
    alone, all_alone = sum(first.done.values()), whole(first.done, layers)
    for engine in engines:
        seconds = statistics.median(engine.seconds)
        busy = sum(engine.done.values()) / seconds / rate
        spread = f"({min(engine.seconds):.1f} to {max(engine.seconds):.1f})"
        assert engine.states is not None
        assert first.states is not None
        print(
            f"  {engine.name:24}{seconds:7.1f}{spread:>15}{alone / seconds / rate:7.2f}{busy:7.2f}"
            f"{busy * all_alone / whole(engine.done, layers):7.2f}"
            f"{np.abs(engine.states - first.states).max():9.0e}"
        )


def measure(arguments: argparse.Namespace) -> None:
    """Print a table for embedding, and one for each kind of reranked documents."""
    layers = {"text": arguments.text_layers, "vision": arguments.vision_layers, "mergers": 2}
    text, vision = (TINY_TEXT, TINY_VISION) if arguments.tiny else (WIDE_TEXT, WIDE_VISION)
    text = text | {"num_hidden_layers": layers["text"]}
    vision = vision | {"depth": layers["vision"], "deepstack_visual_indexes": [0]}
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), text, vision, dtype=torch.bfloat16)
        network = Network(Path(folder), "cpu", "float32")
        network.load_vision()  # while the folder exists
        plain = Plain(Path(folder), network)
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    done: Counter[str] = Counter()
    count_products(network.model, done)
    count_products(plain.model, done)
    makes = Items(network)
    step = arguments.every
    lengths = [*TEXTS[::step], *(-photo for photo in PHOTOS[::step])]
    items = makes.items(TURN, lengths)
    tokens = [len(each.ids) for each in items]
    network.last_hidden(items[:2])  # first calls allocate

    if "embed" in arguments.tables:
        print(f"{len(items)} texts and photos of {min(tokens)} to {max(tokens)} tokens")
        engines = [
            *(
                Engine(f"transformers, {size}", lambda size=size: plain.in_order(items, size))
                for size in (1, *arguments.sizes)
            ),
            Engine("sorted, near-equal", lambda: plain.sorted(items)),
            *(
                Engine(f"qvsearch, {size}", lambda size=size: ours(network, items, size))
                for size in (1, *arguments.sizes, len(items))
            ),
        ]
        compare(engines, done, layers, arguments.repeats, clock)
    for name, lengths in [("short", SHORT), ("mixed", MIXED)]:
        if name in arguments.tables:
            pairs = makes.items(PAIR, lengths)
            print(f"one query and {len(pairs)} {name} documents, the states of pairs")
            engines = [
                Engine("transformers, a pair", lambda pairs=pairs: plain.in_order(pairs, 1)),
                Engine("qvsearch", lambda pairs=pairs: ours(network, pairs, len(pairs))),
            ]
            compare(engines, done, layers, arguments.repeats, clock)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure the forward pass.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="2 takes half of the items")
    parser.add_argument("--sizes", type=int, nargs="*", default=[4, 8])
    parser.add_argument("--text-layers", type=int, default=4)
    parser.add_argument("--vision-layers", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="narrow layers, to try the command")
    parser.add_argument("--tables", nargs="+", default=["embed", "short", "mixed"])
    measure(parser.parse_args())
