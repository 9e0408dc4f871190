"""When a file was taken, in nanoseconds since 1970, from any kind of date."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from qvsearch.types import Segment

LATEST = 2**63 - 1  # nanoseconds; times lie between -LATEST and LATEST, both excluded
WIDEST_ZONE = 2 * 86_400 * 10**9  # nanoseconds; no local time is so far from UTC
FIRST_DAY = "0001-01-01"
NO_DATE = (ValueError, OverflowError, OSError)  # from datetime, for other texts and odd years

_EPOCH = datetime(1970, 1, 1)  # of local times
_MICROSECOND = timedelta(microseconds=1)


def time_taken(segment: Segment) -> int:
    """Return when a file was taken, in nanoseconds since 1970.

    A time without a zone is read as this machine's local time. A file without a valid date counts
    as taken when it was last changed.
    """
    return taken_time(segment.metadata.taken, segment.item.mtime_ns)


def taken_time(taken: str | None, mtime_ns: int) -> int:
    """Return `time_taken` of a file with this date and this time of change."""
    try:
        time = mtime_ns if taken is None else nanoseconds(moment_taken(taken))
    except NO_DATE:
        time = mtime_ns
    return min(max(time, 1 - LATEST), LATEST - 1)


def nearest_bound(time: int) -> int:
    """Return a bound within 64 bits that divides all times as this one does."""
    return min(max(time, -LATEST), LATEST)


def moment_taken(taken: str) -> datetime:
    """Return the first moment of a date in ISO 8601, e.g. of a year, a month or a day."""
    return datetime.fromisoformat(taken + FIRST_DAY[len(taken) :])


def wall_time(taken: str | None, mtime_ns: int) -> tuple[int, bool]:
    """Return a time and whether it is a local time without a zone.

    A local time is given as if it were in UTC, and `from_wall_time` converts it. Any other time is
    that of `taken_time`.
    """
    try:
        moment = None if taken is None else moment_taken(taken)
    except NO_DATE:
        moment = None
    if moment is not None and moment.tzinfo is None:
        wall = (moment - _EPOCH) // _MICROSECOND * 1000
        if abs(wall) < LATEST - WIDEST_ZONE:
            return wall, True
    return taken_time(taken, mtime_ns), False


def from_wall_time(wall: int) -> int:
    """Return the time at which it is this local time here; they differ by less than WIDEST_ZONE."""
    return nanoseconds(_EPOCH + wall // 1000 * _MICROSECOND)


def date_text(time: int) -> str:
    """Return nanoseconds since 1970 in ISO 8601, in this machine's zone."""
    try:
        moment = datetime.fromtimestamp(0, UTC) + timedelta(seconds=time // 10**9)
        return moment.astimezone().isoformat()
    except NO_DATE:
        return f"{time // 10**9} seconds after 1970"


def nanoseconds(moment: datetime) -> int:
    """Return nanoseconds since 1970 of a date and time, which is local without a zone."""
    return math.floor(moment.timestamp()) * 10**9 + moment.microsecond * 1000
