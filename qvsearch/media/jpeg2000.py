"""JPEG 2000: what Pillow's reader lacks, which are metadata, colour profiles and white.

ISO 15444-1, annexes A.5.1 (SIZ marker) and I (boxes); Adobe's identifiers are those of exiftool.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

MAX_BOXES = 100  # of a file; real ones have under 20
MAX_BOX = 4_000_000  # bytes of metadata or of a profile
IPTC = 0x0404  # its number in a block of Photoshop
UUIDS = {
    b"JpgTiffExif->JP2": "exif",
    bytes.fromhex("0537cdab9d0c4431a72afa561f2a113e"): "exif",  # Adobe
    bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): "xmp",
    bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"): "iptc",
    bytes.fromhex("09a14e97c0b442e0bebf36df6f0ce36f"): "iptc",  # Adobe
}
# FFmpeg's formats of pixels that have the same channels as Pillow's mode
DEEP_FORMATS = {"rgb48le", "rgba64le", "ya16le"}


def register_jpeg2000_opener() -> None:
    """Have Pillow open JPEG 2000 with this reader, in the place of its own."""
    Image.register_open(Jpeg2000File.format, Jpeg2000File, Image.OPEN[Jpeg2000File.format][1])


class Jpeg2000File(Jpeg2KImageFile):
    """A JPEG 2000 with its metadata and its profile.

    If its colours have over 8 bits (`differs_from_pillow`), white wraps to 0 in Pillow's rounding.
    """

    differs_from_pillow = False

    def _open(self) -> None:
        file = cast("IO[bytes]", self.fp)
        super()._open()
        file.seek(0)
        self._codestream = 0
        for name, start, size in read_boxes(file) if self.codec == "jp2" else ():
            if name == b"jp2c":
                self._codestream = start
            else:
                self._read_box(file, name, start, min(size, MAX_BOX))
        if self.mode in ("LA", "RGB", "RGBA", "CMYK"):
            file.seek(self._codestream)
            self.differs_from_pillow = _depth(file.read(64)) > 8

    def _read_box(self, file: IO[bytes], name: bytes, start: int, size: int) -> None:
        """Add the content of a box to `info`, if it is metadata or a profile."""
        if name not in (b"jp2h", b"uuid", b"xml "):
            return
        file.seek(start)
        data = file.read(size)
        kind = UUIDS.get(data[:16]) if name == b"uuid" else None
        if name == b"jp2h":
            for inner, begin, length in read_boxes(io.BytesIO(data)):
                if inner == b"colr" and data[begin : begin + 1] in (b"\2", b"\3"):
                    self.info["icc_profile"] = data[begin + 3 : begin + length]
        elif name == b"xml " and b"<x:xmpmeta" in data:
            self.info.setdefault("xmp", data)
        elif kind == "iptc":
            self.info["photoshop"] = {IPTC: data[16:]}
        elif kind is not None:
            self.info[kind] = data[16:]

    def load(self) -> Any:  # noqa: ANN401 - as in Pillow
        """Decode the picture."""
        if not self.tile or not self.differs_from_pillow:
            return super().load()
        file = cast("IO[bytes]", self.fp)
        file.seek(self._codestream)
        codestream = file.read()  # before Pillow closes the file
        super().load()
        channels = [np.array(channel) for channel in self.split()]
        if any(channel.min() == 0 for channel in channels):
            deep = _deep_colours(codestream)
            if deep is not None and deep.shape == (self.height, self.width, len(channels)):
                for number, channel in enumerate(channels):
                    channel[(channel == 0) & (deep[..., number] > 0x7FFF)] = 255
                self.im = Image.merge(self.mode, [Image.fromarray(each) for each in channels]).im
        return Image.Image.load(self)


def read_boxes(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each box of a file, and the place and the size of its content."""
    end = file.seek(0, io.SEEK_END)
    place = 0
    for _ in range(MAX_BOXES):
        file.seek(place)
        head = file.read(16)
        if len(head) < 8:
            return
        size, name = struct.unpack_from(">I4s", head)
        header = 8
        if size == 1 and len(head) == 16:
            header, [size] = 16, struct.unpack_from(">Q", head, 8)
        elif size == 0:
            size = end - place
        if size < header:
            return
        yield name, place + header, size - header
        place += size
        if place >= end:
            return


def _depth(codestream: bytes) -> int:
    """Return the bits of the deepest of the first components; 0 if that cannot be read."""
    if len(codestream) < 43:
        return 0
    [count] = struct.unpack_from(">H", codestream, 40)
    depths = codestream[42 : min(42 + 3 * count, len(codestream)) : 3]
    return max(((each & 0x7F) + 1 for each in depths), default=0)


def _deep_colours(codestream: bytes) -> NDArray[np.uint16] | None:
    """Return the channels (h, w, n) in 16 bits, as FFmpeg decodes them; None if it cannot."""
    import av  # only here: it takes longer to load than most pictures to decode

    decoder = av.CodecContext.create("jpeg2000", "r")
    decoder.thread_count = 1
    try:
        frames = [*decoder.decode(av.Packet(codestream)), *decoder.decode(None)]
        if not frames or frames[0].format.name not in DEEP_FORMATS:
            return None
        return cast("NDArray[np.uint16]", frames[0].to_ndarray())
    except (av.FFmpegError, MemoryError, ValueError):
        return None
