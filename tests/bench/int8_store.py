"""Speed and recall of vectors stored as bytes: python tests/bench/int8_store.py

Recall@10 is the share of the ten best rows in float32 that are among the ten best of the stored
form; a row with exactly the tenth cosine counts. There are two kinds of rows:

- documents of `tests/bench/relevance.py`, embedded by the demo model, with all dimensions and the
  first half; queries are captions, pictures, phrases and the generic queries;
- rows of 2048 dimensions with a realistic spectrum, as in `tests/bench/million.py`. Their first
  numbers are many times as large as the last, which is the worst case for even steps. The same rows
  after a random rotation have no large numbers.

On the second kind both forms are also searched in turns, exactly, for the ten best, on all cores.
Printed are medians, and the ratio of each turn.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from million import DIM, queries_of, vectors
from relevance import make_pool

from qvsearch.models.registry import DEMO
from qvsearch.types import Stored
from qvsearch.vectors.encoding import Form
from qvsearch.vectors.store import FaissStore

BEST = 10


def made(rows: np.ndarray) -> dict[Stored, FaissStore]:
    """Return stores of unit rows, one for each form."""
    stores = {}
    for stored in Stored:
        stores[stored] = FaissStore(Form(rows.shape[1], stored))
        stores[stored].add(rows)
    return stores


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def compare(name: str, rows: np.ndarray, queries: np.ndarray, turns: int = 0) -> None:
    """Print the recall of each form and, if there are turns, its speed."""
    exact = rows @ queries.T
    stores = made(rows)
    print(f"{name}: {rows.shape[0]:,} rows x {rows.shape[1]}, {len(queries)} queries")
    for stored, store in stores.items():
        recall, first, errors = [], [], []
        for query, truth in zip(queries, exact.T, strict=True):
            scores = store.scores(query)
            errors.append(np.abs(scores - truth).mean())
            best = best_rows(store, query)
            recall.append((truth[best] >= np.partition(truth, -BEST)[-BEST]).mean())
            first.append(truth[best[0]] >= truth.max())
        print(
            f"  {stored:8} {store.form.row_size:5,} bytes a vector"
            f"  recall@10 {np.mean(recall):.4f}  the same first {np.mean(first):.4f}"
            f"  mean error of a cosine {np.mean(errors):.6f}",
            flush=True,
        )
    if turns:
        in_turns(stores, queries, turns)


def best_rows(store: FaissStore, query: np.ndarray) -> list[int]:
    """Return the BEST rows of a store for one query, best first."""
    scores = store.scores(query)
    rows = np.argpartition(-scores, BEST)[:BEST]
    return rows[np.argsort(-scores[rows], kind="stable")].tolist()


def in_turns(stores: dict[Stored, FaissStore], queries: np.ndarray, turns: int) -> None:
    """Print the time of a search in each form."""
    times: dict[Stored, list[float]] = {stored: [] for stored in stores}
    for turn in range(-1, turns):
        for stored in stores if turn % 2 else reversed(stores):
            begun = time.perf_counter()
            best_rows(stores[stored], queries[turn % len(queries)])
            if turn >= 0:  # the first turn computes the lengths of all rows
                times[stored].append(1000 * (time.perf_counter() - begun))
    for stored, found in times.items():
        print(f"  {stored:8} {np.median(found):.1f} ms ({min(found):.1f} to {max(found):.1f})")
    ratios = np.divide(times[Stored.FLOAT16], times[Stored.INT8])
    low, high = np.percentile(ratios, [10, 90])
    print(
        f"  int8 is {np.median(ratios):.2f} times as fast"
        f" ({low:.2f} to {high:.2f} in four of five of {turns} turns)"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000, help="of 2048 numbers")
    parser.add_argument("--queries", type=int, default=200, help="to those rows")
    parser.add_argument("--turns", type=int, default=31)
    parser.add_argument("--without-world", action="store_true", help="leave out the drawn world")
    asked = parser.parse_args()
    if not asked.without_world:
        pool = make_pool(DEMO)
        queries = np.concatenate([pool.captions, pool.pictures, pool.phrases, pool.bank])
        for dim in (pool.vectors.shape[1], pool.vectors.shape[1] // 2):
            compare("drawn world", unit(pool.vectors[:, :dim]), unit(queries[:, :dim]))
    rows = np.concatenate(list(vectors(asked.rows)))
    queries = queries_of(rows, np.random.default_rng(1), asked.queries)
    compare("spectrum 1 / d", rows, queries, asked.turns)
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((DIM, DIM)))[0].astype(np.float32)
    compare("the same, turned", unit(rows @ turn), unit(queries @ turn))


if __name__ == "__main__":
    main()
