"""Reads when, where and with which camera a picture or video was taken, from its own header.

Only the wanted tags of EXIF, IPTC and XMP are read: parsing whole blocks would let 64 KB of
nonsense take gigabytes. Values without sense are left out.
"""

from __future__ import annotations

import io
import math
import re
import struct
from collections.abc import Iterator, Sequence
from html import unescape
from typing import IO, TYPE_CHECKING, TypedDict

from PIL import ExifTags
from PIL.TiffImagePlugin import TiffImageFile

from qvsearch.media.dates import date, letter_date
from qvsearch.media.descriptions import (
    MAX_PACKET,
    distinct,
    iptc_description,
    line,
    stars,
    xmp_description,
)
from qvsearch.media.tiff import Entry, Layout, read_entries, read_layout, read_value
from qvsearch.types import Metadata

if TYPE_CHECKING:
    from av.container import InputContainer
    from PIL import Image

    Tags = dict[int, str | tuple[float, ...]]

Place = tuple[float, float] | tuple[None, None]  # latitude and longitude in degrees

MAX_TEXT = 80  # characters of a maker or a model; those of real cameras have under 40
MAX_VALUE = 100  # bytes of a value of EXIF
MAX_IPTC = 65_536  # bytes; the blocks of cameras and archives have under 4,000
ORIGINAL = ("exif:DateTimeOriginal", "photoshop:DateCreated")
DIGITIZED = ("xmp:CreateDate", "xap:CreateDate", "exif:DateTimeDigitized")

# years; a container without a date holds 0, which is its epoch: 1904 for QuickTime, 1970 for all
# others
FILMED = range(1971, 2100)
# the best first: the others have the zone, the container's own is in UTC
_FILMED_TAGS = ("com.apple.quicktime.creationdate", "date_recorded", "date", "creation_time")

_BASE, _GPS = ExifTags.Base, ExifTags.GPS
_RATING = 0x4746  # a tag of Windows: stars
_DIRECTORIES = (_BASE.ExifOffset, _BASE.GPSInfo)
# the numbers of the GPS directory's tags occur in no other one
_WANTED = {
    *_DIRECTORIES,
    *(_BASE.Make, _BASE.Model, _BASE.Artist, _RATING),
    *(_BASE.DateTimeOriginal, _BASE.DateTimeDigitized, _BASE.DateTime),
    *(_BASE.OffsetTimeOriginal, _BASE.OffsetTimeDigitized, _BASE.OffsetTime),
    *(_GPS.GPSLatitude, _GPS.GPSLatitudeRef, _GPS.GPSLongitude, _GPS.GPSLongitudeRef),
}
# bytes of a type's unit: two texts, a short, longs and pointers of 4 and of 8 bytes, fractions, a
# double. Pillow reads neither the second text nor the last pointer, and stops at a cut-off value
_SIZES = {2: 1, 129: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8, 5: 8, 10: 8, 12: 8}
_WHOLE = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q", 12: "d"}

# datasets of IPTC: date created, digital creation date, each with the time after it
_IPTC = r"\x1c\x02%s\0\x08(\d{8})(?:.{0,400}?\x1c\x02%s\0\x0b(\d{6}[+-]\d{4}))?"
_IPTC_ORIGINAL = re.compile((_IPTC % (r"\x37", r"\x3c")).encode(), re.DOTALL)
_IPTC_DIGITIZED = re.compile((_IPTC % (r"\x3e", r"\x3f")).encode(), re.DOTALL)

# hostile XML can make a parser use gigabytes, and all programs use the standard's prefixes
_PROPERTY = re.compile(
    r"(?<=[\s<])(exif:DateTimeOriginal|photoshop:DateCreated|x[ma]p:CreateDate|exif:DateTimeDigitized"
    r"|exif:GPSLatitude|exif:GPSLongitude|tiff:Make|tiff:Model)"
    r"""(?:\s{0,9}=\s{0,9}(?:"([^"<]{1,99})"|'([^'<]{1,99})')|>([^<]{1,99})<)"""
)

# ISO 6709: degrees, degrees and minutes, or degrees, minutes and seconds, by their digits
_ISO_6709 = re.compile(
    r"([+-])(\d{1,2}|\d{4}|\d{6})(\.\d{1,20})?([+-])(\d{1,3}|\d{5}|\d{7})(\.\d{1,20})?(?:[-+/C]|$)",
    re.ASCII,
)
# degrees of XMP: 48,12.5N or 48,12,30N; some programs write degrees with a fraction
_XMP_DEGREES = re.compile(
    r"\s*(-?\d{1,3}(?:\.\d{1,20})?)(?:,(\d{1,2}(?:\.\d{1,20})?))?(?:,(\d{1,2}(?:\.\d{1,20})?))?"
    r"\s*([NSEW]?)\s*",
    re.ASCII | re.IGNORECASE,
)


