"""Raw files of cameras: the embedded preview, or a development in half the size.

LibRaw reads them. Date, camera and place are read from the file itself, since most previews lack
them: most raw files are TIFFs, and Canon's CR3 holds TIFFs in boxes (`CMT1` to `CMT4`). Others
have them in their preview, as LibRaw returns it.
"""

from __future__ import annotations

import io
import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import ExifTags

from qvsearch.errors import MediaError
from qvsearch.kinds import RAW
from qvsearch.media.descriptions import MAX_PACKET
from qvsearch.media.pixels import check_size
from qvsearch.media.tiff import MAX_PAGES, WHOLE, Layout, read_entries, read_layout, read_value

if TYPE_CHECKING:
    import rawpy
    from numpy.typing import NDArray
    from PIL import Image

    from qvsearch.types import Item

# of the file; half the sides are decoded at most. The largest sensors have 151
MAX_MEGAPIXELS = 400
XMP_TAG = 700
CR3_TYPES = (b"CMT1", b"CMT2", b"CMT4")  # main, EXIF and GPS directory
CR3_HEADER = 65_536  # bytes, which hold these boxes
LONGEST_BOX = 16_384  # bytes; those of cameras have under 2,000
SUB_DIRECTORIES, PHOTOMETRIC, RGB = 330, 262, 2
# offsets and sizes of the parts of a picture: strips, tiles, and strips in files of Panasonic
PARTS = ((273, 279), (324, 325), (280, 279))
MAX_PARTS = 100_000
# of the data, if the file was cut off. Panasonic states the size of values that are not packed
LEAST_THERE = 0.25
# LibRaw's turns as EXIF's orientations
ORIENTATIONS = {3: 3, 5: 8, 6: 6}


@dataclass(frozen=True, slots=True)
class RawPicture:
    """A raw file as a picture: a JPEG or PPM, not turned yet.

    `width` and `height` are those of the raw file, before it is turned. `blocks` are TIFFs with its
    EXIF, and `xmp` is its packet. `damaged` is what cannot be read of it.
    """

    picture: BinaryIO
    width: int
    height: int
    orientation: int
    blocks: tuple[IO[bytes], ...]
    xmp: bytes | None
    damaged: str | None

    def describe(self, image: Image.Image) -> None:
        """Give the opened picture the turn and the XMP of the raw file, if it lacks its own."""
        if self.xmp is not None:
            image.info.setdefault("xmp", self.xmp)
        exif = image.getexif()
        if ExifTags.Base.Orientation not in exif and self.orientation != 1:
            exif[ExifTags.Base.Orientation] = self.orientation

    def upright_size(self, *, lying: bool) -> tuple[int, int]:
        """Return the width and height of the raw file as shown."""
        return (self.height, self.width) if lying else (self.width, self.height)


@dataclass(frozen=True, slots=True)
class Preview:
    """The JPEG in a raw file, the number of its pixels, and its EXIF as a TIFF, or nothing."""

    file: BinaryIO
    pixels: int
    exif: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """The largest picture in a TIFF: how its values are colours, and the share that is there."""

    photometric: int = 0
    size: int = 0
    share: float = 1.0


def is_raw(item: Item) -> bool:
    """Return whether a file is a camera's raw file by its suffix."""
    return os.fsdecode(os.path.splitext(item.location)[1]).lower() in RAW


def read_raw(file: BinaryIO, enough: int) -> RawPicture:
    """Return the preview of a raw file if it has `enough` pixels, else a development.

    A preview of more pixels than the development is enough, too. Raises MediaError.
    """
    import rawpy

    try:
        with rawpy.RawPy() as raw:
            file.seek(0)
            raw.open_buffer(file)
            sizes = raw.sizes
            check_size(sizes.width, sizes.height, MAX_MEGAPIXELS, of=" of a raw file")
            most = sizes.width * sizes.height // 4  # of the development
            preview = _preview(raw)  # first: after an error LibRaw has none
            picture, damaged = _picture(raw, preview, min(enough, most), _stored(file))
    except (rawpy.LibRawError, ValueError) as error:
        reason = str(error).removeprefix("b'").removesuffix("'").lower()
        raise MediaError(f"not a raw file of a known camera, or damaged: {reason}") from error
    orientation = ORIENTATIONS.get(sizes.flip, 1)
    blocks, xmp = _blocks(file)
    if not blocks and preview is not None and preview.exif:  # e.g. Fujifilm's and Sigma's
        blocks = (io.BytesIO(preview.exif),)
    return RawPicture(picture, sizes.width, sizes.height, orientation, blocks, xmp, damaged)


