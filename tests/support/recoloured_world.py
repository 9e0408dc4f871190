"""Training data of the drawn world in which colours have other names.

Scenes come in families that differ only in the colour of one thing, so that a caption finds its
scene only if the name of the colour is understood. `python -m support.recoloured_world FOLDER COUNT
OLD`, in the folder `tests`, writes the pictures and `pairs.jsonl`.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from qvsearch.demo.world import COLOURS, Scene, caption, change, draw, random_scene
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.types import EmbedInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.random import Generator

    from qvsearch.demo.words import Language
    from qvsearch.types import Embedder

NAMES = dict(
    zip(
        COLOURS,
        ("vermal", "zorvic", "quell", "mistal", "tarn", "obrin", "fenn", "lusk"),
        strict=True,
    )
)
FAMILY = 6  # scenes that differ in the colour of one thing


def renamed(text: str) -> str:
    """Return a caption with the new names of its colours; backgrounds keep theirs."""
    grounds = r"(?! grass| sand| water| snow)"
    return re.sub(rf"\b({'|'.join(NAMES)})\b{grounds}", lambda found: NAMES[found[0]], text)


def families(count: int, rng: Generator, *, held_out: bool) -> list[list[Scene]]:
    """Return families of scenes that differ in the colour of their first thing.

    No scene is in a family of the other side, whatever the generators.
    """
    found: dict[Scene, list[Scene]] = {}
    while len(found) < count:
        first = random_scene(rng)
        base = _coloured(first, "red")
        if base.held_out == held_out:
            colours = rng.permutation(list(COLOURS))[:FAMILY]
            found[base] = [_coloured(first, str(colour)) for colour in colours]
    return list(found.values())


def write_pairs(folder: Path, count: int, seed: int = 0, old: float = 0.0) -> Path:
    """Write pictures of `count` families, and pairs with negatives as JSON lines.

    The negatives of a picture are the others of its family. `old` is the share of queries with the
    old names: captions in three languages, and pictures with a change of colour.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, family in enumerate(families(count, rng, held_out=False)):
        names = [f"picture-{number:04}-{member}.png" for member in range(FAMILY)]
        for scene, name in zip(family, names, strict=True):
            Image.fromarray(draw(scene, rng)).save(folder / name)
            others = [each for each in names if each != name]
            query = _old_query(scene, others, rng) if rng.random() < old else None
            query = query or renamed(caption(scene, rng))
            lines.append(json.dumps({"query": query, "positive": name, "negative": others}))
    table = folder / "pairs.jsonl"
    table.write_text("\n".join(lines), encoding="utf-8")
    return table


def _old_query(scene: Scene, others: list[str], rng: Generator) -> str | dict[str, str]:
    """Return a caption with the old names, or the picture of a twin with the change to `scene`."""
    languages: tuple[Language, ...] = ("en", "es", "zh")
    what = int(rng.integers(len(languages) + 1))
    if what == len(languages):
        return {"image": others[0], "text": change(scene.things[0], rng)}
    return caption(scene, rng, languages[what])


def recalls(
    embedder: Embedder, wordings: Sequence[Callable[[str], str]], count: int = 40
) -> list[float]:
    """Return the recall@1 of captions, in each wording, among pictures of held-out families."""
    rng = np.random.default_rng(20_000)
    shown = [each for family in families(count, rng, held_out=True) for each in family]
    pictures = embedder.embed([EmbedInput(images=(draw(scene, rng),)) for scene in shown])
    captions = [caption(scene, rng) for scene in shown]
    found = []
    for words in wordings:
        queries = [EmbedInput(words(text), instruction=QUERY_INSTRUCTION) for text in captions]
        best = (embedder.embed(queries) @ pictures.T).argmax(axis=1)
        found.append(float((best == np.arange(len(shown))).mean()))
    return found


def _coloured(scene: Scene, colour: str) -> Scene:
    """Return a scene with another colour of its first thing."""
    first, *others = scene.things
    return replace(scene, things=(replace(first, colour=colour), *others))


if __name__ == "__main__":
    folder, count, old = sys.argv[1:]
    print(write_pairs(Path(folder), int(count), old=float(old)))  # noqa: T201 (a command)
