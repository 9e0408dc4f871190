"""The vision tower: patches of pixels in, the language model's visual tokens out.

Each operation is that of transformers' Qwen3VLVisionModel (Bai et al., Qwen3-VL, 2025).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.nn.functional import gelu, linear

from qvsearch.models.attention import attend
from qvsearch.models.config import VisionConfig
from qvsearch.models.devices import moved
from qvsearch.models.language import Linear, Rope, embedding, frequencies, rotated
from qvsearch.models.patches import MERGE, PATCH, PATCH_NUMBERS
from qvsearch.models.prompt import FRAMES_PER_STEP

Grid = tuple[int, int, int]  # of one image or video, in patches: steps, rows, columns

EPSILON = 1e-6  # of each norm
PATCH_PRODUCT = "patch_embed."  # in the names of weights here
PATCH_CONVOLUTION = "patch_embed.proj."  # and in those of checkpoints, with this kernel
PATCH_KERNEL = (3, FRAMES_PER_STEP, PATCH, PATCH)


@dataclass(frozen=True, slots=True)
class VisualTokens:
    """The tokens (n, out_hidden_size), and what is added to them in the first decoder layers."""

    tokens: torch.Tensor
    deepstack: list[torch.Tensor]


class VisionTower(nn.Module):
    """A vision transformer over images of any size; each frame attends to itself alone."""

    _frequencies: torch.Tensor

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.patch_embed = LinearPatchEmbed(width)
        self.pos_embed = embedding(config.num_position_embeddings, width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.merger = Merger(width, config.out_hidden_size)
        self.deepstack_merger_list = nn.ModuleList(
            Merger(width, config.out_hidden_size, merges_first=True)
            for _ in config.deepstack_visual_indexes
        )
        self._taps = config.deepstack_visual_indexes
        self._side = math.isqrt(config.num_position_embeddings)
        # a head's halves are each shared by rows and columns
        rope = frequencies(config.rope_theta, width // config.num_heads // 2)
        self.register_buffer("_frequencies", rope, persistent=False)

    def forward(self, patches: torch.Tensor, grids: Sequence[Grid]) -> VisualTokens:
        """Return the tokens of patches (n, 1536), which are those of the grids in turn."""
        states = self.patch_embed(patches)
        states = states + self._positions(grids, states.device).to(states.dtype)
        rope = self._rope(grids, states.device)
        frames = [rows * columns for steps, rows, columns in grids for _ in range(steps)]
        deepstack = []
        for number, block in enumerate(self.blocks):
            states = block(states, rope, frames)
            if number in self._taps:
                merger = self.deepstack_merger_list[self._taps.index(number)]
                deepstack.append(merger(states))
        return VisualTokens(self.merger(states), deepstack)

    def _positions(self, grids: Sequence[Grid], device: torch.device) -> torch.Tensor:
        """Return the learned grid of positions, bilinear at each patch's place (n, hidden).

        The corners of the learned grid are those of the image.
        """
        positions = []
        for steps, rows, columns in grids:
            (row, row_weight), (column, column_weight) = (
                _between(count, self._side) for count in (rows, columns)
            )
            places = row[:, None, :, None] * self._side + column[None, :, None, :]
            weights = row_weight[:, None, :, None] * column_weight[None, :, None, :]
            near = self.pos_embed(moved(_in_blocks(places), device))
            shares = moved(_in_blocks(weights), device)
            positions.append((near * shares[:, :, None]).sum(1).repeat(steps, 1))
        return torch.cat(positions)

    def _rope(self, grids: Sequence[Grid], device: torch.device) -> Rope:
        """Return the rotations of patches by their rows and columns."""
        places = [
            np.tile(_in_blocks(np.indices((rows, columns)).transpose(1, 2, 0)), (steps, 1))
            for steps, rows, columns in grids
        ]
        angles = moved(np.concatenate(places), device)[..., None].float() * self._frequencies
        angles = angles.flatten(1).repeat(1, 2)[:, None]
        return angles.cos(), angles.sin()


class LinearPatchEmbed(nn.Module):
    """The patch embedding as one matrix product.

    The checkpoint's Conv3d has kernel = stride, so it is a linear layer over each patch; as a
    convolution it falls on slow kernels (pytorch#174051: 10 to 20 times and more).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, PATCH_NUMBERS))
        self.bias = nn.Parameter(torch.empty(width))

    @classmethod
    def of(cls, convolution: nn.Conv3d) -> LinearPatchEmbed:
        """Return the layer that computes what a checkpoint's convolution does."""
        layer = cls(convolution.out_channels)
        layer.weight = nn.Parameter(convolution.weight.detach().flatten(1))
        layer.bias = nn.Parameter(cast("torch.Tensor", convolution.bias).detach())
        return layer

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Return (n, hidden) for patches (n, 1536)."""
        return linear(patches.to(self.weight.dtype), self.weight, self.bias)


class Block(nn.Module):
    """A layer of attention and of an MLP."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=EPSILON)
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=EPSILON)
        self.attn = FrameAttention(config)
        self.mlp = MLP(config.hidden_size, config.intermediate_size)

    def forward(self, states: torch.Tensor, rope: Rope, frames: Sequence[int]) -> torch.Tensor:
        """Return (n, hidden) for (n, hidden); `frames` counts the patches of each."""
        states = states + self.attn(self.norm1(states), rope, frames)
        outputs: torch.Tensor = states + self.mlp(self.norm2(states))
        return outputs


