"""Pictures: one file, or the first frame of an animation, is one segment."""

from __future__ import annotations

import logging
import math
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import BinaryIO

import pillow_heif
from PIL import Image, ImageChops, ImageFile, UnidentifiedImageError
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from qvsearch.errors import MediaError
from qvsearch.media.colour import read_colours
from qvsearch.media.metadata import image_metadata
from qvsearch.media.pixels import (
    DEEP_GREY,
    MAX_MEGAPIXELS,
    check_size,
    dhash,
    fit,
    is_page,
    patches,
    upright_rgb,
)
from qvsearch.media.tiff import count_pages, is_deep, seek_picture, unsupported, visible
from qvsearch.types import EmbedInput, Item, Metadata, Segment

# Pillow also reads formats that run other programs (EPS) or that nobody takes photos in; whatever
# a file's suffix says, only these are tried; MPO is opened as the JPEG that it begins with
FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "HEIF"),
    *("JPEG2000", "PSD", "ICO", "DDS", "PPM"),
)
# Nothing in a TGA file says that it is one, so any file would be tried as one.
FORMATS_OF_SUFFIX = {b".tga": ("TGA",)}

# Of a JPEG, whose decoder makes it smaller by 2, 4 or 8 as it goes. A progressive one takes up to
# 7 bytes a pixel meanwhile: of 400 megapixels 2.7 GB in each of the processes.
MAX_REDUCED_MEGAPIXELS, MAX_PROGRESSIVE_MEGAPIXELS = 400, 200
NO_ALPHA = {"BMP", "DIB", "TGA", "ICO"}
ANIMATED = {"GIF", "PNG", "WEBP", "AVIF", "HEIF"}
JPEG_START = b"\xff\xd8\xff"

# Formats whose decoders write row by row, so that what they read before the damage is there.
TOLERATED = {"JPEG", "MPO", "PNG", "GIF", "BMP", "DIB", "TIFF", "PPM", "TGA"}
# The pixels that no decoder wrote, by mode: grey, as libjpeg makes them; an index of most palettes
# that is not used. Modes that are not here are not tolerated.
_MISSING: dict[str, int | tuple[int, ...]] = {
    **{"L": 128, "RGB": (128, 128, 128), "CMYK": (127, 127, 127, 127), "P": 255},
    **{"LA": (128, 255), "RGBA": (128, 128, 128, 255)},
}
STRIP = 256  # rows that are looked at in one go
Size = tuple[int, int]  # width and height
MOST_MISSING = 0.75  # of a picture: less than a quarter tells too little of what it shows

# what Pillow's parsers raise over damaged files: by design OSError and SyntaxError, the others
# from arithmetic on nonsense in headers
_DAMAGE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    AssertionError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

pillow_heif.register_heif_opener()
# without a handler its messages would reach the terminal; what fails is raised too
logging.getLogger("PIL").addHandler(logging.NullHandler())


def decode(
    file: BinaryIO, item: Item, content_hash: str, max_pixels: int
) -> list[tuple[Segment, EmbedInput]]:
    """Decode a picture; raises MediaError."""
    try:
        image, larger, damaged = _load(file, _formats(item))
        colours = read_colours(image, file)
        shown = visible(_without_empty_alpha(image))
        upright = upright_rgb(shown, None if colours is None else colours.mode)
        width, height = larger or upright.size
        if (upright.width > upright.height) != (width > height):
            width, height = height, width  # the picture lay on its side
        pixels = fit(upright, max_pixels, colours=colours)
        metadata = image_metadata(image, page=is_page(pixels))
    except MediaError:
        raise
    except _DAMAGE as error:
        raise MediaError(_damage_reason(error, file, _formats(item))) from error
    segment = Segment(
        item,
        content_hash,
        width=width,
        height=height,
        dhash=dhash(pixels),
        patches=patches(pixels),
        metadata=replace(metadata, damaged=damaged, several=_is_several(file, image) or None),
    )
    return [(segment, EmbedInput(images=(pixels,)))]


