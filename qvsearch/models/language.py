"""The language model's layers, under the names of the checkpoint; `forward` runs them.

Each is that of transformers' Qwen3VLTextModel (Bai et al., Qwen3-VL, 2025), operation by operation.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import silu

from qvsearch.models.config import TextConfig

Rope = tuple[torch.Tensor, torch.Tensor]  # cosines and sines: (tokens, 1, head size) each


class LanguageModel(nn.Module):
    """The embeddings of tokens, the decoder layers, and the last norm."""

    _frequencies: torch.Tensor

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.embed_tokens = embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        rope = frequencies(config.rope_theta, config.head_dim)
        self.register_buffer("_frequencies", rope, persistent=False)
        self._sections = config.mrope_section

    def rope(self, positions: torch.Tensor, dtype: torch.dtype) -> Rope:
        """Return the rotations of tokens at times, rows and columns (3, tokens).

        Frequencies of the three take turns, each as far as its section goes (interleaved MRoPE).
        """
        angles = positions[..., None].float() * self._frequencies
        mixed = angles[0]
        for axis in (1, 2):
            turns = slice(axis, 3 * self._sections[axis], 3)
            mixed[:, turns] = angles[axis, :, turns]
        mixed = torch.cat((mixed, mixed), dim=-1)[:, None]
        return mixed.cos().to(dtype), mixed.sin().to(dtype)


class DecoderLayer(nn.Module):
    """The weights of one layer."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = GatedMLP(config.hidden_size, config.intermediate_size)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class Attention(nn.Module):
    """The projections of grouped-query attention, with a norm on each query and key."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        queries = config.num_attention_heads * config.head_dim
        keys = config.num_key_value_heads * config.head_dim
        self.q_proj = Linear(config.hidden_size, queries, bias=False)
        self.k_proj = Linear(config.hidden_size, keys, bias=False)
        self.v_proj = Linear(config.hidden_size, keys, bias=False)
        self.o_proj = Linear(queries, config.hidden_size, bias=False)
        self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps)
        self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps)


class GatedMLP(nn.Module):
    """SwiGLU (Shazeer 2020)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = Linear(width, inner, bias=False)
        self.up_proj = Linear(width, inner, bias=False)
        self.down_proj = Linear(inner, width, bias=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return (n, width) for (n, width)."""
        outputs: torch.Tensor = self.down_proj(silu(self.gate_proj(states)) * self.up_proj(states))
        return outputs


class RMSNorm(nn.Module):
    """Divides by the root of the mean square (Zhang and Sennrich 2019), in float32."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self._epsilon = epsilon

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return (..., width) for (..., width), in its type."""
        exact = states.float()
        exact = exact * torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + self._epsilon)
        return self.weight * exact.to(states.dtype)


class Linear(nn.Linear):
    """A linear layer without random numbers: its weights are read from a checkpoint."""

    def reset_parameters(self) -> None:
        """Draw nothing, which takes longer than all else on the device `meta`."""


def embedding(count: int, width: int) -> nn.Embedding:
    """Return a table (count, width) without random numbers.

    On the device `meta`, drawing them would import torch's compiler, which takes a second.
    """
    return nn.Embedding(count, width, _weight=torch.empty(count, width))


def frequencies(theta: float, size: int) -> torch.Tensor:
    """Return the rotations (size / 2,) of a head's halves a position, on the CPU in float32.

    Su et al. 2021, section 3.2.2. They are no weights: a checkpoint does not hold them.
    """
    return 1.0 / (theta ** (torch.arange(0, size, 2, dtype=torch.float, device="cpu") / size))


def rotated(heads: torch.Tensor, rope: Rope) -> torch.Tensor:
    """Turn each half of a head (tokens, heads, size) against the other by its position's angles."""
    first, second = heads.chunk(2, dim=-1)
    cosine, sine = rope
    return heads * cosine + torch.cat((-second, first), dim=-1) * sine
