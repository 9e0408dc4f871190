"""What decides a training run, besides its data and the base model."""

from __future__ import annotations

from dataclasses import dataclass

from qvsearch.errors import QvsearchError
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.models.registry import SMALLEST_DIM

# the layers that the publishers of the models name for fine-tuning (QwenLM/Qwen3-VL-Embedding,
# README); o_proj is not among them
TEXT_LAYERS = ("q_proj", "k_proj", "v_proj", "up_proj", "down_proj", "gate_proj")
VISION_LAYERS = ("qkv", "proj", "linear_fc1", "linear_fc2")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run; equal settings, data and base give equal weights on one machine.

    `rank` and `alpha` are LoRA's; `layers` are the names of linear layers of the language model,
    and `vision` adds those of the vision tower. `batch` is pairs a step. `temperature` divides
    cosines; a negative that scores more than `margin` above the positive is left out. `held_out` is
    the share of documents to evaluate with, `evaluations` the number of times during training.
    `negatives` are those of each query of a reranker, taken from the batch if there are too few
    hard ones. `instruction` is that of queries without one of their own.
    """

    rank: int = 32
    alpha: int = 32
    layers: tuple[str, ...] = TEXT_LAYERS
    vision: bool = False
    epochs: int = 3
    batch: int = 64
    learning_rate: float = 1e-4
    warm_up: float = 0.1
    temperature: float = 0.05
    margin: float = 0.1
    negatives: int = 4
    held_out: float = 0.1
    evaluations: int = 5
    seed: int = 0
    instruction: str = QUERY_INSTRUCTION

    @property
    def target(self) -> str:
        """The pattern that peft compares with the whole name of each layer."""
        text = rf"(.*\.)?language_model\..*\.({'|'.join(self.layers)})"
        # the embedding of patches is a convolution in the published class
        vision = rf"(.*\.)?visual\.(?!patch_embed).*\.({'|'.join(VISION_LAYERS)})"
        return f"{text}|{vision}" if self.vision else text

    def steps(self, pairs: int) -> int:
        """Return the number of steps for so many pairs."""
        return self.epochs * (pairs // self.batch_of(pairs))

    def batch_of(self, pairs: int) -> int:
        """Return the pairs of a step if there are so many pairs in all."""
        return min(self.batch, pairs)


def matryoshka_dims(width: int) -> tuple[int, ...]:
    """Return the dimensions to train: the full one and its halves down to the smallest allowed."""
    dims = [width]
    while dims[-1] // 2 >= SMALLEST_DIM:
        dims.append(dims[-1] // 2)
    return tuple(dims)


def check_layers(layers: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of layers; raises QvsearchError for one that no language model has."""
    known = (*TEXT_LAYERS, "o_proj")
    unknown = [each for each in layers if each not in known]
    if unknown:
        raise QvsearchError(f"--layer {unknown[0]!r} is unknown; give {', '.join(known)}")
    return layers
