"""When a file was taken, as one number, whatever clock it was read from."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from qvsearch.types import Segment

LATEST = 2**63 - 1  # nanoseconds; times lie between -LATEST and LATEST, both excluded
WIDEST_ZONE = 2 * 86_400 * 10**9  # nanoseconds; no clock on a wall is so far from UTC
FIRST_DAY = "0001-01-01"
NO_DATE = (ValueError, OverflowError, OSError)  # what datetime says of text and of odd years

_EPOCH = datetime(1970, 1, 1)  # of clocks in no zone
_MICROSECOND = timedelta(microseconds=1)


def time_taken(segment: Segment) -> int:
    """Return when a file was taken, in nanoseconds since 1970.

    A time without a zone is what a clock on the wall showed, and read as this machine's local time.
    Where the file says nothing that is a date, it is when the file was last changed.
    """
    return taken_time(segment.metadata.taken, segment.item.mtime_ns)


def taken_time(taken: str | None, mtime_ns: int) -> int:
    """Return `time_taken` of a file that says so and was changed then."""
    try:
        time = mtime_ns if taken is None else nanoseconds(moment_taken(taken))
    except NO_DATE:
        time = mtime_ns
    return min(max(time, 1 - LATEST), LATEST - 1)


def moment_taken(taken: str) -> datetime:
    """Return the first moment of a date in ISO 8601, which may be a year, a month or a day."""
    return datetime.fromisoformat(taken + FIRST_DAY[len(taken) :])


def wall_time(taken: str | None, mtime_ns: int) -> tuple[int, bool]:
    """Return what `taken_time` does, and False, or what a clock on the wall showed, and True.

    The latter is as if the clock had been in UTC; `from_wall_time` says when it was.
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
    """Return when a clock on this machine's wall shows that: less than WIDEST_ZONE away."""
    return nanoseconds(_EPOCH + wall // 1000 * _MICROSECOND)


def date_text(time: int) -> str:
    """Return nanoseconds since 1970 in ISO 8601, as this machine's clock shows them."""
    try:
        moment = datetime.fromtimestamp(0, UTC) + timedelta(seconds=time // 10**9)
        return moment.astimezone().isoformat()
    except NO_DATE:
        return f"{time // 10**9} seconds after 1970"


def nanoseconds(moment: datetime) -> int:
    """Return nanoseconds since 1970 of a date and time, local unless it names a zone."""
    return math.floor(moment.timestamp()) * 10**9 + moment.microsecond * 1000
