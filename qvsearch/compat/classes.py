"""`Qwen3VLEmbedder` and `Qwen3VLReranker` as their makers published them, on qvsearch's network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from qvsearch.compat.inputs import (
    FPS,
    MAX_FRAMES,
    MAX_PIXELS,
    MAX_TOTAL_PIXELS,
    MIN_PIXELS,
    Limits,
    check_mapping,
)
from qvsearch.errors import QvsearchError
from qvsearch.models.forward import ModelInput
from qvsearch.models.network import Network
from qvsearch.models.prompt import (
    DOCUMENT_INSTRUCTION,
    RERANK_INSTRUCTION,
    embedding_prompt,
    pair_prompt,
    punctuated,
)
from qvsearch.models.qwen3_vl import Qwen3VL
from qvsearch.models.registry import resolve
from qvsearch.runtime.local import MAX_RERANK_TOKENS, MAX_TOKENS, LocalReranker, probabilities

Input = Mapping[str, Any]  # the keys are text, image, video, instruction, fps, max_frames


class Qwen3VLEmbedder:
    """Embeds dictionaries as the published class does; `process` returns a tensor."""

    def __init__(
        self,
        model_name_or_path: str | Path,
        max_length: int = MAX_TOKENS,
        min_pixels: int = MIN_PIXELS,
        max_pixels: int = MAX_PIXELS,
        total_pixels: int = MAX_TOTAL_PIXELS,
        fps: float = FPS,
        max_frames: int = MAX_FRAMES,
        default_instruction: str = DOCUMENT_INSTRUCTION,
        *,
        torch_dtype: torch.dtype | str | None = None,
        dtype: torch.dtype | str | None = None,
        attn_implementation: str | None = None,
        num_frames: int | None = None,
    ) -> None:
        """Load a checkpoint: a hub id, a local folder, an adapter's folder, or `demo`.

        `num_frames` is the earlier name of `max_frames`. `attn_implementation` is accepted and
        changes nothing: the attention is PyTorch's fastest for the device.
        """
        del attn_implementation
        frames = max_frames if num_frames is None else num_frames
        self.limits = Limits(min_pixels, max_pixels, total_pixels, fps, frames, max_length)
        self.max_length, self.default_instruction = max_length, default_instruction
        weights = resolve(str(model_name_or_path))
        chosen = _dtype_name(torch_dtype, dtype)
        self.network = Network(weights.folder, None, chosen, weights.adapter)

    @property
    def model(self) -> Qwen3VL:
        """The network, whose `device` and `config` programs read; do not call it."""
        return self.network.model

    def process(self, inputs: Iterable[Input], normalize: bool = True) -> torch.Tensor:
        """Return embeddings (n, dim) float32 on the model's device, row i for input i.

        Raises QvsearchError, which names the input, if one cannot be read. The published class
        then replaces the whole batch by one row of the text "NULL".
        """
        if isinstance(inputs, Mapping):
            raise QvsearchError("process takes a list of dictionaries; write process([input])")
        inputs = list(inputs)
        contents = [self.limits.read(f"input {i}", each) for i, each in enumerate(inputs)]
        instructions = [
            punctuated(each.get("instruction") or "") or self.default_instruction for each in inputs
        ]
        prompts = list(map(embedding_prompt, instructions, contents))
        ids = self.network.tokenize(prompts, self.max_length)
        rows = torch.from_numpy(self.network.last_hidden(list(map(ModelInput, ids, contents))))
        rows = rows.to(self.network.device)
        return torch.nn.functional.normalize(rows, p=2, dim=-1) if normalize else rows


class Qwen3VLReranker:
    """Scores documents against a query as the published class does; `process` returns floats."""

    def __init__(
        self,
        model_name_or_path: str | Path,
        max_length: int = MAX_RERANK_TOKENS,
        min_pixels: int = MIN_PIXELS,
        max_pixels: int = MAX_PIXELS,
        total_pixels: int = MAX_TOTAL_PIXELS,
        fps: float = FPS,
        max_frames: int = MAX_FRAMES,
        default_instruction: str = RERANK_INSTRUCTION,
        *,
        torch_dtype: torch.dtype | str | None = None,
        dtype: torch.dtype | str | None = None,
        attn_implementation: str | None = None,
        num_frames: int | None = None,
    ) -> None:
        """Load a checkpoint; the arguments are those of `Qwen3VLEmbedder`."""
        del attn_implementation
        frames = max_frames if num_frames is None else num_frames
        self.limits = Limits(min_pixels, max_pixels, total_pixels, fps, frames, max_length)
        self.max_length, self.default_instruction = max_length, default_instruction
        self._reranker = LocalReranker(model_name_or_path, dtype=_dtype_name(torch_dtype, dtype))

    def process(self, inputs: Input) -> list[float]:
        """Return P(relevant), 0 to 1, of each of `documents` for `query`; [] if either is empty.

        `inputs` has `query`, `documents` and, if wanted, `instruction`, `fps` and `max_frames`.
        Raises QvsearchError, which names the document, if an input cannot be read.
        """
        check_mapping("the input", inputs)
        query, documents = inputs.get("query"), inputs.get("documents")
        if not query or not documents:
            return []
        check_mapping("the query", query)
        for number, each in enumerate(documents):
            check_mapping(f"document {number}", each)
        shared = {name: inputs[name] for name in ("fps", "max_frames") if inputs.get(name)}
        text = query.get("text")
        instruction = inputs.get("instruction")
        if isinstance(text, tuple):  # (instruction, text), as the published class takes it
            instruction, text = text
        first = self.limits.read("the query", {**query, "text": text, **shared})
        seconds = [
            self.limits.read(f"document {i}", {**each, **shared})
            for i, each in enumerate(documents)
        ]
        prompts = [
            pair_prompt(instruction or self.default_instruction, first, second)
            for second in seconds
        ]
        ids = self._reranker.network.tokenize_pairs(prompts, self.max_length)
        media = [(*first, *second) for second in seconds]
        return probabilities(self._reranker.pair_logits(list(map(ModelInput, ids, media))))


def _dtype_name(*given: torch.dtype | str | None) -> str | None:
    """Return the name of a number type: None, the device's own, for "auto" as well."""
    name = next((str(each).removeprefix("torch.") for each in given if each is not None), None)
    return None if name == "auto" else name
