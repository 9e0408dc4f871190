"""Measures the demo's checkpoints on scenes never trained: `python -m demo_model.evaluate`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from demo_model.variations import hard_part, swapped
from qvsearch.demo.words import Language
from qvsearch.demo.world import (
    Part,
    Scene,
    caption,
    change,
    draw,
    film,
    neighbour,
    note,
    phrase,
    random_part,
    recoloured,
    scenes,
)
from qvsearch.indexing.baseline_queries import queries
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.models.registry import DEMO, DEMO_RERANKER
from qvsearch.retrieval.calibration import baseline_of, calibrate, relevance_of
from qvsearch.retrieval.options import RERANK_TOP
from qvsearch.retrieval.reranking import both_judges
from qvsearch.runtime.local import LocalEmbedder, LocalReranker, unit_rows
from qvsearch.types import EmbedInput, Kind

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from qvsearch.types import Embedder, Reranker, Vectors

COUNT = 200
SEED = 20_000  # the trainer counts from 0
FAMILY = 8  # scenes of a library of near twins that differ from one scene, itself among them
HARD = 120  # queries to it
CUT = 10  # of the nDCG
UNTRAINED = "where is the picture that has {}?"  # no query of the training is worded so


class Figure(NamedTuple):
    """The share of queries whose own document is the first, and is among the first five."""

    task: str
    recall_at_1: float
    recall_at_5: float


class Phrases(NamedTuple):
    """How well phrases that many documents fit tell those from the others, averaged over them.

    The area under the ROC curve, and the share of fitting documents among as many first hits as
    there are fitting ones (R-precision).
    """

    task: str
    auc: float
    precision: float


class Reranked(NamedTuple):
    """The nDCG@10 (Jaervelin & Kekaelaeinen 2002; a document fits or not) before and after."""

    task: str
    before: float
    after: float


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
    films = embedder.embed([EmbedInput(video=film(scene, rng)) for scene in held_out])
    figures.append(_recall("text to video", english, films))
    words = [caption(scene, rng) for scene in held_out]
    for task, texts in (
        ("untrained wording to image", [UNTRAINED.format(text) for text in words]),
        ("capital letters to image", [text.upper() for text in words]),
    ):
        asked = embedder.embed([_query(text=text) for text in texts])
        figures.append(_recall(task, asked, pictures))
    return figures


def evaluate_phrases(embedder: Embedder, count: int = COUNT, seed: int = SEED) -> list[Phrases]:
    """Return how well English phrases find pictures, notes and videos of `count` held-out scenes.

    A phrase fits one of them or more; it says a background, a colour, a shape, both of these, or
    such a thing with its place or background.
    """
    rng = np.random.default_rng(seed + 1)
    held_out = list(islice(scenes(rng, held_out=True), count))
    parts = list(dict.fromkeys(random_part(scene, rng) for scene in held_out * 2))
    queries = embedder.embed([_query(text=phrase(part, rng)) for part in parts])
    fitting = np.array([[part.fits(scene) for scene in held_out] for part in parts])
    figures = []
    for document in ("image", "note", "video"):
        documents = embedder.embed([_shown(document, scene, rng) for scene in held_out])
        measured = np.array(list(map(separation, queries @ documents.T, fitting)))
        for said in SAID:
            rows = [row for row, part in enumerate(parts) if _said(part) == said]
            auc, precision = measured[rows].mean(axis=0)
            figures.append(Phrases(f"{said} to {document}", float(auc), float(precision)))
    return figures


def evaluate_reranker(
    embedder: Embedder, reranker: Reranker, count: int = HARD, seed: int = SEED
) -> list[Reranked]:
    """Return what reranking the first hits does for `count` queries to a library of near twins.

    It is done as a search does it, which lets both judge. Half of the queries are captions of one
    document, half are phrases that say two or three things of one shape, which a twin whose shapes
    have exchanged them does not fit.
    """
    rng = np.random.default_rng(seed + 2)
    library = list(
        dict.fromkeys(
            s for first in islice(scenes(rng, held_out=True), 25) for s in _family(first, rng)
        )
    )
    asked = [library[row] for row in rng.permutation(len(library))[:count]]
    captions = [(caption(scene, rng), [each == scene for each in library]) for scene in asked[::2]]
    parts = [hard_part(scene, rng) for scene in asked[1::2]]
    phrases = [(phrase(part, rng), [part.fits(each) for each in library]) for part in parts]
    bank = embedder.embed([_query(text=text) for text in queries(DEMO)])
    figures = []
    for kind, document in ((Kind.IMAGE, "image"), (Kind.TEXT, "note")):
        shown = [_shown(document, scene, rng) for scene in library]
        twins = _Twins(embedder, reranker, kind, shown, bank)
        for name, asks in (("captions", captions), ("phrases", phrases)):
            before, after = np.mean([twins.gains(text, fits) for text, fits in asks], axis=0)
            figures.append(Reranked(f"{name} to {document}", float(before), float(after)))
    return figures


class _Twins:
    """Documents of one kind, with what they score anyway."""

    def __init__(
        self,
        embedder: Embedder,
        reranker: Reranker,
        kind: Kind,
        documents: Sequence[EmbedInput],
        bank: Vectors,
    ) -> None:
        self._embedder, self._reranker, self._documents = embedder, reranker, documents
        self._vectors = embedder.embed(documents)
        anyway = self._vectors @ bank.T
        code = list(Kind).index(kind)
        self._baselines = {code: baseline_of(np.stack([anyway.mean(1), anyway.std(1)], axis=1))}
        self._kinds = np.full(len(documents), code, np.uint8)

    def gains(self, text: str, fitting: Sequence[bool]) -> tuple[float, float]:
        """Return the nDCG of the documents for a query, before and after reranking."""
        scores = self._vectors @ self._embedder.embed([_query(text=text)])[0]
        evidence = calibrate(scores, self._kinds, self._baselines).evidence
        found = np.array([relevance_of(each) for each in evidence.tolist()])
        order = np.argsort(-found, kind="stable")
        first = order[:RERANK_TOP]
        judged = self._reranker.score(
            EmbedInput(text=text), [self._documents[row] for row in first]
        )
        again = found.copy()
        again[first] = [both_judges(*each) for each in zip(found[first], judged, strict=True)]
        fits = np.array(fitting)
        return ndcg(fits[order]), ndcg(fits[np.argsort(-again, kind="stable")])


SAID = ("a background", "a colour", "a shape", "a coloured shape", "a thing and more")


def _said(part: Part) -> str:
    """Return which of SAID a part is."""
    is_thing = part.shape is not None or part.colour is not None
    if part.place is not None or (part.background is not None and is_thing):
        return "a thing and more"
    if not is_thing:
        return "a background"
    if part.shape is not None and part.colour is not None:
        return "a coloured shape"
    return "a colour" if part.shape is None else "a shape"


def _shown(document: str, scene: Scene, rng: Generator) -> EmbedInput:
    if document == "note":
        return EmbedInput(text=note(scene, rng))
    if document == "video":
        return EmbedInput(video=film(scene, rng))
    return EmbedInput(images=(draw(scene, rng),))


def separation(scores: Vectors, fitting: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the area under the ROC curve and the precision at the true count."""
    ranked = fitting[np.argsort(scores)]
    count = int(fitting.sum())
    passed = np.cumsum(~ranked)[ranked].sum()  # pairs in which the fitting one scores higher
    return float(passed / (count * (len(fitting) - count))), float(ranked[-count:].mean())


