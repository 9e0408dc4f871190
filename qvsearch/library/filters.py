"""What a filter is, how its text is read, whether a segment passes it and why not."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from qvsearch.errors import QvsearchError
from qvsearch.files import is_below
from qvsearch.library.aliases import aliases
from qvsearch.library.globs import composed, glob_regex, path_text
from qvsearch.times import NO_DATE, date_text, nanoseconds, time_taken
from qvsearch.types import Kind, Orientation, Segment

EARTH_KM = 6371.0088  # mean radius (IUGG)
FARTHEST_KM = 20_016  # no two places are farther apart
NEAR_KM = 1.0  # where --near names no distance

_MONTH = re.compile("[0-9]{4}(-[0-9]{2})?")
_DIGITS = r"[0-9]{1,9}(?:\.[0-9]{1,15})?"
_NUMBER = f"({_DIGITS})"
_SIZE = re.compile("([0-9]{1,9}) ?[xX×] ?([0-9]{1,9})")
_SPAN = re.compile(f"{_NUMBER}|(?:{_NUMBER} ?h)? ?(?:{_NUMBER} ?m)? ?(?:{_NUMBER} ?s)?")
_DEGREES = rf"(?:([+-]?{_DIGITS})|{_NUMBER} ?°? ?"
_NEAR = re.compile(rf"{_DEGREES}([NS])) ?[, ] ?{_DEGREES}([EW]))(?: ?[, ] ?{_NUMBER} ?(?:KM)?)?")


@dataclass(frozen=True, slots=True)
class Filters:
    """Which segments may answer; what lacks a field that is asked for does not. Empty passes all.

    `under` (absolute paths) and `globs` (see `glob_regex`) pass what any of them fits. `after` and
    `before`, itself excluded, are nanoseconds since 1970 (see `time_taken`); `camera` is a part of
    its name in any case; `near` is latitude, longitude in degrees and a great circle's kilometres;
    `min_size` is the least width and the least height of the upright picture, in pixels;
    `duration` is least and most seconds of a video, both included.
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


def hidden_by(segment: Segment, filters: Filters) -> list[str]:
    """Return which filters keep a segment out, as `--camera canon: taken with Apple iPhone 12`."""
    said = (test(segment, filters) for test in _TESTS)
    return [objection for objection in said if objection is not None]


def orientation_of(width: int, height: int) -> Orientation:
    """Return the orientation of an upright picture."""
    if width == height:
        return Orientation.SQUARE
    return Orientation.LANDSCAPE if width > height else Orientation.PORTRAIT


def point(latitude: float, longitude: float) -> tuple[float, float, float]:
    """Return a place, in degrees, on a sphere of radius 1: no seam at 180 degrees nor a pole."""
    north, east = math.radians(latitude), math.radians(longitude)
    return math.cos(north) * math.cos(east), math.cos(north) * math.sin(east), math.sin(north)


