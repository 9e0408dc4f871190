"""Reads TIFF directories, and what Pillow lacks: the right page, unusual depths, clear errors.

EXIF blocks are TIFF directories too. Tags and values follow TIFF 6.0, sections 8 and 19, and
BigTIFF.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO, BinaryIO, NamedTuple

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

MAX_PAGES = 16  # pages that are read; a pyramid of 100 megapixels has 8
MAX_ENTRIES = 1000  # of a directory; those of cameras have under 100

SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT = 254, 255, 256, 257
BITS, COMPRESSION, SAMPLES, FORMAT = 258, 259, 277, 339
_WANTED = {SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, SAMPLES, FORMAT}
WHOLE = {3: "H", 4: "I", 13: "I", 16: "Q"}  # formats of whole numbers, by their type
_REDUCED_OR_MASK, _OLD_REDUCED = 1 | 4, 2
_UNSIGNED, _FLOAT = 1, 3

# The maximum of 10, 12 and 14 bits in the upper 8 of 16, which Pillow keeps: some programs write
# such samples into 16 bits as they are.
_DEEP_WHITES = (3, 15, 63)

Tags = dict[int, int]  # the first number of each


class Layout(NamedTuple):
    """The byte order of a TIFF, and the `struct` formats of its directories."""

    order: str
    total: str  # the number of entries
    entry: str
    pointer: str

    def unpack(self, file: IO[bytes], form: str) -> int:
        """Read one number of a format; raises struct.error at the end of the file."""
        [number] = struct.unpack(self.order + form, file.read(struct.calcsize(form)))
        return int(number)


class Entry(NamedTuple):
    """An entry of a directory: `data` is the value, or an offset if the value is longer."""

    tag: int
    kind: int
    number: int  # of its values
    data: bytes


def read_layout(file: IO[bytes]) -> Layout:
    """Read the head of a TIFF or BigTIFF, up to the pointer to the first directory.

    Raises KeyError or struct.error for other files.
    """
    order = {b"II": "<", b"MM": ">"}[file.read(2)]
    [version] = struct.unpack(order + "H", file.read(2))
    if version != 43:
        return Layout(order, "H", "HHI4s", "I")
    file.read(4)  # the size of pointers, and a zero
    return Layout(order, "Q", "HHQ8s", "Q")


def read_entries(file: IO[bytes], layout: Layout, offset: int) -> list[Entry]:
    """Read the entries of a directory, at most `MAX_ENTRIES`; a cut-off one is left out."""
    file.seek(offset)
    count = layout.unpack(file, layout.total)
    form = layout.order + layout.entry
    size = struct.calcsize(form)
    data = file.read(size * min(count, MAX_ENTRIES))
    return [Entry(*each) for each in struct.iter_unpack(form, data[: len(data) // size * size])]


def read_value(
    file: IO[bytes], layout: Layout, entry: Entry, size: int, most: int | None = None
) -> bytes:
    """Return the bytes of a value of `size` bytes, or the first `most` of them."""
    data = entry.data
    if size > len(data):
        file.seek(struct.unpack(layout.order + layout.pointer, data)[0])
        data = file.read(size if most is None else most)
    return data[:size]


def page_places(file: BinaryIO, most: int = MAX_PAGES) -> list[int]:
    """Return which directories are pages, from 0, and not reduced versions or masks.

    The first `most` directories are read.
    """
    return [place for place, tags in enumerate(_directories(file, most)) if not _is_beside(tags)]


def count_pages(file: BinaryIO) -> int:
    """Return the number of pages in the first MAX_PAGES directories."""
    return len(page_places(file))


def seek_picture(file: BinaryIO, image: TiffImageFile) -> None:
    """Go to the largest page if the first is only a reduced version."""
    pages = list(_directories(file))
    full = [place for place, tags in enumerate(pages) if not _is_beside(tags)]
    if pages and 0 not in full:
        area = [tags.get(WIDTH, 0) * tags.get(HEIGHT, 0) for tags in pages]
        for place in sorted(full or range(len(pages)), key=area.__getitem__, reverse=True):
            try:
                image.seek(place)
            except (SyntaxError, ValueError, TypeError, LookupError, OSError, struct.error):
                image.seek(0)  # it may be raw data, and the first page is its preview
            else:
                break


def unsupported(file: BinaryIO) -> str | None:
    """Return why Pillow cannot decode a TIFF that has a size; None for other files."""
    tags = next(_directories(file), {})
    if not {WIDTH, HEIGHT, BITS} <= tags.keys():
        return None
    number = "float" if tags.get(FORMAT) == _FLOAT else "integer"
    samples, packing = tags.get(SAMPLES, 1), tags.get(COMPRESSION, 1)
    return (
        f"not supported: a TIFF of {samples} x {tags[BITS]} bits, {number}, compression {packing}"
    )


def visible(image: Image.Image) -> Image.Image:
    """Return a loaded TIFF; numbers that Pillow misreads or leaves nearly black are corrected."""
    if not isinstance(image, TiffImageFile):
        return image
    bits = image.tag_v2.get(BITS)
    kind = image.tag_v2.get(FORMAT, (_UNSIGNED,))
    if image.mode == "I" and bits == (32,) and kind == (_UNSIGNED,):
        return Image.fromarray(np.asarray(image).view(np.uint32).astype(np.float32))
    if is_deep(image):
        brightest = int(np.asarray(image).max())
        white = next((white for white in _DEEP_WHITES if 0 < brightest <= white), 255)
        return image.point(lambda value: value * 255 // white)
    return image


def is_deep(image: TiffImageFile) -> bool:
    """Return whether a TIFF has colours of 16 bits; Pillow keeps the upper 8."""
    return image.mode == "RGB" and image.tag_v2.get(BITS) == (16, 16, 16)


def _is_beside(tags: Tags) -> bool:
    reduced = tags.get(SUBFILE, 0) & _REDUCED_OR_MASK
    return bool(reduced) or tags.get(OLD_SUBFILE) == _OLD_REDUCED


def _directories(file: BinaryIO, most: int = MAX_PAGES) -> Iterator[Tags]:
    """Yield the first directories of a TIFF, each once; damage ends them."""
    seen = set()
    try:
        file.seek(0)
        layout = read_layout(file)
        offset = layout.unpack(file, layout.pointer)
        for _ in range(most):
            if offset == 0 or offset in seen:
                return
            seen.add(offset)
            entries = read_entries(file, layout, offset)
            offset = layout.unpack(file, layout.pointer)
            yield {
                entry.tag: _first(file, layout, entry)
                for entry in entries
                if entry.tag in _WANTED and entry.kind in WHOLE
            }
    except (KeyError, ValueError, OverflowError, OSError, struct.error):
        return


def _first(file: BinaryIO, layout: Layout, entry: Entry) -> int:
    """Return the first number of an entry."""
    form = layout.order + WHOLE[entry.kind]
    size = struct.calcsize(form)
    [number] = struct.unpack_from(
        form, read_value(file, layout, entry, entry.number * size, most=size)
    )
    return int(number)