class FrameAttention(nn.Module):
    """The attention of a frame's patches to each other."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self._heads = config.num_heads
        self.qkv = Linear(config.hidden_size, 3 * config.hidden_size)
        self.proj = Linear(config.hidden_size, config.hidden_size)

    def forward(self, states: torch.Tensor, rope: Rope, frames: Sequence[int]) -> torch.Tensor:
        """Return (n, hidden) for (n, hidden)."""
        queries, keys, values = self.qkv(states).unflatten(-1, (3, self._heads, -1)).unbind(1)
        queries, keys = (rotated(each.float(), rope).to(states.dtype) for each in (queries, keys))
        mixed = [
            _attend(queries[part], keys[part], values[part], count)
            for part, count in _equal_neighbours(frames)
        ]
        outputs: torch.Tensor = self.proj(torch.cat(mixed))
        return outputs


class MLP(nn.Module):
    """Two layers with a GELU between them (its tanh approximation)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.linear_fc1 = Linear(width, inner)
        self.linear_fc2 = Linear(inner, width)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return (n, width) for (n, width)."""
        outputs: torch.Tensor = self.linear_fc2(gelu(self.linear_fc1(states), approximate="tanh"))
        return outputs


class Merger(nn.Module):
    """Merges 2 x 2 patches into one token; with `merges_first`, before the norm."""

    def __init__(self, width: int, tokens: int, *, merges_first: bool = False) -> None:
        super().__init__()
        self._merged, self._merges_first = width * MERGE**2, merges_first
        self.norm = nn.LayerNorm(self._merged if merges_first else width, eps=EPSILON)
        self.linear_fc1 = Linear(self._merged, self._merged)
        self.linear_fc2 = Linear(self._merged, tokens)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return (n / 4, tokens) for patches (n, width) in the order of `patches`."""
        if self._merges_first:
            states = self.norm(states.view(-1, self._merged))
        else:
            states = self.norm(states).view(-1, self._merged)
        outputs: torch.Tensor = self.linear_fc2(gelu(self.linear_fc1(states)))
        return outputs


def _attend(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, count: int
) -> torch.Tensor:
    """Return the attention (n, heads * size) of `count` frames of n / count patches each."""
    queries, keys, values = (
        each.view(count, -1, *each.shape[1:]).transpose(1, 2) for each in (queries, keys, values)
    )
    return attend(queries, keys, values).transpose(1, 2).flatten(2).flatten(0, 1)


def _equal_neighbours(frames: Sequence[int]) -> Iterator[tuple[slice, int]]:
    """Yield the patches of neighbouring frames of equal size, and the number of these frames."""
    start = 0
    for size, same in groupby(frames):
        count = sum(1 for _ in same)
        yield slice(start, start + count * size), count
        start += count * size


def _between(count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the learned places (count, 2) around each of `count` places, and their shares."""
    place = np.arange(count, dtype=np.float32) * (side - 1) / max(count - 1, 1)
    before = np.floor(place)
    share = place - before
    places = before.astype(np.int64)[:, None] + np.arange(2)
    return places.clip(0, side - 1), np.stack((1 - share, 1 - np.abs(share - 1)), axis=1)


def _in_blocks(values: np.ndarray) -> np.ndarray:
    """Order values (rows, columns, ...) as patches stand: four that merge together; (n, rest)."""
    rows, columns = values.shape[:2]
    blocks = values.reshape(rows // MERGE, MERGE, columns // MERGE, MERGE, -1)
    return np.ascontiguousarray(blocks.swapaxes(1, 2).reshape(rows * columns, -1))
