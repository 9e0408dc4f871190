"""Find near-duplicates in a ranked list; what is one, the rule in `sameness` says.

A group is a star: its members are all the same as its first. Were they only the same as some other
member, a chain of small changes would lead from any picture to any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.pairs import few
from qvsearch.sameness import needed, traits

if TYPE_CHECKING:
    from qvsearch.sameness import Floats, Numbers, Traits
    from qvsearch.types import Segment, Vectors

    Fetch = Callable[[Numbers], Vectors]

FETCHED = 4096  # vectors that are held at once: 32 MB of 2048 numbers


def same(one: Segment, other: Segment, cosine: float) -> bool:
    """Tell whether the items of two rows are near-duplicates, as far as the rows say."""
    least = needed(traits([one, other]), np.array([0]), np.array([1]))
    return cosine >= float(least[0])


def fold(segments: Sequence[Segment], vectors: Vectors) -> list[int]:
    """Return for each entry of a ranked list the earlier one that it repeats, or its own index.

    `segments` are the best ones of some hundred items and `vectors` (n, dim) theirs. An entry that
    is repeated repeats none itself.
    """
    of = traits(segments)
    leaders = np.arange(len(segments))
    gather(leaders, *alike(of, *few(of), vectors.__getitem__))
    return leaders.tolist()


def alike(of: Traits, i: Numbers, j: Numbers, fetch: Fetch) -> tuple[Numbers, Numbers]:
    """Return those of the pairs (i[k], j[k]) that are the same; `fetch` gives vectors of rows."""
    least = needed(of, i, j)
    open_ = np.isfinite(least)
    least[open_] -= _cosines(i[open_], j[open_], fetch)
    return i[least <= 0], j[least <= 0]


def gather(leaders: Numbers, i: Numbers, j: Numbers) -> None:
    """Let entries lead those behind them that are the same as they: pairs (i[k], j[k]), i < j.

    `leaders[n]` is n, changed in place where an entry gets a leader; pairs are ordered by i.
    """
    led, starts = np.unique(i, return_index=True)
    bounds = pairwise([*starts.tolist(), len(j)])
    for leader, (first, end) in zip(led.tolist(), bounds, strict=True):
        if leaders[leader] == leader:
            followers = j[first:end]
            leaders[followers[leaders[followers] == followers]] = leader


def _cosines(i: Numbers, j: Numbers, fetch: Fetch) -> Floats:
    """Return the cosine of each pair of rows."""
    left, at = np.unique(i, return_inverse=True)
    right, to = np.unique(j, return_inverse=True)
    found = np.empty(len(i))
    for top in range(0, len(left), FETCHED):
        vectors = fetch(left[top : top + FETCHED])
        for first in range(0, len(right), FETCHED):
            block = vectors @ fetch(right[first : first + FETCHED]).T
            here = (at // FETCHED == top // FETCHED) & (to // FETCHED == first // FETCHED)
            found[here] = block[at[here] - top, to[here] - first]
    return found
