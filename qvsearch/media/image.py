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
from typing import TYPE_CHECKING, BinaryIO

import pillow_heif
from PIL import Image, ImageChops, ImageFile, UnidentifiedImageError
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from qvsearch.errors import MediaError
from qvsearch.media.colour import read_colours
from qvsearch.media.jpeg2000 import Jpeg2000File, register_jpeg2000_opener
from qvsearch.media.metadata import image_metadata
from qvsearch.media.motion import film_in, with_film
from qvsearch.media.pixels import (
    DEEP_GREY,
    MAX_MEGAPIXELS,
    check_size,
    dhash,
    fit,
    is_page,
    lies,
    patches,
    upright_rgb,
)
from qvsearch.media.psd import PsdFile, register_psd_opener
from qvsearch.media.raw import is_raw, read_raw
from qvsearch.media.tiff import count_pages, is_deep, seek_picture, unsupported, visible
from qvsearch.types import DecodeOptions, EmbedInput, Item, Metadata, Segment

if TYPE_CHECKING:
    from qvsearch.types import Pixels

# The only formats that are tried, whatever the suffix. Pillow also reads formats that run other
# programs (EPS) or are not used for photos. MPO is opened as the JPEG that it begins with.
FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "HEIF"),
    *("JPEG2000", "PSD", "ICO", "DDS", "PPM"),
)
# A TGA file has no mark of its own, so any file would be tried as one. The decoder of JPEG XL is
# loaded for its files only: that takes longer than to decode one.
FORMATS_OF_SUFFIX = {b".tga": ("TGA",), b".jxl": ("JXL",)}

# The limits of a JPEG, which its decoder can reduce by 2, 4 or 8 while decoding. A progressive one
# takes up to 7 bytes a pixel meanwhile: 2.7 GB for 400 megapixels in each of the processes.
MAX_REDUCED_MEGAPIXELS, MAX_PROGRESSIVE_MEGAPIXELS = 400, 200
NO_ALPHA = {"BMP", "DIB", "TGA", "ICO"}
READ_BY_PILLOW = (b".psd", b".jp2", b".j2k", b".jpf", b".jpx", b".jxl")  # until version 4
ANIMATED = {"GIF", "PNG", "WEBP", "AVIF", "HEIF", "JXL"}
JPEG_START = b"\xff\xd8\xff"
AVIF_BRANDS = (b"avif", b"avis")

# Formats whose decoders write row by row, so that the rows before the damage are there.
TOLERATED = {"JPEG", "MPO", "PNG", "GIF", "BMP", "DIB", "TIFF", "PPM", "TGA"}
# The value of pixels that no decoder wrote, by mode: grey, as in libjpeg; an index that most
# palettes do not use. Other modes are not tolerated.
_MISSING: dict[str, int | tuple[int, ...]] = {
    **{"L": 128, "RGB": (128, 128, 128), "CMYK": (127, 127, 127, 127), "P": 255},
    **{"LA": (128, 255), "RGBA": (128, 128, 128, 255)},
}
STRIP = 256  # rows that are compared at once
Size = tuple[int, int]  # width and height
Opener = Callable[[], tuple[Image.Image, Size | None]]  # see `_open`
MOST_MISSING = 0.75  # of a picture: less than a quarter shows too little

# The errors of Pillow's parsers for damaged files: OSError and SyntaxError by design, the others
# from arithmetic on nonsense in headers.
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
register_jpeg2000_opener()
register_psd_opener()
# without a handler its messages would reach the terminal; failures are raised too
logging.getLogger("PIL").addHandler(logging.NullHandler())


