"""The trainable part of a network: LoRA layers of peft, and their files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from qvsearch.tasks.extras import needed

if TYPE_CHECKING:
    from qvsearch.models.network import Network
    from qvsearch.tasks.finetuning.settings import Settings

_ADAPTER = "default"  # peft's name of the one adapter, a part of its layers' names
_IN_FILES = "base_model.model."  # before each name, as peft itself writes them


def check_installed() -> None:
    """Raise QvsearchError if the packages of the extra are missing."""
    for name in ("peft", "matplotlib"):
        needed(name, name, "qvsearch finetune", "finetune")


class Lora:
    """LoRA layers (Hu et al. 2021) added to a network, whose other weights are frozen.

    They are float32 whatever the type of the network. They start at random from the seed, with B
    zero, so that the network's outputs are those of before.
    """

    def __init__(self, network: Network, settings: Settings) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        self._config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            target_modules=settings.target,
            lora_dropout=0.0,  # so that a batch in parts has the gradient of the whole
            bias="none",
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            inject_adapter_in_model(self._config, network.model, _ADAPTER)
        self.parameters: dict[str, torch.nn.Parameter] = {}
        for name, parameter in network.model.named_parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
                self.parameters[name] = parameter
        network.forget_prefix()

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the weights under the names of peft's files, on the CPU."""
        return {
            _IN_FILES + name.replace(f".{_ADAPTER}.", "."): _on_cpu(parameter)
            for name, parameter in self.parameters.items()
        }

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take the weights that `tensors` returned."""
        for name, parameter in self.parameters.items():
            saved = tensors[_IN_FILES + name.replace(f".{_ADAPTER}.", ".")]
            parameter.data.copy_(saved)

    def settings(self) -> dict[str, Any]:
        """Return peft's own settings, for `adapter_config.json`; the others have its defaults."""
        names = ("r", "lora_alpha", "target_modules", "lora_dropout", "bias")
        return {
            "peft_type": "LORA",
            "task_type": "FEATURE_EXTRACTION",
            "inference_mode": True,
            **{name: getattr(self._config, name) for name in names},
        }

    @property
    def count(self) -> int:
        """The number of trained parameters."""
        return sum(each.numel() for each in self.parameters.values())


def _on_cpu(parameter: torch.Tensor) -> torch.Tensor:
    return parameter.detach().to("cpu", copy=True).contiguous()
