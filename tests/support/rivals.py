"""Processes that want one library at the same time, let go together.

Run as a program: `rivals.py index FOLDER RACES` has two indexers start on a copy of FOLDER/new, of
`a` and, in turns, of `a` or `b`; the one that is first waits in its work until the other is gone.
`rivals.py search FOLDER QUERIES COMMITS` has searchers ask FOLDER while another process commits.
Each race, and each searcher, is told as a line of JSON.
"""

import json
import os
import platform
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np

from qvsearch.cli import app as cli
from qvsearch.library.library import Library
from qvsearch.library.lock import HOLDER
from support import cheap_model, writer
from support.readers import nearest_rows, rows

PATIENCE = 60  # seconds, after which something hangs
SEARCHERS = 4


class Waiting(cheap_model.CheapModel):
    """Embeds when the gate is opened: when nobody has the pipe's other end any more."""

    def __init__(self, gate):
        self.gate = gate

    def embed(self, inputs):
        self.gate.wait()
        return super().embed(inputs)


class Gate:
    """Holds up processes that are forked after it until this one opens it."""

    def __init__(self):
        self._behind, self._held = os.pipe()

    def wait(self):
        if self._held is not None:
            os.close(self._held)
            self._held = None
        os.read(self._behind, 1)

    def open(self):
        os.close(self._held)
        os.close(self._behind)


def start(task):
    """Run a task in a child process, which ends with the code that it returns."""
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE)
        code = None
        try:
            code = task()
        finally:
            os._exit(70 if code is None else code)
    return child


def race(folder, notes):
    """Let two indexers go at once; return how they ended, which is which, and what was said."""
    go, gate = Gate(), Gate()

    def index(name):
        os.dup2(os.open(folder / f"said by {os.getpid()}", os.O_WRONLY | os.O_CREAT), 2)
        go.wait()
        with cheap_model.instead(Waiting(gate)):
            return cli.main(["index", str(folder / name), "-l", str(library), "--quiet"])

    library = folder / "library"
    shutil.rmtree(library, ignore_errors=True)
    shutil.copytree(folder / "new", library)
    dead = start(lambda: 0)
    os.waitpid(dead, 0)
    holder = {"pid": dead, "host": platform.node(), "since": "yesterday"}
    (library / HOLDER).write_text(json.dumps(holder))
    rivals = {start(lambda name=name: index(name)): name for name in notes}
    started = time.monotonic()
    go.open()
    loser, status = os.waitpid(-1, 0)
    seconds = time.monotonic() - started
    gate.open()
    winner, won = os.waitpid(-1, 0)
    said = (folder / f"said by {loser}").read_text()
    return {
        "codes": [os.waitstatus_to_exitcode(each) for each in (status, won)],
        "winner": winner,
        "won": rivals[winner],
        "said": said,
        "seconds": round(seconds, 3),
        "held": sorted(os.fsdecode(each.item.location) for each in rows(library)),
    }


def commit(folder, commits, pace, allowing, asked):
    """Commit, each time while so many queries are asked that were not allowed before."""
    library = Library.open(folder)
    while library.generation < commits:
        os.write(allowing, b"." * pace)
        writer.follow(library)
        for _ in range(pace):
            os.read(asked, 1)
    return 0


def search(folder, queries, seed, allowed, asking):
    """Ask, opening the library anew each time; tell how many answers were of one generation."""
    dice = np.random.default_rng(seed)
    right, generations = 0, set()
    for _ in range(queries):
        os.read(allowed, 1)  # or nobody commits any more
        query = writer.vector(int(dice.integers(1 << 30)))
        library = Library.open(folder)
        hits = nearest_rows(library, query, 5)
        found = [library.segments[row].item.size for row, _ in hits]
        right += found == best(library.generation, query, 5)
        generations.add(library.generation)
        os.write(asking, b".")
    record = {"right": right, "generations": len(generations)}
    os.write(1, json.dumps(record).encode() + b"\n")
    return 0


def best(generation, query, k):
    """Return the numbers of the photos that a plain product finds in a generation."""
    there = writer.after(generation)
    vectors = np.stack([np.frombuffer(each, np.float32) for each in there.values()])
    return [list(there)[place] for place in np.argsort(-(vectors @ query))[:k]]


if __name__ == "__main__":
    cheap_model.load_all()
    task, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if task == "index":
        for number in range(count):
            record = race(folder, ["a", "ab"[number % 2]])
            os.write(1, json.dumps(record).encode() + b"\n")
    if task == "search":
        commits = int(sys.argv[4])
        (allowed, allowing), (asked, asking) = os.pipe(), os.pipe()
        pace = SEARCHERS * count // (commits + 1)
        children = [start(lambda: commit(folder, commits, pace, allowing, asked))]
        os.close(allowing)
        for seed in range(SEARCHERS):
            children.append(start(lambda seed=seed: search(folder, count, seed, allowed, asking)))
        codes = [os.waitpid(child, 0)[1] for child in children]
        sys.exit(max(codes) != 0)
