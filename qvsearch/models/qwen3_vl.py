"""The two towers of a Qwen3-VL, with their sizes."""

from __future__ import annotations

import torch
from torch import nn

from qvsearch.models.config import ModelConfig
from qvsearch.models.language import LanguageModel
from qvsearch.models.vision import VisionTower

LANGUAGE, VISION = "language_model", "visual"  # in the names of weights in checkpoints


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


def empty_language(config: ModelConfig) -> LanguageModel:
    """Return the language model on the device `meta`, where weights have no memory."""
    with torch.device("meta"):
        return LanguageModel(config.text_config)


def empty_tower(config: ModelConfig) -> VisionTower:
    """Return the vision tower on the device `meta`."""
    with torch.device("meta"):
        return VisionTower(config.vision_config)
