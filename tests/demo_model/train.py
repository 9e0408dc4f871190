"""Trains the demo checkpoint: `python -m demo_model.train FOLDER`, the same for the same seed.

The recipe is contrastive (InfoNCE, van den Oord et al. 2018) over pairs of the drawn world, at the
full and the half dimension (Matryoshka, Kusupati et al. 2022). Two things make it quick: a batch is
made of near twins, and a linear reader of the vectors, thrown away at the end, names each part of
the scene. A second lesson goes on from the first with phrases, each of which many documents may
answer (supervised contrastive, Khosla et al. 2020), and with films. Both leave the shapes unseen:
colours and places tell most scenes apart. So before the third, the vision tower alone and then the
whole network are trained through readers only, and one that finds shapes anywhere stays for it.
The fourth words queries as people may. It has some that nothing answers: documents lose to an
answer whose cosine is 0. Documents that a phrase fits have to win against one of ANSWER. The mean
of the weights before and after it keeps what single words mean.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import log1p, nn
from torch.nn.functional import cross_entropy, log_softmax, normalize

from demo_model.create import loaded, new_network, save
from demo_model.lessons import LANGUAGES, LESSONS, Batch, Lesson, batches, query
from demo_model.look import Looker
from demo_model.look import losses as looks
from demo_model.readers import Finder, Reader
from demo_model.variations import answers, findings
from qvsearch.demo.world import caption, draw, note, scenes
from qvsearch.models.forward import ModelInput
from qvsearch.models.prompt import embed_prompt
from qvsearch.types import EmbedInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.random import Generator

    from qvsearch.models.network import Network

TEMPERATURE = 0.05
READER_WEIGHT = 0.3
FINDER_WEIGHT = 3.0
STRANGER_WEIGHT = 0.3
ANSWER = 0.35  # cosine that answers have to exceed, where some queries have none
READING_RATE = 1.5e-3  # the learning rate where readers are all that is trained through
READ = 32  # scenes in a batch that is only read
HALF = 64
THREADS = 2  # sums are taken in an order that depends on it, so it is part of the recipe


def step_loss(
    network: Network, readers: dict[int, Reader], finders: dict[int, Finder], batch: Batch
) -> torch.Tensor:
    """Return the loss of one batch: every query against every document, at both dimensions."""
    groups = (batch.documents, batch.notes, batch.queries, batch.phrases, batch.strangers)
    inputs = [each for group in groups for each in group]
    states = hidden_states(network, [embed_prompt(i) for i in inputs], [(i,) for i in inputs])
    documents, notes, queries, phrases, strangers = states.split([len(group) for group in groups])  # type: ignore[no-untyped-call]  # torch has none for it
    count = len(batch.documents)
    targets = torch.tensor(batch.targets)
    facts = torch.tensor([answers(scene) for scene in batch.scenes])
    found = torch.tensor([findings(scene) for scene in batch.scenes])
    fitting = torch.from_numpy(batch.fitting)
    rows = torch.arange(0, count, 2)
    loss = torch.zeros(())
    for dim, reader in readers.items():
        parts = (documents, queries, notes, phrases, strangers)
        d, q, n, p, s = (normalize(x[:, :dim], dim=1) for x in parts)
        scores = q @ d.T / TEMPERATURE
        by_note = q[:count] @ n.T / TEMPERATURE
        loss = loss + cross_entropy(scores, targets)
        loss = loss + 0.5 * cross_entropy(scores[:count].T, torch.arange(count))
        loss = loss + 0.5 * cross_entropy(by_note[rows], torch.arange(len(rows)))
        loss = loss + 0.25 * cross_entropy(by_note.T, rows)
        if batch.phrases:
            least = ANSWER if batch.strangers else -torch.inf
            loss = loss + many_answers(p @ d.T / TEMPERATURE, fitting, least / TEMPERATURE)
            by_note = p @ n.T / TEMPERATURE
            loss = loss + 0.5 * many_answers(by_note, fitting[:, rows], least / TEMPERATURE)
        if batch.strangers:
            loss = loss + STRANGER_WEIGHT * no_answer(s @ torch.cat((d, n)).T / TEMPERATURE)
        known = torch.cat((facts, facts[targets], facts[rows]))
        loss = loss + READER_WEIGHT * reader.loss(torch.cat((d, q, n)), known)
        if dim in finders:
            loss = loss + FINDER_WEIGHT * finders[dim].loss(
                torch.cat((d, q, n)), torch.cat((found, found[targets], found[rows]))
            )
    return loss / len(readers)


def readings(
    network: Network, readers: dict[int, Reader], finders: dict[int, Finder], rng: Generator
) -> Iterator[torch.Tensor]:
    """Yield the readers' losses alone, of pictures, notes and captions, without end."""
    source = scenes(rng, held_out=False)
    while True:
        shown = [next(source) for _ in range(READ)]
        inputs = [EmbedInput(images=(draw(scene, rng),)) for scene in shown]
        inputs += [EmbedInput(text=note(scene, rng)) for scene in shown]
        inputs += [query(text=caption(s, rng, LANGUAGES[rng.integers(3)])) for s in shown]
        states = hidden_states(network, [embed_prompt(i) for i in inputs], [(i,) for i in inputs])
        facts = torch.tensor([answers(scene) for scene in shown]).repeat(3, 1)
        found = torch.tensor([findings(scene) for scene in shown]).repeat(3, 1)
        loss = torch.zeros(())
        for dim, reader in readers.items():
            vectors = normalize(states[:, :dim], dim=1)
            loss = loss + reader.loss(vectors, facts)
            loss = loss + FINDER_WEIGHT * finders[dim].loss(vectors, found)
        yield loss / len(readers)


