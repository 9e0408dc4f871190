"""Which rows of a library pass filters, and why a segment does not.

Each filter is declared once. `search` takes the rows that pass; `explain` lists the filters that a
segment does not pass, with the reasons.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from qvsearch.choices import Orientation
from qvsearch.library.columns import Columns, source_of
from qvsearch.library.filters import TIME_STEP, orientation_of
from qvsearch.library.places import place_table
from qvsearch.library.shard_columns import point
from qvsearch.library.tokens import plain
from qvsearch.times import date_text, time_taken

if TYPE_CHECKING:
    from qvsearch.library.columns import Mask
    from qvsearch.library.filters import Filters
    from qvsearch.library.places import Place
    from qvsearch.types import Segment

EARTH_KM = 6371.0088  # mean radius (IUGG)


class Filter(NamedTuple):
    """One filter: its option, the rows (size,) that pass a value, and the texts of a reason.

    A reason is `OPTION VALUE: FACT`: the value as the user may write it, and a fact of the segment.
    """

    option: str
    passes: Callable[[Columns, Any], Mask]
    value: Callable[[Any], str]
    fact: Callable[[Segment, Any], str]


def passing_rows(columns: Columns, filters: Filters) -> Mask:
    """Return which rows (size,) are live and pass all filters."""
    mask = columns.live.copy()
    for each, value in _used(filters):
        mask &= each.passes(columns, value)
    return mask


def hidden_by(segment: Segment, filters: Filters) -> list[str]:
    """Return why filters exclude a segment, e.g. `--camera canon: taken with Apple iPhone 12`."""
    columns = Columns([source_of(np.zeros(1, np.int64), [segment])], 1)
    return [
        f"{each.option} {each.value(value)}: {each.fact(segment, value)}"
        for each, value in _used(filters)
        if not each.passes(columns, value).all()
    ]


def _used(filters: Filters) -> Iterator[tuple[Filter, Any]]:
    """Yield the filters that have a value, with it."""
    for name, each in FILTERS.items():
        value = getattr(filters, name)
        if value is not None and value != ():
            yield each, value


def _paths_text(paths: tuple[bytes, ...]) -> str:
    return " ".join(map(os.fsdecode, paths))


def _relative_text(segment: Segment, _: object) -> str:
    item = segment.item
    return f"it is {os.fsdecode(item.path or os.path.basename(item.root))}"


def _taken_text(segment: Segment, _: object) -> str:
    date = date_text(time_taken(segment))
    if not segment.metadata.taken:
        return f"last changed {date}"
    return f"taken {date}" + (", by its name" if segment.metadata.taken_from == "name" else "")


def _camera_text(segment: Segment, _: object) -> str:
    camera = segment.metadata.camera
    return f"taken with {camera}" if camera else "its camera is not known"


def _having(column: str) -> Callable[[Columns, str], Mask]:
    """Return the filter for texts of a column that contain a text, without case and accents."""

    def passes(columns: Columns, part: str) -> Mask:
        wanted = plain(part)
        return columns.having(column, lambda text: wanted in text)

    return passes


def _with_keywords(columns: Columns, keywords: tuple[str, ...]) -> Mask:
    wanted = set(map(plain, keywords))
    return columns.having("keyword", lambda text: wanted <= set(text.split("\n")))


def _keywords_text(segment: Segment, _: object) -> str:
    keywords = segment.metadata.keywords
    return f"its keywords are {', '.join(keywords)}" if keywords else "it has no keywords"


def _in_language(columns: Columns, code: str) -> Mask:
    return columns.having("language", lambda tag: tag.partition("-")[0] == code)


def _said(name: str) -> Callable[[Segment, Any], str]:
    """Return the fact that a file's metadata has of a name, e.g. `its title is ...`."""

    def fact(segment: Segment, _: object) -> str:
        value = getattr(segment.metadata, name)
        return f"its {name} is not known" if value is None else f"its {name} is {value}"

    return fact


def _rated(columns: Columns, rating: tuple[int, int]) -> Mask:
    return (columns.ratings >= rating[0]) & (columns.ratings <= rating[1])


def _on_page(columns: Columns, pages: tuple[int, int]) -> Mask:
    return (columns.pages >= pages[0]) & (columns.pages <= pages[1])


def _page_text(segment: Segment, wanted: tuple[int, int]) -> str:
    last = segment.metadata.pages or segment.page
    if last is None:
        return "it has no pages"
    pages = f"it has {last:,} page" + "s" * (last > 1)
    return pages if wanted[0] > last else f"{pages}, but that one is not indexed"


def _range_text(ends: tuple[int, int]) -> str:
    return str(ends[0]) if ends[0] == ends[1] else f"{ends[0]}-{ends[1]}"


