"""Videos: frames spread evenly over the length, each the picture of a moment `[start, end)`.

What a container says of its length is a hint, what it says of its number of frames is not read:
both are wrong in files that play well.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, NoReturn, cast

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition
from PIL import Image

from qvsearch.errors import MediaError
from qvsearch.media.pixels import check_size, fit
from qvsearch.types import EmbedInput, Item, Segment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from av.buffer import Buffer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from qvsearch.types import Pixels

MAX_FRAMES = 64  # each costs one run of the model
SECONDS_PER_FRAME = 1.0  # nobody searches for less
# a video's frames are neighbours' copies where grey levels of 32x32 differ by less than this on
# average: noise and compression stay under 0.5, one small thing that moves passes 2
SAME_FRAME = 1.5
DECODE_THREADS = 2  # a file's own; files are decoded side by side already
# frames that no other needs are not decoded where so many lie between two that are taken: its
# neighbour does as well, and with B-frames that saves 70 % of the work
NEAR_FRAMES = 8
ROUNDING = 0.001  # seconds: Matroska's time stamps are whole milliseconds
PROBES = 8  # enough to see how often keyframes come

# playlists, image sequences and concat scripts, which name further files, are not among them
CONTAINERS = "mov,mp4,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v,asf,flv"

# nonsense in a container makes it seek or compute nonsense, too
_DAMAGE = (FFmpegError, OSError, ValueError, ArithmeticError)

_UPRIGHT = {  # of a display matrix's a, b, c, d: a point (x, y) is shown at (ax + cy, bx + dy)
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}


@dataclass(frozen=True, slots=True)
class _Moment:
    """A kept frame: `start` in seconds, `width` and `height` as shown, pixels as embedded."""

    start: float
    width: int
    height: int
    pixels: Pixels


def decode(
    file: BinaryIO, item: Item, content_hash: str, max_pixels: int
) -> list[tuple[Segment, EmbedInput]]:
    """Decode a video's moments, which cover it without a hole; raises MediaError."""
    try:
        film = _Film(file)
        moments, end = _moments(film, max_pixels)
    except _DAMAGE as error:
        reason = error.strerror if isinstance(error, (FFmpegError, OSError)) else str(error)
        raise MediaError(f"not a video, or a damaged one: {reason}") from error
    if not moments:
        raise MediaError("no frame of it could be decoded")
    cuts = [0.0, *(moment.start for moment in moments[1:]), max(end, moments[-1].start)]
    segments = []
    for moment, (start, end) in zip(moments, itertools.pairwise(cuts), strict=True):
        segment = Segment(item, content_hash, start, end, width=moment.width, height=moment.height)
        segments.append((segment, EmbedInput(images=(moment.pixels,))))
    return segments


def _moments(film: _Film, max_pixels: int) -> tuple[list[_Moment], float]:
    """Return the kept frames and the video's length in seconds."""
    length = film.claimed_length
    if length is None or (length > MAX_FRAMES and not film.has_keyframes_near(_times(length))):
        # reading all packets is cheap beside decoding them all, which a wrong length would waste
        length = film.measured_length()
    moments = _kept(film.frames_at(_times(length)), film.pixel_aspect, max_pixels)
    end = film.read_to_end()
    if abs(end - length) > max(SECONDS_PER_FRAME, length / MAX_FRAMES) / 2:
        moments = _kept(film.frames_at(_times(end)), film.pixel_aspect, max_pixels)
    return moments, end


def _times(length: float) -> list[float]:
    """Return when to take frames, in seconds: about one a second, spread over the whole length."""
    count = min(MAX_FRAMES, max(1, round(length / SECONDS_PER_FRAME)))
    return [length * index / count for index in range(count)]


def _kept(
    frames: Iterable[tuple[float, VideoFrame]], pixel_aspect: float, max_pixels: int
) -> list[_Moment]:
    """Fit each frame at once, for full-size frames would fill the memory; drop the copies."""
    moments: list[_Moment] = []
    last = np.zeros(0, np.int16)
    for time, frame in frames:
        check_size(frame.width, frame.height)
        grey = frame.reformat(32, 32, "gray", interpolation="AREA")
        thumbnail = grey.to_ndarray().astype(np.int16)
        if moments and np.abs(thumbnail - last).mean() < SAME_FRAME:
            continue
        image = _upright(frame)
        width = _shown_width(image, frame, pixel_aspect)
        moments.append(
            _Moment(time, width, image.height, fit(image, max_pixels, shown_width=width))
        )
        last = thumbnail
    return moments


def _upright(frame: VideoFrame) -> Image.Image:
    image = Image.fromarray(frame.to_ndarray(format="rgb24"))
    side_data = cast("Mapping[str, Buffer]", frame.side_data)  # av's own type knows one key only
    matrix = side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return image
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5] / 65536
    turn = _UPRIGHT.get((round(a), round(b), round(c), round(d)))
    return image if turn is None else image.transpose(turn)


def _shown_width(image: Image.Image, frame: VideoFrame, pixel_aspect: float) -> int:
    """Return the width that square pixels would need; a DVD's are wide."""
    turned = image.size != (frame.width, frame.height)
    return max(1, round(image.width * (1 / pixel_aspect if turned else pixel_aspect)))


def _no_other_file(*_: object) -> NoReturn:
    raise PermissionError("a video opens no other file")


