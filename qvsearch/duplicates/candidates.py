"""Find the pairs of rows that may be near-duplicates: what the rule asks for leaves traces.

Copies have the same bytes or words, or hashes that differ in few bits: then some quarter of them
differs in so few that all such quarters can be looked up. Pictures of a burst are neighbours in
time.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.duplicates.rule import ABSENT, BITS, BURST_SECONDS, COPY_BITS

if TYPE_CHECKING:
    from qvsearch.duplicates.rule import Flags, Numbers, Traits

# Bits that may differ in each quarter of two hashes: with one more in each they differ in more
# than COPY_BITS.
FLIPS = (2, 2, 2, 1)
WIDTH = BITS // len(FLIPS)
SPREAD = 1_000_000  # pairs that are looked at in one go
# pictures before and after one in time that may be of its burst; where a camera's clock stands
# still, all are of one second, and that says nothing
NEIGHBOURS = 100


def few(of: Traits) -> tuple[Numbers, Numbers]:
    """Return all pairs (i, j), i before j, of rows that may be the same: looks at every pair."""
    found = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    step = max(1, SPREAD // max(1, len(of.dhash)))
    for first in range(0, len(of.dhash), step):
        some = slice(first, first + step)
        near = np.bitwise_count(of.dhash[some, None] ^ of.dhash) <= COPY_BITS
        near &= of.hashed[some, None] & of.hashed
        near |= np.abs(of.taken[some, None] - of.taken) <= BURST_SECONDS
        near |= (of.content[some, None] == of.content) & (of.content != ABSENT)
        near |= (of.words[some, None] == of.words) & (of.words != ABSENT)
        i, j = np.nonzero(np.triu(near, first + 1))
        found.append((i + first, j))
    i, j = (np.concatenate(side) for side in zip(*found, strict=True))
    return i, j


class Candidates:
    """For some rows of many, the later ones that may be the same; exact copies aside."""

    def __init__(self, of: Traits) -> None:
        self._hash = of.dhash
        hashed = np.flatnonzero(of.hashed)
        quarters = [(of.dhash >> np.uint64(WIDTH * n)).astype(np.uint16) for n in range(len(FLIPS))]
        self._hashes = [
            _Shelf(hashed, quarter.astype(np.int64), _masks(flips))
            for quarter, flips in zip(quarters, FLIPS, strict=True)
        ]
        self._words = _Shelf(np.flatnonzero(of.words != ABSENT), of.words, _masks(0))
        self._times = _Times(of)

    def after(self, rows: Numbers, wanted: Flags) -> tuple[Numbers, Numbers]:
        """Return pairs (i, j), ordered: i of `rows`, j behind it with `wanted[j]`."""
        found = [np.empty(0, np.int64)]
        shelves: list[_Shelf | _Times] = [*self._hashes, self._words, self._times]
        for shelf in shelves:
            for i, j in shelf.partners(rows):
                keep = (j > i) & wanted[j]
                if shelf in self._hashes:
                    keep &= np.bitwise_count(self._hash[i] ^ self._hash[j]) <= COPY_BITS
                found.append(i[keep] * len(wanted) + j[keep])
        i, j = np.divmod(np.unique(np.concatenate(found)), len(wanted))
        return i, j


class _Shelf:
    """Rows by a key of each; partners stand under the key with one of the masks laid on it."""

    def __init__(self, rows: Numbers, keys: Numbers, masks: Numbers) -> None:
        self._keys, self._masks = keys, masks
        self._has = np.zeros(len(keys), np.bool_)
        self._has[rows] = True
        self._rows = rows[np.argsort(keys[rows], kind="stable")]
        bits = max(int(keys[rows].max(initial=0)), int(masks.max())).bit_length()
        self._starts = np.searchsorted(keys[self._rows], np.arange((1 << bits) + 1))

    def partners(self, rows: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
        """Yield (row, partner) pairs, some at a time, each row with itself among them."""
        rows = rows[self._has[rows]]
        keys = self._keys[rows, None] ^ self._masks
        yield from _spread(rows, self._starts[keys], self._starts[keys + 1], self._rows)


class _Times:
    """Rows by the time that they were taken at, and by the camera where that is one."""

    def __init__(self, of: Traits) -> None:
        known = np.flatnonzero(np.isfinite(of.taken) & (of.camera != ABSENT))
        self._rows = known[np.lexsort((of.camera[known], of.taken[known]))]
        times = of.taken[self._rows]
        place = np.arange(len(times))
        self._starts = np.zeros((len(of.taken), 1), np.int64)
        self._ends = np.zeros_like(self._starts)
        self._starts[self._rows, 0] = np.maximum(
            np.searchsorted(times, times - BURST_SECONDS, "left"), place - NEIGHBOURS
        )
        self._ends[self._rows, 0] = np.minimum(
            np.searchsorted(times, times + BURST_SECONDS, "right"), place + NEIGHBOURS + 1
        )

    def partners(self, rows: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
        """Yield (row, partner) pairs as a shelf does."""
        yield from _spread(rows, self._starts[rows], self._ends[rows], self._rows)


def _spread(
    rows: Numbers, starts: Numbers, ends: Numbers, order: Numbers
) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield (rows[m], order[place]) for all places of the ranges (m, p), about SPREAD at a time."""
    counts = (ends - starts).ravel()
    filled = np.flatnonzero(counts)
    counts = counts[filled]
    rows, starts = np.repeat(rows, ends.shape[1])[filled], starts.ravel()[filled]
    ends = np.cumsum(counts)
    cuts = np.searchsorted(ends, np.arange(0, ends[-1] if len(ends) else 0, SPREAD), "right")
    for first, end in pairwise([*np.unique(cuts).tolist(), len(counts)]):
        some = counts[first:end]
        before = np.cumsum(some) - some
        places = np.arange(some.sum()) + np.repeat(starts[first:end] - before, some)
        yield np.repeat(rows[first:end], some), order[places]


def _masks(flips: int) -> Numbers:
    """Return the numbers of WIDTH bits of which at most so many are ones."""
    ones = (each for count in range(flips + 1) for each in combinations(range(WIDTH), count))
    return np.array([sum(1 << bit for bit in bits) for bits in ones], np.int64)
