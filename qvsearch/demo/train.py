"""Trains the demo checkpoint: `python -m qvsearch.demo.train FOLDER`, the same for the same seed.

The recipe is contrastive (InfoNCE, van den Oord et al. 2018) over pairs of the drawn world, at the
full and the half dimension (Matryoshka, Kusupati et al. 2022). Two things make it quick: a batch is
made of near twins, and a linear reader of the vectors, thrown away at the end, names each part of
the scene. A second lesson goes on from the first with phrases, each of which many documents may
answer (supervised contrastive, Khosla et al. 2020), and with films.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, log_softmax, normalize

from qvsearch.demo.create import new_network, save
from qvsearch.demo.lessons import PARTS, WHOLE, Batch, Lesson, batches
from qvsearch.demo.world import BACKGROUNDS, COLOURS, PLACES, SHAPES, Scene
from qvsearch.models.network import ModelInput, Network
from qvsearch.prompt import embed_prompt

if TYPE_CHECKING:
    from numpy.random import Generator

    from qvsearch.types import EmbedInput

TEMPERATURE = 0.05
READER_WEIGHT = 0.3
HALF = 64
THREADS = 2  # sums are taken in an order that depends on it, so it is part of the recipe


class Reader(nn.Module):
    """Names the background and each place's shape and colour from a unit vector, linearly."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.sizes = [len(BACKGROUNDS)] + [len(SHAPES) + 1, len(COLOURS) + 1] * len(PLACES)
        self.linear = nn.Linear(dim, sum(self.sizes))

    def loss(self, vectors: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy over the parts of the scenes."""
        parts = self.linear(vectors * vectors.shape[1] ** 0.5).split(self.sizes, dim=1)
        losses = [cross_entropy(part, answers[:, i]) for i, part in enumerate(parts)]
        return torch.stack(losses).mean()


def answers(scene: Scene) -> list[int]:
    """Return a scene as class numbers: the background, then shape and colour place by place."""
    at = {thing.place: thing for thing in scene.things}
    numbers = [BACKGROUNDS.index(scene.background)]
    for place in PLACES:
        thing = at.get(place)
        numbers.append(0 if thing is None else SHAPES.index(thing.shape) + 1)
        numbers.append(0 if thing is None else list(COLOURS).index(thing.colour) + 1)
    return numbers


def step_loss(network: Network, readers: dict[int, Reader], batch: Batch) -> torch.Tensor:
    """Return the loss of one batch: every query against every document, at both dimensions."""
    groups = (batch.documents, batch.notes, batch.queries, batch.phrases)
    states = hidden_states(network, [each for group in groups for each in group])
    documents, notes, queries, phrases = states.split([len(group) for group in groups])  # type: ignore[no-untyped-call]  # torch has none for it
    count = len(batch.documents)
    targets = torch.tensor(batch.targets)
    facts = torch.tensor([answers(scene) for scene in batch.scenes])
    fitting = torch.from_numpy(batch.fitting)
    rows = torch.arange(0, count, 2)
    loss = torch.zeros(())
    for dim, reader in readers.items():
        d, q, n, p = (normalize(x[:, :dim], dim=1) for x in (documents, queries, notes, phrases))
        scores = q @ d.T / TEMPERATURE
        by_note = q[:count] @ n.T / TEMPERATURE
        loss = loss + cross_entropy(scores, targets)
        loss = loss + 0.5 * cross_entropy(scores[:count].T, torch.arange(count))
        loss = loss + 0.5 * cross_entropy(by_note[rows], torch.arange(len(rows)))
        loss = loss + 0.25 * cross_entropy(by_note.T, rows)
        if batch.phrases:
            loss = loss + many_answers(p @ d.T / TEMPERATURE, fitting)
            loss = loss + 0.5 * many_answers(p @ n.T / TEMPERATURE, fitting[:, rows])
        known = torch.cat((facts, facts[targets], facts[rows]))
        loss = loss + READER_WEIGHT * reader.loss(torch.cat((d, q, n)), known)
    return loss / len(readers)


def many_answers(scores: torch.Tensor, fitting: torch.Tensor) -> torch.Tensor:
    """Return the mean over queries of the mean -log P of the columns that fit, one or more."""
    logs = log_softmax(scores, dim=1)
    return -((logs * fitting).sum(1) / fitting.sum(1)).mean()


def hidden_states(network: Network, inputs: list[EmbedInput]) -> torch.Tensor:
    """Return the last token's hidden state (n, hidden) of each input, with its gradient.

    Films, pictures and texts go each by themselves, as their lengths differ.
    """
    kinds = [2 if each.video is not None else bool(each.images) for each in inputs]
    order = sorted(range(len(inputs)), key=lambda row: kinds[row])
    groups = [list(rows) for _, rows in groupby(order, key=lambda row: kinds[row])]
    states = [_hidden_states(network, [inputs[row] for row in rows]) for rows in groups]
    return torch.cat(states)[torch.tensor(order).argsort()]


def _hidden_states(network: Network, inputs: list[EmbedInput]) -> torch.Tensor:
    ids = network.tokenize([embed_prompt(each) for each in inputs], max_tokens=1024)
    pairs = zip(ids, inputs, strict=True)
    tensors = network.tensors([ModelInput(tokens, (each,)) for tokens, each in pairs])
    states = network.model(**tensors, use_cache=False).last_hidden_state
    picked: torch.Tensor = states[torch.arange(len(inputs)), tensors["attention_mask"].sum(1) - 1]
    return picked


def teach(network: Network, lesson: Lesson, rng: Generator, folder: Path) -> None:
    """Give a lesson, and write the checkpoint to `folder` now and then and at the end."""
    readers = {dim: Reader(dim) for dim in (network.model.config.text_config.hidden_size, HALF)}
    parameters = [
        *network.model.parameters(),
        *(p for r in readers.values() for p in r.parameters()),
    ]
    rate, steps = lesson.learning_rate, lesson.steps
    optimizer = torch.optim.AdamW(parameters, rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=0.1
    )
    network.model.train()
    started, shown = time.monotonic(), 0.0
    for step, batch in zip(range(1, steps + 1), batches(lesson, rng), strict=False):
        loss = step_loss(network, readers, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch ships none for it
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        shown += loss.item()
        if step % 50 == 0:
            seconds = time.monotonic() - started
            print(f"step {step}/{steps}  loss {shown / 50:.3f}  {seconds:.0f} s", flush=True)  # noqa: T201
            shown = 0.0
            if step % 100 == 0:
                save(network, folder)
    save(network, folder)


def train(
    folder: Path,
    seed: int = 0,
    start: Path | None = None,
    whole: Lesson = WHOLE,
    parts: Lesson = PARTS,
) -> None:
    """Give both lessons, or the second to the checkpoint `start`; write the result to `folder`."""
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    if start is None:
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        with tempfile.TemporaryDirectory() as blank:
            network = new_network(Path(blank), rng)
        teach(network, whole, rng, folder)
    torch.manual_seed(seed)  # as the first lesson's file says all that the second goes on from
    teach(Network(start or folder, "cpu"), parts, np.random.default_rng([seed, 2]), folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train the demo checkpoint on the drawn world.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--start", type=Path, help="a checkpoint to give only the second lesson")
    parser.add_argument("--seed", type=int, default=0)
    train(**vars(parser.parse_args()))