class _Film:
    """The moving pictures of an open file; times are seconds from the stream's start."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._rewind()

    def _rewind(self) -> None:
        """Open the file anew: a seek to 0 fails in some containers and misses frames in others."""
        self._file.seek(0)
        self._container = av.open(
            self._file,
            "r",
            container_options={"format_whitelist": CONTAINERS, "protocol_whitelist": ""},
            metadata_errors="replace",
            io_open=_no_other_file,
        )
        self._stream = self._choose_stream()
        self._stream.thread_type = "AUTO"
        self._stream.thread_count = DECODE_THREADS
        self._start = self._stream.start_time or 0
        self._seconds = float(self._stream.time_base or 0)
        rate = self._stream.average_rate or self._stream.guessed_rate
        self._frame_seconds = 1 / float(rate) if rate else 0.0
        aspect = float(self._stream.sample_aspect_ratio or 1)
        self.pixel_aspect = aspect if 0.2 < aspect < 5 else 1.0  # width over height, or nonsense
        self._end = 0.0

    def _choose_stream(self) -> VideoStream:
        streams = self._container.streams.video
        moving = [s for s in streams if not s.disposition & Disposition.attached_pic]
        if not moving:
            raise MediaError("no moving pictures in it" + (", only a cover" if streams else ""))
        # av types it otherwise, but has none for a codec that FFmpeg cannot decode
        known = [s for s in moving if cast("object", s.codec_context) is not None]
        if not known:
            raise MediaError("its codec is unknown")
        return known[0]

    @property
    def claimed_length(self) -> float | None:
        """Seconds, as the header says; None where it says nothing."""
        if self._stream.duration:
            return self._stream.duration * self._seconds
        if self._container.duration:
            return self._container.duration / av.time_base
        return None

    def measured_length(self) -> float:
        """Return the end of the last picture after reading all packets, undecoded."""
        self._rewind()
        return self.read_to_end()

    def read_to_end(self) -> float:
        """Return the end of the last picture after reading the packets from here on, undecoded."""
        for _ in self._packets():
            pass
        return self._end

    def has_keyframes_near(self, times: Sequence[float]) -> bool:
        """Tell whether keyframes come well over once from one time to the next."""
        probes = times[:: max(1, len(times) // PROBES)]
        keyframes = [self._keyframe_packet(time) for time in probes]
        found = sum(
            keyframe is not None and abs(self._time(keyframe) - time) < times[1] / 2
            for keyframe, time in zip(keyframes, probes, strict=True)
        )
        return found >= 0.75 * len(probes)

    def frames_at(self, times: Sequence[float]) -> Iterator[tuple[float, VideoFrame]]:
        """Yield (time, frame) about the times wanted, in order; a frame that stands long once.

        Keyframes, where they come often enough; else the first frames from each time on.
        """
        if len(times) == MAX_FRAMES and self.has_keyframes_near(times):
            return self._keyframes(times)
        return self._decoded_through(times)

    def _keyframes(self, times: Sequence[float]) -> Iterator[tuple[float, VideoFrame]]:
        last = -math.inf
        for wanted in times:
            packet = self._keyframe_packet(wanted)
            if packet is None or self._time(packet) <= last:
                continue
            last = self._time(packet)
            # the decoder holds a frame back to reorder it, until it is told that none follows
            frames = [*self._decode(packet), *self._decode(None)]
            if frames:
                yield last, frames[0]

    def _decoded_through(self, times: Sequence[float]) -> Iterator[tuple[float, VideoFrame]]:
        self._rewind()
        if len(times) > 1 and times[1] > NEAR_FRAMES * self._frame_seconds:
            self._stream.codec_context.skip_frame = "NONREF"
        wanted = 0
        last = -self._frame_seconds
        for packet in itertools.chain(self._packets(), [None]):
            for frame in self._decode(packet):
                last = self._frame_time(frame, last)
                if last + ROUNDING < times[wanted]:
                    continue
                yield last, frame
                while wanted < len(times) and times[wanted] <= last + ROUNDING:
                    wanted += 1
                if wanted == len(times):
                    return

    def _keyframe_packet(self, time: float) -> Packet[VideoStream] | None:
        """Return the keyframe at or, where the container seeks coarsely, near a time."""
        try:
            self._container.seek(
                self._start + int(time / self._seconds), stream=self._stream, backward=True
            )
        except _DAMAGE:
            return None
        return next((packet for packet in self._packets() if packet.is_keyframe), None)

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        """Yield the packets from here on; a file that was cut off ends where it was cut."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, *_DAMAGE):
                return
            if packet.size:
                length = (packet.duration or 0) * self._seconds or self._frame_seconds
                self._end = max(self._end, self._time(packet) + length)
                yield packet

    def _decode(self, packet: Packet[VideoStream] | None) -> Sequence[VideoFrame]:
        try:
            return self._stream.codec_context.decode(packet)
        except _DAMAGE:
            return []  # damaged: the frames around it still count

    def _time(self, packet: Packet[VideoStream]) -> float:
        stamp = packet.dts if packet.pts is None else packet.pts
        return self._end if stamp is None else (stamp - self._start) * self._seconds

    def _frame_time(self, frame: VideoFrame, last: float) -> float:
        """Return a frame's time, later than the last one's: AVI numbers them as decoded."""
        for stamp in (frame.pts, frame.dts):
            if stamp is not None and (stamp - self._start) * self._seconds > last:
                return (stamp - self._start) * self._seconds
        return last + self._frame_seconds
