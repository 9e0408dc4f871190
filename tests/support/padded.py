"""Batches as transformers' own forward pass takes them, padded on the right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from qvsearch.models.forward import ModelInput
from qvsearch.models.network import Network
from qvsearch.models.patches import image_patches, video_patches


def padded(network: Network, inputs: Sequence[ModelInput]) -> dict[str, torch.Tensor]:
    """Return the arguments of Qwen3VLModel for a batch; our forward pass is compared with it."""
    length = max(len(each.ids) for each in inputs)
    ids = torch.full((len(inputs), length), network.tokenizer.id("<|endoftext|>"))
    mask = torch.zeros_like(ids)
    for row, each in enumerate(inputs):
        ids[row, : len(each.ids)] = torch.tensor(each.ids)
        mask[row, : len(each.ids)] = 1
    config = network.model.config
    kinds = (ids == config.image_token_id).int() + 2 * (ids == config.video_token_id).int()
    media = [source for each in inputs for source in each.media]
    images = [image_patches(image) for source in media for image in source.images]
    videos = [video_patches(each.video.pixels) for each in media if each.video is not None]
    batch = {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": kinds}
    batch |= _vision("pixel_values", "image_grid_thw", images)
    return batch | _vision("pixel_values_videos", "video_grid_thw", videos)


def _vision(pixels: str, grid: str, media: Sequence[tuple[np.ndarray, tuple]]) -> dict:
    if not media:
        return {}
    patches = torch.from_numpy(np.concatenate([patches for patches, _ in media]))
    return {pixels: patches, grid: torch.tensor([grid for _, grid in media])}
