"""TIFF files beyond Pillow: which page is the picture, unusual depths, what is not supported.

Tags and their values are those of TIFF 6.0, sections 8 and 19, and of BigTIFF.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

MOST_PAGES = 16  # that are looked at; a pyramid of 100 megapixels has 8
MAX_ENTRIES = 1000  # of a page; those of cameras have under 100

SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT = 254, 255, 256, 257
BITS, COMPRESSION, SAMPLES, FORMAT = 258, 259, 277, 339
_WANTED = {SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, SAMPLES, FORMAT}
_FORMS = {3: "H", 4: "I", 16: "Q"}  # of whole numbers, by their type
_REDUCED_OR_MASK, _OLD_REDUCED = 1 | 4, 2
_UNSIGNED, _FLOAT = 1, 3

# The most that samples of 10, 12 and 14 bits have if a program writes them into 16 as they are,
# and Pillow keeps the upper 8.
_DEEP_WHITES = (3, 15, 63)

Tags = dict[int, int]  # the first number of each


def count_pages(file: BinaryIO) -> int:
    """Return the number of pages, MOST_PAGES at most, without reduced versions and masks."""
    return sum(not _is_beside(tags) for tags in _directories(file))


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
                image.seek(0)  # it may be raw data, of which the first page is the preview
            else:
                break


def unsupported(file: BinaryIO) -> str | None:
    """Return what Pillow cannot decode in a TIFF that has a size; None for other files."""
    tags = next(_directories(file), {})
    if not {WIDTH, HEIGHT, BITS} <= tags.keys():
        return None
    number = "float" if tags.get(FORMAT) == _FLOAT else "integer"
    samples, packing = tags.get(SAMPLES, 1), tags.get(COMPRESSION, 1)
    return (
        f"not supported: a TIFF of {samples} x {tags[BITS]} bits, {number}, compression {packing}"
    )


def visible(image: Image.Image) -> Image.Image:
    """Return a loaded TIFF with numbers that Pillow misreads, or leaves nearly black, put right."""
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
    """Return whether a TIFF has colours of 16 bits, of which Pillow keeps the upper 8."""
    return image.mode == "RGB" and image.tag_v2.get(BITS) == (16, 16, 16)


def _is_beside(tags: Tags) -> bool:
    reduced = tags.get(SUBFILE, 0) & _REDUCED_OR_MASK
    return bool(reduced) or tags.get(OLD_SUBFILE) == _OLD_REDUCED


def _directories(file: BinaryIO) -> Iterator[Tags]:
    """Yield the first MOST_PAGES directories of a TIFF; damage ends them."""
    try:
        file.seek(0)
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}[head[:2]]
        big = struct.unpack(order + "H", head[2:4]) == (43,)
        count_form, entry_form, offset_form = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
        (offset,) = struct.unpack_from(order + offset_form, head, 8 if big else 4)
        for _ in range(MOST_PAGES):
            if offset == 0:
                return
            file.seek(offset)
            (count,) = struct.unpack(order + count_form, file.read(struct.calcsize(count_form)))
            size = struct.calcsize(order + entry_form)
            entries = file.read(size * min(count, MAX_ENTRIES))
            (offset,) = struct.unpack(order + offset_form, file.read(struct.calcsize(offset_form)))
            yield {
                tag: _first(file, order, _FORMS[kind], number, value)
                for tag, kind, number, value in struct.iter_unpack(order + entry_form, entries)
                if tag in _WANTED and kind in _FORMS
            }
    except (KeyError, ValueError, OverflowError, OSError, struct.error):
        return


def _first(file: BinaryIO, order: str, form: str, count: int, value: bytes) -> int:
    """Return the first number of an entry, which stands in it or, if too long, at an offset."""
    size = struct.calcsize(form)
    if count * size > len(value):
        file.seek(struct.unpack(order + ("Q" if len(value) == 8 else "I"), value)[0])
        value = file.read(size)
    number: int = struct.unpack_from(order + form, value)[0]
    return number
