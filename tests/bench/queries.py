"""The time from Enter to the next prompt of the shell: python tests/bench/queries.py

Whole processes run in turns:

- `--help`, the lower bound;
- a query with the whole model, and one of words, which loads no vision tower;
- a query that a warm server answers, and one whose vector is cached.

The library has 100,000 rows of the demo model. A second library has rows of 2048 dimensions, for a
cached query. Printed are medians, their spread, and the parts of the last two times.
"""

import argparse
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from qvsearch.library.library import Library
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.models.registry import fingerprint, hidden_size, resolve
from qvsearch.runtime.loading import Choice, query_embedder
from qvsearch.runtime.query_cache import CachedEmbedder
from qvsearch.types import Detail, EmbedInput, Item, Kind, Metadata, Segment

CHUNK = 10_000
REAL_DIM = 2048
WORDS = "a red circle"
RUN = "import sys; from qvsearch.cli.app import main; sys.exit(main())"
WHOLE = (
    "from qvsearch.models.network import Network as N; made = N.__init__\n"
    "def load(self, *arguments): made(self, *arguments); self.load_vision()\n"
    "N.__init__ = load\n" + RUN
)
# prints the seconds of the functions below, and of the imports before the first of them
PROFILE = """
import sys, time
begun = time.perf_counter()
from qvsearch.cli import app as cli
from qvsearch.retrieval import first_pass
from qvsearch.retrieval import pipeline as retrieve
from qvsearch.retrieval import selection
from qvsearch.retrieval import query as terms
from qvsearch.runtime import loading as fingerprint
from qvsearch.library import filters
from qvsearch.runtime import query_cache as cached
from qvsearch.runtime import client as warm
spent = {"importing qvsearch and what it needs": time.perf_counter() - begun}
def clocked(owner, name, what):
    work = getattr(owner, name)
    def timed(*arguments, **options):
        begun = time.perf_counter()
        try:
            return work(*arguments, **options)
        finally:
            spent[what] = spent.get(what, 0) + time.perf_counter() - begun
    setattr(owner, name, timed)
clocked(fingerprint, "open_library", "opening the library")
clocked(selection, "allowed_rows", "filters")
clocked(retrieve, "read_terms", "reading the query")
clocked(fingerprint, "find_server", "finding the warm process")
clocked(warm.WarmEmbedder, "embed", "the vector, from the warm process")
clocked(cached, "read_vectors", "the vector, from the cache")
clocked(first_pass, "rank_all", "ranking all rows, with the vector")
clocked(selection, "best_hits", "the best hits")
cli.main(sys.argv[1:])
spent["all, from the first line of Python"] = time.perf_counter() - begun
for what, seconds in spent.items():
    print(f"{seconds}\\t{what}", file=sys.stderr)
"""


def fill(folder, made, rows):
    """Write a library: half photos, a quarter moments of videos, a quarter passages of texts."""
    if Library.exists(folder):
        return folder
    rng = np.random.default_rng(0)
    library = Library.create(folder, made)
    library.set_baseline(unit_rows(rng, 64, made.dim))
    library.add_root(b"/media")
    for start in range(0, rows, CHUNK):
        segments = [segment(row) for row in range(start, min(rows, start + CHUNK))]
        library.add(segments, unit_rows(rng, len(segments), made.dim))
    library.commit()
    return folder


