"""The rows of an item by its identity, which pages and programs keep instead of a path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.files import is_below
from qvsearch.types import item_number

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.types import Item, Segment

_NUMBER = 16  # hexadecimal digits of an item's number, at the end (see `Segment.item_id`)
_MOST = 2**63 - 1
_LONGEST = 64  # digits; a content hash has 32


class Gone(QvsearchError):
    """No item of the library has the identity: it was removed, moved or changed since."""


def segments_of(library: Library, item_id: str) -> list[Segment]:
    """Return the segments of an item, in the order of the file; raises Gone if there are none."""
    digits = item_id[-_NUMBER:]
    if not (_NUMBER < len(item_id) <= _LONGEST and set(digits) <= set("0123456789abcdef")):
        raise Gone(f"{item_id[:_LONGEST]!r} is not the identity of a file")
    number = int(digits, 16) & _MOST  # an item's own has 63 bits; a longer one is found by none
    rows = np.flatnonzero(library.columns.items == np.int64(number))
    segments = [library.segments[row] for row in rows.tolist()]
    found = [each for each in segments if each.item_id == item_id]
    if not found:
        raise Gone(f"the library {library.folder} has no file {item_id}; it may have changed since")
    return sorted(found, key=_place)


def _place(segment: Segment) -> tuple[float, tuple[int, int], int]:
    """Return a key of the order in the file; a picture comes before the film within it."""
    start = -1.0 if segment.start is None else segment.start
    return start, segment.lines or (0, 0), segment.page or 0


def id_at(library: Library, location: bytes) -> str | None:
    """Return the identity of the item at an absolute path; None if the library has none there."""
    for root in library.roots:
        if is_below(location, root):
            number = item_number(root, location[len(root) :].lstrip(b"/"))
            for row in np.flatnonzero(library.columns.items == np.int64(number)).tolist():
                if library.segments[row].item.location == location:
                    return library.segments[row].item_id
    return None


def id_of(library: Library, item: Item) -> str | None:
    """Return the identity of an item of the library; None if it has the item no longer."""
    for row in np.flatnonzero(library.columns.items == np.int64(item.number)).tolist():
        if library.segments[row].item == item:
            return library.segments[row].item_id
    return None
