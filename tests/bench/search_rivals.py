"""Search beside FAISS and Chroma: `python tests/bench/search_rivals.py --rows 10000 100000`.

Rows and queries are those of `million.py`, with a realistic spectrum. Each contender builds its
files in one process and answers in another. All take turns, in reverse order every second time.
Printed are:

- the median and 95th percentile of the time of a query;
- the seconds of a build, without making the vectors;
- the resident memory of the whole process while it answers;
- recall@10 against the cosines of `IndexFlatIP` over float32.

HNSW has 32 links and looks at 200 rows to build and 128 to search. Chroma has its own defaults,
with cosines. qvsearch ranks by cosine here, like the others, though `search` ranks by relevance.
The time of its first pass includes all its calibration and no other work.

Builds and measurements are kept in `--folder`; a later run with the same options continues.
"""

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from million import DIM, Fixed, fill, resident, vectors

TOP = 10
LINKS, TO_BUILD, TO_SEARCH = 32, 200, 128  # of HNSW
CHROMA_BATCH = 1000  # it accepts at most 5,461 rows
NEEDS = {"Chroma": "chromadb"}


class Chunks:
    """The rows, and the seconds of making them, which do not count."""

    def __init__(self, rows):
        self.rows = rows
        self.seconds = 0.0

    def __iter__(self):
        source = vectors(self.rows)
        while True:
            started = time.perf_counter()
            chunk = next(source, None)
            self.seconds += time.perf_counter() - started
            if chunk is None:
                return
            yield chunk


def build_flat(folder, chunks):
    import faiss

    write_index(folder, faiss.IndexFlatIP(DIM), chunks)


