"""Linear layers that multiply 8-bit integers, on the CPU, and their place in a model.

Weights have a scale for each output, activations one for each row, so that no row depends on its
neighbours. Both are first rotated by the same orthogonal matrix in blocks of a few channels. That
changes no product, and spreads outlier channels over their block (Ashkboos et al., QuaRot, 2024).
It measured better than moving outliers into the weights (SmoothQuant), and needs no calibration.
The kernels are oneDNN's, through torch, on plain integer tensors: torch's own quantized dtypes, for
fbgemm's kernels, are deprecated (pytorch#184982).
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable

import torch
from torch import nn

from qvsearch.errors import QvsearchError

BLOCK = 64  # channels that are rotated together
WEIGHT_LEVELS = 127  # to both sides of 0
# to both sides of 0, although 8 bits allow 127: kernels without VNNI add two products of a weight
# and a code in 16 bits, which hold no more than 2 x 127 x 127
ACTIVATION_LEVELS = 63
ZERO = 64  # the unsigned code of an activation of 0
BATCH = 256  # rows that the weights' layout is chosen for
LEAST = 1e-30  # the least divisor of a row, for rows of zeros

Quantised = tuple[torch.Tensor, torch.Tensor]
_NOTHING = (lambda: None, None)


class Activations:
    """Rotates and quantises rows, once for all layers that are given the same tensor in turn."""

    def __init__(self, features: int) -> None:
        self.features = features
        self.rotation = rotation(min(BLOCK, features & -features))
        self._last: tuple[Callable[[], torch.Tensor | None], Quantised | None] = _NOTHING

    def of(self, inputs: torch.Tensor) -> Quantised:
        """Return the codes (n, features) uint8 of rows (..., features), and each's largest (n, 1).

        Callers must not change a tensor in place between two calls. The result is cached as long
        as the tensor lives.
        """
        source, cached = self._last  # both at once, because another thread may replace them
        if cached is None or source() is not inputs:
            cached = self._quantised(inputs.reshape(-1, self.features))
            self._last = weakref.ref(inputs, self._forget), cached
        return cached

    def _forget(self, gone: Callable[[], torch.Tensor | None]) -> None:
        if self._last[0] is gone:
            self._last = _NOTHING

    def _quantised(self, inputs: torch.Tensor) -> Quantised:
        rows = _rotated(inputs, self.rotation)
        top = torch.maximum(rows.amax(1, keepdim=True), -rows.amin(1, keepdim=True))
        top.clamp_(min=LEAST)
        # half a step more, because the conversion truncates
        return rows.mul_(ACTIVATION_LEVELS / top).add_(ZERO + 0.5).to(torch.uint8), top


class Int8Linear(nn.Module):
    """The replacement of a float32 `nn.Linear` on the CPU, with weights of 8-bit integers."""

    def __init__(self, linear: nn.Linear, activations: Activations | None = None) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.activations = activations or Activations(linear.in_features)
        self.bias = None if linear.bias is None else linear.bias.detach().float()
        weight = _rotated(linear.weight.detach().float(), self.activations.rotation)
        top = weight.abs().amax(1).clamp_(min=LEAST)
        codes = (weight * (WEIGHT_LEVELS / top)[:, None]).round_().to(torch.int8)
        self._scales = top / (WEIGHT_LEVELS * ACTIVATION_LEVELS)
        self._zeros = torch.zeros(self.out_features, dtype=torch.int64)
        self._packed = torch.ops.onednn.qlinear_prepack(codes, [BATCH, self.in_features])

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return (..., out_features) float32 for inputs (..., in_features) float32."""
        codes, top = self.activations.of(inputs)
        outputs: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            *(codes, 1.0, ZERO, self._packed, self._scales, self._zeros, None),
            *(1.0, 0, torch.float32, "none", [], ""),
        )
        outputs.mul_(top)
        if self.bias is not None:
            outputs.add_(self.bias)
        shaped: torch.Tensor = outputs.view(*inputs.shape[:-1], self.out_features)
        return shaped


def rotation(block: int) -> torch.Tensor:
    """Return an orthogonal matrix (block, block), a power of two, of entries of equal size.

    It is Sylvester's Hadamard matrix with the signs of the Rudin-Shapiro sequence on its rows: an
    outlier channel, and a mean that all channels share, both come out spread.
    """
    signs = [(-1.0) ** (row & (row >> 1)).bit_count() for row in range(block)]
    rows = [
        [(-1.0) ** (row & column).bit_count() for column in range(block)] for row in range(block)
    ]
    return torch.tensor(rows) * torch.tensor(signs)[:, None] / math.sqrt(block)


def _rotated(rows: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    return (rows.reshape(-1, len(by)) @ by).view(rows.shape)


def quantise(model: nn.Module) -> None:
    """Replace every `nn.Linear` of a model, one after the other, so that only one is there twice.

    All other layers stay float32: embeddings, norms, the attention itself, and the patch embedding
    of the pixels.
    """
    for parent in list(model.modules()):
        shared: dict[int, Activations] = {}  # queries, keys and values come from one tensor
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                width = child.in_features
                activations = shared.setdefault(width, Activations(width))
                setattr(parent, name, Int8Linear(child, activations))


def check_kernels(device: torch.device) -> None:
    """Raise QvsearchError if there are no correct 8-bit kernels for this device."""
    if device.type != "cpu":
        raise QvsearchError(
            f"--dtype int8 runs on a CPU only, not on {device.type};"
            " add --device cpu, or leave out --dtype"
        )
    way_out = "leave out --dtype, or get another build of torch"
    if "onednn" not in torch.backends.quantized.supported_engines:
        raise QvsearchError(f"--dtype int8 needs oneDNN, which this torch lacks; {way_out}")
    ends = rotation(BLOCK).sum(1, keepdim=True).T  # once rotated, all at their largest code
    linear = nn.Linear(BLOCK, 1, bias=False)
    try:
        with torch.inference_mode():
            linear.weight.copy_(ends)
            error = abs(Int8Linear(linear)(ends).item() - BLOCK)
    except (RuntimeError, AttributeError, TypeError) as failure:
        raise QvsearchError(f"--dtype int8 does not run here ({failure}); {way_out}") from failure
    if not error < 0.1:  # of a product that kernels which overflow make half as large
        raise QvsearchError(f"--dtype int8 multiplies wrongly on this processor; {way_out}")
