"""The filters of a search, and how the text of their options is read."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from qvsearch.choices import Orientation
from qvsearch.errors import QvsearchError
from qvsearch.library.patterns import glob_regex
from qvsearch.times import NO_DATE, nanoseconds
from qvsearch.types import Kind

FARTHEST_KM = 20_016  # the largest distance between two places on Earth
NEAR_KM = 1.0  # default of --near
# the options, without dashes; LISTS may be repeated
LISTS = {"kind", "under", "glob", "suffix", "keyword"}
FILTERS = LISTS | {
    *("after", "before", "camera", "near", "min_size", "duration", "orientation"),
    *("title", "author", "rating", "page", "language", "place"),
}
MOST_STARS = 5
LAST_PAGE = 999_999  # of a range without an end
TIME_STEP = 1e-6  # seconds; a duration is a sum of times of frames, e.g. 3.0000000000000004 for 3

_MONTH = re.compile("[0-9]{4}(-[0-9]{2})?")
_DIGITS = r"[0-9]{1,9}(?:\.[0-9]{1,15})?"
_NUMBER = f"({_DIGITS})"
if TYPE_CHECKING:
    from qvsearch.library.places import Place

_RANGE = re.compile("([0-9]{1,6})(?: ?(-) ?([0-9]{1,6})?)?")
_LANGUAGE = re.compile("[a-z]{2,3}")
_SUFFIX = re.compile(r"[^\s/.,*]{1,20}")
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
    `duration` is the least and most seconds of a video, both inclusive. `suffixes` are in lower
    case, without a dot; one must fit. `title` and `author` are parts of it, in any case. All of
    `keywords` must be there, in any case. `rating` and `pages` are the least and most, both
    inclusive. `language` is a code of ISO 639. `place` is where it was taken. `items` are numbers
    of files (see `Item.number`), which saved searches compute.
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
    suffixes: tuple[str, ...] = ()
    title: str | None = None
    author: str | None = None
    keywords: tuple[str, ...] = ()
    rating: tuple[int, int] | None = None
    pages: tuple[int, int] | None = None
    language: str | None = None
    place: Place | None = None
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
    suffixes: Iterable[str] = (),
    title: str | None = None,
    author: str | None = None,
    keywords: Iterable[str] = (),
    rating: str | None = None,
    page: str | None = None,
    language: str | None = None,
    place: str | None = None,
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
        camera=None if camera is None else parse_part("--camera", camera, "canon"),
        near=None if near is None else parse_near(near),
        min_size=None if min_size is None else parse_size(min_size),
        duration=None if duration is None else parse_duration(duration),
        orientation=None if orientation is None else parse_orientation(orientation),
        suffixes=parse_suffixes(suffixes),
        title=None if title is None else parse_part("--title", title, "annual report"),
        author=None if author is None else parse_part("--author", author, "curie"),
        keywords=tuple(parse_part("--keyword", each, "holiday") for each in keywords),
        rating=None if rating is None else parse_rating(rating),
        pages=None if page is None else parse_pages(page),
        language=None if language is None else parse_language(language),
        place=None if place is None else parse_place(place),
    )


def filters_by_name(values: Mapping[str, Any]) -> Filters:
    """Return the filters of options by their names, in which - or _ joins words.

    Those of LISTS are lists, the others texts; a path has what `os.fsdecode` returns.
    Other names and None are passed over. Raises QvsearchError for an invalid value.
    """
    given = {name.replace("-", "_"): each for name, each in values.items() if each is not None}
    return parse_filters(
        kinds=parse_kinds(given.get("kind", ())),
        under=map(os.fsencode, given.get("under", ())),
        globs=given.get("glob", ()),
        suffixes=given.get("suffix", ()),
        keywords=given.get("keyword", ()),
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


def parse_part(option: str, text: str, example: str) -> str:
    """Return a part of a name or title; raises QvsearchError for an empty one."""
    if not text.strip():
        raise QvsearchError(
            f"{option} is empty; write a part of a name, e.g. {example}"
            " (qvsearch status --fields lists what there is)"
        )
    return text.strip()


def parse_suffixes(texts: Iterable[str]) -> tuple[str, ...]:
    """Return suffixes without dots, each text may have several; raises QvsearchError for others."""
    suffixes = []
    for text in texts:
        for each in text.split(","):
            suffix = each.strip().removeprefix("*").removeprefix(".").lower()
            if not _SUFFIX.fullmatch(suffix):
                raise QvsearchError(
                    f"--suffix {text!r} is not the end of a file's name; write pdf or pdf,docx"
                )
            suffixes.append(suffix)
    return tuple(suffixes)


def parse_rating(text: str) -> tuple[int, int]:
    """Return the fewest and most stars of `4` (no upper limit) or `2-4`.

    Raises QvsearchError for other texts.
    """
    match = _RANGE.fullmatch(text.strip())
    least, most = (0, -1) if match is None else _ends(match, MOST_STARS)
    if match is None or most > MOST_STARS or least > most:
        raise QvsearchError(
            f"--rating {text!r} is not a rating from 0 to {MOST_STARS};"
            " write 4 for at least 4 stars, or 2-4"
        )
    return least, most


def parse_pages(text: str) -> tuple[int, int]:
    """Return the first and last page of `12`, `3-8` or `3-`; raises QvsearchError for others."""
    match = _RANGE.fullmatch(text.strip())
    first, last = (0, 0) if match is None else _ends(match, LAST_PAGE)
    if match is not None and not match[2]:
        last = first
    if not 1 <= first <= last:
        raise QvsearchError(
            f"--page {text!r} is not a page of a document; write 12, 3-8 or 3- (pages begin with 1)"
        )
    return first, last


def _ends(match: re.Match[str], most: int) -> tuple[int, int]:
    return int(match[1]), int(match[3]) if match[3] else most


def parse_language(text: str) -> str:
    """Return a code of a language; raises QvsearchError for other texts."""
    code = text.strip().lower().partition("-")[0]
    if not _LANGUAGE.fullmatch(code):
        raise QvsearchError(
            f"--language {text!r} is not a code of a language; write e.g. de or en"
            " (qvsearch status --fields lists what there is)"
        )
    return code


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


def parse_place(text: str) -> Place:
    """Return the place that a name means; raises QvsearchError for none and for several."""
    from qvsearch.library.places import place_table  # numpy, which --help does without

    return place_table().meant(text)


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
