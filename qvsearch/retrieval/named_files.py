"""The files whose names, titles, places and the like have words of a query.

A search finds these words on the first row of a file alone. Here they count on each of its rows, so
that a name and a word of a later page are found together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.library.tokens import tokens
from qvsearch.library.words import about

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.retrieval.asked_words import Phrase
    from qvsearch.types import Segment

    Rows = NDArray[np.int64]
    Files = NDArray[np.int64]  # by number
    Named = Mapping[Phrase, Files]

MOST_ROWS = 2000  # that have a phrase: if more have it, it is not looked for in names
MOST_FILES = 200  # whose names are compared


@dataclass(frozen=True, slots=True)
class Having:
    """The rows (k,) that have a phrase, and the file of each (k,)."""

    rows: Rows
    files: Files

    def within(self, files: Files) -> Having:
        """Return those rows that are of some files (n,), ascending."""
        inside = are_among(self.files, files)
        return Having(self.rows[inside], self.files[inside])


def are_among(numbers: Files, some: Files) -> NDArray[np.bool_]:
    """Return which numbers (k,) are among some (n,), ascending: faster than `np.isin` for few."""
    if not len(some):
        return np.zeros(len(numbers), np.bool_)
    places = np.searchsorted(some, numbers)
    among: NDArray[np.bool_] = np.append(some, -1)[places] == numbers
    return among


def possible_names(sizes: Mapping[Phrase, int]) -> list[Phrase]:
    """Return the phrases that may be in names, given how many rows have each; none of a single."""
    return [each for each, size in sizes.items() if 0 < size <= MOST_ROWS] if len(sizes) > 1 else []


def named_files(
    found: Mapping[Phrase, Having],
    weights: Mapping[Phrase, float],
    least: float,
    segments_of: Callable[[Rows], Iterable[Segment]],
) -> Named:
    """Return the files, ascending, whose names have a phrase that some of their rows lack.

    `weights` is the information of each phrase: only files whose rows have more of it together than
    each alone, and at least `least`, are compared. `segments_of` returns the segments of rows.
    """
    rows = np.unique(np.concatenate([each.rows for each in found.values()]))
    has, file_of = np.zeros(len(rows), np.float32), np.zeros(len(rows), np.int64)
    for phrase, each in found.items():
        at = np.searchsorted(rows, each.rows)
        has[at] += np.float32(weights[phrase])
        file_of[at] = each.files
    files, first, place = np.unique(file_of, return_index=True, return_inverse=True)
    best, together = np.zeros(len(files), np.float32), np.zeros(len(files), np.float32)
    np.maximum.at(best, place, has)
    for phrase, each in found.items():
        together[np.unique(np.searchsorted(files, each.files))] += np.float32(weights[phrase])
    some = np.flatnonzero((together > best) & (together > least))
    some = some[np.argsort(-together[some], kind="stable")[:MOST_FILES]]
    return _with_names(files[some].tolist(), segments_of(rows[first[some]]), list(found))


def missing(found: Mapping[Phrase, Having], named: Named) -> dict[Phrase, Rows]:
    """Return the rows, ascending, that have some phrase and lack one of their file's names."""
    if not named:
        return {}
    rows, first = np.unique(
        np.concatenate([each.rows for each in found.values()]), return_index=True
    )
    files = np.concatenate([each.files for each in found.values()])[first]
    return {
        phrase: np.setdiff1d(rows[are_among(files, each)], found[phrase].rows)
        for phrase, each in named.items()
    }


def _with_names(
    files: Sequence[int], segments: Iterable[Segment], found: Sequence[Phrase]
) -> Named:
    named: dict[Phrase, list[int]] = defaultdict(list)
    for file, segment in zip(files, segments, strict=True):
        names = f" {' '.join(tokens(about(segment)))} "
        for phrase in found:
            if f" {' '.join(phrase)} " in names:
                named[phrase].append(file)
    return {phrase: np.sort(np.array(each, np.int64)) for phrase, each in named.items()}
