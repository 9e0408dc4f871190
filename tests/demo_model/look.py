"""Teaches the vision tower alone to name what stands at each place of a picture.

The shapes need it: their colours and places tell most scenes apart, and a contrast of whole scenes
leaves shapes all but unseen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, layer_norm

from demo_model.variations import answers
from qvsearch.demo.world import COLOURS, PLACES, SHAPES, draw, scenes
from qvsearch.models.patches import image_patches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.random import Generator

    from qvsearch.models.network import Network

PICTURES = 48  # in a batch
GRID = 4  # visual tokens a side of a picture
REACH = 0.12  # how far around a place its tokens count, as a deviation in widths


class Looker(nn.Module):
    """Names the shape and the colour at each place from the visual tokens around it, linearly."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, len(SHAPES) + len(COLOURS) + 2)
        centres = (np.arange(GRID) + 0.5) / GRID
        near = [
            [np.exp(-((x - left) ** 2 + (y - top) ** 2) / (2 * REACH**2)) for x in centres]
            for left, top in PLACES.values()
            for y in centres
        ]
        shares = np.reshape(near, (len(PLACES), GRID * GRID))
        self.shares = torch.tensor(shares / shares.sum(1, keepdims=True), dtype=torch.float32)

    def loss(self, tokens: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy of the shapes plus that of the colours."""
        seen = self.shares @ tokens.view(len(facts), GRID * GRID, -1)
        said = self.linear(layer_norm(seen, seen.shape[-1:])).flatten(0, 1)
        shapes, colours = said[:, : len(SHAPES) + 1], said[:, len(SHAPES) + 1 :]
        first, second = facts[:, 1::2].flatten(), facts[:, 2::2].flatten()
        return cross_entropy(shapes, first) + cross_entropy(colours, second)


def losses(network: Network, looker: Looker, rng: Generator) -> Iterator[torch.Tensor]:
    """Yield the loss of each batch of pictures that are not held out, without end."""
    source = scenes(rng, held_out=False)
    while True:
        shown = [next(source) for _ in range(PICTURES)]
        cut = [image_patches(draw(scene, rng, 32 * GRID, 32 * GRID)) for scene in shown]
        pixels = torch.from_numpy(np.concatenate([patches for patches, _ in cut]))
        tokens = network.model.visual(pixels, [grid for _, grid in cut]).tokens
        facts = torch.tensor([answers(scene) for scene in shown])
        yield looker.loss(tokens, facts)