def squared_chord(km: float) -> float:
    """Return the squared straight distance of `point`s that are `km` of great circle apart.

    A quarter of it is the haversine of the angle.
    """
    half = math.sin(min(km / EARTH_KM, math.pi) / 2)
    return 4 * half * half


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
    """Read what the options of the command line say; raises QvsearchError for what is wrong."""
    since, until = parse_date("--after", after), parse_date("--before", before)
    if since is not None and until is not None and since >= until:
        raise QvsearchError(
            f"nothing is both after {after} and before {before}; --after takes the earlier date"
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


def parse_under(paths: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return paths as absolute ones."""
    paths = tuple(paths)
    if any(not path or b"\0" in path for path in paths):
        raise QvsearchError("a path of --under is empty; write . for the current folder")
    return tuple(os.path.abspath(path) for path in paths)


def parse_date(option: str, text: str | None) -> int | None:
    """Return nanoseconds since 1970 of a date (its first instant) or a date-time.

    Local unless it names a zone. 2023 and 2023-07 are their first days, so that everything of a
    day is after it and before the next. A time that a clock skipped in spring is as long after the
    change as it says; one that a clock showed twice is the first.
    """
    if text is None:
        return None
    whole = text + "-01-01"[len(text) - 4 :] if _MONTH.fullmatch(text) else text
    try:
        return nanoseconds(datetime.fromisoformat(whole))
    except NO_DATE as error:
        raise QvsearchError(
            f"{option} {text!r} is no date; write 2023-07-04 or 2023-07-04T18:30"
        ) from error


def parse_camera(text: str) -> str:
    """Return a part of a camera's name."""
    if not text.strip():
        raise QvsearchError(
            "--camera is empty; write a part of a name, as canon; qvsearch status --fields has all"
        )
    return text.strip()


def parse_near(text: str) -> tuple[float, float, float]:
    """Return latitude, longitude and kilometres of `48.2,16.37`, `48.2,16.37,5`, `48.2N 16.37E`."""
    match = _NEAR.fullmatch(text.strip().upper())
    if match is None:
        raise QvsearchError(
            f"--near {text!r} is no place; write degrees north and east and perhaps kilometres,"
            " as 48.2,16.37 or 48.2,16.37,5"
        )
    latitude = -float(match[2]) if match[3] == "S" else float(match[1] or match[2])
    longitude = -float(match[5]) if match[6] == "W" else float(match[4] or match[5])
    km = NEAR_KM if match[7] is None else float(match[7])
    for holds, limit in (
        (abs(latitude) <= 90, "the latitude, which comes first, is -90 to 90 degrees"),
        (abs(longitude) <= 180, "the longitude, which comes second, is -180 to 180 degrees"),
        (0 < km <= FARTHEST_KM, f"the distance is more than 0 and at most {FARTHEST_KM} km"),
    ):
        if not holds:
            raise QvsearchError(f"--near {text!r} is nowhere; {limit}")
    return latitude, longitude, km


def parse_size(text: str) -> tuple[int, int]:
    """Return width and height of `1920x1080`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or not int(match[1]) or not int(match[2]):
        raise QvsearchError(
            f"--min-size {text!r} is no size; write width and height in pixels, as 1920x1080"
        )
    return int(match[1]), int(match[2])


def parse_duration(text: str) -> tuple[float, float]:
    """Return least and most seconds of `10s`, `1m30s` or `90` (all: or more), `10-60`, `-30s`."""
    first, _, last = (part.strip().lower() for part in text.partition("-"))
    spans = _SPAN.fullmatch(first), _SPAN.fullmatch(last)
    if spans[0] is None or spans[1] is None or not (first or last):
        raise QvsearchError(
            f"--duration {text!r} is no length of time; write 10s or 1m30s for at least,"
            " -30s for at most, or 10s-2m"
        )
    if len({end[-1].isdigit() for end in (first, last) if end.strip("0.")}) > 1:
        raise QvsearchError(f"--duration {text!r} has one unit for two numbers; write 1m-2m")
    least, most = _seconds(spans[0]), _seconds(spans[1]) if last else math.inf
    if least > most:
        raise QvsearchError(f"--duration {text!r} ends before it begins; write the shorter first")
    return least, most


def parse_orientation(text: str) -> Orientation:
    """Return the orientation of that name."""
    try:
        return Orientation(text.strip().lower())
    except ValueError as error:
        raise QvsearchError(
            f"--orientation {text!r} is none; write {' or '.join(Orientation)}"
        ) from error


def parse_globs(globs: Iterable[str]) -> tuple[str, ...]:
    """Return patterns that `glob_regex` understands."""
    patterns = tuple(globs)
    glob_regex(patterns)
    return patterns


def _seconds(span: re.Match[str]) -> float:
    bare, hours, minutes, seconds = (float(number or 0) for number in span.groups())
    return bare + 3600 * hours + 60 * minutes + seconds


def _kind_objects(segment: Segment, filters: Filters) -> str | None:
    if filters.kinds is None or segment.item.kind in filters.kinds:
        return None
    return f"--kind {' '.join(sorted(filters.kinds))}: it is {segment.item.kind}"


def _under_objects(segment: Segment, filters: Filters) -> str | None:
    location, root = segment.item.location, segment.item.root
    folders = [each for folder in filters.under for each in aliases(folder, [root])]
    if not folders or any(is_below(composed(location), composed(each)) for each in folders):
        return None
    asked = " ".join(os.fsdecode(folder) for folder in filters.under)
    return f"--under {asked}: it is {os.fsdecode(location)}"


def _glob_objects(segment: Segment, filters: Filters) -> str | None:
    item = segment.item
    path = item.path or os.path.basename(item.root)
    if not filters.globs or glob_regex(filters.globs).fullmatch(path_text(path)):
        return None
    return f"--glob {' '.join(filters.globs)}: it is {os.fsdecode(path)}"


def _after_objects(segment: Segment, filters: Filters) -> str | None:
    if filters.after is None or time_taken(segment) >= filters.after:
        return None
    return f"--after {date_text(filters.after)}: {_taken_text(segment)}"


def _before_objects(segment: Segment, filters: Filters) -> str | None:
    if filters.before is None or time_taken(segment) < filters.before:
        return None
    return f"--before {date_text(filters.before)}: {_taken_text(segment)}"


def _camera_objects(segment: Segment, filters: Filters) -> str | None:
    camera = segment.metadata.camera
    if filters.camera is None or (camera and filters.camera.casefold() in camera.casefold()):
        return None
    known = f"taken with {camera}" if camera else "it does not say with what it was taken"
    return f"--camera {filters.camera}: {known}"


def _near_objects(segment: Segment, filters: Filters) -> str | None:
    if filters.near is None:
        return None
    known = "it does not say where it was taken"
    latitude, longitude, km = filters.near
    north, east = segment.metadata.latitude, segment.metadata.longitude
    if north is not None and east is not None:
        x, y, z = (
            a - b for a, b in zip(point(north, east), point(latitude, longitude), strict=True)
        )
        squared = x * x + y * y + z * z
        if squared <= squared_chord(km):
            return None
        away = 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(squared) / 2))
        known = f"taken {away:,.1f} km from there"
    return f"--near {latitude:.10g},{longitude:.10g},{km:.10g}: {known}"


def _size_objects(segment: Segment, filters: Filters) -> str | None:
    if filters.min_size is None:
        return None
    width, height = segment.width, segment.height
    known = "it has no size"
    if width is not None and height is not None:
        if width >= filters.min_size[0] and height >= filters.min_size[1]:
            return None
        known = f"it is {width}x{height}"
    return f"--min-size {filters.min_size[0]}x{filters.min_size[1]}: {known}"


def _duration_objects(segment: Segment, filters: Filters) -> str | None:
    if filters.duration is None:
        return None
    least, most = filters.duration
    seconds = segment.metadata.duration
    if seconds is not None and least <= seconds <= most:
        return None
    asked = f"{least:.10g}s" if most == math.inf else f"{least:.10g}s-{most:.10g}s"
    known = "it has no duration" if seconds is None else f"it lasts {seconds:.10g}s"
    return f"--duration {asked}: {known}"


def _orientation_objects(segment: Segment, filters: Filters) -> str | None:
    if filters.orientation is None:
        return None
    known = "it has no size"
    if segment.width is not None and segment.height is not None:
        orientation = orientation_of(segment.width, segment.height)
        if orientation is filters.orientation:
            return None
        known = f"it is {orientation}"
    return f"--orientation {filters.orientation}: {known}"


_TESTS = (
    _kind_objects,
    _under_objects,
    _glob_objects,
    _after_objects,
    _before_objects,
    _camera_objects,
    _near_objects,
    _size_objects,
    _duration_objects,
    _orientation_objects,
)


def _taken_text(segment: Segment) -> str:
    date = date_text(time_taken(segment))
    if not segment.metadata.taken:
        return f"last changed {date}"
    return f"taken {date}" + (", by its name" if segment.metadata.taken_from == "name" else "")
