"""How well several libraries are searched as one: `python tests/bench/several.py`.

The pictures of drawn scenes are in one library, or split in halves: of one model, of two
dimensions, and of an uneven 9 to 1. The demo's model was not trained on these scenes. The query for
a scene is its caption. Merging by cosine, the obvious way, is shown beside it.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np

from qvsearch.demo.world import caption, draw, scenes
from qvsearch.indexing.baseline_queries import baseline_vectors
from qvsearch.library.library import Library
from qvsearch.models.registry import fingerprint, resolve
from qvsearch.retrieval.pipeline import Query, SearchOptions
from qvsearch.retrieval.several import Searched, answers_all
from qvsearch.runtime.local import LocalEmbedder
from qvsearch.types import Detail, EmbedInput, Item, Kind, Segment

SMALL = 64  # dimensions
TOP = 10


def library(folder, embedder, rows):
    """Make a library of (name, input) pairs."""
    made = Library.create(folder, fingerprint(resolve("demo"), embedder.dim, Detail.LOW))
    made.add_root(b"/world")
    made.set_baseline(baseline_vectors(embedder, made.fingerprint))
    segments = [Segment(Item(b"/world", name, Kind.IMAGE, 1, 0), name.decode()) for name, _ in rows]
    made.add(segments, embedder.embed([source for _, source in rows]))
    made.commit()
    return Searched(made, lambda: embedder)


def figures(searched, queries, *, by_cosine=False):
    """Return recall@1, recall@10 and the mean reciprocal rank of a scene's picture."""
    options = SearchOptions(top=10 * TOP, min_relevance=0, dedupe=False, exact=True)
    places = []
    for number, hits in enumerate(answers_all(searched, queries, options)):
        if by_cosine:
            hits = sorted(hits, key=lambda hit: -hit.score)
        names = [hit.segment.item.path.partition(b".")[0] for hit in hits]
        right = b"%d" % number
        places.append(names.index(right) + 1 if right in names else np.inf)
    ranks = np.array(places)
    return (ranks == 1).mean(), (ranks <= TOP).mean(), (1 / ranks).mean()


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--scenes", type=int, default=300)
    count = options.parse_args().scenes
    rng = np.random.default_rng(16)
    drawn = list(islice(scenes(rng, held_out=True), count))
    rows = [(b"%d.png" % n, EmbedInput(images=(draw(each, rng),))) for n, each in enumerate(drawn)]
    queries = [Query(caption(each, rng)) for each in drawn]
    rng.shuffle(rows)
    full = LocalEmbedder("demo", "cpu", "float32")
    small = LocalEmbedder("demo", "cpu", "float32", dim=SMALL)
    half, tenth = len(rows) // 2, len(rows) // 10
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        whole = library(made / "whole", full, rows)
        one, two = (
            library(made / "one", full, rows[:half]),
            library(made / "two", full, rows[half:]),
        )
        other = library(made / "other", small, rows[half:])
        most = library(made / "most", full, rows[tenth:])
        few = library(made / "few", small, rows[:tenth])
        for name, searched in (
            ("one library", [whole]),
            ("halves, one model", [one, two]),
            ("halves, two models", [one, other]),
            ("9 to 1, two models", [most, few]),
        ):
            line = "recall@1 {:.3f}, recall@10 {:.3f}, MRR {:.3f}".format(
                *figures(searched, queries)
            )
            beside = figures(searched, queries, by_cosine=True)[2]
            print(f"{name:<20} {line}; merged by cosine MRR {beside:.3f}")


if __name__ == "__main__":
    main()
