"""How good relevance is with a model unlike Qwen3-VL: `python tests/bench/other_models.py FOLDER`.

Trains a small dual encoder of CLIP's architecture on the demo's drawn world with the sigmoid loss
of SigLIP (Zhai et al. 2023), in minutes on a CPU, and saves it for sentence-transformers. Then it
prints the cosines of captions with their pictures and with others, and the grid of
tests/bench/relevance.py over libraries of pictures, beside that of the demo's model. Clips, and
pictures with words, are left out: such a model does not embed them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import libraries
import numpy as np
import torch
from libraries import Case, Pool, cases, make_pool
from PIL import Image
from relevance import SEED, by_cell, calibration_error, relevance, reliability, ways
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    PreTrainedTokenizerFast,
)

from qvsearch.demo.world import caption, draw, phrase, random_part, scenes
from qvsearch.models.registry import DEMO_FOLDER
from qvsearch.runtime.choice import Choice
from qvsearch.runtime.sentence_transformers import SENTENCE_TRANSFORMERS

if TYPE_CHECKING:
    from qvsearch.types import EmbedInput, Vectors

SIDE, TOKENS = 64, 64
BATCH, RATE = 64, 1e-3
WORLDS = ("pictures", "copies", "twins")
DIM = 128


def new_model() -> tuple[CLIPModel, CLIPProcessor]:
    """Return a dual encoder with random weights, and its processor with the demo's vocabulary."""
    torch.manual_seed(1)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(DEMO_FOLDER / "tokenizer.json"),
        eos_token="<|endoftext|>",  # noqa: S106 - a word, no secret
        pad_token="<|endoftext|>",  # noqa: S106
        model_max_length=TOKENS,
    )
    end = tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", end)]
    )
    sizes = {"hidden_size": DIM, "intermediate_size": 4 * DIM, "num_attention_heads": 4}
    config = CLIPConfig(
        text_config={
            **sizes,
            "num_hidden_layers": 2,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": TOKENS,
            "bos_token_id": end,
            "eos_token_id": end,
            "pad_token_id": end,
        },
        vision_config={**sizes, "num_hidden_layers": 3, "image_size": SIDE, "patch_size": 16},
        projection_dim=DIM,
    )
    pixels = CLIPImageProcessor(size={"height": SIDE, "width": SIDE}, do_center_crop=False)
    return CLIPModel(config), CLIPProcessor(pixels, tokenizer)


def train(folder: Path, steps: int) -> None:
    """Train a dual encoder on drawn pictures and their captions and phrases, and save it."""
    model, processor = new_model()
    if (folder / "config.json").exists():
        model = CLIPModel.from_pretrained(folder).train()
    scale, bias = (torch.nn.Parameter(torch.tensor(each)) for each in (10.0, -10.0))
    learned = [*model.parameters(), scale, bias]
    optimiser = torch.optim.AdamW(learned, lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
    rng = np.random.default_rng(2)
    drawn = scenes(rng, held_out=False)
    for step in range(steps):
        some = [next(drawn) for _ in range(BATCH)]
        texts = [
            phrase(random_part(each, rng), rng) if rng.random() < 0.2 else caption(each, rng)
            for each in some
        ]
        given = processor(
            text=texts,
            images=[Image.fromarray(draw(each, rng, SIDE, SIDE)) for each in some],
            return_tensors="pt",
            padding=True,
            truncation=True,
        )
        made = model(**given)
        logits = made.text_embeds @ made.image_embeds.T * scale + bias
        signs = 2 * torch.eye(BATCH) - 1
        loss = -torch.nn.functional.logsigmoid(signs * logits).sum() / BATCH
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            first = (logits.argmax(1) == torch.arange(BATCH)).float().mean()
            print(f"step {step:5}  loss {loss:.3f}  first {first:.2f}", flush=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


class PicturesAndWords:
    """Embeds the middle frame of a clip, and a picture without its words."""

    def __init__(self, folder: Path) -> None:
        """Load the model of a folder."""
        choice = Choice(device="cpu")
        fingerprint = SENTENCE_TRANSFORMERS.new_fingerprint(f"st:{folder}", choice)
        self._embedder = SENTENCE_TRANSFORMERS.load(fingerprint, choice)
        self.weights = self._embedder.how[0]

    def embed(self, inputs: Sequence[EmbedInput]) -> Vectors:
        """Return unit rows (n, d)."""
        return self._embedder.embed([self._simple(each) for each in inputs])

    def _simple(self, source: EmbedInput) -> EmbedInput:
        if source.video is not None:
            frame = source.video.pixels[len(source.video.pixels) // 2]
            return replace(source, video=None, images=(frame,))
        return replace(source, text=None) if source.images else source


def print_cosines(name: str, pool: Pool) -> None:
    """Print the cosines of captions with pictures of their scene and of others."""
    pictures = pool.kind == libraries.IMAGE
    found = pool.vectors["captions"] @ pool.documents[pictures].T
    own = np.arange(len(found))[:, None] == pool.scene[pictures]
    print(
        f"{name}: cosine of a caption with its pictures {found[own].mean():.3f}"
        f" +- {found[own].std():.3f},"
        f" with others {found[~own].mean():.3f} +- {found[~own].std():.3f};"
        f" first right for {own[np.arange(len(found)), found.argmax(1)].mean():.2f}"
    )


def print_grid(name: str, pool: Pool, sizes: Sequence[int], count: int) -> None:
    """Print mean F1 and silence of relevance and of the best threshold, by group of queries."""
    found: list[Case] = [
        each for each in cases(pool, WORLDS, sizes, count) if "composed" not in each.group
    ]
    judged = [relevance(each) for each in found]
    values = {way: np.array(each) for way, each in ways(found, judged).items()}
    print(f"\n{name:22}" + "".join(f"{way:>20}" for way in values))
    groups: dict[str, list[list[int]]] = {}
    for (group, *_), places in by_cell(found).items():
        groups.setdefault(group, []).append(places)
    for group, cells in groups.items():
        means = (np.mean([each[p].mean() for p in cells]) for each in values.values())
        print(f"{group:22}" + "".join(f"{mean:20.2f}" for mean in means))
    for title, wanted in (("mean F1", True), ("mean silence", False)):
        some = [p for p in by_cell(found).values() if found[p[0]].matches.any() == wanted]
        means = (np.mean([each[p].mean() for p in some]) for each in values.values())
        print(f"{title:22}" + "".join(f"{mean:20.3f}" for mean in means))
    print(f"expected calibration error {calibration_error(reliability(found, judged)):.3f}")


def main() -> None:
    """Train the model if its folder is empty; print the figures of both models."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--more", action="store_true", help="go on with the model in the folder")
    parser.add_argument("--count", type=int, default=10, help="queries of each cell")
    parser.add_argument("--scenes", type=int, default=600, help="scenes that libraries show")
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 400, 2000])
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    if not (folder / "config.json").exists() or arguments.more:
        train(folder, arguments.steps)
    own = PicturesAndWords(folder)
    pools = {
        "demo": make_pool(count=arguments.scenes, seed=SEED),
        "dual encoder": make_pool(count=arguments.scenes, seed=SEED, embedder=own),
    }
    for name, pool in pools.items():
        print_cosines(name, pool)
    for name, pool in pools.items():
        print_grid(name, pool, arguments.sizes, arguments.count)


if __name__ == "__main__":
    main()
