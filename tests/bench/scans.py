"""The time of one query over random rows in memory: python tests/bench/scans.py

An exact scan of all rows and a first pass take turns. The first pass estimates all cosines from one
bit for each dimension, and then scores the best rows exactly.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parent))
from photo_library import unit_rows

from qvsearch.library.rows import PIECE
from qvsearch.retrieval.first_pass import best_guesses
from qvsearch.types import Stored
from qvsearch.vectors.encoding import Form
from qvsearch.vectors.sign_bits import Signs, width_of
from qvsearch.vectors.store import FaissStore

if TYPE_CHECKING:
    from qvsearch.types import Vectors

BLOCK = 1_000  # random rows; a scan of repeated ones takes as long
MEMORY_SHARE = 0.5  # of the free memory that rows may take


@dataclass(frozen=True, slots=True)
class Scanned:
    """Random unit rows (n, dim) and their sign bits.

    Vectors repeat, but each row has bits of its own: as in a library, the best estimates lie
    scattered over all rows.
    """

    store: FaissStore
    signs: Signs

    @classmethod
    def of(cls, rows: int, dim: int) -> Scanned:
        """Make this many rows."""
        form = Form(dim, Stored.FLOAT16)
        block = form.encode(unit_rows(min(rows, BLOCK), dim))
        store = FaissStore.of_codes(block[np.arange(rows) % BLOCK], form)
        width = width_of(dim) // 8
        bits = np.frombuffer(np.random.default_rng(rows).bytes(rows * width), np.uint8)
        centre, radius = np.zeros(dim, np.float32), np.ones(1, np.float32)
        return cls(store, Signs(centre, radius, bits.reshape(rows, width)))

    def exact(self, query: Vectors) -> Vectors:
        """Return the cosine (n,) of every row with a query (dim,)."""
        return self.store.scores(query)

    def after_first_pass(self, query: Vectors) -> Vectors:
        """Estimate all cosines and return the exact ones of the rows that a search would choose."""
        chosen, _ = best_guesses(self._guesses(query), [np.arange(len(self.store))])
        return FaissStore.of_codes(self.store.codes[np.sort(chosen)], self.store.form).scores(query)

    def _guesses(self, query: Vectors) -> Vectors:
        """Return estimated cosines (n,), with as many threads as a library's search."""
        starts = range(0, len(self.store), PIECE)
        with ThreadPoolExecutor(min(len(starts), os.cpu_count() or 1)) as pool:
            pieces = [self.signs.part(start, start + PIECE) for start in starts]
            return np.concatenate(list(pool.map(lambda piece: piece.guess(query), pieces)))


SEARCHES = {"exact": Scanned.exact, "first pass": Scanned.after_first_pass}


def fits(rows: int, dim: int) -> bool:
    """Return whether the free memory has room for this many rows."""
    needed = rows * (Form(dim, Stored.FLOAT16).row_size + width_of(dim) // 8)
    return needed <= MEMORY_SHARE * psutil.virtual_memory().available


def main() -> None:
    """Print the median and the extremes of each way and size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    query = unit_rows(1, given.dim)[0]
    for rows in given.rows:
        if not fits(rows, given.dim):
            print(f"{rows:,} rows: too little free memory")
            continue
        scanned = Scanned.of(rows, given.dim)
        times = {name: [] for name in SEARCHES}
        for _ in range(given.repeats):
            for name, search in SEARCHES.items():
                start = time.perf_counter()
                search(scanned, query)
                times[name].append(1000 * (time.perf_counter() - start))
        for name, each in times.items():
            print(
                f"{rows:,} rows, {name}: {statistics.median(each):.1f} ms"
                f" ({min(each):.1f} to {max(each):.1f})"
            )


if __name__ == "__main__":
    main()
