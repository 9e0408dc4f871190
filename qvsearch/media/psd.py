"""Files of Photoshop: what Pillow's reader lacks, which are metadata and deep colours.

Photoshop's file format, sections "Image Resources" and "Image Data".
"""

from __future__ import annotations

import struct
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PsdImagePlugin import PsdImageFile

EXIF, XMP = 1058, 1060  # resources
DEPTH = slice(22, 24)  # bytes of the header
HEADER_BYTES = 26
MOST_BLOCKS = 1000  # behind the layers; Photoshop writes some ten
DEEP = (16, LINEAR := 32)  # bits of a channel; those of 32 are linear light as fractions


def register_psd_opener() -> None:
    """Have Pillow open files of Photoshop with this reader, in the place of its own."""
    Image.register_open(PsdFile.format, PsdFile, Image.OPEN[PsdFile.format][1])


class PsdFile(PsdImageFile):
    """A file of Photoshop, as merged as it was saved: with its metadata, of 1 to 32 bits."""

    def _open(self) -> None:
        file = cast("IO[bytes]", self.fp)
        file.seek(0)
        _, channels, self._depth = struct.unpack(">12sH8xH", file.read(24))
        file.seek(0)
        if self._depth in DEEP:
            self.fp = _EightBits(file)  # type: ignore[assignment]
        super()._open()
        self.fp = self._fp = file
        blocks = {number: data for number, _, data in self.resources}
        for number, name in ((EXIF, "exif"), (XMP, "xmp")):
            if number in blocks:
                self.info[name] = blocks[number]
        self.info["photoshop"] = blocks
        # Pillow takes the lengths of the rows of further channels for a part of the first one
        self.differs_from_pillow = channels > len(self.tile) or self.mode == "1"
        behind = 2 * self.size[1] * (channels - len(self.tile))
        self.tile = [
            each._replace(offset=each.offset + (behind if each.codec_name == "packbits" else 0))
            for each in self.tile
        ]
        if self._depth == LINEAR:
            self.info.pop("icc_profile", None)  # of linear light, which is converted here
        if self.mode == "1":  # whose ones are ink
            self.tile = [each._replace(args="1;I") for each in self.tile]
        if self.mode == "RGBA" and not self._is_transparent(file):
            self._mode = "RGB"  # the fourth channel is a selection
            del self.tile[3:]
            self.differs_from_pillow = True

    def _is_transparent(self, file: IO[bytes]) -> bool:
        """Return whether the first channel after the colours is the transparency of all layers.

        The number of layers is negative then. Deep files have a block instead, "Saving Merged
        Transparency", behind layers that are a block, too.
        """
        if self._layers_position is not None:
            file.seek(self._layers_position)
            if file.read(1) >= b"\x80":
                return True
        file.seek(HEADER_BYTES)
        for _ in range(2):  # the table of colours, and the resources
            file.seek(_number(file), 1)
        end = _number(file) + file.tell()
        for _ in range(2):  # the layers, and the mask of all of them
            file.seek(_number(file), 1)
        for _ in range(MOST_BLOCKS):
            if file.tell() >= end or file.read(4) not in (b"8BIM", b"8B64"):
                break
            if file.read(4) in (b"Mt16", b"Mt32"):
                return True
            size = _number(file)
            file.seek(size + -size % 4, 1)
        return False

    def load(self) -> Any:  # noqa: ANN401 - as in Pillow
        """Decode the picture; deep colours are reduced to 8 bits."""
        if self._depth in DEEP and self.tile:
            channels = [self._channel(number) for number in range(len(self.tile))]
            self.im = Image.merge(self.mode, channels).im
            self.tile = []
        return super().load()

    def _channel(self, number: int) -> Image.Image:
        """Return a deep channel in 8 bits; raises ValueError if it is cut off."""
        file = cast("IO[bytes]", self.fp)
        width, height = self.size[0] * self._depth // 8, self.size[1]  # of bytes
        codec, _, offset, layer = self.tile[number]
        if codec == "raw":  # Pillow takes channels for half as long, or a quarter
            file.seek(self.tile[0].offset + number * width * height)
            data = file.read(width * height)
        else:
            file.seek(offset)
            data = file.read((width + width // 128 + 2) * height)  # at most
        rows = Image.frombytes("L", (width, height), data, codec, "L")
        values = np.asarray(rows).reshape(height, self.size[0], self._depth // 8)
        if self._depth == LINEAR:
            shown = _shown(np.ascontiguousarray(values).view(">f4")[..., 0])
        else:
            shown = values[..., 0]  # the upper half
        return Image.fromarray(255 - shown if str(layer).endswith(";I") else shown)


def _number(file: IO[bytes]) -> int:
    return int.from_bytes(file.read(4), "big")


def _shown(light: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return linear light as sRGB (IEC 61966-2-1) in 8 bits; what is brighter than white is cut."""
    steps = np.linspace(0, 1, 65_536)
    curve = np.where(steps <= 0.0031308, 12.92 * steps, 1.055 * steps ** (1 / 2.4) - 0.055)
    table = np.round(255 * curve).astype(np.uint8)
    places = np.clip(np.nan_to_num(light.astype(np.float32)), 0, 1)
    places *= len(steps) - 1
    return table[places.astype(np.uint16)]


class _EightBits:
    """A file whose header tells of 8 bits: its resources have the same form."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        is_start = self._file.tell() == 0
        data = self._file.read(size)
        return data[: DEPTH.start] + b"\0\x08" + data[DEPTH.stop :] if is_start else data

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as in the file
        return getattr(self._file, name)
