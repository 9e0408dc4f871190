"""Motion photos: the film within a JPEG, HEIC or AVIF file, found and decoded.

Google's XMP gives the lengths of the parts behind a JPEG ("Motion Photo format 1.0"; before it,
"MicroVideo"). Samsung names them in a trailer (SEF). In HEIC and AVIF the film is a box, `mpvd`.
Nothing of that is trusted: a film is what begins like an MP4 at one of these places.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from qvsearch.errors import MediaError
from qvsearch.kinds import Kind, kind_of
from qvsearch.media.pages import without_film
from qvsearch.types import EmbedInput, Segment, VideoMode

if TYPE_CHECKING:
    from qvsearch.types import DecodeOptions

    Picture = tuple[Segment, EmbedInput]
    Span = tuple[int, int]  # the first byte of a part of a file, and the one behind the last

LONGEST = 10.0  # seconds; phones film 1.5 to 5. Each moment costs as much as a photo
MOST_BYTES = 64 * 2**20  # of a film, which is held in memory; those of phones have up to 20 MB
MOST_BOXES = 1000  # of a HEIC file beside each other, or blocks of a trailer
MOST_PARTS = 1000  # of a JPEG before its pixels
NO_FILM = "there is no film within the picture"

JPEG_START, BOXES = b"\xff\xd8", b"ftyp"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
# the value of a property, as an attribute or as an element; programs choose the prefixes
_PROPERTY = r"""(?<=[\s<:])%s\s{0,9}(?:=\s{0,9}["']|>)\s{0,9}(%s)"""
_IS_MOTION = re.compile(_PROPERTY % ("(?:MotionPhoto|MicroVideo)", "1") + r"\b", re.ASCII)
_OFFSET = re.compile(_PROPERTY % ("MicroVideoOffset", r"\d{1,12}"), re.ASCII)
_ITEM = re.compile(r"<(?:[\w-]{1,40}:)?Item[\s>]", re.ASCII)
_SEMANTIC = re.compile(_PROPERTY % ("Semantic", r"\w{1,40}"), re.ASCII)
_LENGTH = re.compile(_PROPERTY % ("Length", r"\d{1,12}"), re.ASCII)
_TRAILER, _TRAILER_HEAD, _TRAILER_END = b"MotionPhoto_Data", b"SEFH", b"SEFT"


def with_film(file: BinaryIO, still: Picture, options: DecodeOptions) -> list[Picture]:
    """Return a picture's segment, and behind it the moments of the film within it, if it has one.

    Each moment is one picture, whatever the options say of videos, since the rows of photos are
    compared with each other. A film that cannot be decoded leaves the picture alone, which then
    has the reason.
    """
    segment, source = still
    try:
        film = film_in(file)
        if film is not None and options.lost_film is not None:
            raise MediaError(options.lost_film)
        moments = [] if film is None else _moments(film, segment, options)
    except (MediaError, MemoryError) as error:
        reason = str(error) or "not enough memory to decode it"
        return [(without_film(segment, reason), source)]
    if not moments:
        return [still]
    about = replace(segment.metadata, duration=moments[-1][0].end)
    return [
        (replace(segment, metadata=about), source),
        *((replace(each, metadata=replace(about, page=None)), frame) for each, frame in moments),
    ]


def _moments(film: BinaryIO, still: Segment, options: DecodeOptions) -> list[Picture]:
    """Return the moments of a film with the size of the picture, and without hashes.

    Without hashes they repeat no other picture: the stills decide which photos are the same.
    """
    from qvsearch.media.video import decode  # few pictures have a film

    frames = replace(options, video_mode=VideoMode.FRAMES)
    decoded = decode(film, still.item, still.content_hash, frames)
    end = decoded[-1][0].end or 0.0
    if end > LONGEST:
        raise MediaError(f"it has {end:.3g} s, the limit is {LONGEST:g} s")
    return [
        (replace(still, start=each.start, end=each.end, dhash=None, patches=None), frame)
        for each, frame in decoded
    ]


def open_film(file: BinaryIO, location: bytes) -> BinaryIO:
    """Return an open video as it is, and of a picture the film within it.

    Raises MediaError for a picture without a film.
    """
    if kind_of(location) is not Kind.IMAGE:
        return file
    film = film_in(file)
    if film is None:
        raise MediaError(NO_FILM)
    return film


def film_in(file: BinaryIO) -> BinaryIO | None:
    """Return the film within an open picture, in memory; None if there is none.

    Raises MediaError for a film of more than MOST_BYTES.
    """
    size = file.seek(0, io.SEEK_END)
    head = _read(file, 0, 8)
    if head.startswith(JPEG_START):
        spans = _in_jpeg(file, size)
    elif head[4:] == BOXES:
        spans = _in_boxes(file, size)
    else:
        return None
    for start, end in spans:
        if not 0 < start < end <= size or _read(file, start, 8)[4:] != BOXES:
            continue
        if end - start > MOST_BYTES:
            raise MediaError(f"it has {end - start:,} bytes, the limit is {MOST_BYTES:,}")
        return io.BytesIO(_read(file, start, end - start))
    return None


def _read(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


def _in_jpeg(file: BinaryIO, size: int) -> Iterator[Span]:
    """Yield where a film may be, by the XMP of a JPEG and by its trailer."""
    xmp = _xmp(file)
    if _IS_MOTION.search(xmp):
        yield from _in_directory(xmp, size)
        if (offset := _OFFSET.search(xmp)) is not None:
            yield size - int(offset[1]), size
    yield from _in_trailer(file, size)


def _xmp(file: BinaryIO) -> str:
    """Return the XMP packet of a JPEG; empty if it has none."""
    place = len(JPEG_START)
    for _ in range(MOST_PARTS):
        head = _read(file, place, 4)
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0xD9, 0xDA):  # the end, or the pixels
            break
        length = int.from_bytes(head[2:], "big")
        if head[1] == 0xE1 and file.read(len(_XMP)) == _XMP:
            return file.read(max(0, length - 2 - len(_XMP))).decode("utf-8", "replace")
        place += 2 + length
    return ""


def _in_directory(xmp: str, size: int) -> Iterator[Span]:
    """Yield where the film is by the lengths of the parts, which follow the picture in order.

    A picture has other parts too, e.g. a gain map. The length of the first part, the picture
    itself, may be missing, so lengths are counted from the end.
    """
    end = size
    for item in reversed(_ITEM.split(xmp)[1:]):
        semantic, length = _SEMANTIC.search(item), _LENGTH.search(item)
        bytes_ = 0 if length is None else int(length[1])
        if semantic is not None and semantic[1] == "MotionPhoto":
            yield end - bytes_, end
        end -= bytes_


def _in_trailer(file: BinaryIO, size: int) -> Iterator[Span]:
    """Yield where the film is by the trailer, a directory of blocks before it."""
    tail = _read(file, max(0, size - 8), 8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _TRAILER_END or length > min(size, 12 * (MOST_BOXES + 1)):
        return
    place = size - 8 - length
    directory = _read(file, max(0, place), length)
    if not directory.startswith(_TRAILER_HEAD):
        return
    for at in range(12, len(directory) - 11, 12):
        back, block = struct.unpack_from("<4xII", directory, at)
        start = place - back
        if start > 0 and _read(file, start, 8 + len(_TRAILER))[8:] == _TRAILER:
            yield start + 8 + len(_TRAILER), start + block


def _in_boxes(file: BinaryIO, size: int) -> Iterator[Span]:
    """Yield where the film is by the boxes of a HEIC or AVIF file (ISO/IEC 14496-12, 4.2)."""
    place = 0
    for _ in range(MOST_BOXES):
        head = _read(file, place, 16)
        if len(head) < 8:
            return
        length, begin = int.from_bytes(head[:4], "big"), 8
        if length == 0:  # up to the end
            length = size - place
        elif length == 1:
            length, begin = int.from_bytes(head[8:], "big"), 16
        if not begin <= length <= size - place:
            return
        if head[4:8] == b"mpvd":
            yield place + begin, place + length
        place += length
