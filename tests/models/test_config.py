"""Sizes are those that transformers reads; a network that computes otherwise is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import Qwen3VLConfig

from qvsearch.errors import QvsearchError
from qvsearch.models.config import read_config
from qvsearch.models.network import Network
from qvsearch.models.registry import DEMO_FOLDER

# as transformers 4.57 wrote that of the published models, with the sizes of the demo's
EARLIER_ROPE = {
    "rope_theta": 5000000,
    "rope_scaling": {
        "mrope_interleaved": True,
        "mrope_section": [6, 5, 5],
        "rope_type": "default",
    },
}


def written(folder: Path, change) -> Path:
    config = json.loads((DEMO_FOLDER / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("checkpoint", ["demo", "tiny", "wide", "untied"])
def test_sizes_are_those_that_transformers_reads(checkpoint: str, request) -> None:
    folder = DEMO_FOLDER if checkpoint == "demo" else request.getfixturevalue(checkpoint)
    found, plain = read_config(folder), Qwen3VLConfig.from_pretrained(folder)
    for name in ("image_token_id", "video_token_id", "tie_word_embeddings"):
        assert getattr(found, name) == getattr(plain, name)
    for part in ("text_config", "vision_config"):
        ours, theirs = getattr(found, part), getattr(plain, part)
        for name in ours.__slots__:
            expected = getattr(theirs, name, None)
            if name in ("rope_theta", "mrope_section"):
                expected = theirs.rope_parameters[name]
            value = getattr(ours, name)
            assert value == (tuple(expected) if isinstance(value, tuple) else expected), name


def test_the_layout_of_earlier_files_gives_the_same_sizes(tmp_path: Path) -> None:
    def earlier(config: dict) -> None:
        del config["text_config"]["rope_parameters"], config["vision_config"]["rope_parameters"]
        config["text_config"] |= EARLIER_ROPE

    assert read_config(written(tmp_path, earlier)) == read_config(DEMO_FOLDER)
    assert Qwen3VLConfig.from_pretrained(tmp_path).text_config.rope_parameters["rope_theta"] == 5e6


FETCH = "fetch the model again with: qvsearch models pull"


@pytest.mark.parametrize(
    ("part", "field", "value", "sentence"),
    [
        ("text_config", "hidden_act", "gelu", "hidden_act gelu, which is not supported; Qwen3-VL"),
        ("text_config", "attention_bias", True, "attention_bias True, which is not supported"),
        ("text_config", "rope_parameters", {"rope_type": "yarn"}, "rope_type yarn, which is not"),
        ("text_config", "rope_parameters", {"type": "yarn"}, "rope_parameters.type yarn, which"),
        ("text_config", "rope_parameters", {"mrope_interleaved": False}, "interleaved False"),
        ("text_config", "rope_parameters", {"mrope_section": [8]}, r"mrope_section \[8\], which"),
        ("text_config", "rope_parameters", {"rope_theta": "5e6"}, "rope_theta 5e6, which is not"),
        ("text_config", "rope_parameters", None, f"no text_config.rope_theta; {FETCH}"),
        ("text_config", "num_key_value_heads", "many", "num_key_value_heads many, which"),
        ("text_config", "num_key_value_heads", 3, "num_key_value_heads 3, which"),
        ("text_config", "hidden_size", -64, "hidden_size -64, which is not supported"),
        ("text_config", "num_hidden_layers", 4.0, "num_hidden_layers 4.0, which"),
        ("vision_config", "hidden_act", "silu", "Qwen3-VL has 'gelu_pytorch_tanh'"),
        ("vision_config", "patch_size", 14, "patch_size 14, which is not supported; Qwen3-VL has"),
        ("vision_config", "in_channels", 1, "in_channels 1, which is not supported"),
        ("vision_config", "depth", None, f"no vision_config.depth; {FETCH}"),
        ("vision_config", "num_heads", 0, "num_heads 0, which is not supported"),
        ("vision_config", "num_heads", 7, "num_heads 7, which is not supported"),
        ("vision_config", "num_position_embeddings", 255, "num_position_embeddings 255, which"),
        ("vision_config", "deepstack_visual_indexes", [1, 4], r"indexes \[1, 4\], which is not"),
        ("vision_config", "deepstack_visual_indexes", [-1], r"indexes \[-1\], which is not"),
    ],
)
def test_another_network_is_refused_by_name(
    tmp_path: Path, part: str, field: str, value: object, sentence: str
) -> None:
    folder = shutil.copytree(DEMO_FOLDER, tmp_path / "other")

    def change(config: dict) -> None:
        old = config[part].get(field)
        merged = isinstance(value, dict) and isinstance(old, dict)
        config[part][field] = old | value if merged else value

    written(folder, change)
    with pytest.raises(QvsearchError, match=sentence):
        Network(folder, "cpu", "float32")


@pytest.mark.parametrize("name", ["vision_config", "text_config", "image_token_id"])
def test_a_file_without_a_part_is_refused(tmp_path: Path, name: str) -> None:
    written(tmp_path, lambda config: config.pop(name))
    with pytest.raises(QvsearchError, match=f"config.json has no {name}; {FETCH}"):
        read_config(tmp_path)


def test_a_quantized_model_is_refused_with_a_way_to_use_it(tmp_path: Path) -> None:
    settings = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    written(tmp_path, lambda config: config.update(quantization_config=settings))
    with pytest.raises(QvsearchError, match=r"has quantization_config .*--server URL"):
        read_config(tmp_path)