class Description(TypedDict):
    """The fields of Metadata that people write."""

    title: str | None
    author: str | None
    keywords: tuple[str, ...] | None
    rating: int | None


def image_metadata(
    image: Image.Image, page: bool | None = None, blocks: Sequence[IO[bytes]] = ()
) -> Metadata:
    """Return the metadata in the header of a loaded picture, with the caller's `page`.

    `blocks` are TIFFs with EXIF that take the place of the picture's own.
    """
    tags: Tags = {}
    for block in blocks or (_exif_file(image),):
        tags |= _exif(block)
    packet = image.info.get("xmp") or _raw_profile(image, "xmp")
    xmp = properties(packet)
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
        **_description(image, tags, packet),
    )


def _description(image: Image.Image, tags: Tags, packet: object) -> Description:
    """Return what people wrote about a picture: in XMP, else in IPTC, EXIF or texts of a PNG."""
    xmp, iptc = xmp_description(packet), iptc_description(_iptc(image))
    match tags.get(_RATING):
        case (float(rating),):
            own = stars(rating)
        case _:
            own = None
    return {
        "title": xmp.title or iptc.title or _written(image.info.get("Title")),
        "author": xmp.author
        or iptc.author
        or _written(tags.get(_BASE.Artist))
        or _written(image.info.get("Author")),
        "keywords": xmp.keywords or iptc.keywords,
        "rating": own if xmp.rating is None else xmp.rating,
    }


def _written(value: object) -> str | None:
    """Return a text of EXIF or PNG as one line."""
    sound = isinstance(value, str) and "\N{REPLACEMENT CHARACTER}" not in value
    return line(value) if isinstance(value, str) and sound else None


def video_metadata(container: InputContainer, duration: float | None) -> Metadata:
    """Return the metadata of an open container, with the caller's `duration` in seconds."""
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
        title=line(tag("com.apple.quicktime.title", "title")),
        author=line(tag("com.apple.quicktime.author", "author", "artist")),
        keywords=distinct(re.split("[,;]", tag("com.apple.quicktime.keywords", "keywords") or "")),
    )


def camera(make: object, model: object) -> str | None:
    """Return maker and model as one text; many models begin with the maker's name already."""
    maker, name = _text(make), _text(model)
    if maker and name and name.split()[0].casefold() not in maker.casefold().split():
        return f"{maker} {name}"
    return name or maker


def properties(packet: object) -> dict[str, str]:
    """Return the wanted properties of an XMP packet, by their names with the usual prefixes."""
    if not isinstance(packet, bytes):
        return {}
    text = packet[:MAX_PACKET].decode("utf-8", "replace")
    values: dict[str, str] = {}
    for match in _PROPERTY.finditer(text):
        values.setdefault(match[1], unescape(match[2] or match[3] or match[4]).strip())
    return values


def xmp_date(values: dict[str, str], names: tuple[str, ...]) -> str | None:
    """Return the first date under these names."""
    return next(filter(None, (date(values.get(name)) for name in names)), None)


def xmp_place(values: dict[str, str]) -> Place:
    """Return the place, if any."""
    latitude = xmp_degrees(values.get("exif:GPSLatitude"), "NS")
    longitude = xmp_degrees(values.get("exif:GPSLongitude"), "EW")
    return place(latitude, longitude)


def place(latitude: float, longitude: float) -> Place:
    """Return degrees that are a place; devices write exactly 0, 0 if they have none."""
    valid = abs(latitude) <= 90 and abs(longitude) <= 180 and (latitude or longitude)
    return (latitude, longitude) if valid else (None, None)


def exif_degrees(parts: object, reference: object, directions: str) -> float:
    """Return one to three numbers as degrees; NaN without them and a direction or a sign.

    Missing seconds count as 0, and so do missing minutes if the degrees have a fraction.
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
    match = _XMP_DEGREES.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return math.nan
    numbers = tuple(float(part) for part in match.groups()[:3] if part)
    if not match[4] and "." in match[1] and len(numbers) == 1:
        return round(numbers[0], 7)  # a signed number needs no direction
    return exif_degrees(numbers, match[4], directions)


def iso_6709(text: str | None) -> Place:
    """Return the place in a video's location tag."""
    match = _ISO_6709.match((text or "").strip())
    if match is None:
        return None, None
    sign, digits, fraction, sign2, digits2, fraction2 = match.groups()
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


