"""The few EXIF tags that say when, where and with what a picture was taken.

Pillow would turn every value of a directory into Python objects, for which 64 KB of nonsense can
ask a gigabyte; this reads those tags alone, and costs the same whatever the block holds.
"""

from __future__ import annotations

import io
import struct
from typing import IO, TYPE_CHECKING

from PIL import ExifTags
from PIL.TiffImagePlugin import TiffImageFile

if TYPE_CHECKING:
    from PIL import Image

    Tags = dict[int, str | tuple[float, ...]]

MAX_ENTRIES = 1000  # of a directory; those of cameras have under 100
MAX_BYTES = 100  # of a value

_BASE, _GPS = ExifTags.Base, ExifTags.GPS
_DIRECTORIES = (_BASE.ExifOffset, _BASE.GPSInfo)
# the numbers of the GPS directory's tags occur in no other one
_WANTED = {
    *_DIRECTORIES,
    *(_BASE.Make, _BASE.Model),
    *(_BASE.DateTimeOriginal, _BASE.DateTimeDigitized, _BASE.DateTime),
    *(_BASE.OffsetTimeOriginal, _BASE.OffsetTimeDigitized, _BASE.OffsetTime),
    *(_GPS.GPSLatitude, _GPS.GPSLatitudeRef, _GPS.GPSLongitude, _GPS.GPSLongitudeRef),
}
_SIZES = {2: 1, 129: 1, 4: 4, 5: 8, 10: 8}  # bytes of a type's unit: two texts, a long, fractions


def read_exif(image: Image.Image) -> Tags:
    """Return the tags wanted of a loaded picture: texts, and fractions as a tuple of floats.

    What is damaged is left out; a fraction of nothing is NaN.
    """
    file = _block(image)
    if file is None:
        return {}
    try:
        file.seek(0)
        order = {b"II": "<", b"MM": ">"}[file.read(2)]
        (first,) = struct.unpack(order + "2xI", file.read(6))
    except (KeyError, ValueError, OSError, struct.error):
        return {}
    tags = _read_directory(file, order, first)
    for pointer in _DIRECTORIES:
        match tags.pop(pointer, None):
            case (float(offset),):
                tags |= _read_directory(file, order, int(offset))
    return tags


def _block(image: Image.Image) -> IO[bytes] | None:
    """Return the EXIF block as a file, which has the form of a TIFF; a TIFF is its own."""
    if isinstance(image, TiffImageFile):
        return image.getexif().fp
    block = image.info.get("exif")
    if not isinstance(block, bytes):
        return None
    # some programs write the marker twice
    return io.BytesIO(block.removeprefix(b"Exif\0\0").removeprefix(b"Exif\0\0"))


def _read_directory(file: IO[bytes], order: str, offset: int) -> Tags:
    try:
        file.seek(offset)
        (count,) = struct.unpack(order + "H", file.read(2))
        entries = file.read(12 * min(count, MAX_ENTRIES))
        values = {
            tag: _read_value(file, order, kind, count, value)
            for tag, kind, count, value in struct.iter_unpack(
                order + "HHI4s", entries[: len(entries) // 12 * 12]
            )
            if tag in _WANTED and kind in _SIZES
        }
    except (ValueError, OSError, struct.error):
        return {}
    return {tag: value for tag, value in values.items() if value is not None}


def _read_value(
    file: IO[bytes], order: str, kind: int, count: int, value: bytes
) -> str | tuple[float, ...] | None:
    """Return a value, which stands in its entry or, where that is too short, at an offset."""
    size = count * _SIZES[kind]
    if size > MAX_BYTES:
        return None
    if size > len(value):
        file.seek(struct.unpack(order + "I", value)[0])
        value = file.read(size)
    value = value[:size]
    if len(value) < size:
        return None
    if kind == 4:
        return tuple(map(float, struct.unpack(f"{order}{count}I", value)))
    if kind in (5, 10):
        parts = struct.iter_unpack(order + ("II" if kind == 5 else "ii"), value)
        return tuple(above / below if below else float("nan") for above, below in parts)
    return value.partition(b"\0")[0].decode(errors="replace")
