"""Attention, by torch's kernels if they are right on the device."""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention

QUERIES_AT_ONCE = 512  # of one sequence, so that the scores of long ones stay small


def kernels_are_right(device: torch.device) -> bool:
    """Return whether `scaled_dot_product_attention` can be trusted on a device.

    On MPS, queries see later keys in float16 and bfloat16 (pytorch#195910), strided views give
    wrong values (pytorch#181133), and masks NaN (sentence-transformers#3498), all without an error.
    """
    return device.type != "mps"


def attend(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    is_causal: bool = False,
) -> torch.Tensor:
    """Return the attention (n, heads, tokens, size) of queries to keys and values of that shape.

    `mask` is True for keys that a query sees; it needs right kernels, else ValueError is raised.
    """
    if kernels_are_right(queries.device):
        return scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, is_causal=is_causal
        )
    if mask is not None:
        raise ValueError("a mask needs the kernels of torch")
    rows = zip(queries, keys, values, strict=True)
    return torch.stack([_attend_plainly(*row, is_causal=is_causal) for row in rows])


def _attend_plainly(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *, is_causal: bool
) -> torch.Tensor:
    """Return the attention (heads, tokens, size) of one sequence by its definition.

    Shares are taken in float32 (Vaswani et al. 2017, section 3.2.1).
    """
    scaled, place = queries * queries.shape[-1] ** -0.5, torch.arange(keys.shape[1])
    place = place.to(queries.device)
    parts = []
    for start in range(0, queries.shape[1], QUERIES_AT_ONCE):
        part = slice(start, start + QUERIES_AT_ONCE)
        scores = (scaled[:, part] @ keys.transpose(-2, -1)).float()
        if is_causal:
            scores = scores.masked_fill(place > place[part, None], -torch.inf)
        parts.append(scores.softmax(-1).to(values.dtype) @ values)
    return torch.cat(parts, dim=1)
