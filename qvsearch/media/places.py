"""Places as EXIF, XMP and videos write them, in degrees."""

from __future__ import annotations

import math
import re

Place = tuple[float, float] | tuple[None, None]

# of ISO 6709: degrees, degrees and minutes, or degrees, minutes and seconds, by their digits
_ISO_6709 = re.compile(
    r"([+-])(\d{1,2}|\d{4}|\d{6})(\.\d{1,20})?([+-])(\d{1,3}|\d{5}|\d{7})(\.\d{1,20})?(?:[-+/C]|$)",
    re.ASCII,
)
# of XMP: 48,12.5N or 48,12,30N; some programs write degrees with a fraction
_XMP = re.compile(
    r"\s*(-?\d{1,3}(?:\.\d{1,20})?)(?:,(\d{1,2}(?:\.\d{1,20})?))?(?:,(\d{1,2}(?:\.\d{1,20})?))?"
    r"\s*([NSEW]?)\s*",
    re.ASCII | re.IGNORECASE,
)


def place(latitude: float, longitude: float) -> Place:
    """Return degrees that are a place; exactly 0, 0 is what devices write without a fix."""
    known = abs(latitude) <= 90 and abs(longitude) <= 180 and (latitude or longitude)
    return (latitude, longitude) if known else (None, None)


def exif_degrees(parts: object, reference: object, directions: str) -> float:
    """Return one to three numbers as degrees; NaN without them and a direction or a sign.

    What is missing counts as 0 if it is less than a minute, or the degrees have a fraction.
    """
    if isinstance(parts, str):
        named = not isinstance(reference, str) or parts.strip()[-1:].isalpha()
        return xmp_degrees(parts if named else f"{parts}{reference}", directions)
    if not isinstance(parts, tuple) or not 1 <= len(parts) <= 3:
        return math.nan
    degrees, minutes, seconds = (*parts, math.nan, math.nan)[:3]
    if math.isnan(minutes):
        minutes = 0.0 if degrees % 1 or len(parts) == 1 else math.nan
    if math.isnan(seconds):
        seconds = 0.0
    name = reference[:1].upper() if isinstance(reference, str) else ""
    if degrees < 0:
        sign = -1.0
    else:
        sign = (1.0, -1.0, math.nan)[directions.find(name)] if name else math.nan
    total: float = abs(degrees) + abs(minutes) / 60 + abs(seconds) / 3600
    return sign * round(total, 7)  # a centimetre


def xmp_degrees(text: object, directions: str) -> float:
    """Return a coordinate of XMP as degrees; NaN without one or with another direction."""
    found = _XMP.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return math.nan
    numbers = tuple(float(part) for part in found.groups()[:3] if part)
    if not found[4] and "." in found[1] and len(numbers) == 1:
        return round(numbers[0], 7)  # a signed number needs no direction
    return exif_degrees(numbers, found[4], directions)


def iso_6709(text: str | None) -> Place:
    """Return the place that a video names."""
    found = _ISO_6709.match((text or "").strip())
    if found is None:
        return None, None
    sign, digits, fraction, sign2, digits2, fraction2 = found.groups()
    return place(_packed(sign, digits, fraction, 2), _packed(sign2, digits2, fraction2, 3))


def _packed(sign: str, digits: str, fraction: str | None, width: int) -> float:
    """Return degrees from digits: `width` of degrees, then two of minutes and two of seconds."""
    if len(digits) <= width:
        return float(sign + digits + (fraction or ""))
    pairs = [digits[:width], *(digits[at : at + 2] for at in range(width, len(digits), 2))]
    pairs[-1] += fraction or ""
    numbers = [float(pair) for pair in pairs]
    if max(numbers[1:]) >= 60:
        return math.nan
    degrees: float = sum(number / 60**power for power, number in enumerate(numbers))
    return round(degrees if sign == "+" else -degrees, 7)
