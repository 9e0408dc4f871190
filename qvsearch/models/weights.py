"""Where a model's files are: a hub's download, a local folder, or the demo inside the package."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from qvsearch.errors import QvsearchError

DEFAULT_MODEL = "Qwen/Qwen3-VL-Embedding-2B"
DEFAULT_RERANKER = "Qwen/Qwen3-VL-Reranker-2B"
DEMO = "demo"
SMALLEST_DIM = 64  # the model is trained for any dimension from here up


@dataclass(frozen=True, slots=True)
class Weights:
    """A complete checkpoint on this disk."""

    folder: Path
    name: str
    revision: str


def resolve(model: str) -> Weights:
    """Return the checkpoint that a hub id, a local folder or `demo` names."""
    if model == DEMO:
        return Weights(Path(__file__).parent.parent / "demo" / "checkpoint", DEMO, "1")
    if Path(model).is_dir():
        return Weights(Path(model), model, "local")
    raise QvsearchError(f"no model {model!r}")


def hidden_size(weights: Weights) -> int:
    """Return the length of the model's full vectors."""
    config = json.loads((weights.folder / "config.json").read_text())
    return int(config["text_config"]["hidden_size"])


def check_dim(weights: Weights, dim: int | None) -> int:
    """Return the dimension to use; raises QvsearchError outside 64 to the model's own."""
    largest = hidden_size(weights)
    if dim is None:
        return largest
    if not SMALLEST_DIM <= dim <= largest:
        raise QvsearchError(f"--dim {dim} is outside {SMALLEST_DIM} to {largest} of {weights.name}")
    return dim
