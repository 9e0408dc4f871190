"""The segments of a library by row number, each read from its sidecar on first access.

Maps row numbers to sidecar lines. Callers tell it which rows are live.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence, ValuesView
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.library.manifest import Damaged, check_sum
from qvsearch.library.sidecar import decode_rows, salvage_row
from qvsearch.types import Segment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.files import Seal
    from qvsearch.vectors.encoding import Codes


@dataclass(frozen=True, slots=True)
class Lines:
    """The sidecar of a shard: its bytes, the end of each line (n,), and the vectors (n, dim).

    `roots` are the library's roots by number. Methods raise Damaged for a line that is not that
    which was written.
    """

    path: Path
    seal: Seal
    data: memoryview
    ends: NDArray[np.int64]
    codes: Codes
    roots: Sequence[bytes | None]

    def read(self, position: int) -> Segment:
        """Return one row's segment."""
        row = salvage_row(self.text(position), self.codes[position].tobytes(), self.roots)
        if row is None:
            raise Damaged(self.path, f"line {position + 1} and its vector do not match")
        return row[0]

    def text(self, position: int) -> bytes:
        """Return one row's line, without checking it."""
        start = int(self.ends[position - 1]) if position else 0
        return bytes(self.data[start : int(self.ends[position]) - 1])

    def read_all(self, alive: NDArray[np.bool_]) -> list[Segment]:
        """Return the segments of the rows that are alive, in order."""
        check_sum(self.path, self.seal, self.data)
        try:
            return decode_rows(bytes(self.data), self.roots, alive.tolist())[0]
        except ValueError as error:
            raise Damaged(self.path, str(error)) from error


class Catalogue(Mapping[int, Segment]):
    """Segments by row number, in order; each is read from its sidecar on first access."""

    def __init__(self) -> None:
        self._live = np.zeros(0, np.bool_)  # by number
        self._read: dict[int, Segment] = {}
        self._unread: list[tuple[int, Lines]] = []  # with their first numbers, ascending

    def add(self, segments: Sequence[Segment]) -> None:
        """Append live rows."""
        start = len(self._live)
        self._live = np.concatenate([self._live, np.ones(len(segments), np.bool_)])
        self._read.update(enumerate(segments, start))

    def add_shard(self, alive: NDArray[np.bool_], lines: Lines) -> None:
        """Append the rows of a shard, some of which are live."""
        self._unread.append((len(self._live), lines))
        self._live = np.concatenate([self._live, alive])

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Remove live rows."""
        self._live = self._live.copy()
        self._live[rows] = False
        for row in rows.tolist():
            self._read.pop(row, None)

    @property
    def live(self) -> NDArray[np.bool_]:
        """Which rows are live, by number; do not mutate."""
        return self._live

    def __len__(self) -> int:
        """Return the number of live rows."""
        return int(self._live.sum())

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers of live rows, ascending."""
        return iter(np.flatnonzero(self._live).tolist())

    def __reversed__(self) -> Iterator[int]:
        """Yield the numbers of live rows, descending."""
        return (row for row in range(len(self._live) - 1, -1, -1) if self._live[row])

    def __contains__(self, row: object) -> bool:
        """Return whether a row is live; numpy's integers are accepted, too."""
        if not isinstance(row, int | np.integer):
            return False
        return bool(0 <= row < len(self._live) and self._live[row])

    def __getitem__(self, row: int) -> Segment:
        """Return a live row's segment; raises KeyError for another number, or Damaged."""
        segment = self._read.get(row)
        if segment is None:
            segment = self._read[int(row)] = self._from_sidecar(row)
        return segment

    def stream(self, rows: Iterable[int]) -> Iterator[Segment]:
        """Yield the segments of live rows without keeping them; raises as `self[row]` does."""
        for row in rows:
            yield self._read.get(row) or self._from_sidecar(row)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the number and the line of each live row, without checking or keeping it.

        Callers must not have read all segments or added any. A line has a checksum of itself and of
        the vector, so it changes with either.
        """
        for start, lines in self._unread:
            live = self._live[start : start + len(lines.ends)]
            for position in np.flatnonzero(live).tolist():
                yield start + position, lines.text(position)

    def _from_sidecar(self, row: int) -> Segment:
        if row not in self:
            raise KeyError(row)
        row = int(row)
        start, lines = self._unread[bisect_right(self._unread, row, key=itemgetter(0)) - 1]
        return lines.read(row - start)

    def values(self) -> ValuesView[Segment]:
        """Return all segments, read at once."""
        return self._all().values()

    def items(self) -> ItemsView[int, Segment]:
        """Return all numbers with their segments, read at once."""
        return self._all().items()

    def _all(self) -> dict[int, Segment]:
        """Read all segments that were not read yet; return all, in order."""
        if self._unread:
            read = self._read
            for start, lines in self._unread:
                alive = self._live[start : start + len(lines.ends)]
                numbers = (start + np.flatnonzero(alive)).tolist()
                read.update(zip(numbers, lines.read_all(alive), strict=True))
            self._read, self._unread = {row: read[row] for row in self}, []
        return self._read
