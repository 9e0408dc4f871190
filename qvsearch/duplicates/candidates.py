"""Find the pairs of rows that may be near-duplicates: few of all pairs, for the rule to decide.

Copies have the same bytes, the same words, or hashes that differ in few bits. Pictures of a burst
are neighbours in time.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import faiss as _faiss
import numpy as np

from qvsearch.duplicates.rule import ABSENT, BITS, BURST_SECONDS, COPY_BITS

if TYPE_CHECKING:
    from qvsearch.duplicates.rule import Flags, Numbers, Traits

faiss: Any = _faiss  # its type stubs lack the methods of its Python layer

PAIRS_AT_ONCE = 1_000_000
# Pictures before and after one in time that may be of its burst. If a camera's clock stands still,
# all its pictures have one time, and that is no evidence.
NEIGHBOURS = 100


def few(of: Traits) -> tuple[Numbers, Numbers]:
    """Return the pairs (i, j), i < j, of rows that may be the same, by comparing all pairs."""
    pairs = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    step = max(1, PAIRS_AT_ONCE // max(1, len(of.dhash)))
    for first in range(0, len(of.dhash), step):
        some = slice(first, first + step)
        near = np.bitwise_count(of.dhash[some, None] ^ of.dhash) <= COPY_BITS
        near &= of.hashed[some, None] & of.hashed
        near |= np.abs(of.taken[some, None] - of.taken) <= BURST_SECONDS
        near |= (of.content[some, None] == of.content) & (of.content != ABSENT)
        near |= (of.words[some, None] == of.words) & (of.words != ABSENT)
        i, j = np.nonzero(np.triu(near, first + 1))
        pairs.append((i + first, j))
    i, j = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return i, j


class Candidates:
    """Finds, for some of many rows, the later rows that may be the same, except exact copies."""

    def __init__(self, of: Traits) -> None:
        self._hash, self._has_hash = of.dhash, of.hashed
        self._ranges = (_same_words(of), _near_in_time(of))

    def after(self, rows: Numbers, wanted: Flags) -> tuple[Numbers, Numbers]:
        """Return the pairs (i, j), ordered: i of the ascending `rows`, j > i with `wanted[j]`."""
        pairs = [np.empty(0, np.int64)]
        for i, j in self._found(rows, wanted):
            keep = (j > i) & wanted[j]
            pairs.append(i[keep] * len(wanted) + j[keep])
        i, j = np.divmod(np.unique(np.concatenate(pairs)), len(wanted))
        return i, j

    def _found(self, rows: Numbers, wanted: Flags) -> Iterator[tuple[Numbers, Numbers]]:
        yield self._near_hashes(rows, wanted)
        for order, starts, ends in self._ranges:
            yield from _spread(rows, starts[rows], ends[rows], order)

    def _near_hashes(self, rows: Numbers, wanted: Flags) -> tuple[Numbers, Numbers]:
        """Return pairs of rows whose hashes differ in at most COPY_BITS bits."""
        rows = rows[self._has_hash[rows]]
        if not len(rows):
            return rows, rows
        later = rows[0] + np.flatnonzero((self._has_hash & wanted)[rows[0] :])
        index = faiss.IndexBinaryFlat(BITS)
        index.add(_codes(self._hash[later]))
        ends, _, places = index.range_search(_codes(self._hash[rows]), COPY_BITS + 1)
        return np.repeat(rows, np.diff(ends.astype(np.int64))), later[places]


def _codes(hashes: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return hashes (n,) as bytes (n, 8)."""
    return np.ascontiguousarray(hashes).view(np.uint8).reshape(-1, BITS // 8)


def _same_words(of: Traits) -> tuple[Numbers, Numbers, Numbers]:
    """Return an order of rows, and for each row the range of places with the same words."""
    usable = np.flatnonzero(of.words != ABSENT)
    order = usable[np.argsort(of.words[usable], kind="stable")]
    words = of.words[order]
    starts, ends = np.zeros(len(of.words), np.int64), np.zeros(len(of.words), np.int64)
    starts[order] = np.searchsorted(words, words, "left")
    ends[order] = np.searchsorted(words, words, "right")
    return order, starts, ends


def _near_in_time(of: Traits) -> tuple[Numbers, Numbers, Numbers]:
    """Return an order of rows, and for each row the range of places taken within a burst's time."""
    usable = np.flatnonzero(np.isfinite(of.taken) & (of.camera != ABSENT))
    order = usable[np.lexsort((of.camera[usable], of.taken[usable]))]
    times, place = of.taken[order], np.arange(len(order))
    starts, ends = np.zeros(len(of.taken), np.int64), np.zeros(len(of.taken), np.int64)
    first = np.searchsorted(times, times - BURST_SECONDS, "left")
    last = np.searchsorted(times, times + BURST_SECONDS, "right")
    starts[order] = np.maximum(first, place - NEIGHBOURS)
    ends[order] = np.minimum(last, place + NEIGHBOURS + 1)
    return order, starts, ends


def _spread(
    rows: Numbers, starts: Numbers, ends: Numbers, order: Numbers
) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield (rows[m], order[place]) for all places of each range m, some at a time."""
    filled = ends > starts
    rows, starts, counts = rows[filled], starts[filled], (ends - starts)[filled]
    ends = np.cumsum(counts)
    cuts = np.searchsorted(ends, np.arange(0, counts.sum(), PAIRS_AT_ONCE), "right")
    for first, end in pairwise([*np.unique(cuts).tolist(), len(counts)]):
        some = counts[first:end]
        before = np.cumsum(some) - some
        places = np.arange(some.sum()) + np.repeat(starts[first:end] - before, some)
        yield np.repeat(rows[first:end], some), order[places]
