"""Writes the files that a server needs, beside those of a model.

vLLM reads how pixels are prepared from a checkpoint; ours prepares them here and its packaged demo
checkpoints lack those files. The published ones have them.
"""

from __future__ import annotations

import json
from pathlib import Path

from qvsearch.errors import QvsearchError
from qvsearch.files import make_folder, write_file
from qvsearch.runtime.remote.launch import EMBEDDER_TEMPLATE, RERANKER_TEMPLATE, TEMPLATES

_COPIED = ("model.safetensors", "tokenizer.json", "tokenizer_config.json")
_PIXELS = {  # those of the published checkpoints
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_convert_rgb": True,
    "rescale_factor": 1 / 255,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 3,
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "processor_class": "Qwen3VLProcessor",
}
_IMAGES = {
    "image_processor_type": "Qwen2VLImageProcessorFast",
    "size": {"shortest_edge": 4096, "longest_edge": 1_310_720},
}
_VIDEOS = {
    "video_processor_type": "Qwen3VLVideoProcessor",
    "size": {"shortest_edge": 4096, "longest_edge": 25_165_824},
    "do_sample_frames": True,
    "fps": 2,
    "min_frames": 4,
    "max_frames": 768,
}


def write_templates(folder: Path) -> None:
    """Write the templates of both roles into a folder; raises QvsearchError."""
    make_folder(folder)
    for name in (EMBEDDER_TEMPLATE, RERANKER_TEMPLATE):
        write_file(folder / name, (TEMPLATES / name).read_bytes())


def write_checkpoint(source: Path, folder: Path) -> None:
    """Write a packaged checkpoint as a folder that vLLM can serve, with the templates.

    Raises QvsearchError if the folder holds anything but an earlier copy.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / EMBEDDER_TEMPLATE).exists():
        raise QvsearchError(f"{folder} is not empty; give --write a new folder")
    write_templates(folder)
    for name in _COPIED:
        write_file(folder / name, (source / name).read_bytes())
    config = json.loads((source / "config.json").read_bytes())
    # vLLM looks for it beside the sizes of the language model
    config["text_config"].setdefault("tie_word_embeddings", config["tie_word_embeddings"])
    for name, content in (
        ("config.json", config),
        ("preprocessor_config.json", _PIXELS | _IMAGES),
        ("video_preprocessor_config.json", _PIXELS | _VIDEOS),
    ):
        write_file(folder / name, json.dumps(content, indent=2).encode())