def segment(row):
    kind = (Kind.IMAGE, Kind.VIDEO, Kind.IMAGE, Kind.TEXT)[row % 4]
    name = b"%d/%d" % (row % 7, row if kind is Kind.IMAGE else row // 80)
    item = Item(b"/media", name, kind, 1, row * 10**12)
    metadata = Metadata(f"{1990 + row % 30}-06-01T12:00:00", "Canon EOS R5")
    at = (row // 4 % 20.0, row // 4 % 20.0 + 1) if kind is Kind.VIDEO else (None, None)
    return Segment(item, str(row), *at, width=4000, height=3000, dhash=row, metadata=metadata)


def unit_rows(rng, count, dim):
    rows = rng.standard_normal((count, dim), np.float32)
    rows[:, 0] += 8  # no two rows are opposite, as with the model
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Any:
    """Embeds with the dimensions of the 2B model, to any vector."""

    def embed(self, inputs):
        return unit_rows(np.random.default_rng(1), len(inputs), REAL_DIM)


def keep_a_query(made):
    """Cache a vector for WORDS."""
    embedder = query_embedder(made, Choice())
    assert isinstance(embedder, CachedEmbedder)
    embedder._load = Any
    embedder.embed([EmbedInput(WORDS, instruction=QUERY_INSTRUCTION)])


def ran(code, arguments, **environment):
    """Return the seconds of a whole process, and its standard error."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    seconds = time.perf_counter() - begun
    assert done.returncode in (0, 1), done.stderr
    return seconds, done.stderr


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the libraries for the next time")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="qv-") as name:
        folder = Path(given.keep or name)
        folder.mkdir(exist_ok=True)
        os.environ["XDG_CACHE_HOME"] = str(folder)
        os.environ.pop("XDG_RUNTIME_DIR", None)
        weights = resolve(given.model)
        made = fingerprint(weights, hidden_size(weights), Detail.LOW)
        small = fill(folder / "small", made, given.rows)
        real = replace(made, model="like the 2B model", revision="any", dim=REAL_DIM)
        wide = fill(folder / "wide", real, given.rows)
        keep_a_query(real)
        times, parts = {}, {}
        ran(RUN, ["warm", "-l", str(small)])
        try:
            for _ in range(given.turns):
                take_turn(folder, small, wide, times, parts)
        finally:
            ran(RUN, ["warm", "--stop"])
    show(given, times, parts)


def take_turn(folder, small, wide, times, parts):
    """Run each way once, and record its seconds and those of its parts."""
    nowhere = {"XDG_RUNTIME_DIR": str(folder / "nowhere"), "XDG_CACHE_HOME": str(folder / "cold")}
    Path(nowhere["XDG_RUNTIME_DIR"]).mkdir(mode=0o700, exist_ok=True)
    forget = functools.partial(shutil.rmtree, folder / "cold", ignore_errors=True)
    asked = ["search", "--paths", "--all", "-l", str(small)]
    new = [f"{WORDS} {time.time_ns()}", f"{WORDS} {time.time_ns() + 1}"]  # not cached

    def take(name, code, arguments, **environment):
        seconds, said = ran(code, arguments, **environment)
        if code != PROFILE:
            times.setdefault(name, []).append(seconds)
            return
        for line in said.splitlines():
            part, what = line.split("\t")
            parts.setdefault(name, {}).setdefault(what, []).append(float(part))

    take("--help", RUN, ["--help"])
    forget()
    take("cold, the whole model", WHOLE, [*asked, WORDS], **nowhere)
    forget()
    take("cold, words only", RUN, [*asked, WORDS], **nowhere)
    take("warm", RUN, [*asked, new[0]])
    take("warm", PROFILE, [*asked, new[1]])
    take("cached", RUN, [*asked, new[0]])
    name = f"cached, {REAL_DIM} numbers a row"
    take(name, RUN, [*asked[:-1], str(wide), WORDS])
    take(name, PROFILE, [*asked[:-1], str(wide), WORDS])


def show(given, times, parts):
    print(f"{given.model}, {given.rows:,} rows; whole processes, median of {given.turns} turns")
    floor = np.array(times["--help"])
    for name, found in times.items():
        more = np.median(np.array(found) - floor)
        print(
            f"{name:34}{np.median(found):7.2f} s  ({min(found):.2f} to {max(found):.2f})"
            f"  {more:+.2f} over --help"
        )
    for name, found in parts.items():
        print(f"{name}, of that:")
        for what, seconds in found.items():
            print(f"  {what:40}{np.median(seconds):7.3f} s")


if __name__ == "__main__":
    main()