def decode(
    file: BinaryIO, item: Item, content_hash: str, options: DecodeOptions
) -> list[tuple[Segment, EmbedInput]]:
    """Decode a picture and, if the options say so, the film within it; raises MediaError."""
    try:
        raw = read_raw(file, options.max_pixels) if is_raw(item) else None
        source = file if raw is None else raw.picture
        enough = options.max_pixels if options.draft else None
        image, larger, damaged = _load(partial(_open, source, _formats(item), enough))
        if raw is not None:
            damaged = damaged or raw.damaged
            raw.describe(image)
        colours = read_colours(image, source)
        shown = visible(_without_empty_alpha(image))
        upright = upright_rgb(shown, None if colours is None else colours.mode)
        full = larger or upright.size
        if larger and lies(image):
            full = full[::-1]
        pixels = fit(
            upright, options.max_pixels, colours=colours, full=full if options.draft else None
        )
        width, height = full if raw is None else raw.upright_size(lying=lies(image))
        metadata = image_metadata(
            image, page=is_page(pixels), blocks=() if raw is None else raw.blocks
        )
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
        metadata=replace(metadata, damaged=damaged, several=_is_several(source, image) or None),
    )
    still = (segment, EmbedInput(images=(pixels,)))
    return with_film(file, still, options) if options.films else [still]


def decode_tiff_page(file: BinaryIO, place: int, max_pixels: int) -> tuple[Pixels, Size]:
    """Return the pixels and the size of one directory of a TIFF, from 0; raises MediaError."""
    try:
        file.seek(0)
        image = Image.open(file, formats=("TIFF",))
        image.seek(place)
        check_size(*image.size)
        image.load()
        colours = read_colours(image, file)
        upright = upright_rgb(visible(image), None if colours is None else colours.mode)
        return fit(upright, max_pixels, colours=colours), upright.size
    except MediaError:
        raise
    except _DAMAGE as error:
        raise MediaError(_damage_reason(error, file, ("TIFF",))) from error


def reads_otherwise(file: BinaryIO, item: Item, since: int) -> bool:
    """Return whether version `since` gave other segments or pixels for this file.

    Version 4 left the formats of READ_BY_PILLOW to Pillow. Only headers are read, so it may be True
    for a few files that have not changed. Raises MediaError.
    """
    if since < 4 and film_in(file) is not None:
        return True
    if since >= (5 if item.location.lower().endswith(READ_BY_PILLOW) else 2):
        return False
    image = _header(file, item)
    if isinstance(image, TiffImageFile) and (image.tell() > 0 or is_deep(image)):
        return True
    if read_colours(image, file) is not None:
        return True
    if isinstance(image, PsdFile) and image.differs_from_pillow:
        return True
    if isinstance(image, Jpeg2000File) and image.differs_from_pillow:
        return True
    empty_alpha = image.format in NO_ALPHA and image.mode == "RGBA"
    return empty_alpha or image.mode in DEEP_GREY


def read_metadata(file: BinaryIO, item: Item) -> Metadata:
    """Return the metadata in the header of a picture; raises MediaError."""
    raw = read_raw(file, 0) if is_raw(item) else None
    source = file if raw is None else raw.picture
    image = _header(source, item)
    try:
        if image.format in ("PNG", "JXL"):  # its EXIF and comments may follow the pixels
            image.load()
        if raw is not None:
            raw.describe(image)
    except _DAMAGE as error:
        raise MediaError(_damage_reason(error, source, _formats(item))) from error
    metadata = image_metadata(image, blocks=() if raw is None else raw.blocks)
    return replace(metadata, several=_is_several(source, image) or None)


def _header(file: BinaryIO, item: Item) -> Image.Image:
    try:
        return _open(file, _formats(item))[0]
    except MediaError:
        raise
    except _DAMAGE as error:
        raise MediaError(_damage_reason(error, file, _formats(item))) from error


def _formats(item: Item) -> tuple[str, ...]:
    suffix = os.path.splitext(item.location)[1].lower()
    if suffix == b".jxl":
        from qvsearch.media.jpeg_xl import register_jpeg_xl_opener

        register_jpeg_xl_opener()
    return FORMATS_OF_SUFFIX.get(suffix, ()) + FORMATS


def _is_several(file: BinaryIO, image: Image.Image) -> bool:
    """Return whether a file has other frames or pages than the one that is read.

    Layers, previews, and the depth or brightness pictures of an MPO are parts of one picture.
    """
    if isinstance(image, TiffImageFile):
        return count_pages(file) > 1
    try:
        return image.format in ANIMATED and bool(getattr(image, "is_animated", False))
    except _DAMAGE:
        return True  # there is a second one, which is damaged


