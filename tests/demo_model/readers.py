"""Linear readers of a vector, thrown away when the training is done: they make it quick."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from qvsearch.demo.world import BACKGROUNDS, COLOURS, PLACES, SHAPES


class Reader(nn.Module):
    """Names the background and each place's shape and colour from a unit vector, linearly."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.sizes = [len(BACKGROUNDS)] + [len(SHAPES) + 1, len(COLOURS) + 1] * len(PLACES)
        self.linear = nn.Linear(dim, sum(self.sizes))

    def loss(self, vectors: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy over the parts of the scenes."""
        parts = self.linear(vectors * vectors.shape[1] ** 0.5).split(self.sizes, dim=1)
        losses = [cross_entropy(part, answers[:, i]) for i, part in enumerate(parts)]
        return torch.stack(losses).mean()


class Finder(nn.Module):
    """Names the shapes anywhere in a scene, and the colours of each, linearly."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, len(SHAPES) * (1 + len(COLOURS)))

    def loss(self, vectors: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy of the shapes, plus that of the shapes with a colour."""
        said = self.linear(vectors * vectors.shape[1] ** 0.5)
        parts = zip(
            said.tensor_split([len(SHAPES)], dim=1),
            found.tensor_split([len(SHAPES)], dim=1),
            strict=True,
        )
        return torch.stack([binary_cross_entropy_with_logits(a, b) for a, b in parts]).sum()


class Comparer(nn.Module):
    """Tells from a hidden state in what a document agrees with a query, linearly."""

    def __init__(self, dim: int, things: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, things)

    def loss(self, states: torch.Tensor, agree: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy over what was said (n, things), NaN where nothing was."""
        known = ~agree.isnan()
        return binary_cross_entropy_with_logits(self.linear(states)[known], agree[known])
