"""Reads a video file: its true length, small pictures of it all along, and frames of given times.

What a container says of its length is a hint, what it says of its number of frames is not read:
both are wrong in files that play well.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NoReturn, TypeVar, cast

import av
import numpy as np
from av.container import Flags
from av.error import FFmpegError
from av.format import Flags as ContainerFlags
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from PIL import Image

from qvsearch.errors import MediaError
from qvsearch.media.clock import Clock
from qvsearch.media.gaps import FAR, NEAR, Packets, changing
from qvsearch.media.pixels import check_size
from qvsearch.media.shots import SCENE, Look

if TYPE_CHECKING:
    from collections.abc import Mapping

    from av.buffer import Buffer
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

P = TypeVar("P")

LOOK_SECONDS = 0.5
MAX_LOOKS = 1200  # a film over ten minutes is looked at less often
LONG_SECONDS = 300.0  # decoding more than that costs minutes
KEYFRAMES_NEAR = 1.0  # seconds between keyframes that suffice as looks in any film
# of the usual time between keyframes: an encoder set one so early because the scene changes. Such
# looks may be closer, by so much of a step
EARLY, LEAST_STEP = 0.9, 0.25
NEARLY = 0.5  # seconds: so much later or longer makes no other moment
MOST_FAR = 0.1  # of a film may lie further from a keyframe
CHOICE_PACKETS = 300  # about ten seconds of a stream beside a still or a small copy of it
SMALL_COPY = 0.25  # of the largest stream's pixels: fewer are a proxy or a preview
DECODE_THREADS = 2  # a file's own; files are decoded side by side already
# frames that no other needs are not decoded where so many lie between two looks: its neighbour
# does as well, and with B-frames that saves 70 % of the work
NEAR_FRAMES = 8
# codecs whose frames are seldom needed by others if they are predicted from both sides
CERTAIN_B = {"h264", "mpeg1video", "mpeg2video", "mpeg4"}
# of the time that a film may take: reading it, then looking at it, then taking what is wanted
SURVEY_SHARE, LOOK_SHARE, TAKE_SHARE = 0.2, 0.45, 0.85
ROUNDING = 0.001  # seconds: Matroska's time stamps are whole milliseconds
PROBES, MOST_NEAR = 16, 0.9  # enough to see how often keyframes come, and how many have to be near
GOLDEN = (math.sqrt(5) - 1) / 2  # whose multiples are spread evenly
WRONG_LENGTH = 0.02  # of a long film: so much less or more than the header's is looked at anew

# playlists, image sequences and concat scripts, which name further files, are not among them
CONTAINERS = "mov,mp4,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v,asf,flv,ogg,mxf"

# what cameras, phones, recorders, editors and the web have written. FFmpeg has 300 decoders, and
# its holes are mostly in those of old games: any file could ask for them
DECODERS = (
    *("h264", "hevc", "libdav1d", "av1", "vp8", "libvpx", "vp9", "libvpx-vp9", "theora"),
    *("mpeg1video", "mpeg2video", "mpeg4", "h263", "mjpeg", "dvvideo", "flv", "vp6", "vp6f"),
    *("msmpeg4v1", "msmpeg4v2", "msmpeg4", "wmv1", "wmv2", "wmv3", "vc1", "msvideo1"),
    *("cinepak", "indeo3", "indeo5", "svq1", "svq3", "rpza", "qtrle"),
    *("prores", "dnxhd", "cfhd", "ffv1", "huffyuv", "ffvhuff", "utvideo", "rawvideo"),
)
# for clips whose container does not take the sound; without these some files do not tell its rate
SOUND_DECODERS = (
    *("aac", "mp3", "mp3float", "mp2", "mp2float", "ac3", "eac3", "opus", "libopus", "vorbis"),
    *("flac", "alac", "amrnb", "amrwb", "wmav1", "wmav2", "wmapro", "nellymoser", "dca", "truehd"),
    *("adpcm_ima_wav", "adpcm_ms", "adpcm_ima_qt", "pcm_u8", "pcm_s16le", "pcm_s16be"),
    *("pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le", "pcm_alaw", "pcm_mulaw"),
    *("pcm_dvd", "pcm_bluray"),
)

# nonsense in a container makes it seek or compute nonsense, too
DAMAGE = (FFmpegError, OSError, ValueError, ArithmeticError)


_UPRIGHT = {  # of a display matrix's a, b, c, d: a point (x, y) is shown at (ax + cy, bx + dy)
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}


def open_container(file: BinaryIO) -> InputContainer:
    """Open a file from its beginning; it can name no other one. Raises what `DAMAGE` lists."""
    file.seek(0)
    return av.open(
        file,
        "r",
        container_options={
            "format_whitelist": CONTAINERS,
            "protocol_whitelist": "",
            # to open a file is to decode some of it
            "codec_whitelist": ",".join(DECODERS + SOUND_DECODERS),
        },
        metadata_errors="replace",
        io_open=_no_other_file,
    )


def choose_stream(container: InputContainer) -> VideoStream:
    """Return the moving pictures; raises MediaError if there are none that can be decoded.

    If there are several streams of them, its first packets are read.
    """
    moving = _moving(container)
    if not moving:
        covers = container.streams.video
        raise MediaError("no moving pictures in it" + (", only a cover" if covers else ""))
    # av types it otherwise, but has none for a codec that FFmpeg cannot decode
    known = [s for s in moving if cast("object", s.codec_context) is not None]
    if not known:
        raise MediaError("its codec is unknown")
    decodable = [s for s in known if s.codec_context.name in DECODERS]
    if not decodable:
        raise MediaError(f"its codec, {known[0].codec_context.name}, is none of those decoded here")
    return decodable[0] if len(decodable) == 1 else _main_stream(container, decodable)


def _moving(container: InputContainer) -> list[VideoStream]:
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


def start_seconds(container: InputContainer, stream: VideoStream) -> float:
    """Return the time stamp that players show as 0: that of the earliest picture or sound."""
    pictures = (stream.start_time or 0) * float(stream.time_base or 0)
    earliest = (container.start_time or 0) / av.time_base
    length = (container.duration or 0) / av.time_base
    # further apart than the file is long, one of them is nonsense
    return earliest if 0 < pictures - earliest < length else pictures


def _main_stream(container: InputContainer, streams: Sequence[VideoStream]) -> VideoStream:
    """Return the stream that is no still and no small copy, the default and the largest one."""
    packets = of_known_streams(container.demux(streams))
    count: Counter[int] = Counter()
    with contextlib.suppress(*DAMAGE):
        first = itertools.islice(packets, CHOICE_PACKETS)
        count.update(packet.stream_index for packet in first if packet.size)
    most = max(stream.width * stream.height for stream in streams)

    def worth(stream: VideoStream) -> tuple[bool, bool, bool, int]:
        pixels = stream.width * stream.height
        default = bool(stream.disposition & Disposition.default)
        return count[stream.index] > 1, pixels >= SMALL_COPY * most, default, pixels

    return max(streams, key=worth)


def of_known_streams(packets: Iterator[P]) -> Iterator[P]:
    """Yield what `demux` does, without its failure at the end of a file whose streams begin late.

    There it looks up streams that it did not list when the file was opened.
    """
    with contextlib.suppress(IndexError):
        yield from packets


def _no_other_file(*_: object) -> NoReturn:
    raise PermissionError("a video opens no other file")


class Film:
    """The moving pictures of an open file; times are seconds from the container's start.

    `length` is where the last picture or sound ends that was read so far, after `looks` that of the
    film. `end` is less if decoding takes more than `seconds`: up to there it was looked at.
    """

    def __init__(self, file: BinaryIO, seconds: float = math.inf) -> None:
        self._file = file
        self._skip_frame: Literal["DEFAULT", "NONREF", "BIDIR"] = "DEFAULT"
        begun = monotonic()
        self._survey_by, self._look_by, self._take_by = (
            begun + share * seconds for share in (SURVEY_SHARE, LOOK_SHARE, TAKE_SHARE)
        )
        self._unseen = math.inf  # from here on there was no time to decode
        self._keyframes: list[float] = []
        self._small, self._tiny = VideoReformatter(), VideoReformatter()
        self._turn: Image.Transpose | None = None
        self._turn_is_known = False
        self._index: int | None = None
        self._restarts = False  # its time stamps do
        self._in_order = False  # whether to read on where it would seek: that fails in it
        self.length = 0.0
        self._rewind()

    def _rewind(self) -> None:
        """Open the file anew: a seek to 0 fails in some containers and misses frames in others."""
        self.container = open_container(self._file)
        if self._index is None:
            self._index = choose_stream(self.container).index
            if len(self.container.streams.video) > 1:  # some of it was read to choose
                self.container = open_container(self._file)
        if self._restarts:  # FFmpeg would read ahead until time has passed a missing stamp
            self.container.flags &= ~cast("int", Flags.gen_pts.value)
        self._stream = cast("VideoStream", self.container.streams[self._index])
        self._stream.thread_type = "AUTO"
        self._stream.thread_count = DECODE_THREADS
        self._stream.codec_context.skip_frame = self._skip_frame
        self._seconds = float(self._stream.time_base or 0)
        self._zero = start_seconds(self.container, self._stream)
        self._set_clocks()
        rate = self._stream.average_rate or self._stream.guessed_rate
        self._frame_seconds = 1 / float(rate) if rate else 0.0
        aspect = float(self._stream.sample_aspect_ratio or 1)
        self.pixel_aspect = aspect if 0.2 < aspect < 5 else 1.0  # width over height, or nonsense
        self._shown = 0.0  # where the last picture that was read ends
        self._read = -math.inf  # the last keyframe that was

    @property
    def end(self) -> float:
        """Where the film ends, or what was looked at of it, in seconds."""
        return min(self.length, self._unseen)

    def looks(self) -> list[Look]:
        """Look at the whole film, twice a second or as often as 1200 looks allow.

        A film with a keyframe every second, or a long one with one every other second, is looked at
        there alone. Otherwise a long film is decoded only where it changes between keyframes.
        """
        looks = self._claimed_looks(NEAR)
        if looks:
            return looks
        # reading all packets is cheap beside decoding them, which a wrong length would waste
        packets = self._survey()
        if self._unseen < math.inf and (looks := self._claimed_looks(FAR)):
            self._unseen = math.inf
            return looks  # a huge file, or a slow disk
        step = _step(self._shown)
        if self._shown > LONG_SECONDS and self._keyframes:
            looks = self._long_looks(packets, step)
        elif _uncovered(self._keyframes, self._shown) <= MOST_FAR * self._shown:
            wanted = _thinned(self._keyframes, step)
            looks = list(self._looks_exactly_at(wanted))
            if len(looks) < len(wanted):
                looks = list(self._looks_through(step))
        else:
            looks = list(self._looks_through(step))
        if looks and looks[-1].time >= self._unseen:
            self._unseen = math.inf  # only in between
        return looks

    def is_plain(self) -> bool:
        """Tell whether it is one stream from 0 on, whose keyframes show all that it does.

        Only headers are read, except of a long film with few keyframes and of a container whose
        time stamps may restart.
        """
        known = [s for s in _moving(self.container) if cast("object", s.codec_context) is not None]
        begin = (self._stream.start_time or 0) * self._seconds - self._zero
        if known[0].index != self._index or begin > NEARLY or self._is_outlasted():
            return False
        length = None if self._may_restart() else self._claimed_length()
        if length is not None and (
            length <= LONG_SECONDS or self._has_keyframes_near(length, NEAR)
        ):
            return True
        packets = self._survey()
        is_long = self._shown > LONG_SECONDS
        return not self._in_order and not (is_long and any(changing(packets, self._shown)))

    def frames_at(self, times: Iterable[float]) -> Iterator[tuple[float, VideoFrame]]:
        """Yield each of the times of looks, in order, with its frame; those that fail are left out.

        No more is decoded than from the keyframe before each.
        """
        frames: Iterator[tuple[float, VideoFrame]] | None = None
        position = -math.inf
        for wanted in times:
            if monotonic() > self._take_by:
                self._unseen = wanted
                return
            keyframe = max((k for k in self._keyframes if k <= wanted + ROUNDING), default=0.0)
            alone = wanted - keyframe <= ROUNDING and not self._in_order
            if alone and (frame := self._keyframe(wanted)) is not None:
                frames = None  # the decoder was told that none follows
                yield wanted, frame
                continue
            # without seeking, what was read already is not read again
            if frames is None or keyframe > (self._read if self._in_order else position):
                frames = self._frames_from(keyframe)
            for position, frame in frames:
                if position + ROUNDING >= wanted:
                    yield wanted, frame
                    break

    def find_restarts(self) -> None:
        """Learn if the time stamps restart, from all packets of a film in which they may."""
        if self._may_restart() and not self._keyframes:
            self._survey()

    @property
    def restarts(self) -> bool:
        """Whether time stamps are known to restart, so that no time can be sought."""
        return self._in_order and self._may_restart()

    def frames_between(self, start: float, end: float) -> Iterator[tuple[float, VideoFrame, float]]:
        """Yield (time, frame, the next one's time) of what is shown in `[start, end)`."""
        self.find_restarts()
        if self._in_order:
            keyframe = max((k for k in self._keyframes if k <= start + ROUNDING), default=0.0)
        else:
            packet = self._keyframe_packet(start)
            keyframe = 0.0 if packet is None else self._time(packet)
        for time, frame, after in self._frames_with_next(keyframe if keyframe <= start else 0.0):
            if time >= end - ROUNDING:
                return
            if after > start + ROUNDING:
                yield time, frame, after

    def upright(self, frame: VideoFrame) -> Image.Image:
        """Return a frame as RGB, turned as the film is shown."""
        # without a number each frame would start threads for this, and keep them
        image = Image.fromarray(frame.to_ndarray(format="rgb24", threads=1))
        if not self._turn_is_known:  # asked of every frame, it would fill memory
            self._turn, self._turn_is_known = _turn_of(frame), True
        return image if self._turn is None else image.transpose(self._turn)

    def _claimed_length(self) -> float | None:
        """Return seconds, as the header says; None where it says nothing."""
        if self._stream.duration:
            begin = (self._stream.start_time or 0) * self._seconds - self._zero
            return begin + self._stream.duration * self._seconds
        if self.container.duration:
            return self.container.duration / av.time_base
        return None

    def _is_outlasted(self) -> bool:
        """Tell whether the sound goes on after the pictures, as far as headers say."""
        pictures = self._stream.metadata.get("DURATION", "")  # a tag of Matroska's
        if self._stream.duration:
            shown = self._claimed_length() or 0.0
        elif re.fullmatch(r"\d+:\d\d:\d\d\.\d+", pictures, re.ASCII):
            hours, minutes, seconds = pictures.split(":")
            shown = 3600 * int(hours) + 60 * int(minutes) + float(seconds)
        else:
            return False
        return (self.container.duration or 0) / av.time_base - shown > NEARLY

    def _may_restart(self) -> bool:
        """Tell whether it is a container of broadcasts and discs, whose parts are often joined."""
        return bool(self.container.format.flags & cast("int", ContainerFlags.ts_discont.value))

    def _set_clocks(self) -> None:
        leaps = self._may_restart()
        self._clocks = {
            stream.index: Clock(leaps=leaps)
            for stream in (self._stream, *self.container.streams.audio)
        }

    def _survey(self) -> Packets:
        """Read all packets, undecoded: where the keyframes are, the end, and if time restarts."""
        # whether time restarts is found without the time stamps that FFmpeg makes up
        self._restarts = self._may_restart()
        packets = self._all_packets()
        if self._restarts and not self._clocks[self._stream.index].restarted:
            self._restarts = False
            packets = self._all_packets()
        self._keyframes = sorted(set(itertools.compress(packets.times, packets.keyframes)))
        self._in_order = self._clocks[self._stream.index].restarted
        return packets

    def _all_packets(self) -> Packets:
        self._rewind()
        packets = Packets()
        for packet in self._packets():
            packets.add(self._time(packet), packet.size, keyframe=packet.is_keyframe)
            if monotonic() > self._survey_by:
                self._unseen = self._shown
                self.length = max(self.length, self._claimed_length() or 0.0)
                break
        return packets

    def _claimed_looks(self, near: float) -> list[Look]:
        """Return looks at the keyframes of a long film; none if its header is not to be trusted.

        Nor are there any if few keyframes are so near, in seconds, to another. Only a little of the
        file is read.
        """
        length = self._claimed_length()
        # whether time stamps restart is known only when all were read
        if length is None or length <= LONG_SECONDS or self._may_restart():
            return []
        step = _step(length)
        times = [step * index for index in range(math.ceil(length / step))]
        if not self._has_keyframes_near(length, near):
            return []
        looks = list(self._looks_at_keyframes(times))
        for _ in self._packets():
            pass
        self._keyframes = [look.time for look in looks]
        ends = (self._shown, self.length)  # which of them it claims, is not said
        return looks if any(abs(end - length) <= WRONG_LENGTH * length for end in ends) else []

    def _has_keyframes_near(self, length: float, near: float) -> bool:
        # at times that are not regular, as keyframes are
        times = [length * (number * GOLDEN % 1) for number in range(PROBES)]
        found = (self._keyframe_packet(time) for time in times)
        are_near = [
            packet is not None and abs(time - self._time(packet)) <= near
            for packet, time in zip(found, times, strict=True)
        ]
        return sum(are_near) >= MOST_NEAR * len(are_near)

    def _looks_at_keyframes(self, times: Iterable[float]) -> Iterator[Look]:
        """Yield a look at the last keyframe before each time, each once."""
        last = -math.inf
        for wanted in times:
            packet = self._keyframe_packet(wanted)
            if packet is None or self._time(packet) <= last:
                continue
            last = self._time(packet)
            frame = self._decoded_alone(packet)
            if frame is not None:
                yield self._look(frame, last, last, keyframe=True)

    def _looks_exactly_at(self, keyframes: Iterable[float]) -> Iterator[Look]:
        """Yield a look at each keyframe until one is not found."""
        for time in keyframes:
            frame = self._keyframe(time)
            if frame is None:
                return
            yield self._look(frame, time, time, keyframe=True)

    def _long_looks(self, packets: Packets, step: float) -> list[Look]:
        """Return looks at a long film: at keyframes, and where it changes between them."""
        stretches = list(changing(packets, self._shown))
        probes = self._keyframes[:: math.ceil(len(self._keyframes) / PROBES)]
        self._in_order = self._in_order or not all(map(self._finds, probes))
        if self._stream.codec_context.name in CERTAIN_B:
            self._skip_others(step, "BIDIR")
        looks = self._looks_at_changes(stretches, step)
        if not self._keyframes:
            self._survey()  # one was not found after all
            self._in_order = True
            looks = self._looks_at_changes(stretches, step)
        self._skip_others(step, "NONREF")  # those that are wanted shall be without flaw
        return looks

    def _looks_at_changes(
        self, stretches: Sequence[tuple[float, float]], step: float
    ) -> list[Look]:
        """Return looks at all of the stretches and, between them, at keyframes.

        It ends early, without keyframes, if the container finds others than were read.
        """
        self._rewind()
        wanted = sorted({*_thinned(self._keyframes, step), *(start for start, _ in stretches)})
        looks: list[Look] = []
        ends, until = dict(stretches), -math.inf
        for time in wanted:
            if not self._keyframes:
                break
            if time < until - ROUNDING or (self._in_order and time <= self._read):
                continue
            if time in ends and monotonic() <= self._look_by:
                until = ends[time]
                looks += self._looks_through(step, time, until)
                until = min(until, self._unseen)
            elif (frame := self._keyframe(time)) is not None:
                looks.append(self._look(frame, time, time, keyframe=True))
        return looks

    def _skip_others(self, step: float, which: Literal["NONREF", "BIDIR"]) -> None:
        """Leave out frames that no other needs, or few, if many frames lie between looks."""
        if step > NEAR_FRAMES * self._frame_seconds:
            self._skip_frame = self._stream.codec_context.skip_frame = which

    def _looks_through(
        self, step: float, start: float = 0.0, end: float = math.inf
    ) -> Iterator[Look]:
        """Yield a look at the first frame of each step, and at those that stand for a step.

        If steps are long, also at those that are unlike the frame before. It begins with the
        keyframe at `start` and ends before `end`.
        """
        if self._skip_frame == "DEFAULT":
            self._skip_others(step, "NONREF")
        wanted = since = start
        least = max(LOOK_SECONDS, LEAST_STEP * step)
        last = -math.inf
        jump = 0.0
        before: NDArray[np.int16] | None = None
        for time, frame, after in self._frames_with_next(start):
            if time >= end - ROUNDING:
                return
            if monotonic() > self._look_by:
                self._unseen = time
                return
            check_size(frame.width, frame.height)
            glance = _scaled(self._tiny, frame, 32, 32, "gray", "POINT").astype(np.int16)
            moved = 0.0 if before is None else float(np.abs(glance - before).mean())
            before = glance
            if moved >= jump:
                jump, since = moved, time
            due = time + ROUNDING >= wanted or (jump >= SCENE and time - last >= least)
            if due or after - time >= step:
                yield self._look(frame, time, since, keyframe=bool(frame.key_frame))
                wanted = step * (math.floor((time + ROUNDING) / step) + 1)
                jump, last = 0.0, time

    def _frames_with_next(self, keyframe: float) -> Iterator[tuple[float, VideoFrame, float]]:
        """Yield (time, frame, the next one's time) of all frames that matter, from there on."""
        held: tuple[float, VideoFrame] | None = None
        for time, frame in self._frames_from(keyframe):
            if held is not None:
                yield *held, time
            held = time, frame
        if held is not None:
            yield *held, self.length

    def _look(self, frame: VideoFrame, time: float, since: float, *, keyframe: bool) -> Look:
        check_size(frame.width, frame.height)
        planes = _scaled(self._small, frame, 160, 96, "yuv444p", "AREA").astype(np.float32)
        thumbnail = planes.reshape(3, 32, 3, 32, 5).mean(axis=(2, 4))
        steps = (np.abs(np.diff(planes[0], axis=axis)).mean() for axis in (0, 1))
        return Look(time, since, thumbnail, float(sum(steps)), keyframe)

    def _keyframe(self, time: float) -> VideoFrame | None:
        """Return the keyframe of a time, or None where the container finds another."""
        packet = self._keyframe_packet(time)
        if packet is None or abs(self._time(packet) - time) > ROUNDING:
            self._keyframes = []
            return None
        return self._decoded_alone(packet)

    def _finds(self, time: float) -> bool:
        """Tell whether a seek to a keyframe's time finds it: some containers seek coarsely."""
        packet = self._keyframe_packet(time)
        return packet is not None and abs(self._time(packet) - time) <= ROUNDING

    def _frames_from(self, keyframe: float) -> Iterator[tuple[float, VideoFrame]]:
        """Yield (time, frame) from a keyframe on, or from 0 where the container finds another."""
        packet = self._keyframe_packet(keyframe) if keyframe > 0 else None
        if packet is None or abs(self._time(packet) - keyframe) > ROUNDING:
            if keyframe > 0:
                self._keyframes = []
            self._rewind()
            packet, keyframe = None, 0.0
        last = keyframe - self._frame_seconds
        first = [] if packet is None else [packet]
        for each in itertools.chain(first, self._packets(), [None]):
            for frame in self._decode(each):
                last = self._frame_time(frame, last)
                yield last, frame

    def _keyframe_packet(self, time: float) -> Packet[VideoStream] | None:
        """Return the keyframe at or, where the container seeks coarsely, near a time."""
        first = -math.inf
        if self._in_order:
            first = time - ROUNDING
            if first <= self._read:
                self._rewind()
            self._stream.codec_context.flush_buffers()  # as a seek does
        else:
            try:
                stamp = round((time + self._zero) / self._seconds)
                self.container.seek(stamp, stream=self._stream, backward=True)
            except DAMAGE:
                return None
            self._set_clocks()
        keyframes = (packet for packet in self._packets() if packet.is_keyframe)
        return next((packet for packet in keyframes if self._time(packet) >= first), None)

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        """Yield the packets from here on; a file that was cut off ends where it was cut."""
        sounds = self.container.streams.audio
        packets = of_known_streams(self.container.demux([self._stream, *sounds]))
        while True:
            try:
                packet = next(packets)
            except (StopIteration, *DAMAGE):
                return
            if not packet.size:
                continue
            self._clocks[packet.stream_index].set(packet)
            if packet.stream_index != self._index:
                self.length = max(self.length, self._heard_until(packet))
                continue
            time = self._time(packet)
            length = (packet.duration or 0) * self._seconds or self._frame_seconds
            self._shown = max(self._shown, time + length)
            self.length = max(self.length, self._shown)
            if packet.is_keyframe:
                self._read = time
            yield cast("Packet[VideoStream]", packet)

    def _heard_until(self, packet: Packet[Any]) -> float:
        if packet.pts is None:
            return 0.0
        return float((packet.pts + (packet.duration or 0)) * packet.time_base) - self._zero

    def _decoded_alone(self, packet: Packet[VideoStream]) -> VideoFrame | None:
        # the decoder holds a frame back to reorder it, until it is told that none follows
        return next(iter([*self._decode(packet), *self._decode(None)]), None)

    def _decode(self, packet: Packet[VideoStream] | None) -> Sequence[VideoFrame]:
        try:
            return self._stream.codec_context.decode(packet)
        except DAMAGE:
            return []  # damaged: the frames around it still count

    def _time(self, packet: Packet[Any]) -> float:
        stamp = packet.dts if packet.pts is None else packet.pts
        return self._shown if stamp is None else stamp * self._seconds - self._zero

    def _frame_time(self, frame: VideoFrame, last: float) -> float:
        """Return a frame's time, later than the last one's: AVI numbers them as decoded."""
        for stamp in (frame.pts, frame.dts):
            if stamp is not None and stamp * self._seconds - self._zero > last:
                return stamp * self._seconds - self._zero
        return last + self._frame_seconds


def _turn_of(frame: VideoFrame) -> Image.Transpose | None:
    """Return how a frame is to be turned; from then on it is freed by the garbage collector only.

    It and its side data hold each other.
    """
    side_data = cast("Mapping[str, Buffer]", frame.side_data)  # av's own type knows one key only
    matrix = side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return None
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5] / 65536
    return _UPRIGHT.get((round(a), round(b), round(c), round(d)))


