"""Filters as SQL, so that the engine compares only the rows that pass.

The rows that pass in SQL contain all that pass in `library/filtering.py`. They are the same rows,
except photos whose time without a zone is within an hour of a filter's date, on a night when the
clocks change. Callers must look at rows once more.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from qvsearch.choices import Orientation
from qvsearch.formats import text_field
from qvsearch.library.aliases import aliases
from qvsearch.library.columns import suffix_of
from qvsearch.library.filtering import squared_chord
from qvsearch.library.filters import TIME_STEP
from qvsearch.library.patterns import composed, glob_regex, path_text
from qvsearch.library.places import place_table
from qvsearch.library.shard_columns import point
from qvsearch.library.tokens import plain
from qvsearch.published.schema import keyword_lines, storable
from qvsearch.published.sql import quoted
from qvsearch.times import NO_DATE, WIDEST_ZONE, nearest_bound
from qvsearch.types import KIND_CODES

if TYPE_CHECKING:
    from qvsearch.library.filters import Filters
    from qvsearch.library.places import Place
    from qvsearch.types import Kind

    Places: TypeAlias = Mapping[str, bytes]

_HOUR = 3600 * 10**9
_SET = re.compile(r"\(\?!/\)(\[(?:\\.|[^\]\\])*\])", re.DOTALL)
_IS_ROOT = "(path = X'')"  # the root is the file itself
_COMPARED = {Orientation.LANDSCAPE: ">", Orientation.PORTRAIT: "<", Orientation.SQUARE: "="}


def where_of(filters: Filters, places: Places) -> str | None:
    """Return the SQL condition of filters; None if all rows pass.

    `places` has the folder of each root of the table on this computer, or its name. The numbers
    of `items` are not compared, since they depend on these folders.
    """
    parts = []
    for name, condition in CONDITIONS.items():
        value = getattr(filters, name)
        if value is not None and value != ():
            parts.append(f"({condition(value, places)})")
    return " AND ".join(parts) or None


def _kinds(kinds: Collection[Kind], _: Places) -> str:
    return f"kind IN ({', '.join(str(KIND_CODES[kind]) for kind in sorted(kinds))})"


def _under(under: Iterable[bytes], places: Places) -> str:
    """Return the condition of the rows below one of the folders, whatever alias names it."""
    names = {each for path in under for each in aliases(path, places.values())}
    folders = sorted({composed(each).rstrip(b"/") + b"/" for each in names})
    parts = []
    for name, place in places.items():
        root = composed(place).rstrip(b"/") + b"/"
        if any(root.startswith(each) for each in folders):
            parts.append(f"(root = {quoted(name)})")
            continue
        for each in folders:
            if each.startswith(root):
                inner = storable(path_text(each[len(root) :]))
                within = f"starts_with(path_text, {quoted(inner)})"
                itself = f"path_text = {quoted(inner.rstrip('/'))}"
                parts.append(
                    f"(root = {quoted(name)} AND NOT {_IS_ROOT} AND ({within} OR {itself}))"
                )
    return " OR ".join(parts) or "false"


def _globs(globs: tuple[str, ...], places: Places) -> str:
    """Return the condition of paths that match, in Rust's syntax, whose time is always linear."""
    expression = glob_regex(globs)
    pattern = _SET.sub(lambda one: f"[{one[1]}&&[^/]]", expression.pattern)
    whole = rf"(?s)\A(?:{pattern.replace('(?>', '(?:')})\z"
    matches = f"NOT {_IS_ROOT} AND regexp_like(path_text, {quoted(storable(whole))})"
    names = [
        quoted(name)
        for name, place in places.items()
        if expression.fullmatch(path_text(os.path.basename(place)))
    ]
    files = f"{_IS_ROOT} AND root IN ({', '.join(names)})" if names else "false"
    return f"({matches}) OR ({files})"


def _after(time: int, _: Places) -> str:
    bound, least, _most = _bounds(time)
    return f"(NOT wall AND time >= {bound}) OR (wall AND time >= {least})"


def _before(time: int, _: Places) -> str:
    bound, _least, most = _bounds(time)
    return f"(NOT wall AND time < {bound}) OR (wall AND time < {most})"


