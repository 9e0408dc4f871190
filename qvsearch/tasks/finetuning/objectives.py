"""What a model is trained for: an embedder by InfoNCE, a reranker by P(yes) and P(no)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch.nn.functional import cross_entropy, normalize, softplus

from qvsearch.models.forward import ModelInput
from qvsearch.models.network import Network
from qvsearch.models.prompt import embed_prompt, rerank_prompt
from qvsearch.runtime.local import MAX_RERANK_TOKENS, MAX_TOKENS, unit_rows
from qvsearch.tasks.finetuning.batches import Batch
from qvsearch.tasks.finetuning.settings import Settings

if TYPE_CHECKING:
    from qvsearch.tasks.finetuning.data import Pair
    from qvsearch.tasks.inputs import TaskInput
    from qvsearch.types import EmbedInput, Vectors

    Answers = Mapping[TaskInput, set[TaskInput]]  # the documents that answer each query
    Loss = Callable[[torch.Tensor], torch.Tensor]  # of the last states (n, hidden) float32

CANDIDATES = 10  # documents that a reranker orders for each query of an evaluation


@dataclass(frozen=True, slots=True)
class Score:
    """How well held-out queries find their documents.

    `recall` is the share whose document is the first, `mrr` the mean of 1 / rank.
    """

    recall: float
    mrr: float
    queries: int


class Objective(Protocol):
    """A loss over batches, and an evaluation."""

    def prepare(self, batch: Batch) -> tuple[list[ModelInput], Loss]:
        """Return the inputs of a batch, and the loss of their last states."""
        ...

    def evaluate(self, batches: Iterable[Batch]) -> Score:
        """Return how well the queries of all batches find their documents, with the network."""
        ...


def answers_of(pairs: Iterable[Pair]) -> dict[TaskInput, set[TaskInput]]:
    """Return all documents that answer each query."""
    answers: dict[TaskInput, set[TaskInput]] = {}
    for pair in pairs:
        answers.setdefault(pair.query, set()).add(pair.positive)
    return answers


class Contrastive:
    """Each query's document against all other documents of the batch, at several dimensions.

    InfoNCE (van den Oord et al. 2018), the mean over dimensions (Matryoshka, Kusupati et al. 2022).
    Negatives are hard ones and the documents of other queries. Left out are other answers of the
    query, and probable ones (see `info_nce`).
    """

    def __init__(
        self, network: Network, settings: Settings, dims: Sequence[int], answers: Answers
    ) -> None:
        self._network, self._settings = network, settings
        self._dims, self._answers = dims, answers

    def prepare(self, batch: Batch) -> tuple[list[ModelInput], Loss]:
        """Return the queries and then the documents, and their loss."""
        documents = batch.documents
        place = {document: column for column, document in enumerate(documents)}
        own = torch.tensor([place[pair.positive] for pair in batch.pairs])
        answers = torch.tensor(
            [[each in self._answers[pair.query] for each in documents] for pair in batch.pairs]
        )
        count, settings = len(batch.pairs), self._settings

        def loss(states: torch.Tensor) -> torch.Tensor:
            queries, others = states[:count], states[count:]
            losses = [
                info_nce(
                    normalize(queries[:, :dim], dim=1) @ normalize(others[:, :dim], dim=1).T,
                    own.to(states.device),
                    answers.to(states.device),
                    settings.temperature,
                    settings.margin,
                )
                for dim in self._dims
            ]
            return torch.stack(losses).mean()

        every = [*(pair.query for pair in batch.pairs), *documents]
        return self._inputs([batch.inputs[each] for each in every]), loss

    def evaluate(self, batches: Iterable[Batch]) -> Score:
        """Rank all documents of the batches by their cosine, at the full dimension."""
        vectors: dict[TaskInput, Vectors] = {}
        pairs: list[Pair] = []
        documents: dict[TaskInput, None] = {}
        for batch in batches:
            pairs += batch.pairs
            documents |= dict.fromkeys(batch.documents)
            new = [each for each in batch.inputs if each not in vectors]
            states = self._network.last_hidden(self._inputs([batch.inputs[each] for each in new]))
            vectors |= dict(zip(new, unit_rows(states, self._dims[0]), strict=True))
        if not pairs:
            return Score(0.0, 0.0, 0)
        columns = np.stack([vectors[each] for each in documents])
        scores = np.stack([vectors[pair.query] for pair in pairs]) @ columns.T
        answers = [[each in self._answers[pair.query] for each in documents] for pair in pairs]
        return _score(
            [rank(row, np.array(fits)) for row, fits in zip(scores, answers, strict=True)]
        )

    def _inputs(self, sources: Sequence[EmbedInput]) -> list[ModelInput]:
        ids = self._network.tokenize([embed_prompt(each) for each in sources], MAX_TOKENS)
        return [ModelInput(i, (each,)) for i, each in zip(ids, sources, strict=True)]


class YesNo:
    """A reranker's -log P(yes) for what answers a query, and -log P(no) for what does not.

    Both have the same weight, so that the number of negatives does not move the scores. `direction`
    (hidden,) is the row of yes minus that of no.
    """

    def __init__(
        self, network: Network, settings: Settings, direction: Vectors, answers: Answers
    ) -> None:
        self._network, self._settings = network, settings
        self._direction, self._answers = direction, answers

    def prepare(self, batch: Batch) -> tuple[list[ModelInput], Loss]:
        """Return the pairs of queries and documents, and their loss."""
        documents = batch.documents
        sources: list[tuple[EmbedInput, EmbedInput]] = []
        fits: list[bool] = []
        for row, pair in enumerate(batch.pairs):
            wrong = self._wrong(pair, documents, row, self._settings.negatives)
            for document in (pair.positive, *wrong):
                sources.append((batch.inputs[pair.query], batch.inputs[document]))
                fits.append(document == pair.positive)
        labels = torch.tensor(fits)

        def loss(states: torch.Tensor) -> torch.Tensor:
            logits = states @ torch.from_numpy(self._direction).to(states)
            yes = labels.to(states.device)
            losses = [softplus(-logits[yes]).mean()]
            if not labels.all():
                losses.append(softplus(logits[~yes]).mean())
            return torch.stack(losses).mean()

        return self._inputs(sources), loss

    def evaluate(self, batches: Iterable[Batch]) -> Score:
        """Rank CANDIDATES documents for each query: its own, hard negatives, and others."""
        ranks = []
        for batch in batches:
            documents = batch.documents
            for row, pair in enumerate(batch.pairs):
                wrong = self._wrong(pair, documents, row, CANDIDATES - 1)
                query = batch.inputs[pair.query]
                both = [(query, batch.inputs[each]) for each in (pair.positive, *wrong)]
                logits = self._network.last_hidden(self._inputs(both)) @ self._direction
                ranks.append(rank(logits, np.arange(len(both)) == 0))
        return _score(ranks) if ranks else Score(0.0, 0.0, 0)

    def _wrong(
        self, pair: Pair, documents: Sequence[TaskInput], row: int, count: int
    ) -> list[TaskInput]:
        """Return hard negatives of a query, and documents of the batch if they are too few."""
        answers = self._answers[pair.query]
        turned = (*documents[row + 1 :], *documents[: row + 1])
        every = dict.fromkeys((*pair.negatives, *turned))
        return [each for each in every if each not in answers][:count]

    def _inputs(self, sources: Sequence[tuple[EmbedInput, EmbedInput]]) -> list[ModelInput]:
        prompts = [rerank_prompt(query, document) for query, document in sources]
        ids = self._network.tokenize_pairs(prompts, MAX_RERANK_TOKENS)
        return [ModelInput(i, both) for i, both in zip(ids, sources, strict=True)]


def info_nce(
    cosines: torch.Tensor,
    own: torch.Tensor,
    answers: torch.Tensor,
    temperature: float,
    margin: float,
) -> torch.Tensor:
    """Return the mean -log softmax of each query's own document.

    `cosines` are (queries, documents), `own` (queries,) is the column of each query's document, and
    `answers` (queries, documents) is true for all that answer it. Other answers are left out. So is
    a document that scores more than `margin` above the own one: it is probably an answer as well
    (the mask of false negatives in the technical report of Qwen3 Embedding, 2025).
    """
    first = cosines.gather(1, own[:, None])
    left_out = answers | (cosines.detach() > first.detach() + margin)
    left_out = left_out.scatter(1, own[:, None], False)
    return cross_entropy((cosines / temperature).masked_fill(left_out, -torch.inf), own)


def rank(scores: Vectors, fits: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> int:
    """Return the rank of the best document (documents,) that fits; equal scores rank before it."""
    return 1 + int((scores[~fits] >= scores[fits].max()).sum())


def _score(ranks: Sequence[int]) -> Score:
    places = np.array(ranks)
    return Score(float((places == 1).mean()), float((1 / places).mean()), len(ranks))