def _scaled(
    scaler: VideoReformatter, frame: VideoFrame, width: int, height: int, form: str, how: str
) -> NDArray[np.uint8]:
    # for so small a result, to start threads costs more than they save
    scaled = scaler.reformat(frame, width, height, form, interpolation=how, threads=1)
    return np.asarray(scaled.to_ndarray(), np.uint8)


def _step(length: float) -> float:
    return max(LOOK_SECONDS, length / MAX_LOOKS)


def _uncovered(keyframes: Sequence[float], end: float) -> float:
    """Return the seconds of stretches without a keyframe that are longer than `KEYFRAMES_NEAR`."""
    gaps = [other - one for one, other in itertools.pairwise([0.0, *keyframes, end])]
    return sum(gap for gap in gaps if gap > KEYFRAMES_NEAR + ROUNDING)


def _thinned(keyframes: Sequence[float], step: float) -> list[float]:
    """Return keyframes at least a step apart, and those that came early, as at another scene."""
    usual = float(np.median(np.diff(keyframes))) if len(keyframes) > 1 else 0.0
    kept = [-math.inf]
    for before, time in itertools.pairwise([-math.inf, *keyframes]):
        least = LEAST_STEP * step if time - before < EARLY * usual else step
        if time - kept[-1] >= least - ROUNDING:
            kept.append(time)
    return kept[1:]
