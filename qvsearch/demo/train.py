"""Trains the demo checkpoint: `python -m qvsearch.demo.train FOLDER`, the same for the same seed.

The recipe is contrastive (InfoNCE, van den Oord et al. 2018) over pairs of the drawn world, at the
full and the half dimension (Matryoshka, Kusupati et al. 2022). Two things make it quick: a batch is
made of near twins, and a linear reader of the vectors, thrown away at the end, names each part of
the scene.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from qvsearch.demo.world import (
    BACKGROUNDS,
    COLOURS,
    PLACES,
    SHAPES,
    Scene,
    caption,
    change,
    draw,
    neighbour,
    note,
    random_scene,
    recoloured,
    scenes,
)
from qvsearch.models.network import ModelInput, Network
from qvsearch.prompt import DOCUMENT_INSTRUCTION, QUERY_INSTRUCTION, embed_prompt
from qvsearch.types import EmbedInput

if TYPE_CHECKING:
    from numpy.random import Generator

STEPS = 3000
FAMILIES = 16  # scenes of a batch that have nothing to do with each other
TWINS = 4  # each with so many that differ from it in one attribute, itself among them
REDRAWN = 16  # queries by picture in a batch
COMPOSED = 24  # queries by picture and words in a batch
LEARNING_RATE = 1.5e-3
TEMPERATURE = 0.05
READER_WEIGHT = 0.3
HALF = 64
SIZES = ((128, 128), (128, 128), (128, 128), (128, 96), (96, 128), (160, 128), (128, 160))
VOCABULARY = 1200
THREADS = 2  # sums are taken in an order that depends on it, so it is part of the recipe

SPECIAL_TOKENS = [  # Qwen's, in its order
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]


@dataclass(frozen=True, slots=True)
class Batch:
    """What a step learns from; `targets` are rows of `documents`, one a query."""

    documents: list[EmbedInput]
    queries: list[EmbedInput]
    targets: list[int]
    scenes: list[Scene]  # of the documents
    notes: list[EmbedInput]  # of the first documents, one each


def batches(rng: Generator) -> Iterator[Batch]:
    """Yield batches of scenes that are not held out, without end."""
    while True:
        width, height = SIZES[rng.integers(len(SIZES))]
        family = [twin for _ in range(FAMILIES) for twin in _family(rng)]
        pictures = [draw(scene, rng, width, height) for scene in family]
        language = rng.choice(["en", "es", "zh"], len(family), p=[0.4, 0.3, 0.3])
        queries = [
            _query(text=caption(scene, rng, tongue))
            for scene, tongue in zip(family, language, strict=True)
        ]
        targets = list(range(len(family)))
        for row in rng.permutation(len(family))[:REDRAWN]:
            queries.append(_query(images=(draw(family[row], rng, width, height),)))
            targets.append(int(row))
        for row in rng.permutation(len(family))[:COMPOSED]:
            other, thing = recoloured(family[row], rng)
            picture = draw(other, rng, width, height)
            queries.append(_query(images=(picture,), text=change(thing, rng)))
            targets.append(int(row))
        documents = [EmbedInput(images=(picture,)) for picture in pictures]
        notes = [EmbedInput(text=note(scene, rng)) for scene in family[::2]]
        yield Batch(documents, queries, targets, family, notes)


def _family(rng: Generator) -> list[Scene]:
    """Return a trained scene and others that each differ from it in one attribute."""
    first = next(scenes(rng, held_out=False))
    family = [first]
    while len(family) < TWINS:
        twin = neighbour(first, rng)
        if not twin.held_out and twin not in family:
            family.append(twin)
    return family


def _query(text: str | None = None, images: tuple[Any, ...] = ()) -> EmbedInput:
    return EmbedInput(text=text, images=images, instruction=QUERY_INSTRUCTION)


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
    pictured = [*batch.documents, *(q for q in batch.queries if q.images)]
    written = [*batch.notes, *(q for q in batch.queries if not q.images)]
    seen, read = hidden_states(network, pictured), hidden_states(network, written)
    count = len(batch.documents)
    documents, by_picture = seen[:count], seen[count:]
    notes, by_words = read[: len(batch.notes)], read[len(batch.notes) :]
    queries = torch.cat((by_words, by_picture))
    targets = torch.tensor(batch.targets)
    facts = torch.tensor([answers(scene) for scene in batch.scenes])
    rows = torch.arange(0, count, 2)
    loss = torch.zeros(())
    for dim, reader in readers.items():
        d, q, n = (normalize(x[:, :dim], dim=1) for x in (documents, queries, notes))
        scores = q @ d.T / TEMPERATURE
        by_note = q[:count] @ n.T / TEMPERATURE
        loss = loss + cross_entropy(scores, targets)
        loss = loss + 0.5 * cross_entropy(scores[:count].T, torch.arange(count))
        loss = loss + 0.5 * cross_entropy(by_note[rows], torch.arange(len(rows)))
        loss = loss + 0.25 * cross_entropy(by_note.T, rows)
        known = torch.cat((facts, facts[targets], facts[rows]))
        loss = loss + READER_WEIGHT * reader.loss(torch.cat((d, q, n)), known)
    return loss / len(readers)


def hidden_states(network: Network, inputs: list[EmbedInput]) -> torch.Tensor:
    """Return the last token's hidden state (n, hidden) of each input, with its gradient."""
    ids = network.tokenize([embed_prompt(each) for each in inputs], max_tokens=1024)
    pairs = zip(ids, inputs, strict=True)
    tensors = network.tensors([ModelInput(tokens, (each,)) for tokens, each in pairs])
    states = network.model(**tensors, use_cache=False).last_hidden_state
    picked: torch.Tensor = states[torch.arange(len(inputs)), tensors["attention_mask"].sum(1) - 1]
    return picked


