"""When, where and with what a picture or video was taken, as its own header says.

It reads what the decoders have parsed already, never a file. Headers hold nonsense of every kind,
which counts as nothing said.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import TYPE_CHECKING

from PIL import ExifTags

from qvsearch.media.exif import read_exif
from qvsearch.types import Metadata

if TYPE_CHECKING:
    from av.container import InputContainer
    from PIL import Image

MAX_TEXT = 80  # characters of a maker or a model; those of real cameras have under 40

# years; a container without a date holds 0, which is its epoch: QuickTime's began in 1904, that of
# everything else in 1970
FILMED = range(1971, 2100)

PHOTOGRAPHED = range(1826, 2100)  # from the first photograph on; scans of old ones say so

_BASE = ExifTags.Base
_GPS = ExifTags.GPS
_DATES = (  # the best first, each with the zone that is its own
    (_BASE.DateTimeOriginal, _BASE.OffsetTimeOriginal),
    (_BASE.DateTimeDigitized, _BASE.OffsetTimeDigitized),
    # of the last change; a program that sets this zone may know nothing of the camera's
    (_BASE.DateTime, _BASE.OffsetTime),
)
_EXIF_DATE = re.compile(r"(\d{4})[:/-](\d\d)[:/-](\d\d)[ T](\d\d:\d\d:\d\d)", re.ASCII)

# decimal degrees; of ISO 6709's forms the one that phones write
_ISO_6709 = re.compile(
    r"([+-]\d{1,2}(?:\.\d{1,20})?)([+-]\d{1,3}(?:\.\d{1,20})?)(?:[-+/]|$)", re.ASCII
)


def image_metadata(image: Image.Image, page: bool | None = None) -> Metadata:
    """Return what the EXIF block of a loaded picture says; `page` is the caller's knowledge."""
    tags = read_exif(image)
    dates = (_taken(tags.get(date), tags.get(zone)) for date, zone in _DATES)
    latitude, longitude = _place(
        _degrees(tags.get(_GPS.GPSLatitude), tags.get(_GPS.GPSLatitudeRef), "NS"),
        _degrees(tags.get(_GPS.GPSLongitude), tags.get(_GPS.GPSLongitudeRef), "EW"),
    )
    return Metadata(
        taken=next(filter(None, dates), None),
        camera=_camera(tags.get(_BASE.Make), tags.get(_BASE.Model)),
        latitude=latitude,
        longitude=longitude,
        page=page,
    )


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
    return _moment(text or "", FILMED)


def _taken(date: object, zone: object) -> str | None:
    """Return an EXIF date with its zone, or without where the zone is missing or nonsense."""
    found = _EXIF_DATE.match(date) if isinstance(date, str) else None
    if found is None:
        return None
    local = "{}-{}-{}T{}".format(*found.groups())
    zoned = isinstance(zone, str) and _moment(local + zone.strip(), PHOTOGRAPHED)
    return zoned or _moment(local, PHOTOGRAPHED)


def _moment(text: str, years: range) -> str | None:
    """Return a date and time, written in any way of ISO 8601, in the plain one."""
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return when.isoformat(timespec="seconds") if when.year in years else None


def _degrees(parts: object, reference: object, directions: str) -> float:
    """Return degrees, minutes and seconds as degrees; NaN without all of them and a direction."""
    match parts, reference:
        case (float(degrees), float(minutes), float(seconds)), str(name) if name:
            if min(degrees, minutes, seconds) >= 0:
                sign = (1, -1, math.nan)[directions.find(name[0].upper())]
                return sign * round(degrees + minutes / 60 + seconds / 3600, 7)  # a centimetre
    return math.nan


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
