"""Decodes the frames of a video at given times, and turns them upright."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from qvsearch.media.packets import DAMAGE, ROUNDING, PacketReader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from av.buffer import Buffer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

TAKE_SHARE = 0.85  # of the time that a film may take: until the last frame was taken

_UPRIGHT = {  # of a display matrix's a, b, c, d: a point (x, y) is shown at (ax + cy, bx + dy)
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}


class Film(PacketReader):
    """The moving pictures of an open file, decoded; times are seconds from the container's start.

    `end` is less than `length` if decoding takes more than `seconds`.
    """

    def __init__(self, file: BinaryIO, seconds: float = math.inf) -> None:
        super().__init__(file, seconds)
        self._scalers: defaultdict[str, VideoReformatter] = defaultdict(VideoReformatter)
        self._turn: Image.Transpose | None = None
        self._turn_is_set = False

    @property
    def end(self) -> float:
        """The end of the film, or of its part that was looked at, in seconds."""
        return min(self.length, self.unseen)

    def frames_at(self, times: Iterable[float]) -> Iterator[tuple[float, VideoFrame]]:
        """Yield each time, in order, with the frame shown then; those that fail are left out.

        Decoding begins with the keyframe before each.
        """
        frames: Iterator[tuple[float, VideoFrame, float]] | None = None
        shown: tuple[float, VideoFrame, float] | None = None
        position = -math.inf
        for time in times:
            if self.budget.is_spent(TAKE_SHARE):
                self.unseen = time
                return
            keyframe = self._keyframe_before(time)
            alone = time - keyframe <= ROUNDING and not self.in_order
            if alone and (frame := self.keyframe(time)) is not None:
                frames = None  # the decoder was told that none follows
                yield time, frame
                continue
            # a file that is read in order is read only once
            if frames is None or keyframe > (self.last_keyframe if self.in_order else position):
                frames = self.frames_with_next(keyframe)
                shown = next(frames, None)
            # a last frame may have no length
            while shown is not None and shown[0] < time - ROUNDING and shown[2] <= time + ROUNDING:
                shown = next(frames, None)
            if shown is not None:
                position, frame, _ = shown
                yield time, frame

    def frames_between(self, start: float, end: float) -> Iterator[tuple[float, VideoFrame, float]]:
        """Yield (time, frame, the next one's time) of the frames shown in `[start, end)`."""
        self.find_restarts()
        if self.in_order:
            keyframe = self._keyframe_before(start)
        else:
            packet = self.keyframe_packet(start)
            keyframe = 0.0 if packet is None else self.time(packet)
        for time, frame, after in self.frames_with_next(keyframe if keyframe <= start else 0.0):
            if time >= end - ROUNDING:
                return
            if after > start + ROUNDING:
                yield time, frame, after

    def frames_with_next(self, keyframe: float) -> Iterator[tuple[float, VideoFrame, float]]:
        """Yield (time, frame, the next one's time) of all frames from a keyframe on."""
        previous: tuple[float, VideoFrame] | None = None
        for time, frame in self._frames_from(keyframe):
            if previous is not None:
                yield *previous, time
            previous = time, frame
        if previous is not None:
            yield *previous, self.length

    def keyframe(self, time: float) -> VideoFrame | None:
        """Return the keyframe of a time, or None if the container finds another."""
        packet = self.keyframe_packet(time)
        if packet is None or abs(self.time(packet) - time) > ROUNDING:
            self.keyframes = []
            return None
        return self.decode_alone(packet)

    def decode_alone(self, packet: Packet[VideoStream]) -> VideoFrame | None:
        """Decode one packet; None if it is damaged."""
        # the decoder holds a frame back to reorder it, until it is told that none follows
        return next(iter([*self._decode(packet), *self._decode(None)]), None)

    def upright(self, frame: VideoFrame) -> Image.Image:
        """Return a frame as RGB, turned as the film is shown."""
        # without a number each frame would start threads for this, and keep them
        image = Image.fromarray(frame.to_ndarray(format="rgb24", threads=1))
        if not self._turn_is_set:  # reading it from every frame would fill memory
            self._turn, self._turn_is_set = _turn_of(frame), True
        return image if self._turn is None else image.transpose(self._turn)

    def scaled(
        self, frame: VideoFrame, width: int, height: int, form: str, how: str
    ) -> NDArray[np.uint8]:
        """Return the pixels of a frame in FFmpeg's pixel format `form`, scaled as `how`."""
        # for so small a result, to start threads costs more than they save
        small = self._scalers[form].reformat(
            frame, width, height, form, interpolation=how, threads=1
        )
        return np.asarray(small.to_ndarray(), np.uint8)

    def _keyframe_before(self, time: float) -> float:
        return max((each for each in self.keyframes if each <= time + ROUNDING), default=0.0)

    def _frames_from(self, keyframe: float) -> Iterator[tuple[float, VideoFrame]]:
        """Yield (time, frame) from a keyframe on, or from 0 if the container finds another."""
        packet = self.keyframe_packet(keyframe) if keyframe > 0 else None
        if packet is None or abs(self.time(packet) - keyframe) > ROUNDING:
            if keyframe > 0:
                self.keyframes = []
            self.rewind()
            packet, keyframe = None, 0.0
        last = keyframe - self.frame_seconds
        first = [] if packet is None else [packet]
        for each in itertools.chain(first, self.packets(), [None]):
            for frame in self._decode(each):
                last = self._frame_time(frame, last)
                yield last, frame

    def _decode(self, packet: Packet[VideoStream] | None) -> Sequence[VideoFrame]:
        try:
            return self.stream.codec_context.decode(packet)
        except DAMAGE:
            return []  # the frames around it still count

    def _frame_time(self, frame: VideoFrame, last: float) -> float:
        """Return a frame's time, later than the last one's: AVI numbers them as decoded."""
        for stamp in (frame.pts, frame.dts):
            if stamp is not None and self.stamp_time(stamp) > last:
                return self.stamp_time(stamp)
        return last + self.frame_seconds


def _turn_of(frame: VideoFrame) -> Image.Transpose | None:
    """Return how a frame is to be turned; from then on only the garbage collector frees it.

    It and its side data hold each other.
    """
    side_data = cast("Mapping[str, Buffer]", frame.side_data)  # av's own type has one key only
    matrix = side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return None
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5] / 65536
    return _UPRIGHT.get((round(a), round(b), round(c), round(d)))
