"""The two towers of a Qwen3-VL, with their sizes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from qvsearch.models.config import ModelConfig
from qvsearch.models.language import LanguageModel
from qvsearch.models.vision import VisionTower


class Qwen3VL(nn.Module):
    """Both towers with their sizes; the vision tower is None until it is loaded."""

    def __init__(self, config: ModelConfig, language_model: LanguageModel) -> None:
        super().__init__()
        self.config, self.language_model = config, language_model
        self.visual: VisionTower | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.language_model.norm.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the hidden states."""
        return self.language_model.norm.weight.dtype


class Towers(NamedTuple):
    """Both towers, by their names in checkpoints."""

    language_model: LanguageModel
    visual: VisionTower


def empty_towers(config: ModelConfig) -> Towers:
    """Return both towers on the device `meta`, where weights have no memory."""
    with torch.device("meta"):
        return Towers(LanguageModel(config.text_config), VisionTower(config.vision_config))
