"""The sizes of a Qwen3-VL network, as the config.json of its checkpoint gives them.

Names are those of that file. Both of its layouts are read: of transformers 4.57, which publishes
`rope_theta` and `rope_scaling`, and of 5, which joins them in `rope_parameters`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qvsearch.errors import QvsearchError
from qvsearch.models.checkpoint import read_json

MROPE_SECTION = (24, 20, 20)  # if config.json has none
PATCH_SIZES = {"patch_size": 16, "temporal_patch_size": 2, "spatial_merge_size": 2}


@dataclass(frozen=True, slots=True)
class TextConfig:
    """The language model; `mrope_section` counts frequencies for time, rows and columns."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    rms_norm_eps: float
    rope_theta: float
    mrope_section: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """The vision tower; blocks of `deepstack_visual_indexes` feed the language model's first."""

    hidden_size: int
    intermediate_size: int
    depth: int
    num_heads: int
    out_hidden_size: int
    num_position_embeddings: int
    deepstack_visual_indexes: tuple[int, ...]
    rope_theta: float


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Both towers, and the token ids that stand for pixels."""

    text_config: TextConfig
    vision_config: VisionConfig
    image_token_id: int
    video_token_id: int
    tie_word_embeddings: bool


def read_config(folder: Path) -> ModelConfig:
    """Return the sizes of a checkpoint; raises QvsearchError if some are missing or not known."""
    path = folder / "config.json"
    whole = read_json(path)
    try:
        text, vision = whole["text_config"], whole["vision_config"]
        return ModelConfig(
            _text(text, path),
            _vision(vision, path),
            int(whole["image_token_id"]),
            int(whole["video_token_id"]),
            bool(whole.get("tie_word_embeddings") or text.get("tie_word_embeddings")),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise QvsearchError(f"{path} is not that of a whole Qwen3-VL: {error!r}") from error


def _text(fields: Mapping[str, Any], path: Path) -> TextConfig:
    rope = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
    _expect(path, "text_config.hidden_act", fields.get("hidden_act", "silu"), "silu")
    _expect(path, "text_config.attention_bias", fields.get("attention_bias", False), False)
    _expect(path, "text_config.rope_type", rope.get("rope_type", "default"), "default")
    return TextConfig(
        **{name: int(fields[name]) for name in _TEXT_SIZES},
        rms_norm_eps=float(fields.get("rms_norm_eps", 1e-6)),
        rope_theta=float(rope["rope_theta"] if "rope_theta" in rope else fields["rope_theta"]),
        mrope_section=tuple(map(int, rope.get("mrope_section", MROPE_SECTION))),
    )


_TEXT_SIZES = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "vocab_size"),
)
_VISION_SIZES = (
    *("hidden_size", "intermediate_size", "depth", "num_heads", "out_hidden_size"),
    "num_position_embeddings",
)


def _vision(fields: Mapping[str, Any], path: Path) -> VisionConfig:
    act = fields.get("hidden_act", "gelu_pytorch_tanh")
    _expect(path, "vision_config.hidden_act", act, "gelu_pytorch_tanh")
    for name, size in PATCH_SIZES.items():
        _expect(path, f"vision_config.{name}", fields.get(name, size), size)
    rope = fields.get("rope_parameters") or {}
    return VisionConfig(
        **{name: int(fields[name]) for name in _VISION_SIZES},
        deepstack_visual_indexes=tuple(map(int, fields["deepstack_visual_indexes"])),
        rope_theta=float(rope.get("rope_theta", 10_000)),
    )


def _expect(path: Path, name: str, found: object, known: object) -> None:
    """Raise QvsearchError for a network that computes otherwise than ours."""
    if found != known:
        raise QvsearchError(
            f"{path} has {name} {found!r}, which is not computed here; Qwen3-VL has {known!r}"
        )
