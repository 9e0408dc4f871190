"""The filters of a search, and how the text of their options is read."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from qvsearch.choices import Orientation
from qvsearch.errors import QvsearchError
from qvsearch.library.patterns import glob_regex
from qvsearch.times import NO_DATE, nanoseconds
from qvsearch.types import Kind

FARTHEST_KM = 20_016  # the largest distance between two places on Earth
NEAR_KM = 1.0  # default of --near
# the options, without dashes; LISTS may be repeated
LISTS = {"kind", "under", "glob"}
FILTERS = LISTS | {
    *("after", "before", "camera", "near", "min_size", "duration", "orientation"),
}

_MONTH = re.compile("[0-9]{4}(-[0-9]{2})?")
_DIGITS = r"[0-9]{1,9}(?:\.[0-9]{1,15})?"
_NUMBER = f"({_DIGITS})"
_SIZE = re.compile("([0-9]{1,9}) ?[xX×] ?([0-9]{1,9})")
_SPAN = re.compile(f"{_NUMBER}|(?:{_NUMBER} ?h)? ?(?:{_NUMBER} ?m)? ?(?:{_NUMBER} ?s)?")
_DEGREES = rf"(?:([+-]?{_DIGITS})|{_NUMBER} ?°? ?"
_NEAR = re.compile(rf"{_DEGREES}([NS])) ?[, ] ?{_DEGREES}([EW]))(?: ?[, ] ?{_NUMBER} ?(?:KM)?)?")


@dataclass(frozen=True, slots=True)
class Filters:
    """Which segments may be hits (default: all). Those without a requested field are excluded.

    One of `under` (absolute paths) and one of `globs` (see `glob_regex`) must fit. `after`
    (inclusive) and `before` (exclusive) are nanoseconds since 1970 (see `time_taken`). `camera` is
    a part of its name, in any case. `near` is a latitude and longitude in degrees and a great
    circle's kilometres. `min_size` is the least width and height of the upright picture in pixels.
    `duration` is the least and most seconds of a video, both inclusive. `items` are numbers of
    files (see `Item.number`), which saved searches compute.
    """

    kinds: frozenset[Kind] | None = None
    under: tuple[bytes, ...] = ()
    globs: tuple[str, ...] = ()
    after: int | None = None
    before: int | None = None
    camera: str | None = None
    near: tuple[float, float, float] | None = None
    min_size: tuple[int, int] | None = None
    duration: tuple[float, float] | None = None
    orientation: Orientation | None = None
    items: frozenset[int] | None = None


def orientation_of(width: int, height: int) -> Orientation:
    """Return the orientation of an upright picture."""
    if width == height:
        return Orientation.SQUARE
    return Orientation.LANDSCAPE if width > height else Orientation.PORTRAIT


def parse_filters(
    *,
    kinds: Iterable[Kind] = (),
    under: Iterable[bytes] = (),
    globs: Iterable[str] = (),
    after: str | None = None,
    before: str | None = None,
    camera: str | None = None,
    near: str | None = None,
    min_size: str | None = None,
    duration: str | None = None,
    orientation: str | None = None,
) -> Filters:
    """Return the filters of some options' texts; raises QvsearchError for an invalid one."""
    since, until = parse_date("--after", after), parse_date("--before", before)
    if since is not None and until is not None and since >= until:
        raise QvsearchError(
            f"nothing is both after {after} and before {before}; give --after the earlier date"
        )
    return Filters(
        kinds=frozenset(kinds) or None,
        under=parse_under(under),
        globs=parse_globs(globs),
        after=since,
        before=until,
        camera=None if camera is None else parse_camera(camera),
        near=None if near is None else parse_near(near),
        min_size=None if min_size is None else parse_size(min_size),
        duration=None if duration is None else parse_duration(duration),
        orientation=None if orientation is None else parse_orientation(orientation),
    )


def filters_by_name(values: Mapping[str, Any]) -> Filters:
    """Return the filters of options by their names, in which - or _ joins words.

    `kind`, `under` and `glob` are lists, the others texts; a path has what `os.fsdecode` returns.
    Other names and None are passed over. Raises QvsearchError for an invalid value.
    """
    given = {name.replace("-", "_"): each for name, each in values.items() if each is not None}
    return parse_filters(
        kinds=parse_kinds(given.get("kind", ())),
        under=map(os.fsencode, given.get("under", ())),
        globs=given.get("glob", ()),
        **{name: given.get(name) for name in FILTERS - LISTS},
    )


def parse_kinds(names: Iterable[str]) -> list[Kind]:
    """Return kinds by their names; raises QvsearchError for an unknown one."""
    names = list(names)
    for each in names:
        if each not in list(Kind):
            raise QvsearchError(f"--kind {each!r} is unknown; give {', '.join(Kind)}")
    return list(map(Kind, names))


