"""Queries of a shared table: python tests/bench/published_million.py /tmp/million.lance

`published.py --table` makes the table, with queries beside it; without these, queries are rows of
the table plus most of another one. The model's time does not count.

Printed are the time of the first query with and without the sample in the cache, the median and
95th percentile of later ones with and without filters, the resident memory, and recall@10 of files
against `--exact`, which compares all rows. If the table has words, queries of 3 and of 100 words
are timed, too.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from million import Fixed, resident
from words import passages


def queries_beside(table, count):
    path = table.with_suffix(".queries.npy")
    if path.exists():
        return np.load(path)[:count]
    from qvsearch.published.opening import open_at
    from qvsearch.published.schema import vectors_of

    rows = vectors_of(open_at(table).table.scan(["vector"], "lot < 20000000", limit=2 * count))
    found = rows[: len(rows) // 2] + np.float32(0.7) * rows[len(rows) - len(rows) // 2 :]
    return (found / np.linalg.norm(found, axis=1, keepdims=True))[:count]


def timed(library, query, text="query", **options):
    from qvsearch.retrieval.pipeline import SearchOptions, search

    embedder = Fixed()
    embedder.vector = query
    started = time.perf_counter()
    hits = search(library, text, embedder, SearchOptions(min_relevance=0, **options))
    return time.perf_counter() - started, [each.segment.item for each in hits]


def opened(table):
    from qvsearch.published.opening import open_at

    started = time.perf_counter()
    library = open_at(table)
    len(library)
    return library, time.perf_counter() - started


def percentiles(seconds):
    return " and ".join(f"{1000 * each:.0f}" for each in np.percentile(seconds, (50, 95)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("table", type=Path)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--exact", type=int, default=10, help="queries that are compared with it")
    asked = parser.parse_args()
    queries = queries_beside(asked.table, asked.queries).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        measure(asked.table, queries, asked.exact)


def measure(table, queries, exact):
    from qvsearch.library.filters import Filters
    from qvsearch.types import Kind

    library, seconds = opened(table)
    print(f"{len(library):,} rows of {library.fingerprint.dim} numbers; opened in {seconds:.2f} s")
    print(f"first query, without a sample in the cache: {timed(library, queries[0])[0]:.2f} s")
    library, seconds = opened(table)
    first = timed(library, queries[1])[0]
    print(f"first query after opening again, with it: {1000 * (seconds + first):.0f} ms")
    half = int(np.median(library.table.scan(["time"], limit=100_000)["time"].to_numpy()))
    for name, filters in (
        ("no filter", Filters()),
        ("kind", Filters(kinds=frozenset({Kind.VIDEO}))),
        ("kind and date", Filters(kinds=frozenset({Kind.IMAGE}), after=half)),
        ("name", Filters(globs=("*77*",))),
    ):
        spent = [timed(library, each, filters=filters)[0] for each in queries[2:]]
        print(f"{name}: p50 and p95 {percentiles(spent)} ms", flush=True)
    if library.has_words:
        texts = iter(passages(4 * len(queries))[1])
        for words in (3, 100):
            asked = [" ".join(f"{next(texts)} {next(texts)}".split()[:words]) for _ in queries]
            spent = [timed(library, *each)[0] for each in zip(queries, asked, strict=True)]
            print(f"{words} words: p50 and p95 {percentiles(spent)} ms", flush=True)
    print(f"resident {resident():,.0f} MB")
    if exact:
        found = [timed(library, each)[1] for each in queries[:exact]]
        whole = [timed(library, each, exact=True) for each in queries[:exact]]
        shared = [len(set(a) & set(b)) / len(b) for a, (_, b) in zip(found, whole, strict=True)]
        print(f"exact: p50 and p95 {percentiles([each for each, _ in whole])} ms")
        print(f"recall@10 of {exact} queries: {np.mean(shared):.3f}")


if __name__ == "__main__":
    main()