def new_network(folder: Path, rng: Generator) -> Network:
    """Write an untrained checkpoint to `folder` and load it the way any checkpoint is loaded."""
    from transformers import Qwen3VLConfig, Qwen3VLModel

    tokenizer = _new_tokenizer(rng)
    tokenizer.save_pretrained(folder)
    number = tokenizer.convert_tokens_to_ids
    config = Qwen3VLConfig(
        text_config=dict(
            vocab_size=-(-len(tokenizer) // 64) * 64,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=32768,
            rope_parameters=dict(
                rope_type="default",
                rope_theta=5_000_000,
                mrope_section=[6, 5, 5],
                mrope_interleaved=True,
            ),
        ),
        vision_config=dict(
            depth=4,
            hidden_size=96,
            intermediate_size=384,
            num_heads=4,
            out_hidden_size=128,
            num_position_embeddings=256,
            deepstack_visual_indexes=[1, 2, 3],
        ),
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    Qwen3VLModel(config).save_pretrained(folder)
    return Network(folder, device="cpu")


def _new_tokenizer(rng: Generator) -> Any:  # noqa: ANN401 (transformers has no narrower type)
    """Learn byte-level BPE from the world's own sentences, with Qwen's special tokens after."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False
    )
    learner.train_from_iterator(_sentences(rng), trainer)
    learned = json.loads(learner.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=[tuple(pair) for pair in learned["merges"]],  # type: ignore[misc]  # lists it can't read
        eos_token="<|im_end|>",  # noqa: S106 (a word, no secret)
        pad_token="<|endoftext|>",  # noqa: S106
        unk_token=None,  # type: ignore[arg-type]  # bytes have no unknown word
        additional_special_tokens=SPECIAL_TOKENS,
        padding_side="right",
    )


def _sentences(rng: Generator) -> Iterator[str]:
    fixed = (
        f"system\n{DOCUMENT_INSTRUCTION}",
        f"system\n{QUERY_INSTRUCTION}",
        "user\n",
        "assistant\n",
    )
    for _ in range(3000):
        yield from fixed
        yield "yes no"
        scene = random_scene(rng)
        yield from (caption(scene, rng, language) for language in ("en", "es", "zh"))
        yield note(scene, rng)
        yield change(scene.things[0], rng)


def save(network: Network, folder: Path) -> None:
    """Write the checkpoint in half precision, under the names that the real checkpoints use."""
    weights = {f"model.{name}": value.half() for name, value in network.model.state_dict().items()}
    embed = "model.visual.patch_embed"
    proj = weights.pop(f"{embed}.weight")
    weights[f"{embed}.proj.weight"] = proj.view(-1, 3, 2, 16, 16)
    weights[f"{embed}.proj.bias"] = weights.pop(f"{embed}.bias")
    folder.mkdir(parents=True, exist_ok=True)
    config = network.model.config
    config.architectures = ["Qwen3VLForConditionalGeneration"]
    config.save_pretrained(folder)
    network.tokenizer.save_pretrained(folder)
    tensors = {name: value.contiguous() for name, value in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def train(folder: Path, steps: int = STEPS, seed: int = 0) -> None:
    """Train from nothing and write the checkpoint to `folder`."""
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as blank:
        network = new_network(Path(blank), rng)
    readers = {dim: Reader(dim) for dim in (network.model.config.text_config.hidden_size, HALF)}
    parameters = [
        *network.model.parameters(),
        *(p for r in readers.values() for p in r.parameters()),
    ]
    optimizer = torch.optim.AdamW(parameters, LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1
    )
    network.model.train()
    started, shown = time.monotonic(), 0.0
    for step, batch in zip(range(1, steps + 1), batches(rng), strict=False):
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
            if step % 250 == 0:
                save(network, folder)
    save(network, folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train the demo checkpoint on the drawn world.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    train(**vars(parser.parse_args()))