def reads_otherwise(file: BinaryIO, item: Item, since: int) -> bool:
    """Return whether this file gives other segments or pixels now than it gave version `since`.

    Reads headers, not the whole file: a few that give the same are among them. Raises MediaError.
    """
    if since >= 2:
        return False
    image = _header(file, item)
    if isinstance(image, TiffImageFile) and (image.tell() > 0 or is_deep(image)):
        return True
    if read_colours(image, file) is not None:
        return True
    empty_alpha = image.format in NO_ALPHA and image.mode == "RGBA"
    return empty_alpha or image.mode in DEEP_GREY


def read_metadata(file: BinaryIO, item: Item) -> Metadata:
    """Return what the header of a picture contains; raises MediaError."""
    image = _header(file, item)
    try:
        if image.format == "PNG":  # its EXIF and comments may follow the pixels
            image.load()
    except _DAMAGE as error:
        raise MediaError(_damage_reason(error, file, _formats(item))) from error
    return replace(image_metadata(image), several=_is_several(file, image) or None)


def _header(file: BinaryIO, item: Item) -> Image.Image:
    try:
        return _open(file, _formats(item))[0]
    except MediaError:
        raise
    except _DAMAGE as error:
        raise MediaError(_damage_reason(error, file, _formats(item))) from error


def _formats(item: Item) -> tuple[str, ...]:
    suffix = os.path.splitext(item.location)[1].lower()
    return FORMATS_OF_SUFFIX.get(suffix, ()) + FORMATS


def _is_several(file: BinaryIO, image: Image.Image) -> bool:
    """Return whether a file has frames or pages beside the one that is read.

    Layers, previews, and what an MPO has for depth or brightness are parts of one picture.
    """
    if isinstance(image, TiffImageFile):
        return count_pages(file) > 1
    try:
        return image.format in ANIMATED and bool(getattr(image, "is_animated", False))
    except _DAMAGE:
        return True  # there is a second one, which is damaged


def _load(file: BinaryIO, formats: tuple[str, ...]) -> tuple[Image.Image, Size | None, str | None]:
    """Return a picture, loaded, its size if that is reduced, and what is missing of it."""
    try:
        image, larger = _open(file, formats)
        image.load()
        return image, larger, None
    except _DAMAGE as error:
        try:
            return remains(partial(_open, file, formats))
        except _DAMAGE:  # the first reason is the better one
            raise error from None


