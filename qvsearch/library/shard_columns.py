"""The metadata of a shard's rows as arrays, so that a search reads no line of a sidecar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from qvsearch.formats import text_field
from qvsearch.times import wall_time
from qvsearch.types import KIND_CODES, item_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.types import Segment

_TYPES = {
    "kinds": "u1",
    "items": "<i8",
    "places": "<i4",
    "place_roots": "<i4",
    "place_ends": "<i8",
    "place_paths": "u1",
    "times": "<i8",
    "on_the_wall": "?",
    "points": "<f8",
    "widths": "<f8",
    "heights": "<f8",
    "durations": "<f8",
    "cameras": "<i4",
    "camera_ends": "<i8",
    "camera_texts": "u1",
}
TYPES: dict[str, np.dtype[Any]] = {name: np.dtype(kind) for name, kind in _TYPES.items()}
NO_ROW = 255  # the kind of a dead row


@dataclass(frozen=True, slots=True)
class ShardColumns:
    """Columns of n rows. Arrays are n long except those of paths and cameras; absent is NaN or -1.

    `kinds` are KIND_CODES. `items` are numbers that only the rows of one item share, in any shard.
    `places` are numbers of files: `place_roots` has the number of each file's root, and
    `place_ends` the end of its path in `place_paths`. `times` are nanoseconds since 1970 in UTC, or
    local if `on_the_wall`. `points` (3, n) are `point`s, `widths` and `heights` upright pixels,
    `durations` seconds. `cameras` are numbers of names, which `camera_ends` divide `camera_texts`
    into.
    """

    kinds: NDArray[np.uint8]
    items: NDArray[np.int64]
    places: NDArray[np.int32]
    place_roots: NDArray[np.int32]
    place_ends: NDArray[np.int64]
    place_paths: NDArray[np.uint8]
    times: NDArray[np.int64]
    on_the_wall: NDArray[np.bool_]
    points: NDArray[np.float64]
    widths: NDArray[np.float64]
    heights: NDArray[np.float64]
    durations: NDArray[np.float64]
    cameras: NDArray[np.int32]
    camera_ends: NDArray[np.int64]
    camera_texts: NDArray[np.uint8]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.kinds)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays by name, in the order of TYPES."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def root_of_row(self) -> NDArray[np.int32]:
        """The number of the root (n,) of each row."""
        return self.place_roots[self.places]

    def check(self, rows: int, roots: int) -> None:
        """Raise ValueError unless these are the columns of so many rows and roots."""
        tables = {"place_roots", "place_ends", "place_paths", "camera_ends", "camera_texts"}
        shapes = {name: (rows,) for name in TYPES.keys() - tables} | {"points": (3, rows)}
        files = self.place_ends.size
        shapes["place_roots"] = (files,)
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"the {name} do not have the shape for its rows")
        if not (
            is_ends(self.place_ends, self.place_paths.size)
            and is_ends(self.camera_ends, self.camera_texts.size)
            and _within(self.kinds, 0, len(KIND_CODES))
            and _within(self.places, 0, files)
            and _within(self.place_roots, 0, roots)
            and _within(self.cameras, -1, self.camera_ends.size)
        ):
            raise ValueError("a number in it is out of range")
        self.camera_names()

    def paths(self) -> list[tuple[int, bytes]]:
        """Return the number of the root and the path of each file."""
        paths = _split(self.place_paths, self.place_ends)
        return list(zip(self.place_roots.tolist(), paths, strict=True))

    def camera_names(self) -> list[str]:
        """Return the names of the cameras by number."""
        return [text.decode() for text in _split(self.camera_texts, self.camera_ends)]


def is_ends(ends: NDArray[np.int64], size: int) -> bool:
    """Return whether these can be the ends of pieces of so many bytes."""
    edges = np.concatenate([[0], ends]) if ends.ndim == 1 else np.array([-1])
    return bool(edges[0] == 0 and edges[-1] == size and (np.diff(edges) >= 0).all())


def _within(numbers: NDArray[Any], least: int, end: int) -> bool:
    return not numbers.size or bool(numbers.min() >= least and numbers.max() < end)


def columns_of(segments: Sequence[Segment], roots: Sequence[bytes | None]) -> ShardColumns:
    """Return the columns of rows, in order; `roots` must contain the root of each."""
    numbers = {root: number for number, root in enumerate(roots)}
    places: dict[tuple[bytes, bytes], int] = {}
    cameras: dict[str, int] = {}
    place_of_row = []
    camera_of_row = []
    for segment in segments:
        item, camera = segment.item, segment.metadata.camera
        place_of_row.append(places.setdefault((item.root, item.path), len(places)))
        camera_of_row.append(cameras.setdefault(text_field(camera), len(cameras)) if camera else -1)
    times = [wall_time(each.metadata.taken, each.item.mtime_ns) for each in segments]
    names = [name.encode() for name in cameras]
    paths = [path for _, path in places]
    place_array = np.array(place_of_row, np.int32)
    return ShardColumns(
        kinds=np.array([KIND_CODES[each.item.kind] for each in segments], np.uint8),
        items=np.array([item_number(*place) for place in places], np.int64)[place_array],
        places=place_array,
        place_roots=np.array([numbers[root] for root, _ in places], np.int32),
        place_ends=np.cumsum([len(path) for path in paths], dtype=np.int64),
        place_paths=np.frombuffer(b"".join(paths), np.uint8),
        times=np.array([time for time, _ in times], np.int64),
        on_the_wall=np.array([wall for _, wall in times], np.bool_),
        points=_points(segments),
        widths=np.array([each.width for each in segments], np.float64),
        heights=np.array([each.height for each in segments], np.float64),
        durations=np.array([each.metadata.duration for each in segments], np.float64),
        cameras=np.array(camera_of_row, np.int32),
        camera_ends=np.cumsum([len(name) for name in names], dtype=np.int64),
        camera_texts=np.frombuffer(b"".join(names), np.uint8),
    )


def point(latitude: float, longitude: float) -> tuple[float, float, float]:
    """Return a place, in degrees, on a sphere of radius 1: no seam at 180 degrees nor a pole."""
    north, east = math.radians(latitude), math.radians(longitude)
    return math.cos(north) * math.cos(east), math.cos(north) * math.sin(east), math.sin(north)


def _points(segments: Sequence[Segment]) -> NDArray[np.float64]:
    points = np.full((3, len(segments)), np.nan)
    for row, segment in enumerate(segments):
        latitude, longitude = segment.metadata.latitude, segment.metadata.longitude
        if latitude is not None and longitude is not None:
            # not with numpy, whose sines may differ in the last bit from those for `--near`
            points[:, row] = point(latitude, longitude)
    return points


def _split(data: NDArray[np.uint8], ends: NDArray[np.int64]) -> list[bytes]:
    """Return the pieces of some bytes, given their ends."""
    whole = data.tobytes()
    edges = [0, *ends.tolist()]
    return [whole[start:end] for start, end in pairwise(edges)]
