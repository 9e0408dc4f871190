"""The model's forward pass for the last token's hidden state, without padding and repetition.

The forward pass of transformers' Qwen3VLModel, with which this one is compared, pads a batch and
computes every token in every layer; here

- the tokens of a batch stand one after another, without padding, everywhere but in the attention,
  which takes sequences of near-equal length together;
- the last layer's queries and all that follows them are computed for the last tokens only;
- a prefix that all sequences share, a `Beginning`, is computed once: they attend to its keys and
  values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch.nn.functional import pad

from qvsearch.models.attention import attend
from qvsearch.models.devices import moved
from qvsearch.models.language import DecoderLayer, Rope, rotated
from qvsearch.models.patches import image_patches, video_patches
from qvsearch.models.prompt import visual_grids, visual_tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.models.qwen3_vl import Qwen3VL
    from qvsearch.types import EmbedInput

KeysValues = tuple[torch.Tensor, torch.Tensor]  # of one layer: (tokens, key heads, head size) each


@dataclass(frozen=True, slots=True)
class ModelInput:
    """A prompt's token ids, and its media in order: videos, then images."""

    ids: list[int]
    media: tuple[EmbedInput, ...]


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first tokens of a prompt, and each layer's keys (rotated) and values of them."""

    prompt: ModelInput
    layers: list[KeysValues]

    @classmethod
    def empty(cls, model: Qwen3VL) -> Beginning:
        """Return a beginning without tokens."""
        config = model.config.text_config
        none = torch.empty(
            (0, config.num_key_value_heads, config.head_dim), device=model.device, dtype=model.dtype
        )
        return cls(ModelInput([], ()), [(none, none)] * config.num_hidden_layers)

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.prompt.ids)

    def cut(self, length: int) -> Beginning:
        """Return the beginning of the first `length` tokens; they see none that follow."""
        prompt = ModelInput(self.prompt.ids[:length], self.prompt.media)
        return Beginning(prompt, [(keys[:length], values[:length]) for keys, values in self.layers])


def shared_length(first: ModelInput, second: ModelInput, pads: set[int]) -> int:
    """Return the length of the prefix that two prompts share.

    `pads` are the ids that stand for pixels: those are equal if the media are one object.
    """
    visible = 0  # visual tokens of the media that both begin with
    for one, other in zip(first.media, second.media, strict=False):
        if one is not other:
            break
        visible += visual_tokens(one)
    for place, (token, other_token) in enumerate(zip(first.ids, second.ids, strict=False)):
        visible -= token in pads
        if token != other_token or visible < 0:
            return place
    return min(len(first.ids), len(second.ids))


def last_states(
    model: Qwen3VL,
    inputs: Sequence[ModelInput],
    beginning: Beginning,
    cached: int = 0,
    padding: float = 1.0,
    checkpointing: bool = False,
) -> tuple[torch.Tensor, Beginning]:
    """Return the final hidden state (n, hidden) of each input's last token, never an image's.

    All inputs begin with the beginning's tokens and have more. `cached` tokens of the first input
    become the new beginning, if they are more than those of the old one. Neighbours share an
    attention call if the longer has at most `padding` times the tokens of the shorter.
    With `checkpointing` a backward pass computes each layer again instead of keeping it in memory.
    """
    batch = _pack(model, inputs, beginning, padding)
    text = model.language_model
    states, seen = batch.states, []
    for number, (layer, shared) in enumerate(zip(text.layers, beginning.layers, strict=True)):
        is_last = number == len(text.layers) - 1
        run = partial(
            _layer, cast("DecoderLayer", layer), batch=batch, shared=shared, is_last=is_last
        )
        states, own = _checkpointed(run, states) if checkpointing else run(states)
        if cached > len(beginning):
            seen.append(_joined(shared, own, cached))
        if number < len(batch.deepstack) and not is_last:
            states.index_add_(0, batch.visual, batch.deepstack[number].to(states.dtype))
    if seen:
        beginning = Beginning(_first(inputs[0], cached, visual_pads(model)), seen)
    return text.norm(states), beginning


@dataclass(frozen=True, slots=True)
class _Group:
    """Sequences whose attention is one call; the shorter are padded with their last token again.

    Padding stands on the right, so that under the causal mask no token of a sequence sees it.
    """

    queries: torch.Tensor  # (n, longest) numbers of the batch's tokens
    keys: torch.Tensor  # (n, longest) the same, of the keys
    mask: torch.Tensor | None  # True for keys that a query sees; None: all up to itself
    real: torch.Tensor  # places in the flattened `queries` without padding


