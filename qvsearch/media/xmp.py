"""The few properties of XMP that tell when, where and with what a picture was taken.

A regular expression reads them, because hostile XML can make a parser use gigabytes. All programs
use the prefixes of the standard.
"""

from __future__ import annotations

import re
from html import unescape

from qvsearch.media.dates import date
from qvsearch.media.places import Place, place, xmp_degrees

MAX_BYTES = 2**20  # of a packet; the longest hold masks of edits, behind these properties
ORIGINAL = ("exif:DateTimeOriginal", "photoshop:DateCreated")
DIGITIZED = ("xmp:CreateDate", "xap:CreateDate", "exif:DateTimeDigitized")

_PROPERTY = re.compile(
    r"(?<=[\s<])(exif:DateTimeOriginal|photoshop:DateCreated|x[ma]p:CreateDate|exif:DateTimeDigitized"
    r"|exif:GPSLatitude|exif:GPSLongitude|tiff:Make|tiff:Model)"
    r"""(?:\s{0,9}=\s{0,9}(?:"([^"<]{1,99})"|'([^'<]{1,99})')|>([^<]{1,99})<)"""
)


def properties(packet: object) -> dict[str, str]:
    """Return the wanted properties of a packet, by their names with the usual prefixes."""
    if not isinstance(packet, bytes):
        return {}
    text = packet[:MAX_BYTES].decode("utf-8", "replace")
    found: dict[str, str] = {}
    for each in _PROPERTY.finditer(text):
        found.setdefault(each[1], unescape(each[2] or each[3] or each[4]).strip())
    return found


def xmp_date(found: dict[str, str], names: tuple[str, ...]) -> str | None:
    """Return the first date under these names."""
    return next(filter(None, (date(found.get(name)) for name in names)), None)


def xmp_place(found: dict[str, str]) -> Place:
    """Return the place, if any."""
    latitude = xmp_degrees(found.get("exif:GPSLatitude"), "NS")
    longitude = xmp_degrees(found.get("exif:GPSLongitude"), "EW")
    return place(latitude, longitude)