def parse_under(paths: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return absolute paths; raises QvsearchError for an empty one."""
    paths = tuple(paths)
    if any(not path or b"\0" in path for path in paths):
        raise QvsearchError("a path of --under is empty; write . for the current folder")
    return tuple(os.path.abspath(path) for path in paths)


def parse_date(option: str, text: str | None) -> int | None:
    """Return nanoseconds since 1970 of a date (its first instant) or a date-time.

    The time is local unless the text names a zone. 2023 and 2023-07 mean their first days. A time
    that clocks skip in spring is moved past the change by the same amount; of a time that clocks
    show twice it is the first. Raises QvsearchError for text that is not a date.
    """
    if text is None:
        return None
    whole = text + "-01-01"[len(text) - 4 :] if _MONTH.fullmatch(text) else text
    try:
        return nanoseconds(datetime.fromisoformat(whole))
    except NO_DATE as error:
        raise QvsearchError(
            f"{option} {text!r} is not a date; write 2023-07-04 or 2023-07-04T18:30"
        ) from error


def parse_camera(text: str) -> str:
    """Return a part of a camera's name; raises QvsearchError for an empty one."""
    if not text.strip():
        raise QvsearchError(
            "--camera is empty; write a part of a name, e.g. canon"
            " (qvsearch status --fields lists the names)"
        )
    return text.strip()


def parse_near(text: str) -> tuple[float, float, float]:
    """Return latitude, longitude and kilometres of `48.2,16.37`, `48.2,16.37,5`, `48.2N 16.37E`.

    Raises QvsearchError for other texts and for coordinates out of range.
    """
    match = _NEAR.fullmatch(text.strip().upper())
    if match is None:
        raise QvsearchError(
            f"--near {text!r} is not a place; write degrees north, degrees east and optionally"
            " kilometres, e.g. 48.2,16.37 or 48.2,16.37,5"
        )
    latitude = -float(match[2]) if match[3] == "S" else float(match[1] or match[2])
    longitude = -float(match[5]) if match[6] == "W" else float(match[4] or match[5])
    km = NEAR_KM if match[7] is None else float(match[7])
    for holds, limit in (
        (abs(latitude) <= 90, "the latitude (first) must be -90 to 90 degrees"),
        (abs(longitude) <= 180, "the longitude (second) must be -180 to 180 degrees"),
        (0 < km <= FARTHEST_KM, f"the distance must be more than 0 and at most {FARTHEST_KM} km"),
    ):
        if not holds:
            raise QvsearchError(f"--near {text!r} is out of range; {limit}")
    return latitude, longitude, km


def parse_size(text: str) -> tuple[int, int]:
    """Return width and height of `1920x1080`; raises QvsearchError for other texts."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or not int(match[1]) or not int(match[2]):
        raise QvsearchError(
            f"--min-size {text!r} is not a size; write width and height in pixels, e.g. 1920x1080"
        )
    return int(match[1]), int(match[2])


def parse_duration(text: str) -> tuple[float, float]:
    """Return the least and most seconds of `10s` or `1m30s` (no upper limit), `10-60`, `-30s`.

    Raises QvsearchError for other texts.
    """
    first, _, last = (part.strip().lower() for part in text.partition("-"))
    spans = _SPAN.fullmatch(first), _SPAN.fullmatch(last)
    if spans[0] is None or spans[1] is None or not (first or last):
        raise QvsearchError(
            f"--duration {text!r} is not a duration; write 10s or 1m30s for at least,"
            " -30s for at most, or 10s-2m"
        )
    if len({end[-1].isdigit() for end in (first, last) if end.strip("0.")}) > 1:
        raise QvsearchError(
            f"--duration {text!r} has a unit for one of its two numbers; write 1m-2m"
        )
    least, most = _seconds(spans[0]), _seconds(spans[1]) if last else math.inf
    if least > most:
        raise QvsearchError(f"--duration {text!r} begins with the longer; write the shorter first")
    return least, most


def parse_orientation(text: str) -> Orientation:
    """Return the orientation of that name; raises QvsearchError for other texts."""
    try:
        return Orientation(text.strip().lower())
    except ValueError as error:
        raise QvsearchError(
            f"--orientation {text!r} is not an orientation; write {' or '.join(Orientation)}"
        ) from error


def parse_globs(globs: Iterable[str]) -> tuple[str, ...]:
    """Return patterns for `glob_regex`; raises QvsearchError for an invalid one."""
    patterns = tuple(globs)
    glob_regex(patterns)
    return patterns


def _seconds(span: re.Match[str]) -> float:
    bare, hours, minutes, seconds = (float(number or 0) for number in span.groups())
    return bare + 3600 * hours + 60 * minutes + seconds
