"""The network: prompts and pixels in, the last token's hidden state out."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from qvsearch.errors import QvsearchError
from qvsearch.models.adapters import WEIGHTS, Adapter, read_adapter
from qvsearch.models.checkpoint import shards
from qvsearch.models.config import ModelConfig, read_config
from qvsearch.models.devices import LIMITS, pick_device, pick_dtype, settle_threads
from qvsearch.models.forward import (
    Beginning,
    ModelInput,
    last_states,
    shared_length,
    visual_pads,
)
from qvsearch.models.prompt import END
from qvsearch.models.qwen3_vl import LANGUAGE, VISION, Qwen3VL, empty_language, empty_tower
from qvsearch.models.tokenizer import Tokenizer
from qvsearch.models.weights import check_complete, read_part, read_row

if TYPE_CHECKING:
    from qvsearch.types import Vectors

FEWEST_SHARED = 8  # tokens: any two prompts share the three that open a turn
PASS_TOKENS = 64  # so many take hardly longer than one, because every pass reads all the weights
KEPT_TOKENS = 128  # of a prompt, for the next one; 230 kB each with the 2B model in float32

_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character; decoded texts never have one


class WeightsChanged(QvsearchError):
    """The files of a partly loaded model have changed."""


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
        config = read_config(folder)
        self.dtype = pick_dtype(dtype, self.device, config.text_config.hidden_size)
        if self.device.type == "cpu":
            settle_threads()
        self._adapter = None if adapter is None else read_adapter(adapter)
        self._folder, self._files = folder, _files(folder, self._adapter)
        self.tokenizer = Tokenizer(folder)
        self.model = self._load(config)
        self.tail = len(self.tokenizer.ids(END))
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
        if any(_SURROGATE.search(prompt) for prompt in prompts):
            raise QvsearchError("a text has a lone surrogate, which is not a character; replace it")
        return self.tokenizer.ids_of(prompts)

    def _thinned(self, ids: list[int], max_tokens: int) -> list[int]:
        body, closing = ids[: -self.tail], ids[-self.tail :]
        if len(body) <= max_tokens:
            return ids
        special = self.tokenizer.special_ids
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
        row = self.tokenizer.id(token)
        if row is None:
            raise QvsearchError(f"{folder} is not a reranker: its tokenizer has no token {token!r}")
        head = read_row(folder, "lm_head.weight", row)
        if head is None and not self.model.config.tie_word_embeddings:
            raise QvsearchError(f"{folder} is not a reranker: it has no lm_head.weight")
        if head is None:
            head = self.model.language_model.embed_tokens.weight[row]
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
        tower = empty_tower(self.model.config)
        self._read(tower, VISION)
        self.model.visual = tower

    def _load(self, config: ModelConfig) -> Qwen3VL:
        """Return the model without its vision tower, whose weights must be there as well."""
        language = empty_language(config)
        check_complete(self._folder, {LANGUAGE: language, VISION: empty_tower(config)})
        self._read(language, LANGUAGE)
        return Qwen3VL(config, language).eval()

    def _read(self, layers: nn.Module, part: str) -> None:
        read_part(layers, part, self._folder, self.device, self.dtype, self._adapter)

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


def _files(folder: Path, adapter: Adapter | None) -> list[tuple[int, int]]:
    """Return the size and time of each file of weights."""
    own = [] if adapter is None else [adapter.folder / WEIGHTS]
    states = [path.stat() for path in (*shards(folder), *own)]
    return [(each.st_size, each.st_mtime_ns) for each in states]
