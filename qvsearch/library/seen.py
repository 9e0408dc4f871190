"""The files that a saved search has seen, so that it can show only those that came since."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.files import read_start, write_file
from qvsearch.formats import pack_arrays, unpack_arrays

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from qvsearch.library.library import Library

_TYPES = {"places": np.dtype("<i8"), "contents": np.dtype("<u8")}
_DIGITS = 16  # of a content hash; a million files hardly share them
LARGEST = 1 << 30  # bytes; 60 million files


@dataclass(frozen=True, slots=True)
class Seen:
    """Files by place and by content, both sorted: `Item.number`s, and 64 bits of content hashes."""

    places: NDArray[np.int64]
    contents: NDArray[np.uint64]


NOTHING = Seen(np.zeros(0, np.int64), np.zeros(0, np.uint64))


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The files of a library whose places were not seen, and which of them are new (n,).

    A renamed, moved or copied file has another place, but no new content.
    """

    places: NDArray[np.int64]
    contents: NDArray[np.uint64]
    is_new: NDArray[np.bool_]

    @property
    def new(self) -> frozenset[int]:
        """The numbers of the new items."""
        return frozenset(self.places[self.is_new].tolist())


def arrivals(library: Library, seen: Seen) -> Arrivals:
    """Return what came into a library; only the sidecar lines of unseen places are read."""
    live = np.flatnonzero(library.columns.live)
    places, first = np.unique(library.columns.items[live], return_index=True)
    unseen = ~np.isin(places, seen.places, assume_unique=True)
    hashes = (
        int(segment.content_hash[:_DIGITS], 16)
        for segment in library.segments.stream(live[first[unseen]].tolist())
    )
    contents = np.fromiter(hashes, np.uint64, int(unseen.sum()))
    return Arrivals(places[unseen], contents, ~np.isin(contents, seen.contents))


def extended(seen: Seen, come: Arrivals, waiting: Collection[int] = ()) -> Seen:
    """Return what is seen after the arrivals, but for items that still wait to be shown."""
    shown = ~np.isin(come.places, np.array(sorted(waiting), np.int64))
    return Seen(
        np.union1d(seen.places, come.places[shown]),
        np.union1d(seen.contents, come.contents[shown]),
    )


def write_seen(path: Path, seen: Seen) -> None:
    """Write a list atomically."""
    write_file(path, *pack_arrays({"places": seen.places, "contents": seen.contents}))


def read_seen(path: Path) -> Seen:
    """Return a list; raises QvsearchError if it is missing or damaged."""
    try:
        arrays = unpack_arrays(read_start(path, LARGEST), _TYPES)
        if any(each.ndim != 1 for each in arrays.values()):
            raise ValueError("its arrays have another shape")
    except OSError as error:
        raise QvsearchError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise QvsearchError(f"{path} is damaged: {error}") from error
    return Seen(arrays["places"], arrays["contents"])
