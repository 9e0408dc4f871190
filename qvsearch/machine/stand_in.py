"""Writes a checkpoint with a model's widths and random weights, which take as long as true ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qvsearch.models.checkpoint import TOKENIZER, read_json
from qvsearch.models.registry import DEMO_FOLDER


def write_stand_in(
    folder: Path, config: Mapping[str, Any], layers: int, vision_layers: int
) -> None:
    """Write to an empty folder a model of these widths, with so many layers in each tower.

    The numbers are the same each time. The tokenizer is the demo's, small as its vocabulary is.
    """
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLModel

    from qvsearch.models.network import silence_transformers

    demo = read_json(DEMO_FOLDER / "config.json")
    text, vision = config["text_config"], config["vision_config"]
    deepstack = len(vision["deepstack_visual_indexes"])
    smaller = {
        "text_config": text
        | {"num_hidden_layers": layers, "vocab_size": demo["text_config"]["vocab_size"]},
        "vision_config": vision
        | {"depth": vision_layers, "deepstack_visual_indexes": list(range(deepstack))},
    }
    silence_transformers()
    build: Callable[..., Any] = Qwen3VLModel._from_config  # its only way to a dtype
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(Qwen3VLConfig(**demo | smaller), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    for name in (TOKENIZER, "tokenizer_config.json"):
        shutil.copyfile(DEMO_FOLDER / name, folder / name)
