"""Rows that answer, as hits: one an item, its moments joined, its near-duplicates folded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.duplicates.groups import fold
from qvsearch.library.aliases import is_there
from qvsearch.retrieval.moments import Scored, moments
from qvsearch.types import Hit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.library import Library
    from qvsearch.retrieval.scoring import Ranking
    from qvsearch.types import Moment

MOMENTS = 5  # other moments or passages of an item that a hit carries
FOLDED = 1024  # compared at once where most are copies: the cost is quadratic
COPIES = 64  # rows read past the last hit, which may have copies that answer a little less well
FIRST_ROWS = 1024  # put in order at first; answers of one long video are rarely more


def best_hits(
    library: Library,
    ranking: Ranking,
    mask: NDArray[np.bool_],
    count: int,
    *,
    least: float,
    dedupe: bool,
) -> list[Hit]:
    """Return the first `count` items, best first, with a row in the mask of evidence `least`."""
    rows = best_rows(library, ranking, mask, least)
    groups = _folded(library, rows, count) if dedupe else [[row] for row in islice(rows, count)]
    return [_hit(library, ranking, group, rank) for rank, group in enumerate(groups, start=1)]


def best_rows(
    library: Library, ranking: Ranking, mask: NDArray[np.bool_], least: float
) -> Iterator[int]:
    """Yield the best row of each item, best first, ties by row number."""
    evidence, items = ranking.evidence, library.columns.items
    rows = np.flatnonzero(mask & (evidence >= least) & (evidence > -np.inf))
    seen: set[int] = set()
    count = FIRST_ROWS
    while True:
        first = rows
        if count < len(rows):
            first = np.sort(rows[np.argpartition(-evidence[rows], count)[:count]])
        for row in first[np.argsort(-evidence[first], kind="stable")].tolist():
            if items[row] not in seen:
                seen.add(items[row])
                yield row
        if count >= len(rows):
            return
        count *= 4


def _folded(library: Library, rows: Iterator[int], count: int) -> list[list[int]]:
    """Return `count` groups of near-duplicates, the best row of each first."""
    groups: dict[int, list[int]] = {}  # by their first rows, which repeat none of one another
    size, known = count, 0
    while known < count and (more := list(islice(rows, size))):
        known = len(groups)
        taken = [*groups, *more]
        leaders = fold([library.segments[row] for row in taken], library.vectors(taken))
        for row, leader in zip(more, leaders[known:], strict=True):
            groups.setdefault(taken[leader], []).append(row)
        size = COPIES if len(groups) >= count else max(count, min(2 * size, FOLDED))
    return list(groups.values())[:count]


def _hit(library: Library, ranking: Ranking, group: list[int], rank: int) -> Hit:
    """Return the hit of a group: the item that is to be shown, the others its duplicates.

    Its relevance and score are the best of the group's, which its first row has. Its moments are
    the best others, whatever they are worth.
    """
    segments = library.segments
    ordered, gone = _shown_first(library, group)
    answer, *others = _moments(library, ranking, group[0])
    best = answer
    if ordered[0] != group[0]:
        best, *others = _moments(library, ranking, ordered[0])
    return Hit(
        rank,
        answer.relevance,
        answer.score,
        best.segment,
        best.start,
        best.end,
        moments=tuple(others[:MOMENTS]),
        duplicates=tuple(segments[row].item for row in ordered[1:]),
        gone=gone,
        library=library.folder,
    )


def _shown_first(library: Library, group: list[int]) -> tuple[list[int], bool]:
    """Return the rows of copies as they are shown, and whether the first one's file is gone.

    Files that are there come first, then those with more pixels, then the better answer.
    """
    gone = {row for row in group if not is_there(library.segments[row].item.location)}

    def place(row: int) -> tuple[bool, int]:
        segment = library.segments[row]
        return row in gone, -(segment.width or 0) * (segment.height or 0)

    ordered = sorted(group, key=place)
    return ordered, ordered[0] in gone


def _moments(library: Library, ranking: Ranking, row: int) -> list[Moment]:
    """Return the moments of a row's item, best first."""
    items, segments = library.columns.items, library.segments
    rows = np.flatnonzero(items == items[row]).tolist()
    ranking.judge(library, rows)
    return moments(
        Scored(float(ranking.evidence[each]), float(ranking.scores[each]), segments[each])
        for each in rows
    )
