"""Reads the tensors of a checkpoint into the layers of the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qvsearch.errors import QvsearchError
from qvsearch.models.adapters import Adapter, merge
from qvsearch.models.checkpoint import SINGLE, shards
from qvsearch.models.config import SERVE
from qvsearch.models.int8 import quantise
from qvsearch.models.vision import PATCH_CONVOLUTION, PATCH_KERNEL, PATCH_PRODUCT

INITIAL = 0.02  # deviation of Qwen3-VL's own first weights
FLOATS = ("F16", "BF16", "F32", "F64")  # safetensors' names
_KERNEL = f"{PATCH_CONVOLUTION}weight"
_AGAIN = "fetch it again with: qvsearch models pull"


def check_complete(folder: Path, parts: Mapping[str, nn.Module]) -> None:
    """Raise QvsearchError unless a checkpoint has each weight of the named parts, of its size."""
    there = {}
    for file, name in _tensors(folder):
        header = file.get_slice(name)
        there[_plain(name)] = header.get_dtype(), header.get_shape()
    wanted = {
        stored: _stored_shape(stored, weight)
        for part, layers in parts.items()
        for stored, weight in _stored_weights(part, layers)
    }
    if missing := sorted(wanted.keys() - there.keys()):
        raise QvsearchError(
            f"{folder} lacks {len(missing)} weights of a Qwen3-VL model ({missing[0]}, ...);"
            f" {_AGAIN}"
        )
    for name, shape in wanted.items():
        kind, found = there[name]
        if kind not in FLOATS:
            raise QvsearchError(f"{folder} holds quantized weights ({name} in {kind}); {SERVE}")
        if found != shape:
            raise QvsearchError(
                f"{folder} has no usable Qwen3-VL weights: {name} has the shape {found}, and by its"
                f" config.json it is {shape}; {_AGAIN}"
            )


def read_part(
    layers: nn.Module,
    part: str,
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    adapter: Adapter | None,
) -> None:
    """Give layers, which torch made on the device `meta`, their weights from a checkpoint.

    Weights that keep their type and place stay mapped from the file: processes share them, and the
    system may drop and read them again. Raises QvsearchError if they cannot be read.
    """
    names = {_stored(part, name): name for name in layers.state_dict()}
    # the layers that int8 replaces are never in float32 all at once
    read_as = None if dtype == torch.int8 else dtype
    state = {}
    for file, name in _tensors(folder):
        if _plain(name) in names:
            tensor = file.get_tensor(name)
            tensor = tensor.flatten(1) if name.endswith(_KERNEL) else tensor
            state[names[_plain(name)]] = tensor.to(device, read_as)
    try:
        layers.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise _unusable(folder, error) from error
    layers.to(device)  # what is no weight
    if adapter is not None:  # before the layers become int8
        merge(layers, adapter, part)
    if dtype == torch.int8:
        quantise(layers)
        layers.float()
    layers.eval()


def write_random(folder: Path, parts: Mapping[str, nn.Module], dtype: torch.dtype) -> None:
    """Write a checkpoint's weights, drawn at random; equal layers get equal weights.

    They are as of untrained layers: products and embeddings 0 with deviation INITIAL, norms 1.
    """
    from safetensors.torch import save_file

    random, tensors = torch.Generator().manual_seed(0), {}
    for part, layers in parts.items():
        for stored, weight in _stored_weights(part, layers):
            if weight.ndim == 1:
                drawn = torch.full(weight.shape, float("norm" in stored and "bias" not in stored))
            else:
                drawn = torch.randn(weight.shape, generator=random) * INITIAL
            tensors[f"model.{stored}"] = drawn.to(dtype).view(_stored_shape(stored, weight))
    save_file(tensors, folder / SINGLE, metadata={"format": "pt"})


def read_row(folder: Path, name: str, row: int) -> torch.Tensor | None:
    """Return one row of a tensor of a checkpoint; None if no file holds it."""
    for file, each in _tensors(folder):
        if each == name:
            weights: torch.Tensor = file.get_slice(name)[row]
            return weights
    return None


def _tensors(folder: Path) -> Iterator[tuple[Any, str]]:
    """Yield each tensor of a checkpoint: its file, which is open until the next one, and its name.

    Raises QvsearchError if a file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    for path in shards(folder):
        try:
            file = safe_open(path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise _unusable(folder, error) from error
        with file as tensors:
            yield from ((tensors, name) for name in tensors.keys())  # noqa: SIM118 (no mapping)


def _unusable(folder: Path, error: Exception) -> QvsearchError:
    return QvsearchError(f"{folder} has no usable Qwen3-VL weights: {error}")


def _stored_weights(part: str, layers: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the weights of a part's layers by their names in checkpoints."""
    for name, weight in layers.state_dict().items():
        yield _stored(part, name), weight


def _stored_shape(stored: str, weight: torch.Tensor) -> list[int]:
    """Return the shape in checkpoints of a weight, by its name there."""
    return [len(weight), *(PATCH_KERNEL if stored.endswith(_KERNEL) else weight.shape[1:])]


def _stored(part: str, name: str) -> str:
    """Return the name in checkpoints of a weight of a part's layers."""
    return f"{part}.{name.replace(PATCH_PRODUCT, PATCH_CONVOLUTION)}"


def _plain(name: str) -> str:
    """Return a tensor's name without the prefix of checkpoints that also hold a head."""
    return name.removeprefix("model.")
