"""The files of a library as one vector each, in a space without the differences of kinds.

A photo has its own vector, a video or a text the mean of its segments. Vectors of words lie apart
from those of pictures, whatever they show; without the mean of its kind a vector lies beside what
shows the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.duplicates.groups import duplicate_groups
from qvsearch.tasks.grouping.vector_groups import EXACT_UP_TO, unit
from qvsearch.types import Item, Segment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.library import Library
    from qvsearch.types import Vectors

    Rows = NDArray[np.int64]
    Mask = NDArray[np.bool_]

AT_ONCE = 8192  # rows in memory: 64 MB of 2048 numbers
SAMPLE = 16_384  # files that the space is computed from
PRIOR = 30  # files of any kind that count towards the mean of each kind
DIMS = 256  # of the space of a large library


@dataclass(frozen=True, slots=True)
class Items:
    """Some files of a library, numbered from 0 in the order of their first rows.

    `rows` (m,) are their rows, ascending, and `of_row` (m,) the number of each row's file.
    `segments` and `duplicates` have an entry for each file: its first segment, and the
    near-duplicates that were folded into it.
    """

    rows: Rows
    of_row: Rows
    segments: Sequence[Segment]
    duplicates: Sequence[tuple[Item, ...]]

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.segments)

    @property
    def counts(self) -> Rows:
        """The number of rows (n,) of each file."""
        return np.bincount(self.of_row, minlength=len(self))


def library_items(library: Library, mask: Mask, *, dedupe: bool) -> Items:
    """Return the files with a row in the mask (size,); `dedupe` folds near-duplicates into one."""
    rows = np.flatnonzero(mask)
    _, firsts, of_row = np.unique(
        library.columns.items[rows], return_index=True, return_inverse=True
    )
    order = np.argsort(firsts)
    of_row = np.argsort(order)[of_row]
    segments = [library.segments[row] for row in rows[firsts[order]].tolist()]
    folded: dict[int, list[Item]] = {}
    leads = np.ones(len(segments), np.bool_)
    for leader, *others in _repeats(library, segments) if dedupe else ():
        leads[others] = False
        folded[leader] = [segments[other].item for other in others]
    kept = leads[of_row]
    numbers = np.cumsum(leads) - 1
    leaders = np.flatnonzero(leads).tolist()
    return Items(
        rows[kept],
        numbers[of_row[kept]],
        [segments[place] for place in leaders],
        [tuple(folded.get(place, ())) for place in leaders],
    )


def _repeats(library: Library, segments: Sequence[Segment]) -> Iterator[list[int]]:
    """Yield the places of files that repeat each other, the best original first."""
    places = {segment.item.location: place for place, segment in enumerate(segments)}
    for group in duplicate_groups(library):
        paths = (path for each in group.items for path in (each.segment.item.location, *each.also))
        repeats = [places[path] for path in paths if path in places]
        if len(repeats) > 1:
            yield repeats


@dataclass(frozen=True, slots=True)
class Space:
    """A space for the vectors of some files: the mean of each kind (kinds, dim), and axes or None.

    `axes` (DIMS, dim) are the principal components, for a large library only.
    """

    means: Vectors
    axes: Vectors | None

    def vectors(self, library: Library, rows: Rows) -> Vectors:
        """Return the unit vectors (len(rows), d) of rows in this space."""
        apart = unit(library.vectors(rows.tolist()) - self.means[library.kinds[rows]])
        return apart if self.axes is None else unit(apart @ self.axes.T)


def space_of(library: Library, items: Items) -> Space:
    """Return the space of some files, from the middle rows of at most SAMPLE of them."""
    counts = items.counts
    order = np.argsort(items.of_row, kind="stable")
    middles = items.rows[order[np.cumsum(counts) - counts + counts // 2]]
    rows = middles[:: -(-len(middles) // SAMPLE)]
    vectors, kinds = library.vectors(rows.tolist()), library.kinds[rows]
    whole = vectors.mean(axis=0)
    means = np.tile(whole, (len(library.by_kind), 1))
    for code in np.unique(kinds).tolist():
        some = vectors[kinds == code]
        means[code] = (some.sum(axis=0) + PRIOR * whole) / (len(some) + PRIOR)
    if len(items) <= EXACT_UP_TO:
        return Space(means, None)
    apart = unit(vectors - means[kinds])
    _, axes = np.linalg.eigh(apart.T @ apart)
    return Space(means, np.ascontiguousarray(axes[:, : -DIMS - 1 : -1].T))


def item_vectors(library: Library, items: Items, space: Space) -> Vectors:
    """Return the unit vector (n, d) of each file: the mean of its rows."""
    sums: Vectors | None = None
    for start in range(0, len(items.rows), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        vectors = space.vectors(library, items.rows[some])
        if sums is None:
            sums = np.zeros((len(items), vectors.shape[1]), np.float32)
        np.add.at(sums, items.of_row[some], vectors)
    return unit(np.empty((0, 1), np.float32) if sums is None else sums)


def central_rows(library: Library, items: Items, space: Space, directions: Vectors) -> Rows:
    """Return the row (n,) of each file that lies nearest to its direction (n, d)."""
    nearness = np.zeros(len(items.rows), np.float32)
    several = np.flatnonzero(items.counts[items.of_row] > 1)
    for start in range(0, len(several), AT_ONCE):
        some = several[start : start + AT_ONCE]
        vectors = space.vectors(library, items.rows[some])
        nearness[some] = np.einsum("nd,nd->n", vectors, directions[items.of_row[some]])
    order = np.lexsort((-nearness, items.of_row))
    return items.rows[order[np.searchsorted(items.of_row[order], np.arange(len(items)))]]
