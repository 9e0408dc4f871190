"""Computes vectors with llama.cpp in a process of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qvsearch.models.prompt import END, MAX_INPUT_TOKENS, visual_tokens
from qvsearch.runtime.inputs import QueriesAndDocuments, ready
from qvsearch.runtime.llama.process import Ended, Process
from qvsearch.runtime.llama.protocol import Content, content, prompt_of, shortened, unit_rows
from qvsearch.types import DecodeOptions

if TYPE_CHECKING:
    from qvsearch.runtime.llama.pair import Pair
    from qvsearch.types import EmbedInput, Vectors

REQUEST_PIXELS = 4_000_000  # of one request: 16 MB of its JSON at most


class LlamaEmbedder(QueriesAndDocuments):
    """Embeds with the two GGUF files of a model; `dim` cuts the vectors to their first dimensions.

    `device` `cpu` uses no GPU. An input that ends the engine is an error for that input only: the
    next one starts it again.
    """

    def __init__(
        self,
        pair: Pair,
        dim: int | None = None,
        device: str | None = None,
        decode_options: DecodeOptions = QueriesAndDocuments.decode_options,
    ) -> None:
        """Load the model; raises QvsearchError if that fails."""
        self.pair, self.decode_options = pair, decode_options
        self.dim = pair.width if dim is None else dim
        self._device = device
        self._turn = threading.Lock()  # there is one connection
        self._process: Process | None = Process(pair, device)
        self._tail = len(self._pieces(END))

    def embed(self, inputs: Sequence[EmbedInput]) -> Vectors:
        """Return unit rows (n, dim), float32, row i for input i.

        Images are arrays as in `EmbedInput`, Pillow pictures or paths. Raises QvsearchError for
        videos, for any other inputs, and if the engine fails.
        """
        inputs = ready(inputs, self.decode_options)
        rows = np.empty((0, self.dim), np.float32)
        with self._turn:
            for batch in _requests(inputs):
                contents = [self._content(each) for each in batch]
                answer = self._post("/embedding", {"content": contents})
                own = unit_rows(answer, len(batch), self.pair.width, self.dim)
                rows = np.concatenate((rows, own))
        return rows

    def close(self) -> None:
        """End the engine; the next input starts it again."""
        with self._turn:
            self._forget()

    def _content(self, source: EmbedInput) -> Content:
        prompt = prompt_of(source)
        # each token of the text is a byte at least, and pads are counted as one
        if len(prompt.encode()) > MAX_INPUT_TOKENS and self._may_be_long(source, prompt):
            pieces = self._pieces(prompt)
            if len(pieces) > MAX_INPUT_TOKENS:
                cut = shortened(pieces, self._tail, MAX_INPUT_TOKENS, len(source.images))
                if isinstance(cut, list):
                    return cut
                prompt = cut
        return content(prompt, source.images, self._running().marker)

    @staticmethod
    def _may_be_long(source: EmbedInput, prompt: str) -> bool:
        pads = visual_tokens(source)
        return len(prompt.encode()) - pads * (len("<|image_pad|>") - 1) > MAX_INPUT_TOKENS

    def _pieces(self, prompt: str) -> list[dict[str, Any]]:
        """Return the tokens of a prompt, each with its `id` and its `piece`."""
        order = {"content": prompt, "parse_special": True, "with_pieces": True}
        answer = self._post("/tokenize", order)
        tokens: list[dict[str, Any]] = answer["tokens"]  # type: ignore[index]  # see the README
        return tokens

    def _post(self, path: str, order: object) -> object:
        try:
            return self._running().post(path, order)
        except Ended:
            self._forget()
            raise

    def _running(self) -> Process:
        if self._process is None:
            self._process = Process(self.pair, self._device)
        return self._process

    def _forget(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()


def _requests(inputs: Sequence[EmbedInput]) -> Iterator[list[EmbedInput]]:
    """Yield inputs in their order, in groups of at most REQUEST_PIXELS."""
    group: list[EmbedInput] = []
    pixels = 0
    for source in inputs:
        own = sum(each.size // 3 for each in source.images)
        if group and pixels + own > REQUEST_PIXELS:
            yield group
            group, pixels = [], 0
        group.append(source)
        pixels += own
    if group:
        yield group
