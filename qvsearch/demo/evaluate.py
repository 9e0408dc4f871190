"""Measures the demo checkpoint on scenes never trained: `python -m qvsearch.demo.evaluate`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from qvsearch.backends.local import LocalEmbedder, unit_rows
from qvsearch.demo.words import Language
from qvsearch.demo.world import Scene, caption, change, draw, note, recoloured, scenes
from qvsearch.models.weights import DEMO
from qvsearch.prompt import QUERY_INSTRUCTION
from qvsearch.types import EmbedInput

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from qvsearch.types import Embedder, Vectors

COUNT = 200
SEED = 20_000  # the trainer counts from 0


class Figure(NamedTuple):
    """The share of queries whose own document is the first, and is among the first five."""

    task: str
    recall_at_1: float
    recall_at_5: float


def evaluate(embedder: Embedder, count: int = COUNT, seed: int = SEED) -> list[Figure]:
    """Return the recall of each task over `count` held-out scenes, drawn and worded for this only.

    Queries carry the retrieval instruction, documents none, as in a library. A composed query has
    the pictures it starts from among its wrong answers, drawn once more.
    """
    rng = np.random.default_rng(seed)
    held_out = list(islice(scenes(rng, held_out=True), count))
    pictures = embedder.embed([EmbedInput(images=(draw(scene, rng),)) for scene in held_out])
    half = embedder.dim // 2
    english = _captions(embedder, held_out, rng, "en")
    figures = [_recall("text to image", english, pictures)]
    figures.append(
        _recall(
            "text to image, half the dimensions",
            unit_rows(english, half),
            unit_rows(pictures, half),
        )
    )
    spanish = _captions(embedder, held_out, rng, "es")
    figures.append(_recall("Spanish text to image", spanish, pictures))
    chinese = _captions(embedder, held_out, rng, "zh")
    figures.append(_recall("Chinese text to image", chinese, pictures))
    redrawn = [_query(images=(draw(scene, rng),)) for scene in held_out]
    figures.append(_recall("image to image", embedder.embed(redrawn), pictures))
    figures.append(_composed(embedder, held_out, pictures, rng))
    notes = embedder.embed([EmbedInput(text=note(scene, rng)) for scene in held_out])
    figures.append(_recall("text to note", english, notes))
    return figures


def _composed(
    embedder: Embedder, held_out: Sequence[Scene], pictures: Vectors, rng: Generator
) -> Figure:
    starts, queries = [], []
    for scene in held_out:
        start, thing = recoloured(scene, rng)
        words = change(thing, rng)
        queries.append(_query(images=(draw(start, rng),), text=words))
        starts.append(EmbedInput(images=(draw(start, rng),)))
    documents = np.concatenate((pictures, embedder.embed(starts)))
    return _recall("image and words to image", embedder.embed(queries), documents)


def _captions(
    embedder: Embedder, held_out: Sequence[Scene], rng: Generator, language: Language
) -> Vectors:
    return embedder.embed([_query(text=caption(scene, rng, language)) for scene in held_out])


def _query(text: str | None = None, images: tuple[NDArray[np.uint8], ...] = ()) -> EmbedInput:
    return EmbedInput(text=text, images=images, instruction=QUERY_INSTRUCTION)


def _recall(task: str, queries: Vectors, documents: Vectors) -> Figure:
    """Return the figure of a task; the answer to query i is document i."""
    scores = queries @ documents.T
    own = scores[np.arange(len(queries)), np.arange(len(queries))]
    better = (scores > own[:, None]).sum(axis=1)
    return Figure(task, float((better < 1).mean()), float((better < 5).mean()))


def main() -> None:
    """Print the figures as a table, or as JSON."""
    parser = argparse.ArgumentParser(description="Measure a checkpoint on the drawn world.")
    parser.add_argument("--model", default=DEMO, help="a checkpoint folder (default: the demo)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    figures = evaluate(LocalEmbedder(arguments.model))
    if arguments.json:
        lines = [json.dumps(figure._asdict()) for figure in figures]
    else:
        lines = [f"{COUNT} held-out scenes{'':25}recall@1  recall@5"]
        lines += [f"{f.task:42}{f.recall_at_1:8.3f}{f.recall_at_5:10.3f}" for f in figures]
    print("\n".join(lines))  # noqa: T201 (this module is a command)


if __name__ == "__main__":
    main()