@dataclass(frozen=True, slots=True)
class _Batch:
    """All inputs for the layers: their tokens after the beginning, in one row."""

    states: torch.Tensor  # (tokens, hidden) the embeddings
    rope: Rope  # of the tokens' positions
    visual: torch.Tensor  # numbers of the tokens that stand for pixels
    deepstack: list[torch.Tensor]  # added to those by the first layers
    last: torch.Tensor  # the number of each input's last token
    groups: list[_Group]
    last_groups: list[_Group]  # with the last tokens' queries only, numbered among themselves


def _pack(
    model: Qwen3VL,
    inputs: Sequence[ModelInput],
    beginning: Beginning,
    padding: float,
) -> _Batch:
    pads, start = visual_pads(model), len(beginning)
    ids = np.concatenate([each.ids[start:] for each in inputs])
    places = np.concatenate([_positions(each, pads)[:, start:] for each in inputs], axis=1)
    visual = moved(np.flatnonzero(np.isin(ids, list(pads))), model.device)
    states = model.language_model.embed_tokens(moved(ids, model.device))
    deepstack: list[torch.Tensor] = []
    seen = sum(token in pads for token in beginning.prompt.ids)
    blocks = [block for each in inputs for block in _blocks(each.media, seen)]
    if blocks:
        assert model.visual is not None  # noqa: S101 - `load_vision` comes before any media
        patches = moved(np.concatenate([patches for patches, _ in blocks]), model.device)
        shown = model.visual(patches.to(states.dtype), [grid for _, grid in blocks])
        states.index_copy_(0, visual, shown.tokens.to(states.dtype))
        deepstack = shown.deepstack
    lengths = np.array([len(each.ids) - start for each in inputs])
    groups, last_groups = _groups(lengths, start, padding, model.device)
    return _Batch(
        states,
        model.language_model.rope(moved(places, model.device), states.dtype),
        visual,
        deepstack,
        moved(lengths.cumsum() - 1, model.device),
        groups,
        last_groups,
    )


def visual_pads(model: Qwen3VL) -> set[int]:
    """Return the token ids that stand for pixels."""
    return {model.config.image_token_id, model.config.video_token_id}


def _blocks(
    media: Sequence[EmbedInput], seen: int
) -> Iterator[tuple[NDArray[np.float32], tuple[int, int, int]]]:
    """Yield patches and grid of each video and image after the first `seen` visual tokens."""
    ends = accumulate(visual_tokens(source) for source in media)
    for source, end in zip(media, ends, strict=True):
        if end > seen:
            if source.video is not None:
                yield video_patches(source.video.pixels)
            yield from (image_patches(image) for image in source.images)


def _positions(prompt: ModelInput, pads: set[int]) -> NDArray[np.int64]:
    """Return the time, row and column (3, tokens) of every token, as `get_rope_index` does.

    Each token of a text is one further in all three. A picture's tokens are at one time, each in
    its row and column; the tokens after it continue past its longer side.
    """
    positions = np.empty((3, len(prompt.ids)), np.int64)
    token = position = 0
    for rows, columns in (grid for source in prompt.media for grid in visual_grids(source)):
        first = next(n for n in range(token, len(prompt.ids)) if prompt.ids[n] in pads)
        positions[:, token:first] = np.arange(first - token) + position
        position += first - token
        token = first + rows * columns
        positions[:, first:token] = np.indices((1, rows, columns)).reshape(3, -1) + position
        position += max(rows, columns)
    positions[:, token:] = np.arange(len(prompt.ids) - token) + position
    return positions


def _groups(
    lengths: NDArray[np.int64], start: int, padding: float, device: torch.device
) -> tuple[list[_Group], list[_Group]]:
    """Return the groups for all tokens' queries and for the last tokens'."""
    groups, last_groups = [], []
    for rows in _near_equal(lengths, padding):
        own, longest = lengths[rows], int(lengths[rows].max())
        column = np.arange(longest)
        offsets = lengths[: rows.start].sum() + own.cumsum() - own
        keys = moved(offsets[:, None] + np.minimum(column, own[:, None] - 1), device)
        is_real = column < own[:, None]
        # with a mask, kernels also compute the hidden half, which matters for long sequences
        sees = np.tri(longest, start + longest, start, dtype=bool) if longest <= start else None
        groups.append(_Group(keys, keys, _mask(sees, device), _real(is_real, device)))
        numbers = np.arange(rows.start, rows.stop)[:, None]
        seen = np.pad(is_real, ((0, 0), (start, 0)), constant_values=True)[:, None, None]
        last_groups.append(
            _Group(
                moved(numbers, device),
                keys,
                _mask(None if is_real.all() else seen, device),
                _real(np.ones_like(numbers, bool), device),
            )
        )
    return groups, last_groups


