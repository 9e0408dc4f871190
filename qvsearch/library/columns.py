"""What a library knows of its rows beside vectors, as arrays; which rows pass filters."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.library.aliases import aliases
from qvsearch.library.filters import point, squared_chord
from qvsearch.library.globs import composed, glob_regex, path_text
from qvsearch.times import LATEST, WIDEST_ZONE, from_wall_time
from qvsearch.types import Kind, Orientation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.filters import Filters
    from qvsearch.library.shard_columns import Facts

    Mask: TypeAlias = NDArray[np.bool_]
    Numbers: TypeAlias = NDArray[np.float64]
    Rows: TypeAlias = NDArray[np.int64] | slice

NOT_LIVE = 255  # the kind of a row that is dead
KEPT = 32  # masks of paths that are remembered


class Source(NamedTuple):
    """Facts of some rows: which ones, where in the facts, and the roots by number."""

    rows: Rows
    places: Rows
    facts: Facts
    roots: Sequence[bytes | None]


class Columns:
    """The live rows of a library as arrays of length `size`, each made when it is first needed.

    The index is the row number; what a row has not is NaN or -1. Rows are as they were when this
    was made.
    """

    def __init__(self, sources: Sequence[Source], size: int) -> None:
        self.size = size
        self._sources = sources
        self._by_path: dict[tuple[str | bytes, ...], Mask] = {}

    def mask(self, filters: Filters) -> Mask:
        """Return (size,) which rows are live and pass: those that `hidden_by` says nothing of."""
        mask = self.live.copy()
        for passing in (*self._pass_as_files(filters), *self._pass_by_metadata(filters)):
            mask &= passing
        return mask

    def check_under(self, under: Sequence[bytes]) -> None:
        """Raise QvsearchError for a path that neither library nor disk knows: a misspelt one."""
        for folder in under:
            if not os.path.lexists(folder) and not self._below((folder,)).any():
                raise QvsearchError(
                    f"there is no {os.fsdecode(folder)}, nor anything below it in the library;"
                    " check --under"
                )

    @cached_property
    def live(self) -> Mask:
        """Which rows there are."""
        live: Mask = self.kinds != NOT_LIVE
        return live

    @cached_property
    def kinds(self) -> NDArray[np.uint8]:
        """Places in `list(Kind)`; NOT_LIVE where there is no row."""
        return self._column(lambda facts: facts.kinds, np.uint8, NOT_LIVE)

    @cached_property
    def items(self) -> NDArray[np.int64]:
        """Numbers that the rows of an item share, and no others; -1 where there is no row."""
        return self._column(lambda facts: facts.items, np.int64, -1)

    @cached_property
    def points(self) -> Numbers:
        """Places as `point`s, (3, size)."""
        points = np.full((3, self.size), np.nan)
        for source in self._sources:
            points[:, source.rows] = source.facts.points[:, source.places]
        return points

    @cached_property
    def widths(self) -> Numbers:
        """Pixels, upright."""
        return self._numbers(lambda facts: facts.widths)

    @cached_property
    def heights(self) -> Numbers:
        """Pixels, upright."""
        return self._numbers(lambda facts: facts.heights)

    @cached_property
    def durations(self) -> Numbers:
        """Seconds."""
        return self._numbers(lambda facts: facts.durations)

    def newest(self, rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """Return the `count` rows whose files were taken last, last first, ties by row."""
        times = self._times[rows]
        if len(rows) > count:
            # in no zone does a clock on a wall show a time that is farther from the true one
            least = max(int(np.partition(times, -count)[-count]) - 2 * WIDEST_ZONE, -LATEST)
            rows, times = rows[times >= least], times[times >= least]
        for place in np.flatnonzero(self._on_the_wall[rows]).tolist():
            times[place] = from_wall_time(int(times[place]))
        return rows[np.argsort(-times, kind="stable")][:count]

    def locations(self, rows: NDArray[np.int64]) -> list[bytes]:
        """Return the absolute paths of the files of live rows."""
        places = self._column(lambda facts: facts.places, np.int64, -1)
        sources = np.full(self.size, -1)
        for number, source in enumerate(self._sources):
            sources[source.rows] = number
        found = []
        for source, place in zip(sources[rows].tolist(), places[rows].tolist(), strict=True):
            root, path = self._paths[source][place]
            found.append(os.path.join(root, path) if path else root)
        return found

    @cached_property
    def _times(self) -> NDArray[np.int64]:
        return self._column(lambda facts: facts.times, np.int64, 0)

    @cached_property
    def _on_the_wall(self) -> Mask:
        return self._column(lambda facts: facts.on_the_wall, np.bool_, False)

    @cached_property
    def _paths(self) -> list[list[tuple[bytes, bytes]]]:
        """Root and path of each of the files of each source."""
        return [
            [(each.roots[number] or b"", path) for number, path in each.facts.paths()]
            for each in self._sources
        ]

    @cached_property
    def _cameras(self) -> list[list[str]]:
        """The names of the cameras of each source."""
        return [each.facts.camera_names() for each in self._sources]

    def _pass_as_files(self, filters: Filters) -> Iterator[Mask]:
        if filters.kinds is not None:
            wanted = np.zeros(NOT_LIVE + 1, np.bool_)
            wanted[[code for code, kind in enumerate(Kind) if kind in filters.kinds]] = True
            yield wanted[self.kinds]
        if filters.under:
            yield self._below(filters.under)
        if filters.globs:
            yield self._matching(filters.globs)
        if filters.after is not None:
            yield ~self._before(filters.after)
        if filters.before is not None:
            yield self._before(filters.before)

    def _pass_by_metadata(self, filters: Filters) -> Iterator[Mask]:
        if filters.camera is not None:
            part = filters.camera.casefold()
            yield self._any_of(
                [[part in name.casefold() for name in names] for names in self._cameras],
                lambda facts: facts.cameras,
            )
        if filters.near is not None:
            latitude, longitude, km = filters.near
            yield self._squared_chords(latitude, longitude) <= squared_chord(km)
        if filters.min_size is not None:
            yield self.widths >= filters.min_size[0]
            yield self.heights >= filters.min_size[1]
        if filters.duration is not None:
            yield self.durations >= filters.duration[0]
            yield self.durations <= filters.duration[1]
        if filters.orientation is not None:
            compare = {
                Orientation.LANDSCAPE: np.greater,
                Orientation.PORTRAIT: np.less,
                Orientation.SQUARE: np.equal,
            }[filters.orientation]
            yield compare(self.widths, self.heights)

    def _squared_chords(self, latitude: float, longitude: float) -> Numbers:
        squares = np.zeros(self.size)
        for column, value in zip(self.points, point(latitude, longitude), strict=True):
            along = column - value
            along *= along
            squares += along
        return squares

    def _below(self, under: Sequence[bytes]) -> Mask:
        """Return which rows `is_below` says of any of the folders, under any of their names."""
        roots = {root for source in self._sources for root in source.roots if root is not None}
        names = (each for path in under for each in aliases(path, roots))
        folders = tuple(composed(each).rstrip(b"/") + b"/" for each in names)

        def test(root: bytes, path: bytes) -> bool:
            folder = root if root.endswith(b"/") else root + b"/"
            return composed(folder + path + b"/" if path else folder).startswith(folders)

        return self._paths_that(folders, test)

    def _matching(self, globs: tuple[str, ...]) -> Mask:
        matches = glob_regex(globs).fullmatch

        def test(root: bytes, path: bytes) -> bool:
            return matches(path_text(path or os.path.basename(root))) is not None

        return self._paths_that(globs, test)

    def _paths_that(
        self, key: tuple[str | bytes, ...], test: Callable[[bytes, bytes], bool]
    ) -> Mask:
        """Return which rows' root and path pass a test; the same key is the same test."""
        mask = self._by_path.get(key)
        if mask is None:
            passing = [[test(*place) for place in places] for places in self._paths]
            mask = self._any_of(passing, lambda facts: facts.places)
            if len(self._by_path) >= KEPT:
                self._by_path.clear()
            self._by_path[key] = mask
        return mask

    def _any_of(
        self, wanted: list[list[bool]], column: Callable[[Facts], NDArray[np.int32]]
    ) -> Mask:
        """Return which rows have a number in the column that is wanted of their source."""
        mask = np.zeros(self.size, np.bool_)
        for source, each in zip(self._sources, wanted, strict=True):
            passing = np.array([*each, False])  # -1 is the last
            mask[source.rows] = passing[column(source.facts)[source.places]]
        return mask

    def _before(self, time: int) -> Mask:
        """Return which rows were taken before a time."""
        bound = _within(time)
        mask = self._times < bound
        # only near the bound does it matter in which zone a clock hung
        near = np.abs(self._times - np.float64(bound)) < WIDEST_ZONE
        for row in np.flatnonzero(near & self._on_the_wall).tolist():
            mask[row] = from_wall_time(int(self._times[row])) < bound
        return mask

    def _numbers(self, column: Callable[[Facts], Numbers]) -> Numbers:
        return self._column(column, np.float64, np.nan)

    def _column(
        self, column: Callable[[Facts], NDArray[Any]], dtype: type[np.generic], absent: object
    ) -> NDArray[Any]:
        found = np.full(self.size, absent, dtype)
        for source in self._sources:
            found[source.rows] = column(source.facts)[source.places]
        return found


def _within(time: int) -> int:
    """Return a bound within 64 bits that parts the times that there are alike."""
    return min(max(time, -LATEST), LATEST)
