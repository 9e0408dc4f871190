"""One query over many rows, in three ways: python tests/bench/million.py --rows 1000000

The vectors have a realistic spectrum. There are 2,000 Gaussian clusters of Gaussian rows, with a
variance that falls with the dimension as 1 / d. Half of it lies between clusters, whose sizes
follow a power law. All vectors lie in one cone about a mean. A query is a row plus most of another
one.

Each contender has a process of its own, one after the other, with the same rows and queries.
Printed are the median and 95th percentile of the time of a query, the resident memory while it
answers, and recall@10 against exact search by qvsearch. FAISS ranks by cosine, qvsearch by
relevance.

With `--mixed`, a quarter of the rows are moments and a quarter passages. With `--demo`, rows are
the demo model's vectors of drawn pictures and notes, half and half, and queries are captions and
phrases; 20,000 take some minutes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

DIM = 2048
CHUNK = 10_000
CLUSTERS = 2000
QUERIES = 30
CONTENDERS = ("IndexFlatIP", "exact", "fast")
SAMPLE = dict(
    model="random",
    revision="1",
    dim=DIM,
    detail="low",
    instruction="Represent the user's input.",
    prompt_layout=1,
    preprocessing=1,
)


def vectors(rows, seed=0):
    """Yield unit rows in chunks, as the module describes."""
    rng = np.random.default_rng(seed)
    scale = (np.arange(1, DIM + 1) ** -0.5).astype(np.float32)
    centres = rng.standard_normal((CLUSTERS, DIM), np.float32) * scale
    mean = rng.standard_normal(DIM, np.float32) * scale
    mean *= 0.35 / np.linalg.norm(mean)
    shares = np.arange(1, CLUSTERS + 1) ** -0.7
    shares /= shares.sum()
    for start in range(0, rows, CHUNK):
        count = min(CHUNK, rows - start)
        found = centres[rng.choice(CLUSTERS, count, p=shares)]
        found += rng.standard_normal((count, DIM), np.float32) * scale
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        found += mean
        yield found / np.linalg.norm(found, axis=1, keepdims=True)


def queries_of(rows, rng, count):
    """Return rows plus most of other ones, and plus a part that only text queries have."""
    first, second = (rows[rng.integers(0, len(rows), count)].astype(np.float32) for _ in range(2))
    found = first + 0.7 * second
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def demo_vectors(rows, queries):
    """Return vectors of the demo model: chunks of pictures and notes, and queries."""
    from qvsearch.demo.world import caption, draw, note, phrase, random_part, random_scene
    from qvsearch.models.prompt import QUERY_INSTRUCTION
    from qvsearch.runtime.local import LocalEmbedder
    from qvsearch.types import EmbedInput

    embedder = LocalEmbedder("demo", "cpu")
    rng = np.random.default_rng(0)

    def document(number):
        scene = random_scene(rng)
        if number % 2:
            return EmbedInput(text=note(scene, rng))
        return EmbedInput(images=(draw(scene, rng),))

    def asked(number):
        scene = random_scene(rng)
        words = phrase(random_part(scene, rng), rng) if number % 2 else caption(scene, rng)
        return EmbedInput(words, instruction=QUERY_INSTRUCTION)

    chunks = (
        embedder.embed([document(number) for number in range(start, min(rows, start + 500))])
        for start in range(0, rows, 500)
    )
    return chunks, embedder.embed([asked(number) for number in range(queries)])


def fill(folder, rows, mixed, chunks=None, queries=None, texts=None):
    from qvsearch.library.library import Library
    from qvsearch.types import Fingerprint, Item, Kind, Segment

    made = SAMPLE if queries is None else SAMPLE | dict(dim=queries.shape[1])
    library = Library.create(folder / "library", Fingerprint(**made))
    library.add_root(b"/media")
    rng = np.random.default_rng(1)
    number = 0
    kept = []
    for chunk in chunks or vectors(rows):
        if not number:
            library.set_baseline(queries_of(chunk, rng, 64) if queries is None else queries[-64:])
        segments = []
        for _ in chunk:
            kind = (Kind.IMAGE, Kind.VIDEO, Kind.IMAGE, Kind.TEXT)[number % 4 if mixed else 0]
            name = b"%d" % (number if kind is Kind.IMAGE else number // 80)
            start = float(number % 80) if kind is Kind.VIDEO else None
            item = Item(b"/media", name, kind, 1, number)
            words = next(texts) if texts is not None and kind is Kind.TEXT else None
            place = (start, start and start + 1.0)
            segments.append(Segment(item, str(number), *place, words=words))
            number += 1
        library.add(segments, chunk)
        kept.append(chunk[:: max(1, rows // 2000)].astype(np.float16))
        if number % 100_000 == 0:
            library.commit()
    library.commit()
    if queries is None:
        queries = queries_of(np.concatenate(kept), rng, QUERIES)
    np.save(folder / "queries.npy", queries[:QUERIES])


def resident():
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in status if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


class Fixed:
    """Embeds any query as one vector."""

    vector = None

    def embed(self, inputs):
        return self.vector[None].repeat(len(inputs), axis=0)


def flat(folder):
    import faiss

    from qvsearch.library.library import Library

    library = Library.open(folder / "library")
    index = faiss.IndexFlatIP(library.fingerprint.dim)
    for start in range(0, library.size, CHUNK):
        index.add(library.vectors(range(start, min(library.size, start + CHUNK))))
    del library
    return lambda query: (index.search(query[None], 10)[1][0].tolist(), [])


def ours(folder, exact):
    from qvsearch.library.library import Library
    from qvsearch.retrieval import first_pass as firstpass
    from qvsearch.retrieval.pipeline import SearchOptions, search

    firstpass.EXACT_UP_TO = 0
    library = Library.open(folder / "library")
    options = SearchOptions(min_relevance=0, dedupe=False, exact=exact)
    embedder = Fixed()

    def ask(query):
        embedder.vector = query
        hits = search(library, "words", embedder, options)
        return (
            [int(hit.segment.content_hash) for hit in hits],
            [round(hit.relevance, 6) for hit in hits],
        )

    return ask


def contend(folder, name):
    started = time.perf_counter()
    ask = flat(folder) if name == "IndexFlatIP" else ours(folder, name == "exact")
    queries = np.load(folder / "queries.npy")
    ask(queries[0])
    first = time.perf_counter() - started
    times, answers, relevance, memory = [], [], [], 0.0
    for query in queries:
        begun = time.perf_counter()
        found, worth = ask(query)
        times.append((time.perf_counter() - begun) * 1000)
        answers.append(found)
        relevance.append(worth)
        memory = max(memory, resident())
    return dict(times=times, answers=answers, relevance=relevance, memory=memory, first=first)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--mixed", action="store_true")
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--without", nargs="*", default=[], choices=CONTENDERS)
    parser.add_argument("--folder", type=Path, help="where the library is made; else temporary")
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(contend(asked.folder, asked.one)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        if not (folder / "queries.npy").exists():
            how = demo_vectors(asked.rows, QUERIES + 64) if asked.demo else ()
            fill(folder, asked.rows, asked.mixed, *how)
        found = {}
        for name in CONTENDERS:
            if name not in asked.without:
                command = [sys.executable, __file__, "--one", name, "--folder", str(folder)]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
                found[name] = json.loads(done.stdout)
    report(f"{asked.rows:,} rows, {'demo' if asked.demo else DIM}", found)


def report(what, found):
    print(f"{what}, {len(next(iter(found.values()))['times'])} queries")
    truth = found.get("exact", next(iter(found.values())))["answers"]
    for name, each in found.items():
        both = zip(each["answers"], truth, strict=True)
        recall = np.mean([len({*ours} & {*best}) / 10 for ours, best in both])
        print(
            f"{name:12} p50 {np.percentile(each['times'], 50):7.1f} ms"
            f"  p95 {np.percentile(each['times'], 95):7.1f} ms  {each['memory']:7,.0f} MB resident"
            f"  recall@10 {recall:.3f}  first answer after {each['first']:.2f} s"
        )
    if {"exact", "fast"} <= found.keys():
        apart = []
        for exact, fast in zip(answered(found["exact"]), answered(found["fast"]), strict=True):
            apart += [abs(exact[row] - fast[row]) for row in exact.keys() & fast.keys()]
        print(f"relevance of fast and exact: {np.mean(apart):.4f} apart, {max(apart):.4f} at most")


def answered(found):
    """Yield the relevance of each hit, query by query."""
    for rows, worth in zip(found["answers"], found["relevance"], strict=True):
        yield dict(zip(rows, worth, strict=True))


if __name__ == "__main__":
    main()