def build_hnsw(folder, chunks):
    import faiss

    index = faiss.IndexHNSWFlat(DIM, LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = TO_BUILD
    write_index(folder, index, chunks)


def write_index(folder, index, chunks):
    import faiss

    for chunk in chunks:
        index.add(chunk)
    faiss.write_index(index, str(folder / "index"))


def open_index(folder):
    import faiss

    index = faiss.read_index(str(folder / "index"))
    if hasattr(index, "hnsw"):
        index.hnsw.efSearch = TO_SEARCH
    return lambda query: index.search(query[None], TOP)[1][0].tolist()


def collection(folder):
    import chromadb

    settings = chromadb.Settings(anonymized_telemetry=False)
    client = chromadb.PersistentClient(str(folder), settings)
    return client.get_or_create_collection(
        "rows", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
    )


def build_chroma(folder, chunks):
    rows, number = collection(folder), 0
    for chunk in chunks:
        for start in range(0, len(chunk), CHROMA_BATCH):
            part = chunk[start : start + CHROMA_BATCH]
            ids = [str(number + row) for row in range(len(part))]
            rows.add(ids=ids, embeddings=part)
            number += len(part)


def open_chroma(folder):
    rows = collection(folder)

    def ask(query):
        found = rows.query(query_embeddings=query[None], n_results=TOP, include=["distances"])
        return [int(each) for each in found["ids"][0]]

    return ask


def build_ours(folder, chunks):
    fill(folder, chunks.rows, mixed=False, chunks=chunks)


def open_exact(folder):
    from qvsearch.library.library import Library

    library = Library.open(folder / "library")

    def ask(query):
        scores = library.scores(query)
        rows = np.argpartition(-scores, TOP)[:TOP]
        return rows[np.argsort(-scores[rows], kind="stable")].tolist()

    return ask


def open_first_pass(folder):
    from qvsearch.library.filters import Filters
    from qvsearch.library.library import Library
    from qvsearch.retrieval.first_pass import rank_best
    from qvsearch.retrieval.query import parse_query, read_terms
    from qvsearch.retrieval.scoring import embed_terms
    from qvsearch.retrieval.selection import allowed_rows

    library = Library.open(folder / "library")
    terms = read_terms(parse_query("words"), library.fingerprint.decode_options)
    embedder = Fixed()

    def answer(query):
        embedder.vector = query
        mask = allowed_rows(library, Filters())
        scores = rank_best(library, embed_terms(terms, lambda: embedder), mask).scores
        rows = np.argpartition(-scores, TOP)[:TOP]
        return rows[np.argsort(-scores[rows])].tolist()

    return answer


# name: the folder of the build, and the functions that build and open; the first one is exact
CONTENDERS = {
    "IndexFlatIP": ("flat", build_flat, open_index),
    "IndexHNSWFlat": ("hnsw", build_hnsw, open_index),
    "Chroma": ("chroma", build_chroma, open_chroma),
    "qvsearch, exact": ("ours", build_ours, open_exact),
    "qvsearch, first pass": ("ours", build_ours, open_first_pass),
}
TRUTH, OURS = "IndexFlatIP", ("qvsearch, exact", "qvsearch, first pass")


def build(folder, rows, name):
    """Build the files of a contender; return the seconds."""
    kept, make, _ = CONTENDERS[name]
    shutil.rmtree(folder / kept, ignore_errors=True)  # an interrupted build
    (folder / kept).mkdir(parents=True)
    chunks = Chunks(rows)
    started = time.perf_counter()
    make(folder / kept, chunks)
    return time.perf_counter() - started - chunks.seconds


def contend(folder, name):
    """Answer all queries; return times in ms, answers and MB."""
    kept, _, opened = CONTENDERS[name]
    ask = opened(folder / kept)
    queries = np.load(folder / "ours/queries.npy")
    ask(queries[0])
    times, answers, memory = [], [], 0.0
    for query in queries:
        started = time.perf_counter()
        answers.append(ask(query))
        times.append((time.perf_counter() - started) * 1000)
        memory = max(memory, resident())
    return {"times": times, "answers": answers, "memory": memory}


def in_own_process(step, folder, rows, name):
    words = ["--step", step, "--folder", str(folder), "--rows", str(rows), "--one", name]
    command = [sys.executable, __file__, *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def kept_in(path, make):
    """Return the content of a JSON file; make it if it does not exist."""
    if not path.exists():
        made = json.dumps(make())  # whole or not at all
        path.write_text(made)
    return json.loads(path.read_text())


def measure(folder, rows, names, repeats):
    """Let the contenders build and take turns; print a line for each."""
    folder.mkdir(parents=True, exist_ok=True)
    seconds = {}
    # the library of qvsearch has the queries
    for name in sorted({TRUTH, *names, *OURS[:1]}, key=lambda name: name not in OURS):
        path = folder / f"{CONTENDERS[name][0]}.json"
        seconds[name] = kept_in(path, lambda name=name: in_own_process("build", folder, rows, name))
    runs = {name: [] for name in CONTENDERS if name in {TRUTH, *names}}
    for turn in range(repeats):
        for name in list(runs) if turn % 2 == 0 else reversed(runs):
            path = folder / f"{turn}, {name}.json"
            runs[name].append(
                kept_in(path, lambda name=name: in_own_process("contend", folder, rows, name))
            )
    report(rows, runs, seconds)


def report(rows, runs, seconds):
    truth = runs[TRUTH][0]["answers"]
    print(f"{rows:,} rows x {DIM}, {len(truth)} queries, {len(runs[TRUTH])} repetitions")
    for name, found in runs.items():
        middles = [np.median(run["times"]) for run in found]
        late = np.median([np.percentile(run["times"], 95) for run in found])
        both = zip(found[0]["answers"], truth, strict=True)
        recall = np.mean([len({*answer} & {*best}) / len(best) for answer, best in both])
        built = seconds.get(name, seconds[OURS[0]])
        print(
            f"{name:22} p50 {np.median(middles):7.1f} ms ({min(middles):.1f} to {max(middles):.1f})"
            f"  p95 {late:7.1f} ms  built in {built:6.1f} s"
            f"  {max(run['memory'] for run in found):7,.0f} MB  recall@10 {recall:.3f}"
        )


def main(words=None):
    parser = argparse.ArgumentParser(description="Measure search beside others.")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--without", nargs="*", default=[], choices=list(CONTENDERS)[1:])
    parser.add_argument("--folder", type=Path, help="keeps what is built; else temporary")
    parser.add_argument("--step", choices=["build", "contend"], help=argparse.SUPPRESS)
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    if asked.step == "build":
        print(json.dumps(build(asked.folder, asked.rows[0], asked.one)))
    elif asked.step == "contend":
        print(json.dumps(contend(asked.folder, asked.one)))
    else:
        if min(asked.rows) < 1000:
            parser.error(f"{min(asked.rows)} rows are too few to measure; take 1000 or more")
        names = [name for name in CONTENDERS if name not in asked.without]
        for name in [name for name in names if name in NEEDS]:
            if importlib.util.find_spec(NEEDS[name]) is None:
                print(f"{name} is left out: {NEEDS[name]} is not installed")
                names.remove(name)
        with tempfile.TemporaryDirectory() as temporary:
            for rows in asked.rows:
                folder = (asked.folder or Path(temporary)) / str(rows)
                measure(folder, rows, names, asked.repeats)


if __name__ == "__main__":
    main()
