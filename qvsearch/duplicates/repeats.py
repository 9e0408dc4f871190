"""The near-duplicates of one item of a library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qvsearch.duplicates.groups import same

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.types import Segment

LOOKED_AT = 64  # rows, the most similar ones


def repeats(library: Library, segment: Segment) -> list[Segment]:
    """Return a segment of each item that repeats an item, the most similar first.

    Items are compared by their most similar row and the given segment, as hits are folded.
    """
    rows = np.flatnonzero(library.columns.items == np.int64(segment.item.number)).tolist()
    row = next((each for each in rows if library.segments[each] == segment), None)
    if row is None:
        return []
    scores = library.scores(library.vectors([row])[0])
    found: dict[int, Segment] = {}
    for other in np.argsort(-scores, kind="stable")[: LOOKED_AT + len(rows)].tolist():
        if scores[other] == -np.inf or other in rows:
            continue
        candidate = library.segments[other]
        if same(segment, candidate, float(scores[other])):
            found.setdefault(candidate.item.number, candidate)
    return list(found.values())
