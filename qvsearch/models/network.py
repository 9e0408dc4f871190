"""The network: prompts and pixels in, the last token's hidden state out."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from qvsearch.errors import QvsearchError
from qvsearch.models.adapters import WEIGHTS, Adapter, merge, read_adapter
from qvsearch.models.checkpoint import hidden_width, shards
from qvsearch.models.devices import LIMITS, attention, pick_device, pick_dtype, settle_threads
from qvsearch.models.forward import (
    Beginning,
    ModelInput,
    last_states,
    shared_length,
    visual_pads,
)
from qvsearch.models.int8 import quantise
from qvsearch.models.patches import image_patches, video_patches
from qvsearch.models.prompt import END

if TYPE_CHECKING:
    from qvsearch.types import Vectors

FEWEST_SHARED = 8  # tokens: any two prompts share the three that open a turn
PASS_TOKENS = 64  # so many take hardly longer than one, because every pass reads all the weights
KEPT_TOKENS = 128  # of a prompt, for the next one; 230 kB each with the 2B model in float32

_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character; decoded texts never have one


class WeightsChanged(QvsearchError):
    """The files of a partly loaded model have changed."""


class LinearPatchEmbed(nn.Module):
    """The vision tower's patch embedding as one matrix product.

    The checkpoint's Conv3d has kernel = stride, so it is a linear layer over each patch; as a
    convolution it falls on slow kernels (pytorch#174051: 10 to 20 times and more).
    """

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        self.weight = nn.Parameter(conv.weight.detach().flatten(1))
        self.bias = conv.bias

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Return (n, hidden) for patches (n, 1536)."""
        return nn.functional.linear(patches.to(self.weight.dtype), self.weight, self.bias)


class Network:
    """A Qwen3-VL base model with its tokenizer, on one device.

    The vision tower is loaded with the first picture: words alone never wait for it. The shared
    prefix of prompts is cached from call to call; see `forget_prefix`.
    """

    def __init__(
        self,
        folder: Path,
        device: str | None = None,
        dtype: str | None = None,
        adapter: Path | None = None,
    ) -> None:
        """Load a checkpoint folder; raises QvsearchError if it is incomplete.

        `adapter` is the folder of an adapter, which is merged into the weights in memory.
        """
        self.device = pick_device(device)
        self.dtype = pick_dtype(dtype, self.device, hidden_width(folder))
        if self.device.type == "cpu":
            settle_threads()
        self._adapter = None if adapter is None else read_adapter(adapter)
        self._folder, self._files = folder, _files(folder, self._adapter)
        silence_transformers()
        self.tokenizer = load_tokenizer(folder)
        self.model = self._load("language_model")
        self.tail = len(self.tokenizer(END)["input_ids"])
        self._limits = LIMITS[self.device.type]
        self._beginning = Beginning.empty(self.model)

    def tokenize(self, prompts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Return each prompt's ids; a prompt that is too long loses the end of its text."""
        ids = self._tokenized(prompts)
        return [each if len(each) <= max_tokens else self._cut(each, max_tokens) for each in ids]

    def tokenize_pairs(self, prompts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Return the ids of a reranker's prompts, `max_tokens` at most before the closing turn.

        A prompt that is too long loses its last words, and no picture: all special tokens stay.
        This is the rule of the published reranker.
        """
        return [self._thinned(each, max_tokens) for each in self._tokenized(prompts)]

    def _tokenized(self, prompts: Sequence[str]) -> list[list[int]]:
        if not prompts:  # an error for transformers
            return []
        if any(_SURROGATE.search(prompt) for prompt in prompts):
            raise QvsearchError("a text has a lone surrogate, which is not a character; replace it")
        ids: list[list[int]] = self.tokenizer(list(prompts), truncation=False)["input_ids"]
        return ids

    def _thinned(self, ids: list[int], max_tokens: int) -> list[int]:
        body, closing = ids[: -self.tail], ids[-self.tail :]
        if len(body) <= max_tokens:
            return ids
        special = set(self.tokenizer.all_special_ids)
        words = (place for place, token in enumerate(body) if token not in special)
        room = max(0, max_tokens - sum(token in special for token in body))
        fitting = set(itertools.islice(words, room))
        return [t for i, t in enumerate(body) if t in special or i in fitting] + closing

    def _cut(self, ids: list[int], max_tokens: int) -> list[int]:
        fitting = max_tokens - self.tail
        config = self.model.config
        if {config.image_token_id, config.video_token_id} & set(ids[fitting : -self.tail]):
            raise QvsearchError(
                f"an input of {len(ids)} tokens is over the model's {max_tokens};"
                " give fewer images or frames, or a lower --detail"
            )
        return ids[:fitting] + ids[-self.tail :]

    def output_row(self, folder: Path, token: str) -> Vectors:
        """Return the weights (hidden,) float32 of a token's logit, tied or not."""
        row = self.tokenizer.convert_tokens_to_ids(token)
        if row is None or row == self.tokenizer.unk_token_id:
            raise QvsearchError(f"{folder} is not a reranker: its tokenizer has no token {token!r}")
        head = _find_tensor(folder, "lm_head.weight", row)
        if head is None and not _is_tied(self.model.config):
            raise QvsearchError(f"{folder} is not a reranker: it has no lm_head.weight")
        if head is None:
            head = self.model.get_input_embeddings().weight[row]
        weights: Vectors = head.detach().float().cpu().numpy()
        return weights

    def last_hidden(self, inputs: Sequence[ModelInput]) -> Vectors:
        """Return the final hidden state (n, hidden) float32 of each input's last token, in order.

        Inputs of similar length share forward passes. Their shared prefix is computed once, and
        cached for the next call.
        """
        if not inputs:
            return np.empty((0, self.model.config.text_config.hidden_size), np.float32)
        if any(source.images or source.video for each in inputs for source in each.media):
            self.load_vision()
        rows = sorted(range(len(inputs)), key=lambda row: len(inputs[row].ids))
        states = self._states([inputs[row] for row in rows]).float().cpu().numpy()
        hidden = np.empty_like(states)
        hidden[rows] = states
        return hidden

    def load_vision(self) -> None:
        """Load the vision tower if it is not loaded; raises WeightsChanged if its files changed."""
        if self.model.visual is not None:
            return
        try:
            files = _files(self._folder, self._adapter)
        except OSError as error:
            raise WeightsChanged(
                f"the weights in {self._folder} are no longer there, and the part for pictures was"
                " not read yet; put them back, and run the same command again"
            ) from error
        if files != self._files:
            raise WeightsChanged(
                f"the weights in {self._folder} were changed while they were in use;"
                " run the same command again"
            )
        self.model.visual = self._load("visual").visual

    def _load(self, part: str) -> Any:  # noqa: ANN401 (transformers has no narrower type)
        return _load_model(self._folder, self.dtype, self.device, part, self._adapter)

    def forget_prefix(self) -> None:
        """Drop the cached prefix; callers must call this after a change of weights."""
        self._beginning = Beginning.empty(self.model)

    def _states(self, inputs: Sequence[ModelInput]) -> torch.Tensor:
        """Return the last states (n, hidden) of inputs, which come by rising length."""
        common = self._shared(inputs[0], inputs)
        known = self._shared(self._beginning.prompt, inputs)
        if (common - known) * (len(inputs) - 1) >= PASS_TOKENS:
            states = [self._in_memory(inputs[:1], cached=common)]
            inputs = inputs[1:]
        else:
            states, common = [], known
        for batch in _batches(inputs, self._limits.tokens, common):
            states.append(self._in_memory(batch))
        return torch.cat(states)

    def _shared(self, first: ModelInput, inputs: Sequence[ModelInput]) -> int:
        """Return the length of the prefix that all inputs share with `first`.

        It is 0 if it is shorter than FEWEST_SHARED.
        """
        pads = visual_pads(self.model)
        length = min(
            min(shared_length(first, each, pads), len(each.ids) - 1)  # one must follow
            for each in inputs
        )
        return length if self._limits.shares and length >= FEWEST_SHARED else 0

    def _in_memory(self, inputs: Sequence[ModelInput], cached: int = 0) -> torch.Tensor:
        """Run a batch, in halves if the device's memory does not hold it whole."""
        try:
            return self._forward(inputs, cached)
        except torch.OutOfMemoryError as error:
            if len(inputs) == 1:
                raise QvsearchError(
                    f"{self.device} has no memory for an input of {len(inputs[0].ids)} tokens;"
                    " try --detail low or --device cpu"
                ) from error
        half = len(inputs) // 2
        return torch.cat([self._in_memory(part) for part in (inputs[:half], inputs[half:])])

    @torch.inference_mode()
    def _forward(self, inputs: Sequence[ModelInput], cached: int) -> torch.Tensor:
        """Run a batch; the first `cached` tokens of its first input are stored for the next."""
        beginning = self._beginning
        known = self._shared(beginning.prompt, inputs)
        if not known and not cached and self._limits.shares:
            cached = self._head(inputs[0])
        states, self._beginning = last_states(
            self.model, inputs, beginning.cut(known), cached, self._limits.padding
        )
        return states

    def trainable_states(
        self, inputs: Sequence[ModelInput], *, checkpointing: bool
    ) -> torch.Tensor:
        """Return what `last_hidden` does, in the network's type, with the gradient of its weights.

        All inputs share one pass. The vision tower must be loaded if there are media.
        """
        rows = sorted(range(len(inputs)), key=lambda row: len(inputs[row].ids))
        states, _ = last_states(
            self.model,
            [inputs[row] for row in rows],
            Beginning.empty(self.model),
            padding=self._limits.padding,
            checkpointing=checkpointing,
        )
        return states[torch.tensor(rows, device=self.device).argsort()]

    def _head(self, first: ModelInput) -> int:
        """Return how many tokens of a prompt to cache if the next prompt is unknown."""
        pads = visual_pads(self.model)
        head = first.ids[:KEPT_TOKENS]
        return next((place for place, token in enumerate(head) if token in pads), len(head))

    def tensors(self, inputs: Sequence[ModelInput]) -> dict[str, torch.Tensor]:
        """Return the arguments of transformers' own forward pass for a batch, padded on the right.

        Training uses it, and our forward pass is compared with it.
        """
        length = max(len(each.ids) for each in inputs)
        ids = torch.full((len(inputs), length), self.tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, each in enumerate(inputs):
            ids[row, : len(each.ids)] = torch.tensor(each.ids)
            mask[row, : len(each.ids)] = 1
        config = self.model.config
        kinds = (ids == config.image_token_id).int() + 2 * (ids == config.video_token_id).int()
        media = [source for each in inputs for source in each.media]
        images = [image_patches(image) for source in media for image in source.images]
        videos = [video_patches(each.video.pixels) for each in media if each.video is not None]
        batch = {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": kinds}
        batch |= _vision("pixel_values", "image_grid_thw", images)
        return batch | _vision("pixel_values_videos", "video_grid_thw", videos)


def _vision(
    pixels: str, grid: str, media: Sequence[tuple[Vectors, tuple[int, int, int]]]
) -> dict[str, torch.Tensor]:
    if not media:
        return {}
    patches = torch.from_numpy(np.concatenate([patches for patches, _ in media]))
    return {pixels: patches, grid: torch.tensor([grid for _, grid in media])}


def _batches(
    inputs: Sequence[ModelInput], tokens: int, known: int
) -> Iterator[Sequence[ModelInput]]:
    """Yield neighbours with at most `tokens` together after the `known` ones, or one input."""
    start = total = 0
    for row, each in enumerate(inputs):
        own = len(each.ids) - known
        if start < row and total + own > tokens:
            yield inputs[start:row]
            start, total = row, 0
        total += own
    if inputs:
        yield inputs[start:]


def silence_transformers() -> None:
    """Keep the bar and the remarks of transformers off the terminal: only the faces print."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]


def load_tokenizer(folder: Path) -> Any:  # noqa: ANN401 (transformers has no narrower type)
    """Return the tokenizer of a checkpoint; raises QvsearchError without a usable one."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # noqa: BLE001 (tokenizers raises nothing narrower for its file)
        raise QvsearchError(f"{folder} has no usable tokenizer: {error}") from error


def _load_model(
    folder: Path, dtype: torch.dtype, device: torch.device, part: str, adapter: Adapter | None
) -> Any:  # noqa: ANN401
    """Load one part of a model, `language_model` or `visual`; the other one is None."""
    from safetensors import SafetensorError
    from transformers import Qwen3VLConfig, Qwen3VLModel

    class Part(Qwen3VLModel):  # type: ignore[no-untyped-call] # transformers types no __init_subclass__
        def __init__(self, config: Qwen3VLConfig) -> None:
            super().__init__(config)
            # before weights are read: transformers reads only those that have a place
            other = "visual" if part == "language_model" else "language_model"
            self.left_out = {f"{other}.{name}" for name in getattr(self, other).state_dict()}
            setattr(self, other, None)

    load: Callable[..., Any] = Part.from_pretrained
    try:
        model, report = load(
            folder,
            # so that the layers that int8 replaces are never in float32 all at once
            dtype="auto" if dtype == torch.int8 else dtype,
            attn_implementation=attention(device),
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise QvsearchError(f"{folder} has no usable Qwen3-VL weights: {error}") from error
    there = {name.removeprefix("model.") for name in report["unexpected_keys"]}
    missing = sorted(report["missing_keys"] | (model.left_out - there))
    if missing:
        raise QvsearchError(
            f"{folder} lacks {len(missing)} weights of a Qwen3-VL model ({missing[0]}, ...);"
            " fetch it again with: qvsearch models pull"
        )
    if adapter is not None:  # before the layers become int8
        merge(model, adapter, part)
    if part == "visual":
        model.visual.patch_embed = LinearPatchEmbed(model.visual.patch_embed.proj)
    if dtype == torch.int8:
        quantise(model)
        model.float()
    return model.to(device).eval()


def _files(folder: Path, adapter: Adapter | None) -> list[tuple[int, int]]:
    """Return the size and time of each file of weights."""
    own = [] if adapter is None else [adapter.folder / WEIGHTS]
    states = [path.stat() for path in (*shards(folder), *own)]
    return [(each.st_size, each.st_mtime_ns) for each in states]


def _is_tied(config: Any) -> bool:  # noqa: ANN401
    return bool(config.tie_word_embeddings or config.text_config.tie_word_embeddings)


def _find_tensor(folder: Path, name: str, row: int) -> torch.Tensor | None:
    """Read one row of a tensor of a checkpoint; None if no file holds it."""
    from safetensors import safe_open

    for path in shards(folder):
        with safe_open(path, framework="pt") as tensors:
            if name in tensors.keys():  # noqa: SIM118 (it is not a mapping)
                weights: torch.Tensor = tensors.get_slice(name)[row]
                return weights
    return None
