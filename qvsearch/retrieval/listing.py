"""Files in an order of their own, without a query: what browsing shows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.library.aliases import is_there
from qvsearch.times import time_taken
from qvsearch.types import Hit, Sort

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.library import Library


def listed(library: Library, mask: NDArray[np.bool_], count: int, sort: Sort) -> list[Hit]:
    """Return the first `count` files that have a row in the mask (size,), newest first or by path.

    They have no relevance: that and the score are NaN. No vector is read.
    """
    rows = np.flatnonzero(mask)
    rows = rows[np.unique(library.columns.items[rows], return_index=True)[1]]
    rows.sort()
    if sort is Sort.PATH:
        paths = library.columns.locations(rows)
        places = sorted(range(len(rows)), key=paths.__getitem__)[:count]
        rows = rows[np.array(places, np.int64)]
    else:
        rows = library.columns.newest(rows, count)
    segments = [library.segments[row] for row in rows.tolist()]
    return [
        Hit(
            rank,
            math.nan,
            math.nan,
            segment,
            gone=not is_there(segment.item.location),
            library=library.folder,
        )
        for rank, segment in enumerate(segments, start=1)
    ]


def sorted_hits(hits: Iterable[Hit], sort: Sort) -> list[Hit]:
    """Return hits in another order; hits that are alike keep theirs."""
    if sort is Sort.DATE:
        return sorted(hits, key=lambda hit: -time_taken(hit.segment))
    if sort is Sort.PATH:
        return sorted(hits, key=lambda hit: hit.segment.item.location)
    return list(hits)
