"""When, where and with what a picture or video was taken, as its own header says.

It reads what the decoders have parsed already, never a file. Headers hold nonsense of every kind,
which counts as nothing said.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from PIL import ExifTags

from qvsearch.media.dates import date, letter_date
from qvsearch.media.exif import raw_profile, read_exif, read_iptc
from qvsearch.media.places import exif_degrees, iso_6709, place
from qvsearch.media.xmp import DIGITIZED, ORIGINAL, properties, xmp_date, xmp_place
from qvsearch.types import Metadata

if TYPE_CHECKING:
    from av.container import InputContainer
    from PIL import Image

    from qvsearch.media.exif import Tags

MAX_TEXT = 80  # characters of a maker or a model; those of real cameras have under 40

# years; a container without a date holds 0, which is its epoch: QuickTime's began in 1904, that of
# everything else in 1970
FILMED = range(1971, 2100)
# the best first: the others know the zone, the container's own is in UTC
_FILMED_TAGS = ("com.apple.quicktime.creationdate", "date_recorded", "date", "creation_time")

_BASE = ExifTags.Base
_GPS = ExifTags.GPS
# datasets of IPTC: date created, digital creation date, each with the time after it
_IPTC = r"\x1c\x02%s\0\x08(\d{8})(?:.{0,400}?\x1c\x02%s\0\x0b(\d{6}[+-]\d{4}))?"
_IPTC_ORIGINAL = re.compile((_IPTC % (r"\x37", r"\x3c")).encode(), re.DOTALL)
_IPTC_DIGITIZED = re.compile((_IPTC % (r"\x3e", r"\x3f")).encode(), re.DOTALL)


def image_metadata(image: Image.Image, page: bool | None = None) -> Metadata:
    """Return what the header of a loaded picture contains; `page` is the caller's knowledge."""
    tags, xmp = read_exif(image), _xmp(image)
    latitude, longitude = place(
        exif_degrees(tags.get(_GPS.GPSLatitude), tags.get(_GPS.GPSLatitudeRef), "NS"),
        exif_degrees(tags.get(_GPS.GPSLongitude), tags.get(_GPS.GPSLongitudeRef), "EW"),
    )
    if latitude is None:
        latitude, longitude = xmp_place(xmp)
    return Metadata(
        taken=next(filter(None, _dates(image, tags, xmp)), None),
        camera=camera(tags.get(_BASE.Make), tags.get(_BASE.Model))
        or camera(xmp.get("tiff:Make"), xmp.get("tiff:Model")),
        latitude=latitude,
        longitude=longitude,
        page=page,
    )


def _dates(image: Image.Image, tags: Tags, xmp: dict[str, str]) -> Iterator[str | None]:
    """Yield when a picture was taken, when it was digitized, and when it was last changed.

    Each zone is that of its own date: a program that sets one may not know the camera's.
    """
    iptc = read_iptc(image)
    yield date(tags.get(_BASE.DateTimeOriginal), zone=tags.get(_BASE.OffsetTimeOriginal))
    yield xmp_date(xmp, ORIGINAL)
    yield _iptc_date(_IPTC_ORIGINAL.search(iptc))
    yield date(tags.get(_BASE.DateTimeDigitized), zone=tags.get(_BASE.OffsetTimeDigitized))
    yield xmp_date(xmp, DIGITIZED)
    yield _iptc_date(_IPTC_DIGITIZED.search(iptc))
    yield letter_date(image.info.get("Creation Time"))  # of a PNG
    yield date(tags.get(_BASE.DateTime), zone=tags.get(_BASE.OffsetTime))


def _iptc_date(found: re.Match[bytes] | None) -> str | None:
    return date(b"".join(filter(None, found.groups())).decode()) if found else None


def _xmp(image: Image.Image) -> dict[str, str]:
    return properties(image.info.get("xmp") or raw_profile(image, "xmp"))


def video_metadata(container: InputContainer, duration: float | None) -> Metadata:
    """Return what an open container says; `duration` in seconds is the caller's knowledge."""
    tags = {name.lower(): value for name, value in container.metadata.items()}

    def tag(*names: str) -> str | None:
        return next((tags[name] for name in names if tags.get(name)), None)

    latitude, longitude = iso_6709(
        tag("com.apple.quicktime.location.iso6709", "location", "location-eng")
    )
    return Metadata(
        taken=_filmed(tags),
        camera=camera(
            tag("com.apple.quicktime.make", "com.android.manufacturer", "make"),
            tag("com.apple.quicktime.model", "com.android.model", "model"),
        ),
        latitude=latitude,
        longitude=longitude,
        duration=duration if duration and 0 < duration < math.inf else None,
    )


def _filmed(tags: dict[str, str]) -> str | None:
    """Return the first date with a time, or the day on which a film was made or published."""
    dates = [date(tags.get(name), FILMED) for name in _FILMED_TAGS]
    return next((each for each in dates if each and "T" in each), date(tags.get("date"), FILMED))


def camera(make: object, model: object) -> str | None:
    """Return maker and model as one text; many models begin with the maker's name already."""
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
