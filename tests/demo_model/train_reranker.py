"""Trains the demo reranker: `python -m demo_model.train_reranker FOLDER`, the same each time.

It goes on from the demo embedder and learns P(yes) by binary cross-entropy, as the real reranker
does: of words about one thing, then of all words, then of pictures and films, and at last of
phrases that near twins answer differently. A reader that is thrown away names the document's scene,
and another tells in what it agrees with the query.
"""

from __future__ import annotations

import argparse
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from demo_model.create import written
from demo_model.readers import Comparer, Reader
from demo_model.train import READER_WEIGHT, descend, hidden_states
from demo_model.variations import answers
from demo_model.verdicts import PIECES, TERMS, Course, Verdict, batches, comparisons
from qvsearch.demo.world import PLACES
from qvsearch.models.network import Network
from qvsearch.models.prompt import RERANK_INSTRUCTION, RERANK_SYSTEM, rerank_prompt
from qvsearch.models.registry import DEMO_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

LEARNING_RATE = 1e-3
THREADS = 1  # part of the recipe, as for the embedder
# what every prompt holds: a token each, where the drawn world's words would take 130
FIXED = (RERANK_SYSTEM, RERANK_INSTRUCTION, "<Instruct>: ", "<Query>:", "<Document>:")


def new_reranker(start: Path, folder: Path) -> Network:
    """Write a checkpoint with the tokens of the reranker's prompt to `folder`, and load it."""
    from tokenizers import AddedToken
    from transformers import AutoTokenizer, Qwen3VLModel

    tokenizer = AutoTokenizer.from_pretrained(start)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in FIXED])
    model = Qwen3VLModel.from_pretrained(start, dtype=torch.float32)
    model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=64)
    network = written(model, tokenizer, folder)
    network.model.visual.requires_grad_(False)  # it sees what there is to see
    return network


def logits_and_states(
    network: Network, verdicts: list[Verdict]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logit(yes) - logit(no) of each pair (n,), and the hidden state it is read from."""
    prompts = [rerank_prompt(each.query, each.document) for each in verdicts]
    states = hidden_states(network, prompts, [(each.query, each.document) for each in verdicts])
    yes, no = network.tokenizer.id("yes"), network.tokenizer.id("no")
    rows = network.model.language_model.embed_tokens.weight
    return states @ (rows[yes] - rows[no]), states


def losses(
    network: Network, reader: Reader, comparer: Comparer, verdicts: Iterable[list[Verdict]]
) -> Iterator[torch.Tensor]:
    """Yield the loss of each batch."""
    for batch in verdicts:
        logits, states = logits_and_states(network, batch)
        fits = torch.tensor([float(each.fits) for each in batch])
        shown = torch.tensor([answers(each.scene) for each in batch])
        agree = torch.tensor([comparisons(each.meant, each.scene) for each in batch])
        loss = binary_cross_entropy_with_logits(logits, fits) + comparer.loss(states, agree)
        yield loss + READER_WEIGHT * reader.loss(normalize(states, dim=1), shown)


def train(
    folder: Path,
    seed: int = 0,
    start: Path = DEMO_FOLDER,
    first: int = 0,
    terms: Sequence[Sequence[Course]] = TERMS,
) -> None:
    """Train a reranker from an embedder's checkpoint and write it to `folder`.

    Or from a reranker's, with the terms from the number `first` on. A term goes on from the file
    that the one before it wrote, and from nothing else.
    """
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    for number, courses in enumerate(terms[first:], first):
        torch.manual_seed(seed)
        rng = np.random.default_rng([seed, 100 + number])  # the embedder's are 0 to 4
        network = new_reranker(start, folder)
        dim = network.model.config.text_config.hidden_size
        reader, comparer = Reader(dim), Comparer(dim, 1 + 2 * len(PLACES) + len(PIECES))
        each = chain.from_iterable(
            islice(losses(network, reader, comparer, batches(course, rng)), course.steps)
            for course in courses
        )
        steps = sum(course.steps for course in courses)
        descend(network, [reader, comparer], each, steps, LEARNING_RATE, folder)
        start = folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train the demo reranker on the drawn world.")
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--start", type=Path, default=DEMO_FOLDER, help="a checkpoint, the embedder's by default"
    )
    parser.add_argument("--first", type=int, default=0, help="the first term to give it, from 0")
    parser.add_argument("--seed", type=int, default=0)
    train(**vars(parser.parse_args()))