def _family(first: Scene, rng: Generator) -> list[Scene]:
    """Return a scene and held-out ones a step or a few from it."""
    family, near = [first], first
    while len(family) < FAMILY:
        near = swapped(near, rng) if rng.random() < 0.5 else neighbour(near, rng)
        if near.held_out and near not in family:
            family.append(near)
            near = first
    return family


def ndcg(fits: NDArray[np.bool_]) -> float:
    """Return the nDCG of a ranking's first hits, whose gain is 1 where a document fits."""
    discounts = 1 / np.log2(np.arange(CUT) + 2)
    return float((fits[:CUT] @ discounts) / discounts[: fits.sum()].sum())


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


def _print_table(
    title: str, columns: tuple[str, str], figures: Sequence[tuple[str, float, float]]
) -> None:
    lines = [f"{title:42}{columns[0]:>8}{columns[1]:>10}"]
    lines += [f"{task:42}{one:8.3f}{other:10.3f}" for task, one, other in figures]
    print("\n".join(lines))  # noqa: T201 (this module is a command)


def main() -> None:
    """Print the figures as tables, or as JSON."""
    parser = argparse.ArgumentParser(description="Measure checkpoints on the drawn world.")
    parser.add_argument("--model", default=DEMO, help="a checkpoint folder (default: the demo)")
    parser.add_argument(
        "--reranker", default=DEMO_RERANKER, help="its checkpoint folder (default: the demo's)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    embedder = LocalEmbedder(arguments.model)
    tables: list[tuple[str, tuple[str, str], Sequence[Figure | Phrases | Reranked]]] = [
        (f"{COUNT} held-out scenes", ("recall@1", "recall@5"), evaluate(embedder)),
        ("phrases that say a part", ("AUC", "R-prec."), evaluate_phrases(embedder)),
        (
            f"nDCG@{CUT} among near twins",
            ("before", "reranked"),
            evaluate_reranker(embedder, LocalReranker(arguments.reranker)),
        ),
    ]
    for table in tables:
        if arguments.json:
            print("\n".join(json.dumps(figure._asdict()) for figure in table[2]))  # noqa: T201
        else:
            _print_table(*table)


if __name__ == "__main__":
    main()
