"""Speed and vectors of each dtype: `python tests/bench/int8.py`.

The model has random weights, the 2B model's widths and a few of its layers; times are scaled to all
layers. One thread runs, and its CPU time is measured, which other work of the machine hardly
changes. The dtypes take turns. The same weights then get channels of outliers, as in real
checkpoints: the norms and the first half of each MLP make some channels many times as large.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from support.reference import TINY_TEXT, TINY_VISION, WIDE_TEXT, WIDE_VISION, write_checkpoint

from qvsearch.demo.world import caption, draw, random_scene
from qvsearch.indexing.baseline_queries import queries
from qvsearch.indexing.comparison import agreement_of
from qvsearch.machine.flops import CONFIG_2B, Shapes
from qvsearch.models.checkpoint import read_json
from qvsearch.models.forward import Beginning
from qvsearch.models.int8 import quantise
from qvsearch.models.prompt import QUERY_INSTRUCTION, embed_prompt, visual_grids
from qvsearch.runtime.local import LocalEmbedder
from qvsearch.types import EmbedInput

TEXT = WIDE_TEXT | {"num_hidden_layers": 4}
VISION = WIDE_VISION | {"depth": 3, "deepstack_visual_indexes": [1]}
DTYPES = ("float32", "bfloat16", "int8")
OUTLIERS = 6  # channels of each layer
SIZES = ("input_layernorm", "post_attention_layernorm", "norm1", "norm2", "up_proj", "linear_fc1")


def demo(count: int) -> None:
    """Print how well the demo model agrees in float32 and int8."""
    rng = np.random.default_rng(1)
    scenes = [random_scene(rng) for _ in range(count)]
    pictures = [EmbedInput(images=(draw(scene, rng),)) for scene in scenes]
    words = [caption(scene, rng) for scene in scenes] + list(queries("demo"))
    asked = [EmbedInput(text, instruction=QUERY_INSTRUCTION) for text in words]
    exact, found = (
        (each.embed(pictures), each.embed(asked))
        for each in (LocalEmbedder("demo", "cpu", dtype) for dtype in ("float32", "int8"))
    )
    least = (exact[0] * found[0]).sum(1).min()
    print(f"demo model, {count} pictures: {agreement_of(exact, found)}; least cosine {least:.4f}")


def wide(folder: Path, repeats: int, *, tiny: bool) -> None:
    """Print speed and cosines on random weights, without and with outliers."""
    text, vision = (TINY_TEXT, TINY_VISION) if tiny else (TEXT, VISION)
    write_checkpoint(folder, text, vision, dtype=torch.bfloat16)
    torch.set_num_threads(1)
    embedders = [LocalEmbedder(folder, "cpu", dtype) for dtype in DTYPES]
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (2, 8, 8, 3), np.uint8).repeat(64, 1).repeat(64, 2)
    photos = [EmbedInput(images=(each,)) for each in coarse]
    # each begins differently: a shared prefix is computed once
    texts = [EmbedInput(f"{n} dogs on a beach at sunset " * n) for n in (1, 3, 6, 12)]
    works = {"photo of 256 tokens": photos, "short text": texts[:1], "longer texts": texts[1:]}
    for name, inputs in works.items():
        seconds, vectors = _alternate(embedders, inputs, repeats)
        scale = _scale(embedders[0], inputs)
        for dtype, spent, found in zip(DTYPES, seconds, vectors, strict=True):
            ratios = [before / after for before, after in zip(seconds[0], spent, strict=True)]
            print(
                f"{name}, {dtype}: {scale * statistics.median(spent) / len(inputs):.2f} s,"
                f" {statistics.median(ratios):.2f} times as fast"
                f" ({min(ratios):.2f} to {max(ratios):.2f}, {repeats} runs),"
                f" least cosine {(vectors[0] * found).sum(1).min():.4f}",
                flush=True,
            )
    del embedders
    for strength in (10, 30):
        embedder = LocalEmbedder(folder, "cpu", "float32")
        _add_outliers(embedder.network.model, strength)
        exact = embedder.embed(photos + texts)
        quantise(embedder.network.model)
        cosines = (exact * embedder.embed(photos + texts)).sum(1)
        print(
            f"outliers of {strength} times the size: median cosine {np.median(cosines):.4f},"
            f" least {cosines.min():.4f}",
            flush=True,
        )


def _scale(embedder: LocalEmbedder, inputs: list[EmbedInput]) -> float:
    """Return the ratio of the arithmetic of all layers to that of the few."""
    whole, few = Shapes.of(CONFIG_2B), Shapes.of(read_json(embedder.weights.folder / "config.json"))
    prompts = embedder.network.tokenize([embed_prompt(each) for each in inputs], 8192)
    sizes = [
        (len(ids), [rows * columns for rows, columns in visual_grids(each)])
        for ids, each in zip(prompts, inputs, strict=True)
    ]
    return sum(whole.flop(*each) for each in sizes) / sum(few.flop(*each) for each in sizes)


def _alternate(
    embedders: list[LocalEmbedder], inputs: list[EmbedInput], repeats: int
) -> tuple[list[list[float]], list[np.ndarray]]:
    vectors = [each.embed(inputs) for each in embedders]
    seconds: list[list[float]] = [[] for _ in embedders]
    for _ in range(repeats):
        for each, spent in zip(embedders, seconds, strict=True):
            each.network._beginning = Beginning.empty(each.network.model)  # noqa: SLF001
            start = time.process_time()
            each.embed(inputs)
            spent.append(time.process_time() - start)
    return seconds, vectors


@torch.no_grad()
def _add_outliers(model: torch.nn.Module, strength: float) -> None:
    for name, parameter in model.named_parameters():
        if name.endswith("weight") and name.split(".")[-2] in SIZES:
            parameter[5 :: len(parameter) // OUTLIERS] *= strength


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compare the number types.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scenes", type=int, default=200, help="pictures for the demo model")
    parser.add_argument("--tiny", action="store_true", help="narrow layers, to try the command")
    arguments = parser.parse_args()
    demo(arguments.scenes)
    with tempfile.TemporaryDirectory() as folder:
        wide(Path(folder), arguments.repeats, tiny=arguments.tiny)
