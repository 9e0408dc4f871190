"""What a library knows of its rows beside vectors, as arrays; which rows pass filters."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.filters import LATEST, aliases, point, squared_chord, taken_time
from qvsearch.globs import glob_regex, path_text
from qvsearch.types import Kind, Orientation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.filters import Filters
    from qvsearch.types import Segment

    Mask: TypeAlias = NDArray[np.bool_]
    Numbers: TypeAlias = NDArray[np.float64]

NOT_LIVE = 255  # the kind of a row that is dead
KEPT = 32  # masks of paths that are remembered


class Columns:
    """The live rows of a library as arrays of length `size`, each made when it is first needed.

    The index is the row number; what a row has not is NaN or -1. Rows are as they were when this
    was made.
    """

    def __init__(self, segments: Mapping[int, Segment], size: int) -> None:
        self.size = size
        self._rows = np.fromiter(segments, dtype=np.int64, count=len(segments))
        self._segments = list(segments.values())
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
        return self._column(True, np.bool_, False)

    @cached_property
    def kinds(self) -> NDArray[np.uint8]:
        """Places in `list(Kind)`; NOT_LIVE where there is no row."""
        codes = {kind: code for code, kind in enumerate(Kind)}
        kinds = [codes[each.item.kind] for each in self._segments]
        return self._column(kinds, np.uint8, NOT_LIVE)

    @cached_property
    def items(self) -> NDArray[np.int64]:
        """Numbers of the items, counted as they come; -1 where there is no row."""
        return self._column(self._places[1], np.int64, -1)

    @cached_property
    def times(self) -> NDArray[np.int64]:
        """When the files were taken, as `time_taken`; 0 where there is no row."""
        times = [taken_time(each.metadata.taken, each.item.mtime_ns) for each in self._segments]
        return self._column(times, np.int64, 0)

    @cached_property
    def latitudes(self) -> Numbers:
        """Degrees."""
        return self._numbers([each.metadata.latitude for each in self._segments])

    @cached_property
    def longitudes(self) -> Numbers:
        """Degrees."""
        return self._numbers([each.metadata.longitude for each in self._segments])

    @cached_property
    def points(self) -> Numbers:
        """Places as `point`s, (3, size)."""
        points = np.full((3, self.size), np.nan)
        known = np.flatnonzero(~np.isnan(self.latitudes + self.longitudes))
        places = zip(self.latitudes[known].tolist(), self.longitudes[known].tolist(), strict=True)
        # not by numpy, whose sines may differ in the last bit from those that `hidden_by` takes
        found = [point(*place) for place in places]
        points[:, known] = np.array(found, np.float64).reshape(-1, 3).T
        return points

    @cached_property
    def widths(self) -> Numbers:
        """Pixels, upright."""
        return self._numbers([each.width for each in self._segments])

    @cached_property
    def heights(self) -> Numbers:
        """Pixels, upright."""
        return self._numbers([each.height for each in self._segments])

    @cached_property
    def durations(self) -> Numbers:
        """Seconds."""
        return self._numbers([each.metadata.duration for each in self._segments])

    @cached_property
    def cameras(self) -> NDArray[np.int64]:
        """Places in `camera_names`, or -1."""
        return self._cameras[1]

    @property
    def camera_names(self) -> list[str]:
        """All cameras, as they come."""
        return self._cameras[0]

    @cached_property
    def _cameras(self) -> tuple[list[str], NDArray[np.int64]]:
        codes: dict[str | None, int] = {None: -1, "": -1}
        cameras = [
            codes.setdefault(each.metadata.camera, len(codes) - 2) for each in self._segments
        ]
        return [*filter(None, codes)], self._column(cameras, np.int64, -1)

    @cached_property
    def _places(self) -> tuple[list[tuple[bytes, bytes]], NDArray[np.int64]]:
        """The roots with paths that there are, and which of them each segment has."""
        numbers: dict[tuple[bytes, bytes], int] = {}
        of_segment = [
            numbers.setdefault((each.item.root, each.item.path), len(numbers))
            for each in self._segments
        ]
        return list(numbers), np.array(of_segment, np.int64)

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
            yield self.times >= _within(filters.after)
        if filters.before is not None:
            yield self.times < _within(filters.before)

    def _pass_by_metadata(self, filters: Filters) -> Iterator[Mask]:
        if filters.camera is not None:
            part = filters.camera.casefold()
            wanted = [part in name.casefold() for name in self.camera_names]
            yield np.array([*wanted, False])[self.cameras]  # -1 is the last
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
        """Return which rows `is_below` says of any of the folders, or of where they lead."""
        folders = tuple(each.rstrip(b"/") + b"/" for path in under for each in aliases(path))

        def test(root: bytes, path: bytes) -> bool:
            folder = root if root.endswith(b"/") else root + b"/"
            return (folder + path + b"/" if path else folder).startswith(folders)

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
            places, number_of_row = self._places
            passing = np.fromiter((test(*place) for place in places), np.bool_, len(places))
            mask = self._column(passing[number_of_row], np.bool_, False)
            if len(self._by_path) >= KEPT:
                self._by_path.clear()
            self._by_path[key] = mask
        return mask

    def _numbers(self, values: list[float | None]) -> Numbers:
        return self._column(np.array(values, np.float64), np.float64, np.nan)

    def _column(self, values: object, dtype: type[np.generic], absent: object) -> NDArray[Any]:
        column = np.full(self.size, absent, dtype)
        column[self._rows] = values
        return column


def _within(time: int) -> int:
    """Return a bound within 64 bits that parts the times that there are alike."""
    return min(max(time, -LATEST), LATEST)
