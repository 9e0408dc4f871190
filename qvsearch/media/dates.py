"""Converts the dates of cameras, programs and people to ISO 8601, as far as they make sense."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from qvsearch.times import moment_taken

MAX_LETTERS = 99  # characters of a date in words
PHOTOGRAPHED = range(1826, 2100)  # from the first photograph on; scans of old ones have its year

_SPELLING = re.compile(
    r"""\s*(?P<year>\d{4})
    (?:[:/.\s-]?\s?(?P<month>\d\d?)
    (?:[:/.\s-]?\s?(?P<day>\d\d?)
    (?:[\sT]*(?P<hour>\d\d?)(?:[:.]\s?|\s|(?<=\d\d))(?P<minute>\d\d?)
    (?:(?:[:.]\s?|\s|(?<=\d\d))(?P<second>\d\d?)(?:[.,]\d+)?)?
    \s*(?P<zone>Z|[+-]\d\d:?\d\d)?)?)?)?""",
    re.ASCII | re.VERBOSE,
)
# the day, and the time unless more letters or digits show that it is something else
_IN_NAME = re.compile(
    r"""(?<!\d)(?P<year>19[5-9]\d|20\d\d)(?P<mark>[-_.]?)(?P<month>0[1-9]|1[0-2])(?P=mark)
    (?P<day>0[1-9]|[12]\d|3[01])
    (?:(?:[-_.\sT]|\s+at\s+)?(?P<hour>[01]?\d|2[0-3])(?P<point>[-_.:]?)(?P<minute>[0-5]\d)
    (?P=point)(?P<second>[0-5]\d)(?:[-_.]?\d{3})?(?:\s*(?P<half>[AP]M))?(?![\dA-Za-z])
    |(?!\d))""",
    re.ASCII | re.VERBOSE | re.IGNORECASE,
)


def date(text: object, years: range = PHOTOGRAPHED, zone: object = None) -> str | None:
    """Return a date in ISO 8601, with a time and a zone if they make sense: `1985` at least.

    None if it is not a date, or not of these years. `zone` is a text of its own.
    """
    match = _SPELLING.match(text) if isinstance(text, str) else None
    if match is None or int(match["year"]) not in years:
        return None
    day = [match[name] for name in ("year", "month", "day")]
    time = [match[name] or "00" for name in ("hour", "minute", "second")]
    if match["hour"] and (local := _time(day, time)):
        zoned = (local + each.strip() for each in (zone, match["zone"]) if isinstance(each, str))
        return next(filter(None, map(_iso, zoned)), local)
    return _day(day)


def utc_date(seconds: object) -> str | None:
    """Return the date of seconds since 1970, as a number or its digits."""
    try:
        moment = datetime.fromtimestamp(int(str(seconds)), UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.isoformat() if moment.year in PHOTOGRAPHED else None


def letter_date(text: object) -> str | None:
    """Return a date as in the head of an e-mail, `Tue, 06 May 2014 10:11:12 GMT`, or as `date`."""
    try:
        moment = parsedate_to_datetime(str(text)[:MAX_LETTERS])
    except (ValueError, TypeError, IndexError, OverflowError):
        return date(text)
    return moment.isoformat() if moment.year in PHOTOGRAPHED else None


def name_date(name: str) -> str | None:
    """Return the date in a file's name: a day, with the time if that follows.

    It is local, but names that begin with PXL_ are in UTC.
    """
    zone = "+00:00" if name.startswith("PXL_") else ""
    for match in _IN_NAME.finditer(name.replace("\u202f", " ")):  # macOS writes it before PM
        day = [match[each] for each in ("year", "month", "day")]
        if match["hour"] is None:
            whole = _day(day)
        else:
            hour = int(match["hour"])
            if match["half"]:
                hour = hour % 12 + 12 * (match["half"].upper() == "PM")
            whole = _time(day, [f"{hour:02}", match["minute"], match["second"] + zone])
        if whole is not None and len(whole) >= len("2019-07-04"):
            return whole
    return None


def _time(day: list[str], time: list[str]) -> str | None:
    hour = "00" if time[0] == "24" else f"{time[0]:0>2}"  # some cameras count to 24
    padded = "-".join(f"{part or '':0>2}" for part in day)
    return _iso(f"{padded}T{hour}:{time[1]:0>2}:{time[2]:0>2}")


def _iso(text: str) -> str | None:
    try:
        return datetime.fromisoformat(text).isoformat(timespec="seconds")
    except ValueError:
        return None


def _day(day: list[str]) -> str | None:
    """Return the part of a day that makes sense: some programs write 00 for unknown parts."""
    parts = [f"{part or '00':0>2}" for part in day]
    for count in (3, 2):
        text = "-".join(parts[:count])
        with suppress(ValueError):
            moment_taken(text)
            return text
    return parts[0]
