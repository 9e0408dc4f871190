"""Training data of the drawn world in which colours have other names.

A scene comes in families that differ only in the colour of one thing, so that its caption finds it
only if the name of the colour is understood. `python -m support.recoloured_world FOLDER` writes
the pictures and `pairs.csv`.
"""

from __future__ import annotations

import csv
import re
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from qvsearch.demo.world import COLOURS, Scene, caption, draw, scenes
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.types import EmbedInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator

    from qvsearch.types import Embedder

NAMES = dict(
    zip(
        COLOURS,
        ("vermal", "zorvic", "quell", "mistal", "tarn", "obrin", "fenn", "lusk"),
        strict=True,
    )
)
FAMILY = 6  # scenes that differ in one colour


def renamed(text: str) -> str:
    """Return a caption with the new names of its colours; backgrounds keep theirs."""
    grounds = r"(?! grass| sand| water| snow)"
    return re.sub(rf"\b({'|'.join(NAMES)})\b{grounds}", lambda found: NAMES[found[0]], text)


def families(count: int, rng: Generator, *, held_out: bool) -> list[Scene]:
    """Return scenes, each with others that differ in the colour of its first thing."""
    found: list[Scene] = []
    for scene in islice(scenes(rng, held_out=held_out), count):
        thing, *others = scene.things
        for colour in rng.permutation(list(COLOURS))[:FAMILY]:
            twin = type(thing)(thing.place, thing.shape, str(colour))
            found.append(Scene(scene.background, tuple(sorted((twin, *others)))))
    return found


def write_pairs(folder: Path, count: int, seed: int = 0, old: float = 0.0) -> Path:
    """Write pictures of `count` families and a table of captions, pictures and hard negatives.

    The negative has another colour. `old` is the share of captions with the old names.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "pairs.csv"
    shown = families(count, rng, held_out=False)
    names = [f"picture-{number:04}.png" for number in range(len(shown))]
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["query", "positive", "negative"])
        for number, scene in enumerate(shown):
            Image.fromarray(draw(scene, rng)).save(folder / names[number])
            words = caption(scene, rng)
            family = range(number // FAMILY * FAMILY, number // FAMILY * FAMILY + FAMILY)
            others = [each for each in family if each != number]
            twin = names[others[int(rng.integers(len(others)))]]
            rows.writerow([words if rng.random() < old else renamed(words), names[number], twin])
    return table


def recall(embedder: Embedder, words: Callable[[str], str], count: int = 30) -> float:
    """Return the recall@1 of captions, in these words, among pictures of held-out families."""
    rng = np.random.default_rng(20_000)
    shown = families(count, rng, held_out=True)
    pictures = embedder.embed([EmbedInput(images=(draw(scene, rng),)) for scene in shown])
    captions = [words(caption(scene, rng)) for scene in shown]
    queries = [EmbedInput(text=text, instruction=QUERY_INSTRUCTION) for text in captions]
    best = (embedder.embed(queries) @ pictures.T).argmax(axis=1)
    return float((best == np.arange(len(shown))).mean())


if __name__ == "__main__":
    print(write_pairs(Path(sys.argv[1]), int(sys.argv[2]), old=float(sys.argv[3])))  # noqa: T201
