"""Ends an MP4 file earlier than its last picture, which others need to be decoded."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

# boxes that hold boxes, and the offset of a length behind the head of each box that has one:
# ISO/IEC 14496-12, version 0 of the boxes, which FFmpeg writes for files of less than 2^31 ticks
HOLDERS = {b"moov", b"trak", b"edts"}
SECONDS_AT = {b"mvhd": 16, b"tkhd": 20, b"elst": 8}
TIMESCALE_AT = 12  # in mvhd
HEAD = 8  # bytes: size and name


def end_at(path: Path, seconds: float) -> None:
    """Make players end a file written by FFmpeg after so many seconds, if it is longer."""
    with path.open("r+b") as file:
        found = list(_boxes(file, 0, path.stat().st_size))
        movie = next((place for name, place in found if name == b"mvhd"), None)
        if movie is None:
            return
        most = round(seconds * _number(file, movie + HEAD + TIMESCALE_AT))
        for name, place in found:
            at = place + HEAD + SECONDS_AT[name]
            version = _number(file, place + HEAD) >> 24
            if version == 0 and _number(file, at) > most:
                file.seek(at)
                file.write(struct.pack(">I", most))


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Yield the name and place of each box that holds a length."""
    while start + HEAD <= end:
        file.seek(start)
        size, name = struct.unpack(">I4s", file.read(HEAD))
        if size == 1:  # the box is longer than 4 GB, and its size stands behind its name
            [size] = struct.unpack(">Q", file.read(8))
        if name in HOLDERS:
            yield from _boxes(file, start + HEAD, start + size)
        elif name in SECONDS_AT:
            yield name, start
        if size < HEAD:
            return
        start += size


def _number(file: BinaryIO, place: int) -> int:
    file.seek(place)
    [number] = struct.unpack(">I", file.read(4))
    return int(number)
