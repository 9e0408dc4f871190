"""Pictures: one file, or the first frame of an animation, is one segment."""

from __future__ import annotations

import logging
import re
import struct
import zlib
from dataclasses import replace
from functools import partial
from typing import BinaryIO

import pillow_heif
from PIL import Image, UnidentifiedImageError

from qvsearch.errors import MediaError
from qvsearch.media.metadata import image_metadata
from qvsearch.media.page import is_page
from qvsearch.media.pixels import MAX_MEGAPIXELS, check_size, dhash, fit, upright_rgb
from qvsearch.media.remains import remains
from qvsearch.types import EmbedInput, Item, Segment

# Pillow also reads formats that run other programs (EPS) or that nobody takes photos in; whatever
# a file's suffix says, only these are tried; MPO is opened as the JPEG that it begins with
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "HEIF")

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
    struct.error,
    zlib.error,
)

pillow_heif.register_heif_opener()
# without a handler its messages would reach the terminal; what fails is raised too
logging.getLogger("PIL").addHandler(logging.NullHandler())


def decode(
    file: BinaryIO, item: Item, content_hash: str, max_pixels: int
) -> list[tuple[Segment, EmbedInput]]:
    """Decode a picture; raises MediaError."""
    try:
        image, damaged = _load(file)
        upright = upright_rgb(image)
        pixels = fit(upright, max_pixels)
        metadata = image_metadata(image, page=is_page(pixels))
    except MediaError:
        raise
    except _DAMAGE as error:
        raise MediaError(_damage_reason(error)) from error
    segment = Segment(
        item,
        content_hash,
        width=upright.width,
        height=upright.height,
        dhash=dhash(pixels),
        metadata=replace(metadata, damaged=damaged),
    )
    return [(segment, EmbedInput(images=(pixels,)))]


def _load(file: BinaryIO) -> tuple[Image.Image, str | None]:
    """Return a picture, loaded, and what is missing of it."""
    try:
        image = _open(file)
        image.load()
        return image, None
    except _DAMAGE as error:
        try:
            return remains(partial(_open, file))
        except _DAMAGE:  # the first reason is the better one
            if isinstance(error, UnidentifiedImageError):
                raise MediaError(_unidentified_reason(file)) from error
            raise error from None


def _open(file: BinaryIO) -> Image.Image:
    """Open a picture that is not too large."""
    file.seek(0)
    try:
        image = Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError as error:
        # Pillow refuses at 179 megapixels by itself, before the size could be asked for
        pixels = re.search(r"\d+", str(error))
        size = f"{int(pixels[0]) / 1e6:.1f}" if pixels else "too many"
        raise MediaError(f"too large: {size} megapixels, the limit is {MAX_MEGAPIXELS}") from error
    check_size(*image.size)
    return image


def _unidentified_reason(file: BinaryIO) -> str:
    file.seek(0)
    prefix = file.read(16).ljust(16, b"\0")
    for name in FORMATS:
        accept = Image.OPEN[name][1]
        if accept and accept(prefix):
            return f"damaged or truncated {name} header"
    return "not an image: none of " + ", ".join(FORMATS)


def _damage_reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, EOFError) or "truncated" in text.lower() or "end of" in text.lower():
        return f"truncated image: {text}"
    return f"damaged image: {text or type(error).__name__}"
