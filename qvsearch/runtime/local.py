"""The model in this process: inputs to unit vectors, pairs to P(relevant)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.models.forward import ModelInput
from qvsearch.models.network import Network
from qvsearch.models.prompt import (
    MAX_INPUT_TOKENS,
    MAX_PAIR_TOKENS,
    embed_prompt,
    rerank_prompt,
)
from qvsearch.models.registry import DEFAULT_MODEL, DEFAULT_RERANKER, check_dim, resolve
from qvsearch.runtime.inputs import QueriesAndDocuments, options_of, ready
from qvsearch.types import Detail

if TYPE_CHECKING:
    from qvsearch.types import EmbedInput, Vectors

MAX_TOKENS, MAX_RERANK_TOKENS = MAX_INPUT_TOKENS, MAX_PAIR_TOKENS


class LocalEmbedder(QueriesAndDocuments):
    """Embeds with a Qwen3-VL-Embedding checkpoint: a hub id, a local folder, or `demo`.

    `dim` cuts the vectors to their first dimensions, which the model is trained for (Matryoshka).
    `detail` is the pixel budget of pictures from files and from Pillow. `adapter` is the folder of
    an adapter of the model; given as the model, it stands for its base and itself.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        device: str | None = None,
        dtype: str | None = None,
        dim: int | None = None,
        detail: Detail | str = Detail.MEDIUM,
        adapter: str | Path | None = None,
    ) -> None:
        """Load the weights, downloaded if necessary; raises QvsearchError if that fails."""
        self.decode_options = options_of(detail)
        self.detail = Detail(detail)
        self.weights = resolve(str(model), adapter=adapter)
        self.dim = check_dim(self.weights, dim)
        self.network = Network(self.weights.folder, device, dtype, self.weights.adapter)

    def embed(self, inputs: Sequence[EmbedInput]) -> Vectors:
        """Return unit rows (n, dim), float32, row i for input i.

        Images are arrays as in `EmbedInput`, Pillow pictures or paths. Raises QvsearchError for
        any other inputs, and on NaN.
        """
        return self.embed_to(inputs, self.dim)

    def embed_to(self, inputs: Sequence[EmbedInput], dim: int) -> Vectors:
        """Return the unit rows (n, dim) of an embedder of this dimension."""
        inputs = ready(inputs, self.decode_options)
        prompts = [embed_prompt(each) for each in inputs]
        ids = self.network.tokenize(prompts, MAX_TOKENS)
        batch = [ModelInput(i, (each,)) for i, each in zip(ids, inputs, strict=True)]
        return unit_rows(self.network.last_hidden(batch), dim)


class LocalReranker:
    """Scores pairs with a Qwen3-VL-Reranker checkpoint: a hub id, a local folder or an adapter."""

    def __init__(
        self,
        model: str | Path = DEFAULT_RERANKER,
        device: str | None = None,
        dtype: str | None = None,
        adapter: str | Path | None = None,
    ) -> None:
        """Load the weights, downloaded if necessary; raises QvsearchError if that fails."""
        self.weights = resolve(str(model), adapter=adapter)
        folder = self.weights.folder
        self.network = Network(folder, device, dtype, self.weights.adapter)
        yes, no = (self.network.output_row(folder, token) for token in ("yes", "no"))
        self.direction = yes - no

    def score(self, query: EmbedInput, documents: Sequence[EmbedInput]) -> list[float]:
        """Return P(relevant) of each document, 0 to 1."""
        return probabilities(self.logits(query, documents))

    def logits(self, query: EmbedInput, documents: Sequence[EmbedInput]) -> Vectors:
        """Return logit(yes) - logit(no) of each document (n,)."""
        query, *documents = ready([query, *documents])
        prompts = [rerank_prompt(query, each) for each in documents]
        ids = self.network.tokenize_pairs(prompts, MAX_RERANK_TOKENS)
        batch = [ModelInput(i, (query, each)) for i, each in zip(ids, documents, strict=True)]
        return self.pair_logits(batch)

    def pair_logits(self, batch: Sequence[ModelInput]) -> Vectors:
        """Return logit(yes) - logit(no) after each prompt (n,)."""
        logits: Vectors = self.network.last_hidden(batch) @ self.direction
        return _finite(logits)


def probabilities(logits: Vectors) -> list[float]:
    """Return the sigmoid of each logit, without overflow."""
    return [float(p) for p in (1 + np.tanh(logits.astype(np.float64) / 2)) / 2]


def unit_rows(hidden: Vectors, dim: int) -> Vectors:
    """Cut rows (n, d) to their first `dim` values and scale each to length 1."""
    cut = _finite(hidden[:, :dim])
    unit: Vectors = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    return unit


def _finite(values: Vectors) -> Vectors:
    """Return the values; raises QvsearchError for NaN and infinity, as half precision overflows."""
    if not np.isfinite(values).all():
        raise QvsearchError(
            "the model gave a value that is not finite; try --dtype float32 or --device cpu"
        )
    return values
