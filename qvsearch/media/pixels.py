"""Turns a picture of Pillow into the upright RGB pixels that the model sees, and describes them.

The sizes are those of `smart_resize` in qwen_vl_utils 0.0.14 and the resampling is Pillow's, so
the pixels equal the reference's. qwen_vl_utils itself would load torch into every decode worker.
"""

from __future__ import annotations

import base64
import math
import struct
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageOps

from qvsearch.errors import MediaError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.media.colour import Colours
    from qvsearch.types import Pixels

FACTOR = 32  # a visual token is 32x32 pixels
MIN_PIXELS = 4 * FACTOR**2  # the reference's least image: four tokens
MAX_ASPECT_RATIO = 200  # the reference refuses longer strips
MAX_MEGAPIXELS = 100  # decoded as RGBA that is 400 MB, the most that one worker may need

# of 255, between the means of two neighbouring cells: noise, JPEG at quality 40 and another size
# stay under it, so that the bits of a plain wall or sky are equal in every copy
LEAST_STEP = 2.0
# of 64: pictures with fewer would agree in nearly all bits, whatever they show
LEAST_STEPS = 12

# The white of 8 to 16 bits: cameras of instruments write 10, 12 or 14 bits into 16.
_WHITES = (255, 1023, 4095, 16383, 65535)
# steps are differences of grey, of 255, between neighbours in a row
EVEN_STEP = 1  # at most: drawn by a program, even after JPEG; a camera's noise makes more
NOISY_STEP = 4  # at most: the same ground after a scanner
SHARP_STEP = 40  # at least: the edge of a letter, also of grey on grey and after resizing

LEAST_SHARP = 0.012  # of all steps: a slide with two lines of text; a thing on white makes 0.011
BRIGHT = 128  # the least grey of paper and slides; night skies and dark rooms are even too

PATCHES = 4  # in a row and in a column
DEEP_GREY = {"I", "I;16", "I;16L", "I;16B", "I;16N", "F"}


def check_size(width: int, height: int, most: int = MAX_MEGAPIXELS, of: str = "") -> None:
    """Raise MediaError for a picture without pixels or with more than `most` megapixels.

    `of` names the pictures that have this limit.
    """
    if width < 1 or height < 1:
        raise MediaError(f"no pixels: {width}x{height}")
    if width * height > most * 1_000_000:
        megapixels = width * height / 1e6
        raise MediaError(
            f"too large: {width}x{height} is {megapixels:.1f} megapixels, the limit{of} is {most}"
        )


def smart_resize(
    height: int, width: int, factor: int = FACTOR, *, min_pixels: int = MIN_PIXELS, max_pixels: int
) -> tuple[int, int]:
    """Return the (height, width) nearest to the given shape, in multiples of `factor`.

    The product lies between `min_pixels` and `max_pixels`. Raises MediaError for a strip.
    """
    ratio = max(height, width) / min(height, width)
    if ratio > MAX_ASPECT_RATIO:
        raise MediaError(
            f"too long a strip: {width}x{height} is {ratio:.0f} to 1, the limit is "
            f"{MAX_ASPECT_RATIO} to 1"
        )
    h = max(factor, round(height / factor) * factor)
    w = max(factor, round(width / factor) * factor)
    if h * w > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        # the reference has no max here: a strip at a tiny budget would get a side of 0
        h = max(factor, math.floor(height / shrink / factor) * factor)
        w = max(factor, math.floor(width / shrink / factor) * factor)
    elif h * w < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        h = math.ceil(height * grow / factor) * factor
        w = math.ceil(width * grow / factor) * factor
    return h, w


def fit(
    image: Image.Image,
    max_pixels: int,
    *,
    colours: Colours | None = None,
    full: tuple[int, int] | None = None,
) -> Pixels:
    """Return a picture as (h, w, 3) uint8 sRGB within the budget, resized once.

    `colours` are converted last: doing it first would cost ten times as much, and change a value
    by about 1. `full` is the upright width and height of a picture that its decoder reduced.
    """
    upright = upright_rgb(image, None if colours is None else colours.mode)
    wide, high = full or upright.size
    height, width = smart_resize(high, wide, max_pixels=max_pixels)
    resized = upright.resize((width, height), Image.Resampling.BICUBIC)
    return np.array(resized if colours is None else colours.to_srgb(resized))


def upright_rgb(image: Image.Image, mode: str | None = None) -> Image.Image:
    """Return a picture as RGB: turned by its EXIF, on white where it is transparent.

    A picture of `mode` keeps it, because its colour profile is for such pixels.
    """
    image.load()  # Pillow turns a TIFF upright only while loading it
    if _orientation(image) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode in DEEP_GREY:
        return _deep_grey_rgb(image)
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", rgba.size, (255, 255, 255))
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image if image.mode in ("RGB", mode) else image.convert("RGB")


