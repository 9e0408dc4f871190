"""The few tags of EXIF and IPTC that say when, where and with what a picture was taken.

Pillow would turn every value of a directory into Python objects, for which 64 KB of nonsense can
ask a gigabyte; this reads those tags alone, and costs the same whatever the block holds.
"""

from __future__ import annotations

import io
import math
import struct
from typing import IO, TYPE_CHECKING, NamedTuple

from PIL import ExifTags
from PIL.TiffImagePlugin import TiffImageFile

if TYPE_CHECKING:
    from PIL import Image

    Tags = dict[int, str | tuple[float, ...]]

MAX_ENTRIES = 1000  # of a directory; those of cameras have under 100
MAX_BYTES = 100  # of a value
MAX_IPTC = 65_536  # bytes; those of cameras and archives have under 4,000

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
# bytes of a type's unit: two texts, longs and pointers of 4 and of 8 bytes, fractions, a double
_SIZES = {2: 1, 129: 1, 4: 4, 13: 4, 16: 8, 18: 8, 5: 8, 10: 8, 12: 8}
_WHOLE = {4: "I", 13: "I", 16: "Q", 18: "Q", 12: "d"}


class _Layout(NamedTuple):
    """How numbers are written: the order of bytes, then formats of `struct`."""

    order: str
    total: str  # of entries
    entry: str
    pointer: str


def _layout(file: IO[bytes]) -> _Layout:
    """Read the first bytes of a TIFF, or of one for files over 4 GB, up to the first pointer."""
    order = {b"II": "<", b"MM": ">"}[file.read(2)]
    (version,) = struct.unpack(order + "H", file.read(2))
    if version != 43:
        return _Layout(order, "H", "HHI4s", "I")
    file.read(4)  # the size of pointers and a zero
    return _Layout(order, "Q", "HHQ8s", "Q")


def read_exif(image: Image.Image) -> Tags:
    """Return the tags wanted of a loaded picture: texts, and fractions as a tuple of floats.

    What is damaged is left out; a fraction of nothing is NaN.
    """
    file = _block(image)
    if file is None:
        return {}
    try:
        file.seek(0)
        layout = _layout(file)
        (first,) = _unpack(file, layout.order + layout.pointer)
    except (KeyError, ValueError, OSError, struct.error):
        return {}
    tags = _read_directory(file, layout, first)
    for pointer in _DIRECTORIES:
        match tags.pop(pointer, None):
            case (float(offset),) if math.isfinite(offset):
                tags |= _read_directory(file, layout, int(offset))
    return tags


def _block(image: Image.Image) -> IO[bytes] | None:
    """Return the EXIF block as a file, which has the form of a TIFF; a TIFF is its own."""
    if isinstance(image, TiffImageFile):
        return image.getexif().fp
    block = image.info.get("exif") or raw_profile(image, "exif") or raw_profile(image, "APP1")
    if not isinstance(block, bytes):
        return None
    # some programs write the marker twice
    return io.BytesIO(block.removeprefix(b"Exif\0\0").removeprefix(b"Exif\0\0"))


def raw_profile(image: Image.Image, name: str) -> bytes | None:
    """Return a block that ImageMagick wrote into a PNG as text: a name, a length, hex digits."""
    text = image.info.get(f"Raw profile type {name}")
    if not isinstance(text, str):
        return None
    try:
        return bytes.fromhex("".join(text.split()[2:]))
    except ValueError:
        return None


def read_iptc(image: Image.Image) -> bytes:
    """Return the block with the properties of the IPTC; it may be within Photoshop's."""
    blocks = image.info.get("photoshop")  # of a JPEG
    block = blocks.get(0x0404) if isinstance(blocks, dict) else None
    if isinstance(image, TiffImageFile):
        tags = image.tag_v2._tagdata  # some programs write these bytes as whole numbers
        block = tags.get(33723) or tags.get(34377)
    block = block or raw_profile(image, "iptc") or raw_profile(image, "8bim")
    return block[:MAX_IPTC] if isinstance(block, bytes) else b""


def _unpack(file: IO[bytes], form: str) -> tuple[int, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _read_directory(file: IO[bytes], layout: _Layout, offset: int) -> Tags:
    entry = layout.order + layout.entry
    size = struct.calcsize(entry)
    try:
        file.seek(offset)
        (count,) = _unpack(file, layout.order + layout.total)
        entries = file.read(size * min(count, MAX_ENTRIES))
        values = {
            tag: _read_value(file, layout, kind, count, value)
            for tag, kind, count, value in struct.iter_unpack(
                entry, entries[: len(entries) // size * size]
            )
            if tag in _WANTED and kind in _SIZES
        }
    except (ValueError, OSError, OverflowError, struct.error):
        return {}
    return {tag: value for tag, value in values.items() if value is not None}


def _read_value(
    file: IO[bytes], layout: _Layout, kind: int, count: int, value: bytes
) -> str | tuple[float, ...] | None:
    """Return a value, which stands in its entry or, where that is too short, at an offset."""
    size = count * _SIZES[kind]
    if size > MAX_BYTES:
        return None
    if size > len(value):
        file.seek(struct.unpack(layout.order + layout.pointer, value)[0])
        value = file.read(size)
    value = value[:size]
    if len(value) < size:
        return None
    if kind in _WHOLE:
        return tuple(map(float, struct.unpack(f"{layout.order}{count}{_WHOLE[kind]}", value)))
    if kind in (5, 10):
        parts = struct.iter_unpack(layout.order + ("II" if kind == 5 else "ii"), value)
        return tuple(above / below if below else float("nan") for above, below in parts)
    return value.partition(b"\0")[0].decode(errors="replace")
