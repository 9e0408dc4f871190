"""Writes an adapter and its base as one plain checkpoint, for qvsearch and for other programs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qvsearch.errors import QvsearchError
from qvsearch.files import make_folder, write_file
from qvsearch.models import checkpoint
from qvsearch.models.adapters import merged, other_layers, read_adapter, read_pairs

if TYPE_CHECKING:
    from qvsearch.models.registry import Weights

UNFINISHED = ".unfinished"  # the end of the name of a folder that is being written
COPIED = {".json", ".jinja", ".txt"}  # suffixes: configuration, tokenizer, template

_SIZES = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2}
_COLOURS = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
# What other programs need and qvsearch does not, if the base has it not. The pixel limits are those
# of the published embedder's files.
_IMAGES = {
    "image_processor_type": "Qwen2VLImageProcessorFast",
    "processor_class": "Qwen3VLProcessor",
    "size": {"shortest_edge": 4096, "longest_edge": 1310720},
    **_SIZES,
    **_COLOURS,
}
_VIDEOS = {
    "video_processor_type": "Qwen3VLVideoProcessor",
    "processor_class": "Qwen3VLProcessor",
    "size": {"shortest_edge": 4096, "longest_edge": 25165824},
    **_SIZES,
    **_COLOURS,
}
# system and user turns exactly as `prompt.py` writes them
_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.content is string %}{{- message.content }}"
    "{%- else %}{%- for part in message.content %}"
    "{%- if part.type in ['image', 'image_url'] or 'image' in part %}"
    "{{- '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{%- elif part.type == 'video' or 'video' in part %}"
    "{{- '<|vision_start|><|video_pad|><|vision_end|>' }}"
    "{%- elif 'text' in part %}{{- part.text }}"
    "{%- endif %}{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def merge_checkpoint(weights: Weights, output: Path) -> None:
    """Write a new folder with the base's files, and its weights with the adapter added.

    Weights keep their type and names; memory holds one file of them. The folder appears under its
    name when it is complete. Raises QvsearchError without an adapter, if the folder exists, or if
    the adapter's layers are not the model's.
    """
    if weights.adapter is None:
        raise QvsearchError(
            f"{weights.name} is not an adapter; give the folder that finetune wrote"
        )
    if output.exists():
        raise QvsearchError(f"{output} exists; give a new folder: -o NEW-FOLDER")
    unfinished = output.with_name(output.name + UNFINISHED)
    shutil.rmtree(unfinished, ignore_errors=True)
    make_folder(unfinished)
    try:
        _write_weights(weights, weights.adapter, unfinished)
        for path in sorted(weights.folder.iterdir()):
            if path.suffix in COPIED and path.is_file():
                shutil.copyfile(path, unfinished / path.name)
        _complete(unfinished)
        unfinished.rename(output)
    except OSError as error:
        raise QvsearchError(f"cannot write {output}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_weights(weights: Weights, adapter_folder: Path, output: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    adapter = read_adapter(adapter_folder)
    pairs = read_pairs(adapter_folder)
    for path in checkpoint.shards(weights.folder):
        tensors = {}
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is not a mapping)
                tensor = file.get_tensor(name)
                layer = name.removeprefix("model.").removesuffix(".weight")
                if layer in pairs:
                    tensor = merged(tensor, pairs.pop(layer), adapter, layer)
                tensors[name] = tensor.contiguous()
        save_file(tensors, output / path.name, metadata={"format": "pt"})
    if pairs:
        raise other_layers(adapter, next(iter(pairs)))


def _complete(folder: Path) -> None:
    """Write the files of the processor that the base lacks."""
    for name, content in (
        ("preprocessor_config.json", _IMAGES),
        ("video_preprocessor_config.json", _VIDEOS),
    ):
        if not (folder / name).exists():
            write_file(folder / name, _json(content))
    tokenizer = folder / "tokenizer_config.json"
    has_template = tokenizer.exists() and "chat_template" in checkpoint.read_json(tokenizer)
    if not has_template and not list(folder.glob("chat_template.*")):
        write_file(folder / "chat_template.jinja", _TEMPLATE.encode())


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode() + b"\n"
