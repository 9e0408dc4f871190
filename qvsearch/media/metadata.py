"""When, where and with what a picture or video was taken, as its own header says.

It reads what the decoders have parsed already, never a file. Headers hold nonsense of every kind,
which counts as nothing said.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import TYPE_CHECKING

from qvsearch.types import Metadata

if TYPE_CHECKING:
    from av.container import InputContainer

MAX_TEXT = 80  # characters of a maker or a model; those of real cameras have under 40

# years; a container without a date holds 0, which is its epoch: QuickTime's began in 1904, that of
# everything else in 1970
FILMED = range(1971, 2100)

# decimal degrees; of ISO 6709's forms the one that phones write
_ISO_6709 = re.compile(r"([+-]\d{1,2}(?:\.\d{1,20})?)([+-]\d{1,3}(?:\.\d{1,20})?)(?:[+-/]|$)")


def video_metadata(container: InputContainer, duration: float | None) -> Metadata:
    """Return what an open container says; `duration` in seconds is the caller's knowledge."""
    tags = {name.lower(): value for name, value in container.metadata.items()}

    def tag(*names: str) -> str | None:
        return next((tags[name] for name in names if tags.get(name)), None)

    latitude, longitude = _iso_6709(
        tag("com.apple.quicktime.location.iso6709", "location", "location-eng")
    )
    return Metadata(
        # Apple's tag knows the zone, the container's own is in UTC
        taken=_filmed(tag("com.apple.quicktime.creationdate")) or _filmed(tag("creation_time")),
        camera=_camera(
            tag("com.apple.quicktime.make", "com.android.manufacturer", "make"),
            tag("com.apple.quicktime.model", "com.android.model", "model"),
        ),
        latitude=latitude,
        longitude=longitude,
        duration=duration if duration and 0 < duration < math.inf else None,
    )


def _filmed(text: str | None) -> str | None:
    """Return a date and time, written in any way of ISO 8601, in the plain one."""
    try:
        when = datetime.fromisoformat((text or "").strip())
    except ValueError:
        return None
    return when.isoformat(timespec="seconds") if when.year in FILMED else None


def _iso_6709(text: str | None) -> tuple[float, float] | tuple[None, None]:
    found = _ISO_6709.match((text or "").strip())
    return _place(float(found[1]), float(found[2])) if found else (None, None)


def _place(latitude: float, longitude: float) -> tuple[float, float] | tuple[None, None]:
    """Return degrees that are a place; exactly 0, 0 is what devices write without a fix."""
    known = abs(latitude) <= 90 and abs(longitude) <= 180 and (latitude or longitude)
    return (latitude, longitude) if known else (None, None)


def _camera(make: object, model: object) -> str | None:
    """Join maker and model; many models begin with a word of the maker's name already."""
    maker, name = _text(make), _text(model)
    if maker and name and name.split()[0].casefold() not in maker.casefold().split():
        return f"{maker} {name}"
    return name or maker


def _text(value: object) -> str | None:
    """Return a short line of printable characters, which may be padded with blanks or NULs."""
    if not isinstance(value, str):
        return None
    line = value[: MAX_TEXT + 1].partition("\0")[0].strip()
    sound = line.isprintable() and "\N{REPLACEMENT CHARACTER}" not in line
    return line if line and sound and len(line) <= MAX_TEXT else None
