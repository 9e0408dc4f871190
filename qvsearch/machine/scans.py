"""Times how rows in memory are searched: all of them exactly, or those that a first pass leaves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.library.rows import PIECE
from qvsearch.machine.sample_library import unit_rows
from qvsearch.machine.timings import Figure, Task, Turns, timed
from qvsearch.retrieval.first_pass import best_guesses
from qvsearch.types import Stored
from qvsearch.vectors.encoding import Form
from qvsearch.vectors.sign_bits import Signs, width_of
from qvsearch.vectors.store import FaissStore

if TYPE_CHECKING:
    from qvsearch.types import Vectors

BLOCK = 1_000  # rows that are drawn; a scan takes as long where they come again
LARGE = 1_000_000  # from so many rows on memory is asked for first
MEMORY_SHARE = 0.5  # of what is free that so many rows may take


@dataclass(frozen=True, slots=True)
class Scanned:
    """Random unit rows (n, dim) and their signs.

    The bits of each row are drawn for itself, as those of random rows are: what they choose lies
    scattered over all rows, and no two are alike.
    """

    store: FaissStore
    signs: Signs

    @classmethod
    def of(cls, rows: int, dim: int) -> Scanned:
        """Make so many rows."""
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
        """Guess all cosines and return, exactly, those of the rows that a search would choose."""
        chosen, _ = best_guesses(self._guesses(query), [np.arange(len(self.store))])
        return FaissStore.of_codes(self.store.codes[np.sort(chosen)], self.store.form).scores(query)

    def _guesses(self, query: Vectors) -> Vectors:
        """Return about the cosine (n,) of every row, in as many threads as a library's search."""
        starts = range(0, len(self.store), PIECE)
        with ThreadPoolExecutor(min(len(starts), os.cpu_count() or 1)) as pool:
            pieces = [self.signs.part(start, start + PIECE) for start in starts]
            return np.concatenate(list(pool.map(lambda piece: piece.guess(query), pieces)))


SEARCHES: dict[str, Callable[[Scanned, Vectors], Vectors]] = {
    "exact": Scanned.exact,
    "first pass": Scanned.after_first_pass,
}


def searching(
    dim: int, sizes: Sequence[int], turns: Turns, shown: Callable[[float], float]
) -> Iterator[Figure]:
    """Yield what each way to search so many rows of a dimension takes, timed in turns."""
    query = unit_rows(1, dim)[0]
    tasks = []
    for rows in sizes:
        if turns.stop():
            break
        figures = [Figure("search", "ms", how=how, rows=rows) for how in SEARCHES]
        needed = rows * (Form(dim, Stored.FLOAT16).row_size + width_of(dim) // 8) / MEMORY_SHARE
        free = free_memory()
        if rows >= LARGE and (free is None or needed > free):
            reason = f"it needs {needed / 1e9:.1f} GB of free memory"
            yield from (replace(each, reason=reason) for each in figures)
            continue
        turns.report(f"making {rows:,} rows")
        made = Scanned.of(rows, dim)
        for figure in figures:
            search = partial(SEARCHES[str(figure.how)], made, query)
            tasks.append(Task(figure, partial(timed, search), shown))
    yield from turns.taken(tasks)


def free_memory() -> int | None:
    """Return the bytes that programs can still have; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(each.split()[1]) * 1024 for each in lines if each.startswith("MemAvail"))
    except (OSError, StopIteration):
        pass
    try:  # half of all, where the free part is not told
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (ValueError, OSError):
        return None
