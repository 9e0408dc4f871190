"""Converts pixels to sRGB, the colours that the model was trained on.

A picture names its colours by an ICC profile, by PNG's own chunks or by the code points of
ITU-T H.273; a video by those. Pixels that are shown as sRGB stay equal to the bit.
"""

from __future__ import annotations

import functools
import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pillow_heif
from PIL import Image, ImageCms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

MAX_PROFILE = 4_000_000  # bytes; those of printing presses have under 3 MB
MAX_CHUNKS = 100  # of a PNG before its pixels, or tags of a profile; real ones have under 30
STRIP = 200_000  # values converted at a time: they stay in the processor's cache
SAME = 3  # of 255: profiles of sRGB by different makers differ by less

SDR_WHITE = 203.0  # nits of what a screen shows as white (ITU-R BT.2408)
HLG_PEAK = 1000.0  # nits of the screen that HLG is specified for (ITU-R BT.2100)
PEAK = 1000 / SDR_WHITE  # brighter light is shown as white
KNEE = 0.8  # of white: darker light is not changed

# x and y of red, green, blue and white
_SRGB = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
_UNSPECIFIED, _BT2020 = 2, 9  # codes of primaries in ITU-T H.273
_PRIMARIES = {
    _BT2020: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.3140, 0.3510),  # cinemas
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.3127, 0.3290),  # Display P3
}
_LINEAR, _PQ, _HLG = 8, 16, 18  # transfer characteristics; players show the others as sRGB

_GREY = ("1", "L", "LA", "I;16", "I;16B")  # modes of pixels that a grey profile can describe

_VALUES = np.arange(256) / 255
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_BT2020_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)


@dataclass(frozen=True, slots=True)
class Profiled:
    """The colours of an ICC profile for pixels of a Pillow mode."""

    mode: str
    transform: ImageCms.ImageCmsTransform

    def to_srgb(self, image: Image.Image) -> Image.Image:
        """Return a picture as sRGB."""
        return self.transform.apply(image.convert(self.mode))


@dataclass(frozen=True, slots=True)
class Coded:
    """RGB whose value v is the light `light[v]`, white being 1; `matrix` turns it to sRGB's light.

    With `hlg` the light is the scene's; with `hdr` there is light above white.
    """

    light: NDArray[np.float32]
    matrix: NDArray[np.float32]
    hdr: bool = False
    hlg: bool = False
    mode: str = "RGB"

    def to_srgb(self, image: Image.Image) -> Image.Image:
        """Return a picture as sRGB; colours that sRGB lacks become its nearest by channel."""
        pixels = np.array(image.convert("RGB"))
        for strip in np.array_split(pixels, pixels.size // STRIP + 1):
            strip[:] = _encoding()[np.rint(self._shown(strip) * 4095).astype(np.uint16)]
        return Image.fromarray(pixels)

    def _shown(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the light of sRGB, 0 to 1, of pixels (h, w, 3)."""
        light = self.light[pixels]
        if self.hlg:  # BT.2100's reference OOTF, system gamma 1.2
            luminance = light @ _BT2020_LUMINANCE
            light *= (np.float32(HLG_PEAK / SDR_WHITE) * luminance**0.2)[..., None]
        light = light @ self.matrix
        if self.hdr:
            _compress(light)
        return np.clip(light, 0, 1, out=light)


Colours = Profiled | Coded


def read_colours(image: Image.Image, file: BinaryIO) -> Colours | None:
    """Return the colours of an open picture; None for sRGB, and if no valid tag names others.

    Only headers are read; the position in `file` stays.
    """
    position = file.tell()
    try:
        return _header_colours(image, file)
    finally:
        file.seek(position)


def _header_colours(image: Image.Image, file: BinaryIO) -> Colours | None:
    """Return the colours of the tag with the highest precedence, by PNG's third edition."""
    info = image.info
    if image.format == "PNG" and (codes := _png_codes(file)):
        return coded(*codes)
    profile = info.get("icc_profile")
    if isinstance(profile, bytes) and profile:
        return profiled(profile, image.mode)
    if image.format == "PNG" and "srgb" not in info:
        gamma = info.get("gamma")
        if gamma is not None and abs(gamma - 1 / 2.2) < 0.01:  # as this chunk writes sRGB
            gamma = None
        return chromatic(info.get("chromaticity"), gamma)
    if image.format == "JXL" and "chromaticity" in info:
        return chromatic(info["chromaticity"], info["gamma"])
    nclx = _avif_codes(file) if image.format == "AVIF" else info.get("nclx_profile")
    if nclx:
        return coded(nclx["color_primaries"], nclx["transfer_characteristics"])
    return None


def profiled(profile: bytes, mode: str) -> Colours | None:
    """Return the colours of an ICC profile for pixels of a Pillow mode; None for sRGB's.

    A profile that is damaged, too large, or not for such pixels is ignored.
    """
    if len(profile) > MAX_PROFILE:
        return None
    codes = _icc_codes(profile)
    if codes and codes[1] in (_PQ, _HLG) and mode != "CMYK":
        return coded(*codes)
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        pixel_mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}[space]
        if (pixel_mode == "CMYK") != (mode == "CMYK") or (pixel_mode == "L" and mode not in _GREY):
            return None
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            pixel_mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, KeyError):
        return None
    colours = Profiled(pixel_mode, transform)
    return None if _are_srgb(colours) else colours


