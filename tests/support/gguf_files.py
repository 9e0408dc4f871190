"""Writes checkpoints of Qwen3-VL as GGUF files, with the keys and names of llama.cpp's converter.

The names are those of convert_hf_to_gguf.py (ggml-org/llama.cpp), classes Qwen3VLTextModel and
Qwen3VLVisionModel.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import load_file

_TEXT = "model.language_model."
_VISION = "model.visual."
_TEXT_NAMES = {
    "embed_tokens.weight": "token_embd.weight",
    "norm.weight": "output_norm.weight",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_VISION_NAMES = {
    "pos_embed.weight": "v.position_embd.weight",
    "patch_embed.proj.bias": "v.patch_embd.bias",
    "merger.norm": "v.post_ln",
    "merger.linear_fc1": "mm.0",
    "merger.linear_fc2": "mm.2",
    "norm1": "ln1",
    "norm2": "ln2",
    "attn.qkv": "attn_qkv",
    "attn.proj": "attn_out",
    "mlp.linear_fc1": "ffn_up",
    "mlp.linear_fc2": "ffn_down",
    "norm": "norm",
    "linear_fc1": "fc1",
    "linear_fc2": "fc2",
}
_NUMBERED = re.compile(r"(?:layers|blocks|deepstack_merger_list)\.(\d+)\.(.+)\.(weight|bias)")
# llama_ftype of llama.h: mostly of that type
_FILE_TYPES = {
    Type.F32: 0,
    Type.F16: 1,
    Type.Q4_0: 2,
    Type.Q8_0: 7,
    Type.Q5_0: 8,
    Type.BF16: 32,
}
NORMAL, CONTROL, UNUSED = 1, 3, 5  # llama.cpp's types of tokens


def write_gguf(folder: Path, target: Path, weights: Type = Type.F32) -> tuple[Path, Path]:
    """Write a checkpoint's language model and vision tower; return the two files.

    `weights` is the type of the matrices that llama.cpp quantises; the vision tower is float32.
    """
    target.mkdir(parents=True, exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
    name = weights.name
    return (
        _write_text(target / f"text-{name}.gguf", config, tensors, folder, weights),
        _write_vision(target / "mmproj-F32.gguf", config, tensors),
    )


def _write_text(
    path: Path, config: dict[str, Any], tensors: dict[str, Any], folder: Path, weights: Type
) -> Path:
    text = config["text_config"]
    rope = text["rope_parameters"]
    writer = gguf.GGUFWriter(path, "qwen3vl")
    writer.add_name("qvsearch test model")
    writer.add_type("model")
    writer.add_context_length(text["max_position_embeddings"])
    writer.add_embedding_length(text["hidden_size"])
    writer.add_block_count(text["num_hidden_layers"])
    writer.add_feed_forward_length(text["intermediate_size"])
    writer.add_head_count(text["num_attention_heads"])
    writer.add_head_count_kv(text["num_key_value_heads"])
    writer.add_key_length(text["head_dim"])
    writer.add_value_length(text["head_dim"])
    writer.add_layer_norm_rms_eps(text["rms_norm_eps"])
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    writer.add_rope_dimension_sections([*rope["mrope_section"], 0])
    writer.add_num_deepstack_layers(len(config["vision_config"]["deepstack_visual_indexes"]))
    writer.add_vocab_size(text["vocab_size"])
    writer.add_file_type(_FILE_TYPES[weights])
    _add_vocabulary(writer, folder, text["vocab_size"])
    for name, values in tensors.items():
        if name.startswith(_TEXT):
            own = weights if values.ndim == 2 else Type.F32
            _add(writer, _text_name(name.removeprefix(_TEXT)), values, own)
    if "lm_head.weight" in tensors and not config.get("tie_word_embeddings"):
        _add(writer, "output.weight", tensors["lm_head.weight"], weights)
    return _written(writer, path)


def _add_vocabulary(writer: gguf.GGUFWriter, folder: Path, size: int) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    added = {each["id"]: each["content"] for each in tokenizer["added_tokens"]}
    known = {number: token for token, number in tokenizer["model"]["vocab"].items()} | added
    tokens = [known.get(number, f"[PAD{number}]") for number in range(size)]
    types = [
        CONTROL if number in added else NORMAL if number in known else UNUSED
        for number in range(size)
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    ids = {token: number for number, token in added.items()}
    writer.add_eos_token_id(ids["<|im_end|>"])
    writer.add_pad_token_id(ids["<|endoftext|>"])
    writer.add_add_bos_token(False)


def _write_vision(path: Path, config: dict[str, Any], tensors: dict[str, Any]) -> Path:
    vision = config["vision_config"]
    side = math.isqrt(vision["num_position_embeddings"])
    deepstack = vision["deepstack_visual_indexes"]
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_name("qvsearch test model")
    writer.add_type("mmproj")
    writer.add_file_type(0)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("qwen3vl_merger")
    writer.add_vision_use_gelu(True)
    writer.add_vision_projection_dim(vision["out_hidden_size"])
    writer.add_vision_image_size(side * vision["patch_size"])
    writer.add_vision_patch_size(vision["patch_size"])
    writer.add_vision_embedding_length(vision["hidden_size"])
    writer.add_vision_feed_forward_length(vision["intermediate_size"])
    writer.add_vision_block_count(vision["depth"])
    writer.add_vision_head_count(vision["num_heads"])
    writer.add_vision_attention_layernorm_eps(1e-6)
    writer.add_vision_spatial_merge_size(vision["spatial_merge_size"])
    writer.add_vision_image_mean([0.5, 0.5, 0.5])
    writer.add_vision_image_std([0.5, 0.5, 0.5])
    writer.add_vision_is_deepstack_layers([i in deepstack for i in range(vision["depth"])])
    for name, values in tensors.items():
        if not name.startswith(_VISION):
            continue
        own = name.removeprefix(_VISION)
        if own == "patch_embed.proj.weight":  # a convolution over two frames, as two over one
            _add(writer, "v.patch_embd.weight", values[:, :, 0], Type.F32)
            _add(writer, "v.patch_embd.weight.1", values[:, :, 1], Type.F32)
        else:
            _add(writer, _vision_name(own, deepstack), values, Type.F32)
    return _written(writer, path)


def _text_name(name: str) -> str:
    if name in _TEXT_NAMES:
        return _TEXT_NAMES[name]
    number, part, kind = _parts(name)
    return f"blk.{number}.{_TEXT_NAMES[part]}.{kind}"


def _vision_name(name: str, deepstack: list[int]) -> str:
    if name in _VISION_NAMES:
        return _VISION_NAMES[name]
    if name.startswith("merger."):
        part, _, kind = name.rpartition(".")
        return f"{_VISION_NAMES[part]}.{kind}"
    number, part, kind = _parts(name)
    if name.startswith("deepstack"):
        return f"v.deepstack.{deepstack[int(number)]}.{_VISION_NAMES[part]}.{kind}"
    return f"v.blk.{number}.{_VISION_NAMES[part]}.{kind}"


def _parts(name: str) -> tuple[str, str, str]:
    match = _NUMBERED.fullmatch(name)
    assert match is not None, name
    return match[1], match[2], match[3]


def _add(writer: gguf.GGUFWriter, name: str, values: np.ndarray, kind: Type) -> None:
    data = np.ascontiguousarray(values.astype(np.float32))
    if kind is Type.F32:
        writer.add_tensor(name, data)
    else:
        writer.add_tensor(name, gguf.quants.quantize(data, kind), raw_dtype=kind)


def _written(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