def _load(open_: Opener) -> tuple[Image.Image, Size | None, str | None]:
    """Return a loaded picture, its full size if it was reduced, and its missing part in words."""
    try:
        image, larger = open_()
        image.load()
        return image, larger, None
    except _DAMAGE as error:
        try:
            return _remains(open_)
        except _DAMAGE:  # the first reason is the better one
            raise error from None


def _open(
    file: BinaryIO, formats: tuple[str, ...], enough: int | None = None
) -> tuple[Image.Image, Size | None]:
    """Open a picture that is not too large; return its full size too if it will be reduced.

    A JPEG is reduced if it is too large otherwise, and as far as `enough` pixels are left.
    """
    image = _opened(file, formats)
    if not isinstance(image, JpegImageFile):
        check_size(*image.size)
        return image, None
    if image.info.get("progressive"):
        check_size(*image.size, MAX_PROGRESSIVE_MEGAPIXELS, of=" of a progressive JPEG")
    else:
        check_size(*image.size, MAX_REDUCED_MEGAPIXELS)
    width, height = image.size
    halvings = math.ceil(math.log2(width * height / (MAX_MEGAPIXELS * 1_000_000)) / 2)
    if enough is not None:
        halvings = max(halvings, math.floor(math.log2(width * height / enough) / 2))
    if halvings <= 0:
        return image, None
    image.draft(None, (max(1, width >> halvings), max(1, height >> halvings)))
    return image, (width, height)


def _opened(file: BinaryIO, formats: tuple[str, ...]) -> Image.Image:
    file.seek(0)
    try:
        image = Image.open(file, formats=formats)
        if isinstance(image, TiffImageFile):
            seek_picture(file, image)
        return image
    except Image.DecompressionBombError:
        # Pillow itself refuses at 179 megapixels, before the format is known
        file.seek(0)
        if file.read(len(JPEG_START)) != JPEG_START:
            raise
        file.seek(0)
        return JpegImageFile(file)


def _without_empty_alpha(image: Image.Image) -> Image.Image:
    """Return a picture without an alpha channel that is 0 throughout, if its format allows that.

    Programs that write only colours leave the fourth byte of a pixel empty.
    """
    if image.format in NO_ALPHA and image.mode == "RGBA" and not image.getchannel("A").getbbox():
        return image.convert("RGB")
    return image


def _unidentified_reason(file: BinaryIO, formats: tuple[str, ...]) -> str:
    file.seek(0)
    prefix = file.read(16).ljust(16, b"\0")
    for name in formats:
        accept = Image.OPEN[name][1]
        if name == "AVIF" and prefix[8:12] not in AVIF_BRANDS:
            continue  # Pillow takes any HEIF for one until it is opened
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


def _remains(open_: Opener) -> tuple[Image.Image, Size | None, str | None]:
    """Load a picture tolerantly, as viewers do, after it could not be read strictly.

    Returns it, its full size as `open_` does, and its missing part in words; that part is grey. The
    last is None if only the data beside the pixels is damaged or too large. `open_` opens the file
    anew. Raises Pillow's errors, or MediaError if too little is left.
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
    """Return the value of pixels before they are decoded; None if that is no evidence."""
    woven = image.info.get("interlace")
    if isinstance(image, GifImageFile):
        woven = image.tile and image.tile[0].args and image.tile[0].args[1]
        if not woven and "transparency" in image.info:
            return int(image.info["transparency"])  # Pillow begins with it
    if woven:
        return None  # the passes are woven into each other, so no part is whole
    return _MISSING.get(image.mode)


@contextmanager
def _tolerance() -> Iterator[None]:
    """Let Pillow ignore wrong checksums, texts that are too large and a missing end."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def _missing(image: Image.Image, colour: int | tuple[int, ...]) -> str | None:
    """Return the missing part of a loaded picture, whose rows at one end are of this colour."""
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
    """Yield the top of each strip that has pixels of other colours, and their box in it.

    It works in strips, because a second copy of the whole picture may need too much memory.
    """
    for top in range(0, image.height, STRIP):
        strip = image.crop((0, top, image.width, min(top + STRIP, image.height)))
        blank = Image.new(image.mode, strip.size, colour)
        box = ImageChops.difference(strip, blank).getbbox(alpha_only=False)
        if box is not None:
            yield top, box
