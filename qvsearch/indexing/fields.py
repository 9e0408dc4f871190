"""What the files of a library can be filtered by: the values of each field, counted."""

from __future__ import annotations

import os
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from qvsearch.library.columns import suffix_of
from qvsearch.library.filters import orientation_of
from qvsearch.library.places import place_table
from qvsearch.published.opening import is_large_table
from qvsearch.times import date_text, time_taken

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.types import Segment


@dataclass(frozen=True, slots=True)
class Field:
    """A field for filters: its options, the number of files that have it, and their values.

    `values` counts files, the most frequent first. `least` and `most` are the first and last date
    (ISO 8601), the fewest and most pixels (width, height), seconds, or the south-western and
    north-eastern corners (latitude, longitude) of the box around all places. The box may cross 180
    degrees.
    """

    name: str
    options: tuple[str, ...]
    files: int
    values: dict[str, int] = field(default_factory=dict)
    least: str | float | tuple[float, float] | None = None
    most: str | float | tuple[float, float] | None = None


_OPTIONS: dict[str, tuple[str, ...]] = {
    "kind": ("--kind",),
    "path": ("--under", "--glob"),
    "taken": ("--after", "--before"),
    "camera": ("--camera",),
    "place": ("--near",),
    "country": ("--place",),
    "city": ("--place",),
    "size": ("--min-size",),
    "orientation": ("--orientation",),
    "duration": ("--duration",),
    "suffix": ("--suffix",),
    "title": ("--title",),
    "author": ("--author",),
    "keyword": ("--keyword",),
    "rating": ("--rating",),
    "page": ("--page",),
    "language": ("--language",),
}
End: TypeAlias = "tuple[float, float | tuple[float, float]]"  # what it is compared by, and a value


def library_fields(library: Library) -> tuple[Field, ...]:
    """Return the fields that the files of a library can be filtered by.

    The files of a large table are not in memory together.
    """
    tally = _Tally()
    for segment in _files(library):
        tally.add(segment)
    return tally.fields()


def _files(library: Library) -> Iterator[Segment]:
    """Yield a segment of each file, once."""
    if not is_large_table(library):
        yield from {each.item.location: each for each in library.segments.values()}.values()
        return
    seen: set[int] = set()  # several roots may be mapped to one folder
    for segment in library.files():
        mark = hash(segment.item.location)
        if mark not in seen:
            seen.add(mark)
            yield segment


class _Tally:
    """Counts the values of files, one after the other."""

    def __init__(self) -> None:
        self._files: Counter[str] = Counter()  # that have a field
        self._values: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._ends: dict[str, tuple[End, End]] = {}
        self._latitudes, self._longitudes = array("d"), array("d")

    def add(self, segment: Segment) -> None:
        """Count a file, given one of its segments."""
        item, metadata = segment.item, segment.metadata
        self._count("kind", item.kind)
        self._count("path", os.fsdecode(item.root))
        self._count("suffix", suffix_of(item.root, item.path))
        for name in ("camera", "author", "rating", "language"):
            self._count(name, getattr(metadata, name))
        self._files["title"] += metadata.title is not None
        self._files["page"] += segment.page is not None
        self._count("keyword", *dict.fromkeys(metadata.keywords or ()))
        if metadata.taken:
            time = time_taken(segment)
            self._widen("taken", time, time)
        if metadata.duration is not None:
            self._widen("duration", metadata.duration, metadata.duration)
        if segment.width is not None and segment.height is not None:
            self._widen("size", segment.width * segment.height, (segment.width, segment.height))
            self._count("orientation", orientation_of(segment.width, segment.height))
        if metadata.latitude is not None and metadata.longitude is not None:
            self._add_place(metadata.latitude, metadata.longitude)

    def fields(self) -> tuple[Field, ...]:
        """Return all fields."""
        ends: dict[str, tuple[Any, Any]] = {
            name: (least[1], most[1]) for name, (least, most) in self._ends.items()
        }
        if "taken" in ends:
            ends["taken"] = (date_text(ends["taken"][0]), date_text(ends["taken"][1]))
        if self._latitudes:
            ends["place"] = _box(self._latitudes, self._longitudes)
        return tuple(
            Field(
                name,
                options,
                self._files[name],
                dict(self._values[name].most_common()),
                *ends.get(name, (None, None)),
            )
            for name, options in _OPTIONS.items()
        )

    def _count(self, name: str, *values: object) -> None:
        """Count the values that a file has of a field."""
        present = [str(each) for each in values if each]
        self._files[name] += bool(present)
        self._values[name].update(present)

    def _widen(self, name: str, key: float, value: float | tuple[float, float]) -> None:
        """Count the value of a file that has a range, compared by `key`."""
        end = (key, value)
        least, most = self._ends.get(name, (end, end))
        self._ends[name] = (end if key < least[0] else least), (most if key < most[0] else end)
        self._files[name] += 1

    def _add_place(self, latitude: float, longitude: float) -> None:
        self._files["place"] += 1
        self._latitudes.append(latitude)
        self._longitudes.append(longitude)
        self._count("city", place_table().city(latitude, longitude))
        self._count("country", place_table().country(latitude, longitude))


def _box(
    latitudes: Iterable[float], longitudes: Iterable[float]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the south-western and north-eastern corners of the narrowest box."""
    north, around = sorted(latitudes), sorted(longitudes)
    # the box leaves out the widest gap around the globe; among equal gaps the one over 180 degrees
    gaps = [(around[0] + 360 - around[-1], around[0], around[-1])]
    gaps += [(following - each, following, each) for each, following in pairwise(around)]
    _, west, east = max(gaps, key=lambda gap: gap[0])
    return (north[0], west), (north[-1], east)