def _picture(
    raw: rawpy.RawPy, preview: Preview | None, enough: int, stored: Stored
) -> tuple[BinaryIO, str | None]:
    """Return the preview if it has `enough` pixels, else a development, and what is missing.

    Cameras write the preview first, so a file that was cut off has it. Raises LibRawError.
    """
    import rawpy

    if preview is not None and preview.pixels >= enough:
        return preview.file, None
    try:
        # LibRaw may read the missing values from anywhere, without an error
        if stored.share < LEAST_THERE:
            raise rawpy.LibRawDataError("unexpected end of file")
        if stored.photometric == RGB and raw.raw_type.name == "Stack":  # a scan of film
            return _ppm((raw.raw_image_visible[..., :3] >> 8).astype(np.uint8)), None
        return _developed(raw), None
    except rawpy.LibRawError:
        if preview is None:
            raise
        return preview.file, "all but its preview is missing"


def _preview(raw: rawpy.RawPy) -> Preview | None:
    """Return the largest embedded JPEG."""
    import rawpy
    from PIL import Image

    with suppress(rawpy.LibRawError, OSError, SyntaxError, ValueError):
        thumb = raw.extract_thumb()
        if isinstance(thumb.data, bytes):  # else it is a bitmap, which is small
            file = io.BytesIO(thumb.data)
            with Image.open(file, formats=("JPEG",)) as image:
                exif = image.info.get("exif", b"").removeprefix(b"Exif\0\0")
                return Preview(file, image.width * image.height, exif)
    return None


def _developed(raw: rawpy.RawPy) -> BinaryIO:
    """Return a development with half the sides as PPM; raises LibRawError."""
    return _ppm(raw.postprocess(half_size=True, use_camera_wb=True, user_flip=0))


def _ppm(pixels: NDArray[np.uint8]) -> BinaryIO:
    height, width, _ = pixels.shape
    return io.BytesIO(b"P6 %d %d 255\n" % (width, height) + pixels.tobytes())


def _blocks(file: BinaryIO) -> tuple[tuple[IO[bytes], ...], bytes | None]:
    """Return the TIFFs in a raw file, itself if it is one, and its XMP."""
    file.seek(0)
    start = file.read(CR3_HEADER)
    if start[4:8] == b"ftyp":
        return tuple(_boxes(start)), None
    if start[:2] in (b"II", b"MM"):
        return (file,), _xmp(file)
    return (), None


def _boxes(start: bytes) -> list[IO[bytes]]:
    """Return the TIFFs in the boxes of a CR3."""
    found: list[IO[bytes]] = []
    for name in CR3_TYPES:
        place = start.find(name) - 4
        if place >= 0:
            [size] = struct.unpack_from(">I", start, place)
            found.append(io.BytesIO(start[place + 8 : place + min(size, LONGEST_BOX)]))
    return found


def _stored(file: BinaryIO) -> Stored:
    """Return the largest picture in the first directory of a TIFF and those below it."""
    end = file.seek(0, io.SEEK_END)
    largest = Stored()
    try:
        file.seek(0)
        layout = read_layout(file)
        main = _arrays(file, layout, layout.unpack(file, layout.pointer))
        places = main.get(SUB_DIRECTORIES, ())[:MAX_PAGES]
        inner = [_arrays(file, layout, each) for each in places]
    except (KeyError, ValueError, OverflowError, OSError, struct.error):
        return largest
    for directory in (main, *inner):
        photometric = (*directory.get(PHOTOMETRIC, ()), 0)[0]
        for starts, sizes in PARTS:
            parts = list(zip(directory.get(starts, ()), directory.get(sizes, ()), strict=False))
            size = sum(each for _, each in parts)
            if size > 0 and size >= largest.size:  # Panasonic's own offset is the later one
                there = sum(max(0, min(each, end - start)) for start, each in parts)
                largest = Stored(photometric, size, there / size)
    return largest


def _arrays(file: BinaryIO, layout: Layout, offset: int) -> dict[int, tuple[int, ...]]:
    """Return the numbers in a directory that say where pictures are, and how they are colours."""
    wanted = {SUB_DIRECTORIES, PHOTOMETRIC, *(tag for pair in PARTS for tag in pair)}
    values = {}
    for entry in read_entries(file, layout, offset):
        if entry.tag in wanted and entry.kind in WHOLE and entry.number <= MAX_PARTS:
            form = f"{layout.order}{entry.number}{WHOLE[entry.kind]}"
            data = read_value(file, layout, entry, struct.calcsize(form))
            values[entry.tag] = struct.unpack(form, data)
    return values


def _xmp(file: BinaryIO) -> bytes | None:
    """Return the XMP packet in the first directory of a TIFF."""
    try:
        file.seek(0)
        layout = read_layout(file)
        entries = read_entries(file, layout, layout.unpack(file, layout.pointer))
        entry = next(each for each in entries if each.tag == XMP_TAG)
        return read_value(file, layout, entry, min(entry.number, MAX_PACKET))
    except (KeyError, StopIteration, ValueError, OverflowError, OSError, struct.error):
        return None