def _near(columns: Columns, near: tuple[float, float, float]) -> Mask:
    latitude, longitude, km = near
    squares = np.zeros(columns.size)
    for column, value in zip(columns.points, point(latitude, longitude), strict=True):
        along = column - value
        along *= along
        squares += along
    passing: Mask = squares <= squared_chord(km)
    return passing


def _at(columns: Columns, place: Place) -> Mask:
    if place.circle is not None:
        return _near(columns, place.circle)
    regions, countries = columns.areas
    is_region = place_table().is_region(place.number)
    passing: Mask = (regions if is_region else countries) == place.number
    return passing


def squared_chord(km: float) -> float:
    """Return the squared straight distance of `point`s that are `km` of great circle apart.

    A quarter of it is the haversine of the angle.
    """
    half = math.sin(min(km / EARTH_KM, math.pi) / 2)
    return 4 * half * half


def _distance_text(segment: Segment, near: tuple[float, float, float]) -> str:
    north, east = segment.metadata.latitude, segment.metadata.longitude
    if north is None or east is None:
        return "its place is not known"
    chord = math.dist(point(north, east), point(*near[:2]))
    return f"taken {2 * EARTH_KM * math.asin(min(1.0, chord / 2)):,.1f} km from there"


def _place_text(segment: Segment, _: object) -> str:
    north, east = segment.metadata.latitude, segment.metadata.longitude
    if north is None or east is None:
        return "its place is not known"
    return f"taken in {place_table().label(north, east) or f'{north:.2f},{east:.2f}'}"


def _at_least(columns: Columns, size: tuple[int, int]) -> Mask:
    return (columns.widths >= size[0]) & (columns.heights >= size[1])


def _size_text(segment: Segment, _: object) -> str:
    has_size = segment.width is not None and segment.height is not None
    return f"it is {segment.width}x{segment.height}" if has_size else "it has no size"


def _lasting(columns: Columns, duration: tuple[float, float]) -> Mask:
    least, most = duration[0] - TIME_STEP, duration[1] + TIME_STEP
    return (columns.durations >= least) & (columns.durations <= most)


def _span_text(duration: tuple[float, float]) -> str:
    least, most = duration
    return f"{least:.10g}s" if most == math.inf else f"{least:.10g}s-{most:.10g}s"


def _duration_text(segment: Segment, _: object) -> str:
    seconds = segment.metadata.duration
    return "it has no duration" if seconds is None else f"it lasts {seconds:.10g}s"


def _oriented(columns: Columns, orientation: Orientation) -> Mask:
    compare = {
        Orientation.LANDSCAPE: np.greater,
        Orientation.PORTRAIT: np.less,
        Orientation.SQUARE: np.equal,
    }[orientation]
    return cast("Mask", compare(columns.widths, columns.heights))


def _orientation_text(segment: Segment, _: object) -> str:
    if segment.width is None or segment.height is None:
        return "it has no size"
    return f"it is {orientation_of(segment.width, segment.height)}"


FILTERS = {  # by the field of `Filters`, in the order of its fields
    "kinds": Filter(
        "--kind",
        Columns.of_kinds,
        lambda kinds: " ".join(sorted(kinds)),
        lambda segment, _: f"it is {segment.item.kind}",
    ),
    "under": Filter(
        "--under",
        Columns.below,
        _paths_text,
        lambda segment, _: f"it is {os.fsdecode(segment.item.location)}",
    ),
    "globs": Filter("--glob", Columns.matching, " ".join, _relative_text),
    "after": Filter("--after", lambda columns, time: ~columns.before(time), date_text, _taken_text),
    "before": Filter("--before", Columns.before, date_text, _taken_text),
    "camera": Filter("--camera", _having("camera"), str, _camera_text),
    "near": Filter(
        "--near", _near, lambda near: ",".join(f"{each:.10g}" for each in near), _distance_text
    ),
    "min_size": Filter("--min-size", _at_least, lambda size: f"{size[0]}x{size[1]}", _size_text),
    "duration": Filter("--duration", _lasting, _span_text, _duration_text),
    "orientation": Filter("--orientation", _oriented, str, _orientation_text),
    "suffixes": Filter("--suffix", Columns.ending_in, ",".join, _relative_text),
    "title": Filter("--title", _having("title"), str, _said("title")),
    "author": Filter("--author", _having("author"), str, _said("author")),
    "keywords": Filter("--keyword", _with_keywords, ", ".join, _keywords_text),
    "rating": Filter("--rating", _rated, _range_text, _said("rating")),
    "pages": Filter("--page", _on_page, _range_text, _page_text),
    "language": Filter("--language", _in_language, str, _said("language")),
    "place": Filter("--place", _at, lambda place: place.name, _place_text),
    "items": Filter(
        "--new-since",
        lambda columns, items: np.isin(columns.items, np.array(sorted(items), np.int64)),
        lambda _: "",
        lambda _, items: "it was there before",
    ),
}