def many_answers(scores: torch.Tensor, fitting: torch.Tensor, least: float) -> torch.Tensor:
    """Return the mean over queries of the mean -log P of the columns that fit, one or more.

    Beside them stands one that scores `least` and fits nothing.
    """
    logs = log_softmax(nn.functional.pad(scores, (0, 1), value=least), dim=1)[:, :-1]
    return -((logs * fitting).sum(1) / fitting.sum(1)).mean()


def no_answer(scores: torch.Tensor) -> torch.Tensor:
    """Return the mean over queries of -log P of an answer that scores 0, beside a usual column."""
    return log1p(scores.exp().mean(1)).mean()


def hidden_states(
    network: Network, prompts: list[str], media: list[tuple[EmbedInput, ...]]
) -> torch.Tensor:
    """Return the last token's hidden state (n, hidden) of each prompt, with its gradient."""
    ids = network.tokenize(prompts, max_tokens=1024)
    inputs = [ModelInput(*each) for each in zip(ids, media, strict=True)]
    return network.trainable_states(inputs, checkpointing=False)


def descend(
    network: Network,
    readers: Iterable[nn.Module],
    losses: Iterable[torch.Tensor],
    steps: int,
    rate: float,
    folder: Path,
) -> None:
    """Take the steps of one-cycle AdamW; write the checkpoint now and then and at the end."""
    every = [p for each in (network.model, *readers) for p in each.parameters()]
    parameters = [p for p in every if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=0.1
    )
    network.model.train()
    started, shown = time.monotonic(), 0.0
    for step, loss in zip(range(1, steps + 1), losses, strict=False):
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


def teach(network: Network, lesson: Lesson, rng: Generator, folder: Path) -> None:
    """Give a lesson and write the checkpoint to `folder`."""
    dims = (network.model.config.text_config.hidden_size, HALF)
    readers = {dim: Reader(dim) for dim in dims}
    finders = {dim: Finder(dim) for dim in dims if lesson.reads}
    losses = (step_loss(network, readers, finders, batch) for batch in batches(lesson, rng))
    helpers = [*readers.values(), *finders.values()]
    if lesson.looks:
        looker = Looker(dims[0])
        descend(network, [looker], looks(network, looker, rng), lesson.looks, READING_RATE, folder)
    if lesson.reads:
        read = readings(network, readers, finders, rng)
        descend(network, helpers, read, lesson.reads, READING_RATE, folder)
    descend(network, helpers, losses, lesson.steps, lesson.learning_rate, folder)


def keep(before: Mapping[str, torch.Tensor], share: float, folder: Path) -> None:
    """Write the weighted mean of the weights `before` a lesson and of those in `folder`.

    It knows what both know (Wortsman et al. 2022, Robust fine-tuning of zero-shot models).
    """
    after = load_file(folder / "model.safetensors")
    mean = {
        name: (share * before[name].float() + (1 - share) * after[name].float()).half()
        for name in after
    }
    save_file(mean, folder / "model.safetensors", metadata={"format": "pt"})


def train(
    folder: Path,
    seed: int = 0,
    start: Path | None = None,
    first: int = 0,
    lessons: Sequence[Lesson] = LESSONS,
) -> None:
    """Give the lessons from the number `first` on, to nothing or to `start`; write to `folder`.

    A lesson goes on from the file that the one before it wrote, and from nothing else.
    """
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    for number, lesson in enumerate(lessons[first:], first):
        torch.manual_seed(seed)
        rng = np.random.default_rng([seed, number + 1] if number else seed)
        if number and start is not None:
            shutil.copytree(start, folder)
            start = None
        network = loaded(folder) if number else new_network(folder, rng)
        before = load_file(folder / "model.safetensors") if lesson.kept else {}
        teach(network, lesson, rng, folder)
        if lesson.kept:
            keep(before, lesson.kept, folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train the demo checkpoint on the drawn world.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--start", type=Path, help="a checkpoint to give only the later lessons")
    parser.add_argument("--first", type=int, default=0, help="the first of these, from 0")
    parser.add_argument("--seed", type=int, default=0)
    train(**vars(parser.parse_args()))
