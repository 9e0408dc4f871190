"""The metadata of a shard's rows as arrays, so that a search reads no line of a sidecar."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
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
# files of older versions lack these
_LATER_TYPES = {
    "titles": "<i4",
    "title_ends": "<i8",
    "title_texts": "u1",
    "authors": "<i4",
    "author_ends": "<i8",
    "author_texts": "u1",
    "keywords": "<i4",
    "keyword_ends": "<i8",
    "keyword_texts": "u1",
    "languages": "<i4",
    "language_ends": "<i8",
    "language_texts": "u1",
    "ratings": "<i4",
    "pages": "<i4",
}
TYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(kind) for name, kind in (_TYPES | _LATER_TYPES).items()
}
LATER = tuple(_LATER_TYPES)
NO_ROW = 255  # the kind of a dead row
LARGEST = 2**31 - 1  # of a number in a column of whole numbers
TEXTS = ("camera", "title", "author", "keyword", "language")  # columns of numbered texts


@dataclass(frozen=True, slots=True)
class ShardColumns:
    """Columns of n rows. Arrays are n long except those of paths and texts; absent is NaN or -1.

    `kinds` are KIND_CODES. `items` are numbers that only the rows of one item share, in any shard.
    `places` are numbers of files: `place_roots` has the number of each file's root, and
    `place_ends` the end of its path in `place_paths`. `times` are nanoseconds since 1970 in UTC, or
    local if `on_the_wall`. `points` (3, n) are `point`s, `widths` and `heights` upright pixels,
    `durations` seconds. `cameras` are numbers of names, which `camera_ends` divide `camera_texts`
    into; so are the others of TEXTS. A text of `keywords` has all of a file, a line each. `ratings`
    are 0 to 5, `pages` a document's numbers from 1.
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
    titles: NDArray[np.int32]
    title_ends: NDArray[np.int64]
    title_texts: NDArray[np.uint8]
    authors: NDArray[np.int32]
    author_ends: NDArray[np.int64]
    author_texts: NDArray[np.uint8]
    keywords: NDArray[np.int32]
    keyword_ends: NDArray[np.int64]
    keyword_texts: NDArray[np.uint8]
    languages: NDArray[np.int32]
    language_ends: NDArray[np.int64]
    language_texts: NDArray[np.uint8]
    ratings: NDArray[np.int32]
    pages: NDArray[np.int32]

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
        tables = {"place_roots", "place_ends", "place_paths"}
        tables |= {f"{text}_{part}" for text in TEXTS for part in ("ends", "texts")}
        shapes = {name: (rows,) for name in TYPES.keys() - tables} | {"points": (3, rows)}
        files = self.place_ends.size
        shapes["place_roots"] = (files,)
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"the {name} do not have the shape for its rows")
        if not (
            is_ends(self.place_ends, self.place_paths.size)
            and all(
                is_ends(getattr(self, f"{text}_ends"), getattr(self, f"{text}_texts").size)
                for text in TEXTS
            )
            and _within(self.kinds, 0, len(KIND_CODES))
            and _within(self.places, 0, files)
            and _within(self.place_roots, 0, roots)
            and all(
                _within(self.numbers(text), -1, getattr(self, f"{text}_ends").size)
                for text in TEXTS
            )
            and _within(self.ratings, -1, LARGEST)
            and _within(self.pages, -1, LARGEST)
        ):
            raise ValueError("a number in it is out of range")
        for text in TEXTS:
            self.texts(text)

    def paths(self) -> list[tuple[int, bytes]]:
        """Return the number of the root and the path of each file."""
        paths = _split(self.place_paths, self.place_ends)
        return list(zip(self.place_roots.tolist(), paths, strict=True))

    def numbers(self, text: str) -> NDArray[np.int32]:
        """Return the number of each row's text (n,), for one of TEXTS."""
        numbers: NDArray[np.int32] = getattr(self, f"{text}s")
        return numbers

    def texts(self, text: str) -> list[str]:
        """Return the texts by number, for one of TEXTS."""
        ends, data = getattr(self, f"{text}_ends"), getattr(self, f"{text}_texts")
        return [each.decode() for each in _split(data, ends)]


def is_ends(ends: NDArray[np.int64], size: int) -> bool:
    """Return whether these can be the ends of pieces of so many bytes."""
    if ends.ndim != 1 or not ends.size:
        return ends.ndim == 1 and size == 0
    return bool(ends[0] >= 0 and ends[-1] == size and (ends[1:] >= ends[:-1]).all())


def _within(numbers: NDArray[Any], least: int, end: int) -> bool:
    return not numbers.size or bool(numbers.min() >= least and numbers.max() < end)


def columns_of(segments: Sequence[Segment], roots: Sequence[bytes | None]) -> ShardColumns:
    """Return the columns of rows, in order; `roots` must contain the root of each."""
    numbers = {root: number for number, root in enumerate(roots)}
    places: dict[tuple[bytes, bytes], int] = {}
    place_of_row = []
    for segment in segments:
        item = segment.item
        place_of_row.append(places.setdefault((item.root, item.path), len(places)))
    times = [wall_time(each.metadata.taken, each.item.mtime_ns) for each in segments]
    metadata = [each.metadata for each in segments]
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
        **_numbered("camera", [each.camera for each in metadata]),
        **_numbered("title", [each.title for each in metadata]),
        **_numbered("author", [each.author for each in metadata]),
        **_numbered("keyword", ["\n".join(each.keywords or ()) for each in metadata]),
        **_numbered("language", [each.language for each in metadata]),
        ratings=_whole_numbers(each.rating for each in metadata),
        pages=_whole_numbers(each.page for each in segments),
    )


def without_later(arrays: Mapping[str, NDArray[Any]], rows: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file that lacks those of LATER, with absent values for them."""
    absent = {name: np.empty(0, TYPES[name]) for name in LATER}
    for name in {*(f"{text}s" for text in TEXTS), "ratings", "pages"} & absent.keys():
        absent[name] = np.full(rows, -1, np.int32)
    return absent | dict(arrays)


def _numbered(text: str, values: Sequence[str | None]) -> dict[str, NDArray[Any]]:
    """Return the three arrays of a column of texts; an empty text is absent."""
    numbers: dict[str, int] = {}
    of_row = [numbers.setdefault(text_field(each), len(numbers)) if each else -1 for each in values]
    names = [name.encode() for name in numbers]
    return {
        f"{text}s": np.array(of_row, np.int32),
        f"{text}_ends": np.cumsum([len(name) for name in names], dtype=np.int64),
        f"{text}_texts": np.frombuffer(b"".join(names), np.uint8),
    }


def _whole_numbers(values: Iterable[int | None]) -> NDArray[np.int32]:
    return np.array([-1 if each is None else _limited(each) for each in values], np.int32)


def _limited(number: int) -> int:
    return min(max(number, -1), LARGEST - 1)


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