def chromatic(chromaticity: tuple[float, ...] | None, gamma: float | None) -> Coded | None:
    """Return the colours of the x and y of white, red, green and blue, and of a gamma as in gAMA.

    None is sRGB's.
    """
    points = _SRGB if chromaticity is None else (*chromaticity[2:], *chromaticity[:2])
    if min(points[1::2]) <= 0:
        return None
    if gamma is None:
        light = _srgb_light(_VALUES)
    elif 0.1 <= gamma <= 10:
        light = _VALUES ** (1 / gamma)
    else:
        return None
    try:
        matrix = _to_srgb_matrix(points)
    except np.linalg.LinAlgError:  # these primaries lie in a line
        return None
    colours = Coded(light.astype(np.float32), matrix)
    return None if not np.isfinite(matrix).all() or _are_srgb(colours) else colours


@functools.lru_cache(maxsize=32)
def coded(primaries: int, transfer: int) -> Coded | None:
    """Return the colours of code points of ITU-T H.273; None if players show them as sRGB."""
    hdr = transfer in (_PQ, _HLG)
    if hdr and primaries == _UNSPECIFIED:
        primaries = _BT2020
    if primaries not in _PRIMARIES and not hdr and transfer != _LINEAR:
        return None
    matrix = _to_srgb_matrix(_PRIMARIES.get(primaries, _SRGB))
    curves = {_LINEAR: _VALUES, _PQ: _pq_light(_VALUES), _HLG: _hlg_light(_VALUES)}
    light = curves.get(transfer, _srgb_light(_VALUES)).astype(np.float32)
    return Coded(light, matrix, hdr=hdr, hlg=transfer == _HLG)


def _are_srgb(colours: Colours) -> bool:
    """Return whether no colour of a sample changes by more than `SAME`."""
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    greys = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    sample = greys if colours.mode == "L" else np.concatenate([greys, grid], axis=1)
    shown = np.asarray(colours.to_srgb(Image.fromarray(sample)))
    return bool(np.abs(shown.astype(int) - sample).max() <= SAME)


def _icc_codes(profile: bytes) -> tuple[int, int] | None:
    """Return the primaries and transfer of a profile's cicp tag (ICC.1:2022); lcms reads none."""
    count = min(int.from_bytes(profile[128:132]), MAX_CHUNKS)
    for start in range(132, 132 + 12 * count, 12):
        if profile[start : start + 4] == b"cicp":
            content = profile[int.from_bytes(profile[start + 4 : start + 8]) :][8:10]
            return (content[0], content[1]) if len(content) == 2 else None
    return None


def _png_codes(file: BinaryIO) -> tuple[int, int] | None:
    """Return the primaries and transfer of a PNG's cICP chunk, which Pillow does not read."""
    file.seek(8)
    for _ in range(MAX_CHUNKS):
        head = file.read(8)
        length, name = struct.unpack(">I4s", head) if len(head) == 8 else (0, b"IEND")
        if name == b"cICP" and length == 4:
            content = file.read(4)
            return (content[0], content[1]) if len(content) == 4 else None
        if name in (b"IDAT", b"IEND"):
            return None
        file.seek(length + 4, io.SEEK_CUR)
    return None


def _avif_codes(file: BinaryIO) -> dict[str, int] | None:
    """Return the code points of an AVIF, which Pillow does not read; its pixels stay undecoded."""
    try:
        codes: dict[str, int] | None = pillow_heif.open_heif(file).info.get("nclx_profile")
    except (OSError, ValueError, SyntaxError, RuntimeError, EOFError):
        return None
    return codes


def _to_srgb_matrix(points: tuple[float, ...]) -> NDArray[np.float32]:
    """Return the matrix, for rows (n, 3), from the light of these primaries and white to sRGB's.

    The white is adapted as in ICC profiles (Bradford).
    """
    source, target = _to_xyz(points), _to_xyz(_SRGB)
    ours, theirs = (_BRADFORD @ each.sum(axis=1) for each in (source, target))
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(theirs / ours) @ _BRADFORD @ source
    return np.linalg.solve(target, adapted).T.astype(np.float32)


def _to_xyz(points: tuple[float, ...]) -> Numbers:
    """Return the matrix from RGB to XYZ for the x and y of red, green, blue and white."""
    x, y = np.array(points, np.float64).reshape(4, 2).T
    red_green_blue_white = np.stack([x, y, 1 - x - y]) / y
    primaries, white = red_green_blue_white[:, :3], red_green_blue_white[:, 3]
    return primaries * np.linalg.solve(primaries, white)


def _compress(light: NDArray[np.float32]) -> None:
    """Bring light up to `PEAK` below 1, in place: all of a pixel by its largest channel's ratio.

    Above the knee it is the curve of Reinhard et al. 2002, equation 4; below, nothing changes.
    """
    largest = light.max(axis=-1, keepdims=True)
    over = (np.maximum(largest, KNEE) - KNEE) / (1 - KNEE)
    most = (PEAK - KNEE) / (1 - KNEE)
    shown = KNEE + (1 - KNEE) * over * (1 + over / most**2) / (1 + over)
    light *= np.where(largest > KNEE, shown / np.maximum(largest, KNEE), 1)


@functools.cache
def _encoding() -> NDArray[np.uint8]:
    """Return sRGB's values of light from 0 to 1 in 4095 steps (IEC 61966-2-1)."""
    light = np.arange(4096) / 4095
    values = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    encoded: NDArray[np.uint8] = np.rint(255 * values).astype(np.uint8)
    return encoded


def _srgb_light(values: Numbers) -> Numbers:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _pq_light(values: Numbers) -> Numbers:
    """SMPTE ST 2084, in units of white."""
    power = values ** (32 / 2523)
    ratio = np.maximum(power - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * power)
    return 10_000 / SDR_WHITE * ratio ** (16384 / 2610)


def _hlg_light(values: Numbers) -> Numbers:
    """Return the scene's light, 0 to 1, by the inverse of ITU-R BT.2100's HLG OETF."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
