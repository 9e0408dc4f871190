"""JPEG XL: what the decoder's reader for Pillow lacks, which are colours without a profile.

ISO/IEC 18181-1, annexes B (fields), D (SizeHeader, ImageMetadata) and E (ColourEncoding).
"""

from __future__ import annotations

from contextlib import suppress
from typing import IO, Any, cast

import pylibjxl
from PIL import ExifTags, Image
from pylibjxl.pillow_plugin import JxlImageFile

from qvsearch.media.jpeg2000 import read_boxes

MAX_HEADER = 4096  # bytes of the codestream; those of real files have under 100
RGB, GREY, XYB = 0, 1, 2  # colour spaces
CUSTOM = 2  # white or primaries
D65, DCI = 1, 11  # whites
P3, DISPLAY_P3 = 11, 12  # primaries in H.273: with the white of DCI, and with D65
LINEAR = 8  # transfer function
# x and y of whites, and of red, green and blue, by their codes
WHITES = {D65: (0.3127, 0.3290), 10: (1 / 3, 1 / 3), DCI: (0.314, 0.351)}
PRIMARIES = {
    1: (0.640, 0.330, 0.300, 0.600, 0.150, 0.060),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}

# ways of writing a number: an offset and bits after it, by two bits before it
Choices = tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]
SIDE: Choices = ((1, 9), (1, 13), (1, 18), (1, 30))
ENUM: Choices = ((0, 0), (1, 0), (2, 4), (18, 6))


def register_jpeg_xl_opener() -> None:
    """Have Pillow open JPEG XL with this reader."""
    pylibjxl.register_pillow()
    Image.register_open("JXL", JpegXlFile, Image.OPEN["JXL"][1])


class JpegXlFile(JxlImageFile):
    """A JPEG XL whose header names its colours, as other formats do in Pillow."""

    def _open(self) -> None:
        file = cast("IO[bytes]", self.fp)
        super()._open()
        with suppress(EOFError):  # without them it is sRGB
            self.info.update(_colours(_Bits(_codestream(file))))
        file.seek(0)

    def load(self) -> Any:  # noqa: ANN401 - as in Pillow
        """Decode the picture."""
        access = super().load()  # type: ignore[no-untyped-call]
        # its decoder has turned it (ISO 18181-2, section 9.7)
        with suppress(SyntaxError, ValueError, TypeError, LookupError, OSError):
            self.getexif().pop(ExifTags.Base.Orientation, None)
        return access


class _Bits:
    """Numbers of some bits, the lowest first; raises EOFError at the end."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise EOFError
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return value

    def choose(self, choices: Choices) -> int:
        offset, count = choices[self.take(2)]
        return offset + self.take(count)


def _codestream(file: IO[bytes]) -> bytes:
    """Return the first bytes of the codestream, after its mark."""
    file.seek(0)
    start = file.read(2)
    if start == b"\xff\x0a":
        return file.read(MAX_HEADER)
    data = b""
    for name, place, size in read_boxes(file):
        if name in (b"jxlc", b"jxlp") and len(data) < MAX_HEADER:
            number = 4 if name == b"jxlp" else 0  # bytes of the number of a part
            file.seek(place + number)
            data += file.read(min(max(0, size - number), MAX_HEADER))
    return data.removeprefix(b"\xff\x0a")


def _colours(bits: _Bits) -> dict[str, object]:
    """Return the colours as Pillow's `info` has them: codes of H.273, or chromaticity and gamma.

    It is empty for sRGB and if the file has an ICC profile.
    """
    _skip_size(bits)
    if bits.take(1):  # all is as usual
        return {}
    _skip_metadata(bits)
    if bits.take(1) or bits.take(1):  # sRGB, or a profile
        return {}
    space = bits.choose(ENUM)
    if space not in (RGB, GREY):
        return {}
    white = bits.choose(ENUM)
    white_point = _points(bits, 1) if white == CUSTOM else WHITES.get(white)
    primaries = 1 if space == GREY else bits.choose(ENUM)
    points = _points(bits, 3) if primaries == CUSTOM else PRIMARIES.get(primaries)
    gamma = bits.take(24) / 10_000_000 if bits.take(1) else None
    transfer = None if gamma is not None else bits.choose(ENUM)
    if transfer is not None and CUSTOM not in (white, primaries):
        code = DISPLAY_P3 if (primaries, white) == (P3, D65) else primaries
        return {"nclx_profile": {"color_primaries": code, "transfer_characteristics": transfer}}
    if white_point is None or points is None:
        return {}
    if space == GREY:
        white_point = WHITES[D65]
    return {
        "chromaticity": white_point + points,
        "gamma": 1.0 if transfer == LINEAR else gamma,
    }


def _points(bits: _Bits, count: int) -> tuple[float, ...]:
    """Return x and y of colours."""
    choices: Choices = ((0, 19), (2**19, 19), (2**20, 20), (2**21, 21))
    values = [bits.choose(choices) for _ in range(2 * count)]
    return tuple((-(each // 2) - 1 if each % 2 else each // 2) / 1_000_000 for each in values)


def _skip_size(bits: _Bits) -> None:
    small = bits.take(1)
    for is_width in (False, True):
        if is_width and bits.take(3):  # the ratio to the height
            return
        if small:
            bits.take(5)
        else:
            bits.choose(SIDE)


def _skip_preview(bits: _Bits) -> None:
    eighths: Choices = ((16, 0), (32, 0), (1, 5), (33, 9))
    whole: Choices = ((1, 6), (65, 8), (321, 10), (1345, 12))
    choices = eighths if bits.take(1) else whole
    bits.choose(choices)
    if not bits.take(3):
        bits.choose(choices)


def _skip_animation(bits: _Bits) -> None:
    bits.choose(((100, 0), (1000, 0), (1, 10), (1, 30)))
    bits.choose(((1, 0), (1001, 0), (1, 8), (1, 10)))
    bits.choose(((0, 0), (0, 3), (0, 16), (0, 32)))
    bits.take(1)


def _skip_depth(bits: _Bits) -> None:
    if bits.take(1):
        bits.choose(((32, 0), (16, 0), (24, 0), (1, 6)))
        bits.take(4)
    else:
        bits.choose(((8, 0), (10, 0), (12, 0), (1, 6)))


def _skip_metadata(bits: _Bits) -> None:
    """Skip what stands before the colours."""
    if bits.take(1):
        bits.take(3)  # orientation
        for skip in (_skip_size, _skip_preview, _skip_animation):
            if bits.take(1):
                skip(bits)
    _skip_depth(bits)
    bits.take(1)
    for _ in range(bits.choose(((0, 0), (1, 0), (2, 4), (1, 12)))):
        _skip_channel(bits)
    bits.take(1)


def _skip_channel(bits: _Bits) -> None:
    """Skip an extra channel."""
    if bits.take(1):
        return
    kind = bits.choose(ENUM)
    _skip_depth(bits)
    bits.choose(((0, 0), (3, 0), (4, 0), (1, 3)))
    bits.take(8 * bits.choose(((0, 0), (0, 4), (16, 5), (48, 10))))  # its name
    if kind == 0:  # transparency
        bits.take(1)
    elif kind == 2:  # a spot colour: four numbers of 16 bits
        bits.take(64)
    elif kind == 5:  # of a colour filter
        bits.choose(((1, 0), (0, 2), (3, 4), (19, 8)))