def _near(near: tuple[float, float, float], _: Places) -> str:
    latitude, longitude, km = near
    squares = []
    for name, value in zip("xyz", point(latitude, longitude), strict=True):
        along = f"({name} - {_number(value)})"
        squares.append(f"{along} * {along}")
    return f"{' + '.join(squares)} <= {_number(squared_chord(km))}"


def _at_least(size: tuple[int, int], _: Places) -> str:
    return f"width >= {size[0]} AND height >= {size[1]}"


def _lasting(duration: tuple[float, float], _: Places) -> str:
    least, most = duration[0] - TIME_STEP, duration[1] + TIME_STEP
    shortest = f"duration >= {_number(least)}"
    return shortest if most == math.inf else f"{shortest} AND duration <= {_number(most)}"


def _oriented(orientation: Orientation, _: Places) -> str:
    return f"width {_COMPARED[orientation]} height"


def _suffixes(suffixes: Iterable[str], places: Places) -> str:
    wanted = list(suffixes)
    name = "regexp_replace(path_text, '(?s)^.*/', '')"
    ends = " OR ".join(f"ends_with(lower({name}), {quoted('.' + each)})" for each in wanted)
    roots = [quoted(n) for n, place in places.items() if suffix_of(place, b"") in wanted]
    files = f"{_IS_ROOT} AND root IN ({', '.join(roots)})" if roots else "false"
    return f"(NOT {_IS_ROOT} AND ({ends})) OR ({files})"


def _part_of(column: str) -> Callable[[str, Places], str]:
    return lambda part, _: _having(column, plain(part), part.casefold())


def _keywords(keywords: Iterable[str], _: Places) -> str:
    return " AND ".join(
        _having("keywords", keyword_lines([each]), f"\n{text_field(each).casefold()}\n")
        for each in keywords
    )


def _having(column: str, text: str, older: str) -> str:
    """Return the condition for a text in a column; rows of older versions keep its accents."""
    forms = dict.fromkeys(map(storable, (text, older)))
    return f"({' OR '.join(f'strpos({column}, {quoted(each)}) > 0' for each in forms)})"


def _language(code: str, _: Places) -> str:
    return f"language = {quoted(code)}"


def _between(column: str) -> Callable[[tuple[int, int], Places], str]:
    return lambda ends, _: f"{column} >= {ends[0]} AND {column} <= {ends[1]}"


def _place(place: Place, places: Places) -> str:
    if place.circle is not None:
        return _near(place.circle, places)
    column = "region" if place_table().is_region(place.number) else "country"
    return f"{column} = {place.number}"


CONDITIONS: dict[str, Callable[[Any, Places], str]] = {  # by the field of `Filters`
    "kinds": _kinds,
    "under": _under,
    "globs": _globs,
    "after": _after,
    "before": _before,
    "camera": _part_of("camera"),
    "near": _near,
    "min_size": _at_least,
    "duration": _lasting,
    "orientation": _oriented,
    "suffixes": _suffixes,
    "title": _part_of("title"),
    "author": _part_of("author"),
    "keywords": _keywords,
    "rating": _between("rating"),
    "pages": _between("page"),
    "language": _language,
    "place": _place,
}
FIELDS = {name: name for name in ("title", "author", "keywords", "language", "rating")}
FIELDS |= {"page": "pages"}  # of `Filters`, by the columns that tables of older versions lack


def _bounds(time: int) -> tuple[int, int, int]:
    """Return a time, and the least and the highest time on the wall that it may be here.

    All are nanoseconds since 1970 (see `wall_time`).
    """
    bound = nearest_bound(time)
    try:
        hours = range(-WIDEST_ZONE, WIDEST_ZONE + 1, _HOUR)
        offsets = [_offset(bound + each) for each in hours]
    except NO_DATE:
        offsets = [-WIDEST_ZONE, WIDEST_ZONE]
    return bound, nearest_bound(bound + min(offsets)), nearest_bound(bound + max(offsets))


def _offset(time: int) -> int:
    """Return by how many nanoseconds clocks here are ahead of UTC at a time."""
    moment = datetime.fromtimestamp(time // 10**9).astimezone()
    offset = moment.utcoffset()
    return 0 if offset is None else round(offset.total_seconds()) * 10**9


def _number(value: float) -> str:
    """Return a number as SQL reads it, without loss."""
    return f"CAST('{value!r}' AS DOUBLE)"