def _near_equal(lengths: NDArray[np.int64], padding: float) -> Iterator[slice]:
    """Yield neighbours whose longest has at most `padding` times the tokens of their shortest."""
    start = 0
    for row in range(1, len(lengths) + 1):
        part = lengths[start : row + 1]
        if row == len(lengths) or part.max() > part.min() * padding:
            yield slice(start, row)
            start = row


def _mask(sees: NDArray[np.bool_] | None, device: torch.device) -> torch.Tensor | None:
    return None if sees is None else moved(sees, device)


def _real(is_real: NDArray[np.bool_], device: torch.device) -> torch.Tensor:
    return moved(np.flatnonzero(is_real), device)


def _checkpointed(
    run: Callable[[torch.Tensor], tuple[torch.Tensor, KeysValues]], states: torch.Tensor
) -> tuple[torch.Tensor, KeysValues]:
    """Run a layer of which only the input is kept for the backward pass (Chen et al. 2016)."""
    from torch.utils.checkpoint import checkpoint

    # nothing in a layer is random
    outputs: tuple[torch.Tensor, KeysValues] = checkpoint(
        run, states, use_reentrant=False, preserve_rng_state=False
    )
    return outputs


def _layer(
    layer: DecoderLayer,
    states: torch.Tensor,
    batch: _Batch,
    shared: KeysValues,
    *,
    is_last: bool,
) -> tuple[torch.Tensor, KeysValues]:
    """Return the states after a decoder layer, and the keys and values of all tokens.

    The last layer returns the states of the last tokens only.
    """
    attention, rope, groups = layer.self_attn, batch.rope, batch.groups
    size = (-1, attention.head_dim)
    normed = layer.input_layernorm(states)
    keys = rotated(attention.k_norm(attention.k_proj(normed).unflatten(-1, size)), rope)
    values = attention.v_proj(normed).unflatten(-1, size)
    if is_last:
        states, normed = states[batch.last], normed[batch.last]
        rope, groups = (rope[0][batch.last], rope[1][batch.last]), batch.last_groups
    queries = rotated(attention.q_norm(attention.q_proj(normed).unflatten(-1, size)), rope)
    mixed = torch.cat([_attend(queries, (keys, values), shared, group) for group in groups])
    states = states + attention.o_proj(mixed)
    return states + layer.mlp(layer.post_attention_layernorm(states)), (keys, values)


def _attend(
    queries: torch.Tensor, own: KeysValues, shared: KeysValues, group: _Group
) -> torch.Tensor:
    """Return the attention of a group (tokens, heads * head size) to shared and own keys."""
    count, longest = group.queries.shape
    heads = queries.shape[1]
    keys, values = (
        torch.cat((past.expand(count, *past.shape), present[group.keys]), dim=1)
        .transpose(1, 2)
        .repeat_interleave(heads // present.shape[1], dim=1)
        for past, present in zip(shared, own, strict=True)
    )
    is_causal = group.mask is None and longest > 1
    # without a mask the first query sees only the first key: empty queries for the beginning are
    # added, and dropped afterwards
    absent = len(shared[0]) if is_causal else 0
    mixed = attend(
        pad(queries[group.queries], (0, 0, 0, 0, absent, 0)).transpose(1, 2).contiguous(),
        keys,
        values,
        group.mask,
        is_causal=is_causal,
    )
    return mixed[:, :, absent:].transpose(1, 2).reshape(count * longest, -1)[group.real]


def _first(prompt: ModelInput, length: int, pads: set[int]) -> ModelInput:
    """Return a prompt's first `length` tokens, and the media that lie within them."""
    ids = prompt.ids[:length]
    seen = sum(token in pads for token in ids)
    ends = accumulate(visual_tokens(source) for source in prompt.media)
    return ModelInput(
        ids, tuple(m for m, end in zip(prompt.media, ends, strict=True) if end <= seen)
    )


def _joined(shared: KeysValues, own: KeysValues, cached: int) -> KeysValues:
    """Return the first `cached` keys and values, in memory of their own."""
    more = cached - len(shared[0])
    keys, values = (
        torch.cat((past, present[:more])) for past, present in zip(shared, own, strict=True)
    )
    return keys, values