def _open(file: BinaryIO, formats: tuple[str, ...]) -> tuple[Image.Image, Size | None]:
    """Open a picture that is not too large, or return with it the size that it is reduced from."""
    image = _opened(file, formats)
    if not isinstance(image, JpegImageFile):
        check_size(*image.size)
    elif image.info.get("progressive"):
        check_size(*image.size, MAX_PROGRESSIVE_MEGAPIXELS, of=" of a progressive JPEG")
    else:
        check_size(*image.size, MAX_REDUCED_MEGAPIXELS)
    width, height = image.size
    scale = 2 ** math.ceil(math.log2(width * height / (MAX_MEGAPIXELS * 1_000_000)) / 2)
    if scale <= 1:
        return image, None
    image.draft(None, (width // scale, height // scale))
    return image, (width, height)


def _opened(file: BinaryIO, formats: tuple[str, ...]) -> Image.Image:
    file.seek(0)
    try:
        image = Image.open(file, formats=formats)
        if isinstance(image, TiffImageFile):
            seek_picture(file, image)
        return image
    except Image.DecompressionBombError:
        # Pillow refuses at 179 megapixels by itself, before the format could be asked for
        file.seek(0)
        if file.read(len(JPEG_START)) != JPEG_START:
            raise
        file.seek(0)
        return JpegImageFile(file)


def _without_empty_alpha(image: Image.Image) -> Image.Image:
    """Return a picture without its alpha if that is 0 throughout in a format where it says nothing.

    Programs that know only colours leave the fourth byte of a pixel empty.
    """
    if image.format in NO_ALPHA and image.mode == "RGBA" and not image.getchannel("A").getbbox():
        return image.convert("RGB")
    return image


def _unidentified_reason(file: BinaryIO, formats: tuple[str, ...]) -> str:
    file.seek(0)
    prefix = file.read(16).ljust(16, b"\0")
    for name in formats:
        accept = Image.OPEN[name][1]
        if accept and accept(prefix):
            if name == "TIFF" and (reason := unsupported(file)) is not None:
                return reason
            return f"damaged or truncated {name} header"
    return "not an image: none of " + ", ".join(formats)


def _damage_reason(error: Exception, file: BinaryIO, formats: tuple[str, ...]) -> str:
    if isinstance(error, UnidentifiedImageError):
        return _unidentified_reason(file, formats)
    text = " ".join(str(error).split())
    if isinstance(error, Image.DecompressionBombError):
        pixels = re.search(r"\d+", text)
        size = f"{int(pixels[0]) / 1e6:.1f}" if pixels else "too many"
        return f"too large: {size} megapixels, the limit is {MAX_MEGAPIXELS}"
    if isinstance(error, NotImplementedError):
        return f"not supported: {text}"
    if isinstance(error, EOFError) or "truncated" in text.lower() or "end of" in text.lower():
        return f"truncated image: {text}"
    return f"damaged image: {text or type(error).__name__}"


def remains(
    open_: Callable[[], tuple[Image.Image, Size | None]],
) -> tuple[Image.Image, Size | None, str | None]:
    """Return a picture that could not be read strictly, loaded, and what is missing of it.

    What is missing is grey. It is None if only the data beside the pixels is damaged or too much.
    `open_` opens the file anew and returns the size that it is reduced from, which is returned too.
    Raises what Pillow raises, or MediaError if too little is left.
    """
    with _tolerance():
        image, larger = open_()
        if image.format not in TOLERATED:
            raise ValueError(f"no part of a damaged {image.format} can be read")
        colour = _blank(image)
        if colour is not None:
            image.im = Image.new(image.mode, image.size, colour).im
            image.load()
    image.load()  # strictly, unless it is loaded
    missing = None if colour is None else _missing(image, colour)
    if missing is not None and image.mode == "P":
        image.putpalette([*(image.getpalette() or []), *[128] * 768][:765] + [128] * 3)
    return image, larger, missing


def _blank(image: Image.Image) -> int | tuple[int, ...] | None:
    """Return the value that pixels have before they are decoded; None if that tells nothing."""
    woven = image.info.get("interlace")
    if isinstance(image, GifImageFile):
        woven = image.tile and image.tile[0].args and image.tile[0].args[1]
        if not woven and "transparency" in image.info:
            return int(image.info["transparency"])  # so Pillow begins it
    if woven:
        return None  # of passes that are woven into each other no part is whole
    return _MISSING.get(image.mode)


@contextmanager
def _tolerance() -> Iterator[None]:
    """Have Pillow pass over wrong checksums, texts that are too large and a missing end."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def _missing(image: Image.Image, colour: int | tuple[int, ...]) -> str | None:
    """Return what is missing of a loaded picture, whose rows at one end are of this colour."""
    drawn = [top + row for top, box in _drawn(image, colour) for row in (box[1], box[3])]
    share = 1 - (max(drawn) - min(drawn)) / image.height if drawn else 1.0
    if share > MOST_MISSING:
        raise MediaError(f"truncated image: only {100 * (1 - share):.0f} % of it can be decoded")
    last = image.getpixel((image.width - 1, image.height - 1))
    if share > 0 or last == colour:
        return f"the last {max(1, round(100 * share))} % is missing"
    # a picture in several passes is whole at once, but coarse
    return "the last details are missing" if image.info.get("progressive") else None


def _drawn(
    image: Image.Image, colour: int | tuple[int, ...]
) -> Iterator[tuple[int, tuple[int, int, int, int]]]:
    """Yield the top of each strip that has other pixels than of this colour, and their box in it.

    In strips, for the whole picture a second time may be too much.
    """
    for top in range(0, image.height, STRIP):
        strip = image.crop((0, top, image.width, min(top + STRIP, image.height)))
        blank = Image.new(image.mode, strip.size, colour)
        box = ImageChops.difference(strip, blank).getbbox(alpha_only=False)
        if box is not None:
            yield top, box
