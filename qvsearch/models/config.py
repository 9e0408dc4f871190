"""The sizes of a Qwen3-VL network, from the config.json of its checkpoint.

Both of its layouts are read: of transformers 4.57, which publishes `rope_theta` and `rope_scaling`,
and of 5, which joins them in `rope_parameters`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qvsearch.errors import QvsearchError
from qvsearch.models.checkpoint import read_json

MROPE_SECTION = [24, 20, 20]  # if config.json has none
SERVE = "name the model in bfloat16, or serve this one with vLLM and name the server: --server URL"


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
    """Return the sizes of a checkpoint; raises QvsearchError if some are missing or impossible."""
    whole = _Fields(folder / "config.json", read_json(folder / "config.json"))
    if whole.get("quantization_config"):
        raise whole.error("quantization_config", SERVE)
    text, vision = whole.part("text_config"), whole.part("vision_config")
    return ModelConfig(
        _text(text),
        _vision(vision),
        whole.count("image_token_id", least=0),
        whole.count("video_token_id", least=0),
        bool(whole.get("tie_word_embeddings") or text.get("tie_word_embeddings")),
    )


def _text(fields: _Fields) -> TextConfig:
    rope = fields.part("rope_parameters" if fields.get("rope_parameters") else "rope_scaling")
    fields.expect("hidden_act", "silu")
    fields.expect("attention_bias", known=False)
    rope.expect("rope_type", "default")
    rope.expect("type", "default")  # the key that older files have
    rope.expect("mrope_interleaved", known=True)
    head = fields.count("head_dim")
    section = tuple(rope.counts("mrope_section", MROPE_SECTION))
    rope.require("mrope_section", len(section) == len(MROPE_SECTION))
    heads, keys = fields.count("num_attention_heads"), fields.count("num_key_value_heads")
    fields.require("num_key_value_heads", heads % keys == 0)
    return TextConfig(
        fields.count("hidden_size"),
        fields.count("intermediate_size"),
        fields.count("num_hidden_layers"),
        heads,
        keys,
        head,
        fields.count("vocab_size"),
        fields.number("rms_norm_eps", 1e-6),
        (rope if rope.get("rope_theta") else fields).number("rope_theta"),
        section,
    )


def _vision(fields: _Fields) -> VisionConfig:
    fields.expect("hidden_act", "gelu_pytorch_tanh")
    fields.expect("in_channels", 3)
    fields.expect("patch_size", 16)
    fields.expect("temporal_patch_size", 2)
    fields.expect("spatial_merge_size", 2)
    width, heads, depth = map(fields.count, ("hidden_size", "num_heads", "depth"))
    fields.require("num_heads", width % (4 * heads) == 0)
    places = fields.count("num_position_embeddings")
    fields.require("num_position_embeddings", math.isqrt(places) ** 2 == places)
    taps = tuple(fields.counts("deepstack_visual_indexes"))
    fields.require("deepstack_visual_indexes", all(tap < depth for tap in taps))
    rope = fields.part("rope_parameters") if fields.get("rope_parameters") else fields
    return VisionConfig(
        width,
        fields.count("intermediate_size"),
        depth,
        heads,
        fields.count("out_hidden_size"),
        places,
        taps,
        rope.number("rope_theta", 10_000.0),
    )


class _Fields:
    """The fields of one object of a config.json, each checked as it is read."""

    def __init__(self, path: Path, values: Mapping[str, Any], prefix: str = "") -> None:
        self._path, self._values, self._prefix = path, values, prefix

    def get(self, name: str) -> object:
        return self._values.get(name)

    def part(self, name: str) -> _Fields:
        """Return an object within this one; an optional one that is absent is empty."""
        values = self._values.get(name)
        if values is None and name.startswith("rope"):
            values = {}
        if not isinstance(values, dict):
            raise self.error(name)
        return _Fields(self._path, values, f"{self._prefix}{name}.")

    def count(self, name: str, *, least: int = 1) -> int:
        value = self._values.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self.error(name)
        return value

    def counts(self, name: str, default: list[int] | None = None) -> list[int]:
        values = self._values.get(name, default)
        if not isinstance(values, list) or not all(type(each) is int for each in values):
            raise self.error(name)
        self.require(name, all(each >= 0 for each in values))
        return values

    def number(self, name: str, default: float | None = None) -> float:
        value = self._values.get(name, default)
        if not isinstance(value, int | float) or not 0 < value < math.inf:
            raise self.error(name)
        return float(value)

    def expect(self, name: str, known: object) -> None:
        """Raise QvsearchError for a network that computes otherwise than Qwen3-VL."""
        if self._values.get(name, known) != known:
            raise self.error(name, f"Qwen3-VL has {known!r}")

    def require(self, name: str, holds: bool) -> None:  # noqa: FBT001 (a condition)
        if not holds:
            raise self.error(name)

    def error(self, name: str, remedy: str | None = None) -> QvsearchError:
        """Return the error of a field that is missing, impossible or not supported."""
        what = f"{self._path} has no {self._prefix}{name}"
        if self._values.get(name) is not None:
            value = str(self._values[name])[:80]
            what = f"{self._path} has {self._prefix}{name} {value}, which is not supported"
        return QvsearchError(
            f"{what}; {remedy or 'fetch the model again with: qvsearch models pull'}"
        )
