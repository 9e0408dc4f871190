"""The model that `bench` measures: its own weights, or random weights with fewer layers."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qvsearch.errors import QvsearchError
from qvsearch.files import write_file
from qvsearch.machine import samples
from qvsearch.machine.flops import CONFIG_2B, Shapes
from qvsearch.media.passages import PASSAGE_TOKENS
from qvsearch.models.checkpoint import TOKENIZER, read_json
from qvsearch.models.prompt import embed_prompt, visual_grids
from qvsearch.models.registry import DEFAULT_MODEL, DEMO_FOLDER, find
from qvsearch.types import EmbedInput

if TYPE_CHECKING:
    import torch

    from qvsearch.runtime.local import LocalEmbedder

LAYERS, VISION_LAYERS = 3, 3  # of a shallow model
MOST_TOKENS = 100_000  # of a prompt; no input of a benchmark comes near


@dataclass(frozen=True, slots=True)
class ChosenModel:
    """A model, a device and a dtype; `folder` is None if the weights are not on this computer."""

    name: str
    config: dict[str, Any]
    folder: Path | None
    device: torch.device
    dtype: torch.dtype

    @property
    def shapes(self) -> Shapes:
        """The sizes of its layers."""
        return Shapes.of(self.config)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in memory; `shapes` and `folder` are those of a stand-in if `is_random`."""

    chosen: ChosenModel
    folder: Path
    shapes: Shapes
    is_random: bool
    embedder: LocalEmbedder

    def passages(self) -> Iterator[EmbedInput]:
        """Yield texts of PASSAGE_TOKENS tokens, without end."""
        for text in samples.texts():
            (ids,) = self.embedder.network.tokenize([text], MOST_TOKENS)
            yield EmbedInput(text=text[: len(text) * PASSAGE_TOKENS // len(ids)])

    def work(self, source: EmbedInput) -> tuple[float, float]:
        """Return the FLOP of an input with all layers, and its ratio to the layers in memory."""
        (ids,) = self.embedder.network.tokenize([embed_prompt(source)], MOST_TOKENS)
        pictures = [rows * columns for rows, columns in visual_grids(source)]
        flop = self.chosen.shapes.flop(len(ids), pictures)
        return flop, flop / self.shapes.flop(len(ids), pictures)


def choose_model(model: str, device: str | None, dtype: str | None) -> ChosenModel:
    """Return a model that can be measured; the 2B model needs no weights on this computer.

    Raises QvsearchError for any other model that is not here.
    """
    from qvsearch.models.devices import pick_device, pick_dtype

    place, weights = pick_device(device), find(model)
    if weights is None and model != DEFAULT_MODEL:
        raise QvsearchError(
            f"the model {model} is not on this computer; fetch it with: qvsearch models pull"
            f" {model}; or leave out --model to measure random weights of the 2B model's sizes"
        )
    config = CONFIG_2B if weights is None else read_json(weights.folder / "config.json")
    numbers = pick_dtype(dtype, place, config["text_config"]["hidden_size"])
    if weights is None:
        return ChosenModel(model, config, None, place, numbers)
    return ChosenModel(weights.name, config, weights.folder, place, numbers)


@contextmanager
def load_model(chosen: ChosenModel, *, shallow: bool) -> Iterator[LoadedModel]:
    """Load a model or, if `shallow` or without weights, a random stand-in of the same widths.

    A shallow stand-in has only LAYERS layers, of the vision tower VISION_LAYERS.
    """
    from qvsearch.models.devices import dtype_name
    from qvsearch.runtime.local import LocalEmbedder

    shapes = chosen.shapes
    if shallow:
        shapes = shapes.shallow(
            min(LAYERS, shapes.layers), min(VISION_LAYERS, shapes.vision_layers)
        )
    with tempfile.TemporaryDirectory(prefix="qvsearch-bench-") as temporary:
        folder, is_random = chosen.folder, shapes != chosen.shapes
        if folder is None or is_random:
            folder, is_random = Path(temporary), True
            write_stand_in(folder, chosen.config, shapes.layers, shapes.vision_layers)
        embedder = LocalEmbedder(folder, str(chosen.device), dtype_name(chosen.dtype))
        yield LoadedModel(chosen, folder, shapes, is_random, embedder)


def write_stand_in(
    folder: Path, config: Mapping[str, Any], layers: int, vision_layers: int
) -> None:
    """Write to an empty folder a checkpoint with these widths and random weights.

    Equal arguments give equal weights. The tokenizer is the demo's, which has a small vocabulary.
    """
    import torch

    from qvsearch.models.config import read_config
    from qvsearch.models.qwen3_vl import LANGUAGE, VISION, empty_language, empty_tower
    from qvsearch.models.weights import write_random

    demo = read_json(DEMO_FOLDER / "config.json")
    text, vision = config["text_config"], config["vision_config"]
    deepstack = len(vision["deepstack_visual_indexes"])
    smaller = {
        "text_config": text
        | {"num_hidden_layers": layers, "vocab_size": demo["text_config"]["vocab_size"]},
        "vision_config": vision
        | {"depth": vision_layers, "deepstack_visual_indexes": list(range(deepstack))},
    }
    write_file(folder / "config.json", json.dumps(demo | smaller, indent=2).encode())
    sizes = read_config(folder)
    parts = {LANGUAGE: empty_language(sizes), VISION: empty_tower(sizes)}
    write_random(folder, parts, torch.bfloat16)
    for name in (TOKENIZER, "tokenizer_config.json"):
        shutil.copyfile(DEMO_FOLDER / name, folder / name)
