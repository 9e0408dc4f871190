"""Reads what is left of a damaged picture, as viewers do: a second, tolerant try."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import Image, ImageChops, ImageFile
from PIL.GifImagePlugin import GifImageFile

from qvsearch.errors import MediaError

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
