"""How well `--not` excludes, compared with vector subtraction: python tests/bench/exclusion.py

A library holds drawn pictures and notes. Each query asks for a part of a scene without another part
("a star" and not "red"). The library has scenes with the wanted part alone, and with both.
Printed are means over the queries:

- leak@10: the share of the first ten hits that have the excluded part;
- wanted@10: the share of the first ten hits that match the query without the excluded part;
- R-precision: that share of the first R hits, if R rows match.

Most other tools use subtraction: they rank by the unit vector of q - w * n.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from qvsearch.demo.world import Part, draw, note, phrase, random_scene
from qvsearch.indexing.baseline_queries import baseline_vectors
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.retrieval.query import parse_query, read_terms
from qvsearch.retrieval.scoring import embed_terms, rank_rows
from qvsearch.runtime.choice import Choice
from qvsearch.runtime.creating import open_or_create
from qvsearch.runtime.local import LocalEmbedder
from qvsearch.types import EmbedInput, Item, Kind, Segment

ROWS = 1200
QUERIES = 150
FEWEST = 5  # least number of rows with and without the excluded part
SEED = 77


def random_question(rng, scenes):
    """Return a wanted part of one scene, and a different unwanted one."""
    while True:
        scene = scenes[rng.integers(len(scenes))]
        thing = scene.things[rng.integers(len(scene.things))]
        wanted = [
            Part(shape=thing.shape),
            Part(colour=thing.colour),
            Part(shape=thing.shape, place=thing.place),
            Part(background=scene.background),
        ][rng.integers(4)]
        other = scene.things[rng.integers(len(scene.things))]
        unwanted = [
            Part(colour=other.colour),
            Part(shape=other.shape),
            Part(background=scene.background),
        ][rng.integers(3)]
        if wanted != unwanted:
            return wanted, unwanted


def build(folder, embedder, rng, rows):
    """Return a library of pictures and notes, and the scene of each row."""
    scenes = [random_scene(rng) for _ in range(rows)]
    library = open_or_create(folder, Choice(model="demo"))
    library.set_baseline(baseline_vectors(embedder, library.fingerprint))
    library.add_root(b"/drawn")
    inputs, segments = [], []
    for number, scene in enumerate(scenes):
        kind = Kind.TEXT if number % 3 == 0 else Kind.IMAGE
        item = Item(b"/drawn", f"{number}".encode(), kind, 1, 1)
        told = EmbedInput(text=note(scene, rng))
        inputs.append(told if kind is Kind.TEXT else EmbedInput(images=(draw(scene, rng),)))
        segments.append(Segment(item, f"{number}"))
    library.add(segments, embedder.embed(inputs))
    return library, scenes


def figures(order, good, bad):
    """Return leak@10, wanted@10 and R-precision of a ranking."""
    return bad[order[:10]].mean(), good[order[:10]].mean(), good[order[: good.sum()]].mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=ROWS, help="pictures and notes")
    parser.add_argument("--queries", type=int, default=QUERIES)
    asked = parser.parse_args()
    rng = np.random.default_rng(SEED)
    embedder = LocalEmbedder("demo")
    with tempfile.TemporaryDirectory() as folder:
        library, scenes = build(Path(folder, "library"), embedder, rng, asked.rows)
        vectors = library.vectors(range(len(scenes)))
        results = {}
        for _ in range(asked.queries):
            wanted, unwanted = random_question(rng, scenes)
            fits = np.array([wanted.fits(scene) for scene in scenes])
            bad = np.array([unwanted.fits(scene) for scene in scenes])
            good = fits & ~bad
            if good.sum() < FEWEST or (fits & bad).sum() < FEWEST:
                continue
            words, without = phrase(wanted, rng), phrase(unwanted, rng)
            query = parse_query(words, without=[without])
            ours = rank_rows(
                library,
                embed_terms(
                    read_terms(query, library.fingerprint.decode_options), lambda: embedder
                ),
            ).evidence
            q, n = embedder.embed(
                [EmbedInput(text=text, instruction=QUERY_INSTRUCTION) for text in (words, without)]
            )
            ways = {"without --not": vectors @ q, "--not": ours}
            ways |= {f"subtraction, w = {w}": vectors @ (q - w * n) for w in (0.25, 0.5, 0.75, 1.0)}
            for name, scores in ways.items():
                order = np.argsort(-scores, kind="stable")
                results.setdefault(name, []).append(figures(order, good, bad))
            shown = ours >= 0
            results.setdefault("shown by --not (leak, precision, recall)", []).append(
                (bad[shown].mean(), good[shown].mean(), shown[good].mean())
                if shown.any()
                else (0.0, 1.0, 0.0)
            )
    print(f"{'':44}leak@10  wanted@10  R-precision   ({len(results['--not'])} queries)")
    for name, rows in results.items():
        print(f"{name:42}" + "".join(f"{value:10.3f}" for value in np.mean(rows, axis=0)))


if __name__ == "__main__":
    main()
