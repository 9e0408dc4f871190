"""The cost of calibration, filters and folding in a search: python tests/bench/search_speed.py

A plain search is one exact scan with FAISS for the ten best rows of 100,000 x 2048, without
calibration. It is compared with all of `search` after the query's vector is computed. Both take
turns in one process. Printed are medians, their spread, and the ratio of each turn.
"""

import argparse
import tempfile
import time

import numpy as np

from qvsearch.library.filters import parse_filters
from qvsearch.library.library import Library
from qvsearch.retrieval.pipeline import SearchOptions, search
from qvsearch.types import Fingerprint, Item, Kind, Metadata, Segment

DIM = 2048
TURNS = 15
CHUNK = 10_000
CAMERAS = ("Canon EOS R5", "Apple iPhone 12", None)


class Fixed:
    """Embeds any query as one vector."""

    dim = DIM

    def __init__(self, vector):
        self.vector = vector

    def embed(self, inputs):
        return self.vector[None].repeat(len(inputs), axis=0)


def unit_rows(rng, count):
    rows = rng.standard_normal((count, DIM), np.float32)
    rows[:, 0] += 8  # no two rows are opposite, as with the model
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def fill(library, rows, rng):
    """Add rows: half photos, a quarter moments of videos, a quarter passages of texts."""
    library.set_baseline(unit_rows(rng, 64))
    library.add_root(b"/media")
    for start in range(0, rows, CHUNK):
        segments = []
        for row in range(start, min(rows, start + CHUNK)):
            kind = (Kind.IMAGE, Kind.VIDEO, Kind.IMAGE, Kind.TEXT)[row % 4]
            name = b"%d" % (row if kind is Kind.IMAGE else row // 80)
            item = Item(b"/media/%d" % (row % 7), name, kind, 1, row * 10**12)
            taken = f"{1990 + row % 30}-06-01T12:00:00"
            place = (float(row % 90), float(row % 180))
            metadata = Metadata(taken, CAMERAS[row % 3], *place, duration=60.0)
            at = (row // 4 % 20.0, row // 4 % 20.0 + 1) if kind is Kind.VIDEO else (None, None)
            segments.append(
                Segment(item, str(row), *at, width=4000, height=3000, dhash=row, metadata=metadata)
            )
        for folder in {segment.item.root for segment in segments}:
            library.add_root(folder)
        library.add(segments, unit_rows(rng, len(segments)))
    library.commit()


def clocked(work):
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def plain_scan(library, query):
    """Return the ten best rows by cosine alone."""
    scores = library.scores(query)
    return np.argpartition(-scores, 10)[:10]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    rows = parser.parse_args().rows
    rng = np.random.default_rng(0)
    filters = parse_filters(
        kinds=[Kind.IMAGE], after="1995", near="45,90,8000", min_size="1920x1080", camera="canon"
    )
    ways = {
        "calibrated": SearchOptions(),
        "calibrated, the whole ranking": SearchOptions(min_relevance=0),
        "calibrated, filtered": SearchOptions(filters=filters),
        "calibrated, filtered by folder": SearchOptions(filters=parse_filters(under=[b"/media/3"])),
    }
    with tempfile.TemporaryDirectory() as folder:
        made = Fingerprint(**SAMPLE)
        fill(Library.create(f"{folder}/library", made), rows, rng)
        library = Library.open(f"{folder}/library")
        query = unit_rows(rng, 1)[0]
        embedder = Fixed(query)
        first = clocked(lambda: search(library, "words", embedder, ways["calibrated, filtered"]))
        times = {name: [] for name in ("plain", *ways)}
        for _ in range(TURNS):
            times["plain"].append(clocked(lambda: plain_scan(library, query)))
            for name, options in ways.items():
                times[name].append(
                    clocked(lambda options=options: search(library, "words", embedder, options))
                )
    plain = np.array(times.pop("plain"))
    print(f"{rows:,} rows x {DIM}, median of {TURNS} turns")
    print(f"{'plain':34}{np.median(plain):7.1f} ms  ({plain.min():.1f} to {plain.max():.1f})")
    for name, found in times.items():
        ratio = np.array(found) / plain
        print(
            f"{name:34}{np.median(found):7.1f} ms  ({min(found):.1f} to {max(found):.1f})"
            f"  {np.median(ratio):.2f} x plain ({ratio.min():.2f} to {ratio.max():.2f})"
        )
    print(f"{'the first search of a library':34}{first:7.1f} ms")


SAMPLE = dict(
    model="random",
    revision="1",
    dim=DIM,
    detail="low",
    instruction="Represent the user's input.",
    prompt_layout=1,
    preprocessing=1,
)

if __name__ == "__main__":
    main()