def dhash(pixels: Pixels) -> int | None:
    """Return the 64-bit difference hash of a picture (h, w, 3); None for one that is nearly flat.

    Copies in another size, format or quality differ in a few bits. Each bit, row by row from the
    top left, is 1 if a cell's right neighbour is brighter (N. Krawetz, "Kind of Like That", 2013),
    here by more than noise makes.
    """
    grey = Image.fromarray(pixels).convert("L")
    # finer than the 9x8 cells, because Pillow rounds means to whole greys
    fine = np.asarray(grey.resize((72, 64), Image.Resampling.BOX), np.float32)
    cells = fine.reshape(8, 8, 9, 8).mean(axis=(1, 3))
    steps = np.diff(cells, axis=1)
    if np.count_nonzero(np.abs(steps) > LEAST_STEP) < LEAST_STEPS:
        return None
    return int.from_bytes(np.packbits(steps > LEAST_STEP).tobytes())


def patches(pixels: Pixels) -> str:
    """Return the mean colours of 4x4 patches of a picture (h, w, 3), 8 bits each, in base64.

    Row by row from the top left, red, green and blue. They are nearly equal in a copy of another
    size or quality; a difference hash ignores colours.
    """
    small = Image.fromarray(pixels).resize((PATCHES, PATCHES), Image.Resampling.BOX)
    return base64.b64encode(small.tobytes()).decode()


def is_page(pixels: Pixels) -> bool:
    """Return whether a picture (h, w, 3), as embedded, is a screenshot, a scanned page or a chart.

    Most of a page's ground is one level, and its changes are sharp. In a photo most changes are
    soft, because lenses, light and surfaces are. Text and layout are not read.
    """
    grey = Image.fromarray(pixels).convert("L")
    left = grey.crop((0, 0, grey.width - 1, grey.height))
    right = grey.crop((1, 0, grey.width, grey.height))
    steps = _shares(ImageChops.difference(left, right))
    sharp = steps[SHARP_STEP:].sum()
    if sharp < LEAST_SHARP:
        return False
    contrast = sharp / max(1e-9, steps[NOISY_STEP + 1 : SHARP_STEP].sum())
    even, noisy = steps[: EVEN_STEP + 1].sum(), steps[: NOISY_STEP + 1].sum()
    drawn = even > 0.45 and even > 0.8 * noisy
    levels = _shares(grey)
    near_levels = np.convolve(levels, np.ones(5), "same")
    ground, bright = near_levels.max(), near_levels.argmax() >= BRIGHT
    paper = np.convolve(levels, np.ones(17), "same").max()  # with its shades
    screen = drawn and ground > 0.25 and contrast > 0.3
    # the soft steps of a photo on a slide or a web page
    illustrated = drawn and ground > 0.45 and contrast > 0.17 and bright
    scan = noisy > 0.6 and paper > 0.3 and contrast > 0.45 and bright and sharp > 0.05
    return bool(screen or illustrated or scan)


def lies(image: Image.Image) -> bool:
    """Return whether a picture lies on its side, so that its EXIF swaps width and height."""
    return _orientation(image) >= 5


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    # a damaged EXIF block is no reason to skip the picture
    except (SyntaxError, ValueError, TypeError, LookupError, OSError, struct.error):
        return 1
    return orientation if orientation in range(1, 9) else 1


def _deep_grey_rgb(image: Image.Image) -> Image.Image:
    """Scale grey of more than 8 bits to 0..255; Pillow's own conversion clips it at 255."""
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        white = next(white for white in _WHITES if values.max(initial=0) <= white)
        grey = np.rint(np.arange(white + 1) * (255 / white)).astype(np.uint8)[values]
        transparent = image.info.get("transparency")
        if isinstance(transparent, int):
            grey[values == transparent] = 255
    else:
        grey = _scaled(np.array(image, dtype=np.float32))
    return Image.fromarray(grey).convert("RGB")


def _scaled(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Scale integers of 32 bits or floats, whose white is in no header, to 0..255; in place.

    White is that of the smallest usual depth that holds them (scans and renderings). Without one,
    their own range is spread (heights, temperatures).
    """
    np.nan_to_num(values, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    whites = [white for white in (1, *_WHITES) if low >= 0 and high <= white]
    if whites:
        low, high = 0.0, float(whites[0])
    values -= low
    values *= 255 / max(high - low, 1e-30)  # a flat picture has no range
    return np.rint(values, out=values).astype(np.uint8)


def _shares(grey: Image.Image) -> NDArray[np.float64]:
    return np.array(grey.histogram()) / (grey.width * grey.height)
