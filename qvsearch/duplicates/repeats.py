"""The near-duplicates of one item of a library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qvsearch.duplicates.groups import same
from qvsearch.published.opening import is_large_table

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.published.library import PublishedLibrary
    from qvsearch.types import Segment

LOOKED_AT = 64  # rows, the most similar ones


def repeats(library: Library, segment: Segment) -> list[Segment]:
    """Return a segment of each item that repeats an item, the most similar first.

    Items are compared by their most similar row and the given segment, as hits are folded.
    """
    if is_large_table(library):
        library = _around(library, segment)
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


def _around(library: PublishedLibrary, segment: Segment) -> Library:
    """Return a library in memory of an item's rows and of the rows most like one of them."""
    own = library.file(segment.item)
    row = next((row for row, each in own.segments.items() if each == segment), None)
    if row is None:
        return own
    return library.nearest(own.vectors([row])[0], LOOKED_AT + len(own), segment.item)
