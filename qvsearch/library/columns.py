"""The metadata of a library's live rows as arrays, gathered from its shards."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from qvsearch.errors import NothingToSearch
from qvsearch.library.aliases import aliases
from qvsearch.library.patterns import composed, glob_regex, path_text
from qvsearch.library.places import place_table
from qvsearch.library.shard_columns import NO_ROW, columns_of
from qvsearch.library.tokens import plain_texts
from qvsearch.times import LATEST, WIDEST_ZONE, from_wall_time, nearest_bound
from qvsearch.types import KIND_CODES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.shard_columns import ShardColumns
    from qvsearch.types import Kind, Segment

    Mask: TypeAlias = NDArray[np.bool_]
    Numbers: TypeAlias = NDArray[np.float64]
    Rows: TypeAlias = NDArray[np.int64] | slice

CACHED = 32  # masks by path


class Source(NamedTuple):
    """Some rows: their numbers, their places in a shard's columns, and the roots."""

    rows: Rows
    places: Rows
    columns: ShardColumns
    roots: Sequence[bytes | None]


class Columns:
    """The live rows of a library as arrays of length `size`, each built when it is first needed.

    The index is the row number. Missing numbers are NaN or -1. Later changes of the library are not
    seen. Do not mutate the arrays.
    """

    def __init__(self, sources: Sequence[Source], size: int) -> None:
        self.size = size
        self._sources = sources
        self._by_path: dict[tuple[str | bytes, ...], Mask] = {}
        self._read: dict[str, list[list[str]]] = {}

    def check_under(self, under: Sequence[bytes]) -> None:
        """Raise NothingToSearch for a path that is neither in the library nor on the disk."""
        for folder in under:
            if not os.path.lexists(folder) and not self.below((folder,)).any():
                raise NothingToSearch(
                    f"--under {os.fsdecode(folder)} is neither on the disk nor in the library;"
                    " check the spelling"
                )

    @cached_property
    def live(self) -> Mask:
        """Which rows are live."""
        live: Mask = self.kinds != NO_ROW
        return live

    @cached_property
    def kinds(self) -> NDArray[np.uint8]:
        """KIND_CODES, NO_ROW for dead rows."""
        return self._column(lambda each: each.kinds, np.uint8, NO_ROW)

    @cached_property
    def items(self) -> NDArray[np.int64]:
        """Numbers of items: equal for the rows of one item only; -1 for dead rows."""
        return self._column(lambda each: each.items, np.int64, -1)

    @cached_property
    def points(self) -> Numbers:
        """Places as `point`s (3, size)."""
        points = np.full((3, self.size), np.nan)
        for source in self._sources:
            points[:, source.rows] = source.columns.points[:, source.places]
        return points

    @cached_property
    def areas(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of regions and of countries, as `places` has them; -1 without any."""
        return areas_at(self.points)

    @cached_property
    def widths(self) -> Numbers:
        """Pixels, upright."""
        return self._numbers(lambda each: each.widths)

    @cached_property
    def heights(self) -> Numbers:
        """Pixels, upright."""
        return self._numbers(lambda each: each.heights)

    @cached_property
    def durations(self) -> Numbers:
        """Seconds."""
        return self._numbers(lambda each: each.durations)

    def newest(self, rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """Return the `count` rows whose files were taken last, newest first, ties by row."""
        return rows[newest(self._times[rows], self._on_the_wall[rows], count)]

    def locations(self, rows: NDArray[np.int64]) -> list[bytes]:
        """Return the absolute paths of the files of live rows."""
        places = self._column(lambda each: each.places, np.int64, -1)
        sources = np.full(self.size, -1)
        for number, source in enumerate(self._sources):
            sources[source.rows] = number
        paths = []
        for source, place in zip(sources[rows].tolist(), places[rows].tolist(), strict=True):
            root, path = self._paths[source][place]
            paths.append(os.path.join(root, path) if path else root)
        return paths

    @cached_property
    def _times(self) -> NDArray[np.int64]:
        return self._column(lambda each: each.times, np.int64, 0)

    @cached_property
    def _on_the_wall(self) -> Mask:
        return self._column(lambda each: each.on_the_wall, np.bool_, False)

    @cached_property
    def _paths(self) -> list[list[tuple[bytes, bytes]]]:
        """Root and path of each file of each source."""
        return [
            [(each.roots[number] or b"", path) for number, path in each.columns.paths()]
            for each in self._sources
        ]

    @cached_property
    def ratings(self) -> NDArray[np.int32]:
        """Ratings, 0 to 5."""
        return self._column(lambda each: each.ratings, np.int32, -1)

    @cached_property
    def pages(self) -> NDArray[np.int32]:
        """Numbers of a document's pages, from 1."""
        return self._column(lambda each: each.pages, np.int32, -1)

    def of_kinds(self, kinds: Collection[Kind]) -> Mask:
        """Return which rows are of one of the kinds."""
        wanted = np.zeros(NO_ROW + 1, np.bool_)
        wanted[[KIND_CODES[kind] for kind in kinds]] = True
        mask: Mask = wanted[self.kinds]
        return mask

    def having(self, column: str, test: Callable[[str], bool]) -> Mask:
        """Return which rows have a text, `plain`, that passes a test, in one column of TEXTS."""
        wanted = [list(map(test, texts)) for texts in self._texts(column)]
        return self._any_of(wanted, lambda each: each.numbers(column))

    def _texts(self, column: str) -> list[list[str]]:
        """Return the plain texts of each source, read once."""
        if column not in self._read:
            self._read[column] = [plain_texts(each.columns.texts(column)) for each in self._sources]
        return self._read[column]

    def ending_in(self, suffixes: Sequence[str]) -> Mask:
        """Return which rows' files have one of the suffixes: lower case, without the dot."""
        wanted = frozenset(suffixes)
        return self._paths_that(
            ("suffix", *suffixes), lambda root, path: suffix_of(root, path) in wanted
        )

    def below(self, under: Sequence[bytes]) -> Mask:
        """Return which rows are below one of the folders, whatever alias names it."""
        roots = {root for source in self._sources for root in source.roots if root is not None}
        names = (each for path in under for each in aliases(path, roots))
        folders = tuple(composed(each).rstrip(b"/") + b"/" for each in names)

        def test(root: bytes, path: bytes) -> bool:
            folder = root if root.endswith(b"/") else root + b"/"
            return composed(folder + path + b"/" if path else folder).startswith(folders)

        return self._paths_that(folders, test)

    def matching(self, globs: tuple[str, ...]) -> Mask:
        """Return which rows' relative paths match one of the patterns (see `glob_regex`)."""
        matches = glob_regex(globs).fullmatch

        def test(root: bytes, path: bytes) -> bool:
            return matches(path_text(path or os.path.basename(root))) is not None

        return self._paths_that(globs, test)

    def _paths_that(
        self, key: tuple[str | bytes, ...], test: Callable[[bytes, bytes], bool]
    ) -> Mask:
        """Return which rows' root and path pass a test; masks are cached by `key`."""
        mask = self._by_path.get(key)
        if mask is None:
            passing = [[test(*place) for place in places] for places in self._paths]
            mask = self._any_of(passing, lambda each: each.places)
            if len(self._by_path) >= CACHED:
                self._by_path.clear()
            self._by_path[key] = mask
        return mask

    def _any_of(
        self, wanted: list[list[bool]], column: Callable[[ShardColumns], NDArray[np.int32]]
    ) -> Mask:
        """Return which rows have a number in the column that is `wanted` in their source."""
        mask = np.zeros(self.size, np.bool_)
        for source, each in zip(self._sources, wanted, strict=True):
            passing = np.array([*each, False])  # -1 is the last
            mask[source.rows] = passing[column(source.columns)[source.places]]
        return mask

    def before(self, time: int) -> Mask:
        """Return which rows were taken before a time, in nanoseconds since 1970."""
        bound = nearest_bound(time)
        mask = self._times < bound
        # the zone of a local time matters only near the bound
        near = np.abs(self._times - np.float64(bound)) < WIDEST_ZONE
        for row in np.flatnonzero(near & self._on_the_wall).tolist():
            mask[row] = from_wall_time(int(self._times[row])) < bound
        return mask

    def _numbers(self, column: Callable[[ShardColumns], Numbers]) -> Numbers:
        return self._column(column, np.float64, np.nan)

    def _column(
        self,
        column: Callable[[ShardColumns], NDArray[Any]],
        dtype: type[np.generic],
        absent: object,
    ) -> NDArray[Any]:
        values = np.full(self.size, absent, dtype)
        for source in self._sources:
            values[source.rows] = column(source.columns)[source.places]
        return values


def areas_at(points: Numbers) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of regions and countries (n,) of `point`s (3, n); -1 without any."""
    x, y, z = points
    placed = np.flatnonzero(np.isfinite(z))
    degrees = np.degrees([np.arcsin(z[placed].clip(-1, 1)), np.arctan2(y[placed], x[placed])])
    # to the kilometre, so that the photos of one place are looked up once
    places, of_row = np.unique(degrees.round(2), axis=1, return_inverse=True)
    found = np.full((2, len(z)), -1)
    found[:, placed] = np.array(place_table().areas(*places))[:, of_row.reshape(-1)]
    return found[0], found[1]


def suffix_of(root: bytes, path: bytes) -> str:
    """Return the suffix of a file in lower case, without the dot; it may be empty."""
    return path_text(os.path.splitext(path or root)[1][1:]).lower()


def newest(times: NDArray[np.int64], on_the_wall: Mask, count: int) -> NDArray[np.int64]:
    """Return the places of the `count` latest times (n,), latest first, ties by place."""
    places = np.arange(len(times))
    if len(times) > count:
        # a local time is at most WIDEST_ZONE away from the true one
        least = max(int(np.partition(times, -count)[-count]) - 2 * WIDEST_ZONE, -LATEST)
        places = np.flatnonzero(times >= least)
    some = times[places]
    for place in np.flatnonzero(on_the_wall[places]).tolist():
        some[place] = from_wall_time(int(some[place]))
    return places[np.argsort(-some, kind="stable")][:count]


def source_of(rows: Rows, segments: Sequence[Segment]) -> Source:
    """Return the columns of rows whose segments are at hand."""
    roots = list(dict.fromkeys(segment.item.root for segment in segments))
    return Source(rows, slice(None), columns_of(segments, roots), roots)
