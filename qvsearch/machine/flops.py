"""The sizes of a model's layers, and the arithmetic of a forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qvsearch.media.passages import PASSAGE_TOKENS
from qvsearch.models.prompt import PROMPT_TOKENS, TOKEN_PIXELS

if TYPE_CHECKING:
    from qvsearch.types import Detail

PATCH_NUMBERS = 3 * 2 * 16 * 16  # in a patch: colours, frames, rows, columns
MERGED = 4  # patches that become one token

# from the config.json of Qwen3-VL-Embedding-2B
CONFIG_2B: dict[str, Any] = {
    "text_config": {
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151_936,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5_000_000,
            "mrope_section": [24, 20, 20],
            "mrope_interleaved": True,
        },
    },
    "vision_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "depth": 24,
        "num_heads": 16,
        "out_hidden_size": 2048,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [5, 11, 17],
    },
}


@dataclass(frozen=True, slots=True)
class Shapes:
    """The number and widths of the layers in each tower; widths are numbers per token or patch.

    `queries` and `keys` are the widths of all heads together. `mergers` turn patches into tokens.
    """

    layers: int
    width: int
    inner: int
    queries: int
    keys: int
    vision_layers: int
    vision_width: int
    vision_inner: int
    mergers: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shapes:
        """Read them from a checkpoint's configuration."""
        text, vision = config["text_config"], config["vision_config"]
        return cls(
            layers=text["num_hidden_layers"],
            width=text["hidden_size"],
            inner=text["intermediate_size"],
            queries=text["num_attention_heads"] * text["head_dim"],
            keys=text["num_key_value_heads"] * text["head_dim"],
            vision_layers=vision["depth"],
            vision_width=vision["hidden_size"],
            vision_inner=vision["intermediate_size"],
            mergers=1 + len(vision["deepstack_visual_indexes"]),
        )

    def shallow(self, layers: int, vision_layers: int) -> Shapes:
        """Return the same widths with fewer layers."""
        return replace(self, layers=layers, vision_layers=vision_layers)

    def flop(self, tokens: int, pictures: Iterable[int] = ()) -> float:
        """Return the multiplications and additions of one input.

        `pictures` are the visual tokens of each of its pictures; `tokens` includes them. As in
        forward.py, the last layer computes only keys and values for all tokens, and the rest for
        the last one. Only matrix products and attention count. A text token attends to no later
        one.
        """
        return self._text_flop(tokens) + sum(map(self._vision_flop, pictures))

    def _text_flop(self, tokens: int) -> float:
        keys = 2 * self.width * 2 * self.keys
        rest = 2 * self.width * (2 * self.queries + 3 * self.inner)
        attention = 4 * self.queries * tokens / 2
        whole = tokens * (keys + rest + attention)
        return (self.layers - 1) * whole + tokens * keys + rest + 2 * attention

    def _vision_flop(self, tokens: int) -> float:
        patches, width = tokens * MERGED, self.vision_width
        layer = 2 * width * (4 * width + 2 * self.vision_inner) + 4 * width * patches
        merged = MERGED * width
        merger = 2 * merged * (merged + self.width)
        return (
            patches * (self.vision_layers * layer + 2 * PATCH_NUMBERS * width)
            + tokens * self.mergers * merger
        )


def photo_flop(detail: Detail) -> float:
    """Return the FLOP of embedding a full-size photo with the 2B model."""
    return picture_flop(detail.max_pixels // TOKEN_PIXELS)


def picture_flop(tokens: int) -> float:
    """Return the FLOP of embedding a picture of some visual tokens with the 2B model."""
    return Shapes.of(CONFIG_2B).flop(tokens + PROMPT_TOKENS, [tokens])


def text_flop(tokens: int = PASSAGE_TOKENS) -> float:
    """Return the FLOP of embedding a text (default: a whole passage) with the 2B model."""
    return Shapes.of(CONFIG_2B).flop(tokens + PROMPT_TOKENS)
