"""LoRA adapters in peft's form: identified, compared with their base, and merged into its weights.

An adapter is a folder with `adapter_config.json` and `adapter_model.safetensors`. It changes some
linear layers of its base: W becomes W + scale * B A (Hu et al. 2021, section 4.1).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qvsearch.errors import QvsearchError
from qvsearch.files import write_file
from qvsearch.models.checkpoint import read_json, tensor_samples

if TYPE_CHECKING:
    import torch
    from torch import nn

    Pair = tuple[torch.Tensor, torch.Tensor]  # A (rank, inputs) and B (outputs, rank)

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

# peft names a layer by its place in the model that it wraps; the second one is that of classes
# that hold the base model
_PREFIXES = ("base_model.model.model.", "base_model.model.")
_PARTS = ("language_model", "visual")
_HALVES = {".lora_A.weight": 0, ".lora_B.weight": 1}

# peft's settings that change the formula above, or the layers that it holds for
_OTHERS = (
    "use_dora",
    "use_bdlora",
    "use_qalora",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "lora_bias",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "kasa_config",
    "velora_config",
)
# initializations that keep W; others, e.g. PiSSA (Meng et al. 2024), change the base as well
_STARTS = (None, True, False, "gaussian", "eva", "orthogonal", "mica")


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter on this disk; `digest` is a hash of its settings and weights.

    `base` is the name of its base model, and `revision` that model's; None if it was not recorded.
    """

    folder: Path
    base: str
    revision: str | None
    scale: float
    digest: str


def is_adapter(model: str | Path) -> bool:
    """Return whether a model's name is the folder of an adapter."""
    return Path(model, CONFIG).is_file()


def read_adapter(folder: Path) -> Adapter:
    """Return the adapter of a folder; raises QvsearchError unless it is plain LoRA."""
    if not is_adapter(folder):
        raise QvsearchError(
            f"{folder} is not an adapter: it has no {CONFIG}; if it was moved, name its place:"
            " --adapter FOLDER"
        )
    if not (folder / WEIGHTS).is_file():
        raise QvsearchError(f"{folder} is not a complete adapter: it has no {WEIGHTS}")
    config = read_json(folder / CONFIG)
    if (what := _beyond_lora(config)) is not None:
        raise QvsearchError(
            f"{folder} is not a plain LoRA adapter: it has {what}; merge it into its base with"
            " peft's merge_and_unload, save that, and give its folder as --model"
        )
    base, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not isinstance(base, str) or not base:
        raise QvsearchError(f"{folder / CONFIG} does not name its base_model_name_or_path")
    try:
        rank = float(config["r"])
        # rank-stabilized LoRA divides by the root (Kalajdzievski 2023)
        scale = float(config["lora_alpha"]) / (
            math.sqrt(rank) if config.get("use_rslora") else rank
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise QvsearchError(f"{folder / CONFIG} has no usable r and lora_alpha") from error
    own = revision if isinstance(revision, str) else None
    return Adapter(folder.resolve(), base, own, scale, _digest(folder, scale))


def _beyond_lora(config: Mapping[str, Any]) -> str | None:
    """Return the setting of peft for which W + scale * B A is not the layer, or None."""
    if config.get("peft_type") != "LORA":
        return f"peft_type {config.get('peft_type')}"
    start = config.get("init_lora_weights")
    if start not in _STARTS:
        return f"init_lora_weights {start}"
    return next((name for name in _OTHERS if config.get(name)), None)


def check_base(adapter: Adapter, name: str, revision: str) -> None:
    """Raise QvsearchError if an adapter was trained on another model than this one."""
    if adapter.revision is None:
        is_own = adapter.base == name
        trained, given = adapter.base, name
    else:
        is_own = adapter.revision == revision
        trained = f"{adapter.base} at revision {adapter.revision}"
        given = f"{name} at {revision}"
    if not is_own:
        raise QvsearchError(f"the adapter {adapter.folder} was trained on {trained}, not {given}")


def read_pairs(folder: Path) -> dict[str, Pair]:
    """Return A and B of each layer, by its name in the base model; raises QvsearchError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    halves: dict[str, list[torch.Tensor | None]] = {}
    try:
        tensors = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise QvsearchError(f"{folder / WEIGHTS} cannot be read: {error}") from error
    for name, tensor in tensors.items():
        prefix = next((each for each in _PREFIXES if name.startswith(each)), None)
        suffix = next((each for each in _HALVES if name.endswith(each)), None)
        if prefix is None or suffix is None:
            raise QvsearchError(f"{folder / WEIGHTS} holds {name}, which is not plain LoRA")
        layer = name.removeprefix(prefix).removesuffix(suffix)
        halves.setdefault(layer, [None, None])[_HALVES[suffix]] = tensor
    pairs = {}
    for layer, (a, b) in halves.items():
        if a is None or b is None or a.ndim != 2 or b.ndim != 2 or len(a) != b.shape[1]:
            raise QvsearchError(f"{folder / WEIGHTS} is damaged: A and B of {layer} do not fit")
        pairs[layer] = a, b
    return pairs


def merge(layers: nn.Module, adapter: Adapter, part: str) -> None:
    """Add an adapter to the linear layers of one part of a model, `language_model` or `visual`.

    Sums are taken in float32 and rounded to the type of the weights. Raises QvsearchError if the
    layers are not those of this model.
    """
    for layer, pair in read_pairs(adapter.folder).items():
        own, _, name = layer.partition(".")
        if own not in _PARTS:  # such as lm_head, of which only single rows are read
            raise other_layers(adapter, layer)
        if own == part:
            try:
                weight = layers.get_submodule(name).get_parameter("weight")
            except AttributeError as error:
                raise other_layers(adapter, layer) from error
            weight.data = merged(weight.data, pair, adapter, layer)


def merged(weight: torch.Tensor, pair: Pair, adapter: Adapter, layer: str) -> torch.Tensor:
    """Return W + scale * B A in the type of W; raises QvsearchError if the shapes do not fit."""
    a, b = pair
    if weight.shape != (len(b), a.shape[1]):
        raise other_layers(adapter, layer)
    a, b = (each.float().to(weight.device) for each in pair)
    return (weight.float() + adapter.scale * (b @ a)).to(weight.dtype)


def write_adapter(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    base: str,
    revision: str,
) -> None:
    """Write weights by peft's names, and peft's settings with the base; each file is atomic."""
    from safetensors.torch import save

    named = {"base_model_name_or_path": base, "revision": revision}
    settings = json.dumps({**config, **named}, indent=2, sort_keys=True)
    write_file(folder / WEIGHTS, save(dict(tensors), {"format": "pt"}))
    write_file(folder / CONFIG, settings.encode() + b"\n")


def other_layers(adapter: Adapter, layer: str) -> QvsearchError:
    """Return the error of an adapter whose layer is not the model's."""
    return QvsearchError(
        f"the adapter {adapter.folder} does not fit this model: its layer {layer} has another size,"
        " or is not there"
    )


def _digest(folder: Path, scale: float) -> str:
    digest = hashlib.blake2b(repr(scale).encode(), digest_size=8)
    for sample in tensor_samples(folder / WEIGHTS):
        digest.update(sample)
    return digest.hexdigest()