def _dates(image: Image.Image, tags: Tags, xmp: dict[str, str]) -> Iterator[str | None]:
    """Yield when a picture was taken, when it was digitized, and when it was last changed.

    Each date has its own zone: a program that sets one date may lack the camera's zone.
    """
    iptc = _iptc(image)
    yield date(tags.get(_BASE.DateTimeOriginal), zone=tags.get(_BASE.OffsetTimeOriginal))
    yield xmp_date(xmp, ORIGINAL)
    yield _iptc_date(_IPTC_ORIGINAL.search(iptc))
    yield date(tags.get(_BASE.DateTimeDigitized), zone=tags.get(_BASE.OffsetTimeDigitized))
    yield xmp_date(xmp, DIGITIZED)
    yield _iptc_date(_IPTC_DIGITIZED.search(iptc))
    yield letter_date(image.info.get("Creation Time"))  # of a PNG
    yield date(tags.get(_BASE.DateTime), zone=tags.get(_BASE.OffsetTime))


def _filmed(tags: dict[str, str]) -> str | None:
    """Return the first date with a time, or the day on which a film was made or published."""
    dates = [date(tags.get(name), FILMED) for name in _FILMED_TAGS]
    return next((each for each in dates if each and "T" in each), date(tags.get("date"), FILMED))


def _text(value: object) -> str | None:
    """Return a short line of printable characters, which may be padded with blanks or NULs."""
    if not isinstance(value, str):
        return None
    line = value[: MAX_TEXT + 1].partition("\0")[0].strip()
    sound = line.isprintable() and "\N{REPLACEMENT CHARACTER}" not in line
    return line if line and sound and len(line) <= MAX_TEXT else None


def _exif(file: IO[bytes] | None) -> Tags:
    """Return the wanted tags of a TIFF: texts, and numbers as a tuple of floats.

    Damaged tags are left out; a fraction with the denominator 0 is NaN.
    """
    if file is None:
        return {}
    try:
        file.seek(0)
        layout = read_layout(file)
        first = layout.unpack(file, layout.pointer)
    except (KeyError, ValueError, OSError, struct.error):
        return {}
    tags = _exif_directory(file, layout, first)
    for pointer in _DIRECTORIES:
        match tags.pop(pointer, None):
            case (float(offset),) if math.isfinite(offset):
                tags |= _exif_directory(file, layout, int(offset))
    return tags


def _exif_file(image: Image.Image) -> IO[bytes] | None:
    """Return the EXIF block as a file, which has the form of a TIFF; a TIFF is its own."""
    if isinstance(image, TiffImageFile):
        return image.getexif().fp
    block = image.info.get("exif") or _raw_profile(image, "exif") or _raw_profile(image, "APP1")
    if not isinstance(block, bytes):
        return None
    # some programs write the marker twice
    return io.BytesIO(block.removeprefix(b"Exif\0\0").removeprefix(b"Exif\0\0"))


def _exif_directory(file: IO[bytes], layout: Layout, offset: int) -> Tags:
    try:
        values = {
            entry.tag: _exif_value(file, layout, entry)
            for entry in read_entries(file, layout, offset)
            if entry.tag in _WANTED and entry.kind in _SIZES
        }
    except (ValueError, OSError, OverflowError, struct.error):
        return {}
    return {tag: value for tag, value in values.items() if value is not None}


def _exif_value(file: IO[bytes], layout: Layout, entry: Entry) -> str | tuple[float, ...] | None:
    size = entry.number * _SIZES[entry.kind]
    data = b"" if size > MAX_VALUE else read_value(file, layout, entry, size)
    if len(data) < size:
        return None
    if entry.kind in _WHOLE:
        form = f"{layout.order}{entry.number}{_WHOLE[entry.kind]}"
        return tuple(map(float, struct.unpack(form, data)))
    if entry.kind in (5, 10):
        parts = struct.iter_unpack(layout.order + ("II" if entry.kind == 5 else "ii"), data)
        return tuple(above / below if below else math.nan for above, below in parts)
    return data.partition(b"\0")[0].decode(errors="replace")


def _raw_profile(image: Image.Image, name: str) -> bytes | None:
    """Return a block that ImageMagick wrote into a PNG as text: a name, a length, hex digits."""
    text = image.info.get(f"Raw profile type {name}")
    if not isinstance(text, str):
        return None
    try:
        return bytes.fromhex("".join(text.split()[2:]))
    except ValueError:
        return None


def _iptc(image: Image.Image) -> bytes:
    """Return the block with the properties of the IPTC; it may be within Photoshop's."""
    blocks = image.info.get("photoshop")  # of a JPEG
    block = blocks.get(0x0404) if isinstance(blocks, dict) else None
    if isinstance(image, TiffImageFile):
        tags = image.tag_v2._tagdata  # some programs write these bytes as whole numbers
        block = tags.get(33723) or tags.get(34377)
    block = block or _raw_profile(image, "iptc") or _raw_profile(image, "8bim")
    return block[:MAX_IPTC] if isinstance(block, bytes) else b""


def _iptc_date(match: re.Match[bytes] | None) -> str | None:
    return date(b"".join(filter(None, match.groups())).decode()) if match else None
