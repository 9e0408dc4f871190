"""Opens a video and reads its packets, undecoded, with times that players show.

The length in a container is only a hint, and its number of frames is not read: both are wrong in
files that play well.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NoReturn, TypeVar, cast

import av
from av.container import Flags
from av.error import FFmpegError
from av.format import Flags as ContainerFlags
from av.stream import Disposition

from qvsearch.errors import MediaError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

P = TypeVar("P")

CHOICE_PACKETS = 300  # about ten seconds of a stream beside a still or a small copy of it
SMALL_COPY = 0.25  # of the largest stream's pixels: fewer are a proxy or a preview
DECODE_THREADS = 2  # of one file; files are decoded side by side already
SURVEY_SHARE = 0.2  # of the time that a film may take: for reading all its packets
ROUNDING = 0.001  # seconds: Matroska's time stamps are whole milliseconds
SOUND_AFTER = 0.5  # seconds: sound that outlasts the pictures by less does not count

# seconds: a step back this large is a restart. Smaller ones come from coarse stamps and damage
RESTART = 0.5
# seconds: FFmpeg's own limit (dts_delta_threshold) for the containers that may restart
LEAP = 10.0

# without playlists, image sequences and concat scripts, which name further files
CONTAINERS = "mov,mp4,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v,asf,flv,ogg,mxf"

# the codecs of cameras, phones, recorders, editors and the web. FFmpeg has 300 decoders; its holes
# are mostly in those of old games, and any file could name them
DECODERS = (
    *("h264", "hevc", "libdav1d", "av1", "vp8", "libvpx", "vp9", "libvpx-vp9", "theora"),
    *("mpeg1video", "mpeg2video", "mpeg4", "h263", "mjpeg", "dvvideo", "flv", "vp6", "vp6f"),
    *("msmpeg4v1", "msmpeg4v2", "msmpeg4", "wmv1", "wmv2", "wmv3", "vc1", "msvideo1"),
    *("cinepak", "indeo3", "indeo5", "svq1", "svq3", "rpza", "qtrle"),
    *("prores", "dnxhd", "cfhd", "ffv1", "huffyuv", "ffvhuff", "utvideo", "rawvideo"),
)
# for clips whose container does not take the sound; some files do not state its rate without these
SOUND_DECODERS = (
    *("aac", "mp3", "mp3float", "mp2", "mp2float", "ac3", "eac3", "opus", "libopus", "vorbis"),
    *("flac", "alac", "amrnb", "amrwb", "wmav1", "wmav2", "wmapro", "nellymoser", "dca", "truehd"),
    *("adpcm_ima_wav", "adpcm_ms", "adpcm_ima_qt", "pcm_u8", "pcm_s16le", "pcm_s16be"),
    *("pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le", "pcm_alaw", "pcm_mulaw"),
    *("pcm_dvd", "pcm_bluray"),
)

# errors of damaged files: nonsense in a container makes it seek or compute nonsense, too
DAMAGE = (FFmpegError, OSError, ValueError, ArithmeticError)


def open_container(file: BinaryIO) -> InputContainer:
    """Open a file from its beginning, and no other file. Raises the errors in `DAMAGE`."""
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
    """Return the stream of moving pictures; raises MediaError if none can be decoded.

    If there are several streams of them, its first packets are read.
    """
    moving = moving_streams(container)
    if not moving:
        covers = container.streams.video
        raise MediaError("no moving pictures in it" + (", only a cover" if covers else ""))
    # despite av's types it is None for a codec that FFmpeg cannot decode
    with_codec = [s for s in moving if cast("object", s.codec_context) is not None]
    if not with_codec:
        raise MediaError("its codec is unknown")
    decodable = [s for s in with_codec if s.codec_context.name in DECODERS]
    if not decodable:
        raise MediaError(f"its codec, {with_codec[0].codec_context.name}, is not supported")
    return decodable[0] if len(decodable) == 1 else _main_stream(container, decodable)


def moving_streams(container: InputContainer) -> list[VideoStream]:
    """Return the streams of pictures, without covers."""
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


def start_seconds(container: InputContainer, stream: VideoStream) -> float:
    """Return the time stamp that players show as 0: that of the earliest picture or sound."""
    pictures = (stream.start_time or 0) * float(stream.time_base or 0)
    earliest = (container.start_time or 0) / av.time_base
    length = (container.duration or 0) / av.time_base
    # if they are further apart than the file is long, one of them is nonsense
    return earliest if 0 < pictures - earliest < length else pictures


def _main_stream(container: InputContainer, streams: Sequence[VideoStream]) -> VideoStream:
    """Return the best stream: not a still, not a small copy, the default, the largest."""
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
    """Yield the packets of `demux`, without its failure at the end of a file with late streams.

    There it looks up streams that it did not list when the file was opened.
    """
    with contextlib.suppress(IndexError):
        yield from packets


def _no_other_file(*_: object) -> NoReturn:
    raise PermissionError("a video opens no other file")


class Clock:
    """Shifts the packets of one stream, read in order from the file's beginning.

    If their time stamps restart, they continue where the packets before the restart ended. `leaps`
    also closes gaps of more than `LEAP` seconds: in joined recordings, no time passed there.
    """

    def __init__(self, *, leaps: bool) -> None:
        self.restarted = False
        self._leaps = leaps
        self._shift = 0
        self._next: int | None = None  # the shifted stamp that the next packet should have

    def set(self, packet: Packet[Any]) -> None:
        """Shift a packet's stamps; one without a decoding time follows the packet before it."""
        seconds = packet.time_base
        if packet.dts is not None and seconds:
            ahead = 0 if self._next is None else (packet.dts + self._shift - self._next) * seconds
            if self._next is not None and (ahead < -RESTART or (self._leaps and ahead > LEAP)):
                self._shift = self._next - packet.dts
                self.restarted = True
            self._next = packet.dts + self._shift + (packet.duration or 0)
        if self._shift:
            packet.dts = None if packet.dts is None else packet.dts + self._shift
            packet.pts = None if packet.pts is None else packet.pts + self._shift


class Budget:
    """The seconds that a film may take; its stages may use shares of them, one after another."""

    def __init__(self, seconds: float) -> None:
        self._start, self._seconds = monotonic(), seconds

    def is_spent(self, share: float) -> bool:
        """Return whether a share of the time, counted from the start, is over."""
        return monotonic() > self._start + share * self._seconds


@dataclass(slots=True)
class PacketLog:
    """The packets of a film in the order of the file: times in seconds, sizes in bytes."""

    times: array[float] = field(default_factory=lambda: array("d"))
    sizes: array[float] = field(default_factory=lambda: array("d"))
    keyframes: array[int] = field(default_factory=lambda: array("b"))

    def add(self, time: float, size: int, *, keyframe: bool) -> None:
        """Append one."""
        self.times.append(time)
        self.sizes.append(size)
        self.keyframes.append(keyframe)


class PacketReader:
    """Reads the moving pictures of an open file; times are seconds from the container's start.

    `length` is the end of the last picture or sound read so far. Since `rewind`, `pictures_end` is
    the end of the last picture, and `last_keyframe` the time of the last keyframe. From `unseen`
    on, the film was not decoded, because that took too long. With `in_order` it reads on instead of
    seeking, which fails in the file. `keyframes` are empty until all packets were read, and again
    if a seek misses one.
    """

    def __init__(self, file: BinaryIO, seconds: float = math.inf) -> None:
        self._file = file
        self._index: int | None = None
        self._restarts = False  # the time stamps do
        self._skip_frame: Literal["DEFAULT", "NONREF", "BIDIR"] = "DEFAULT"
        self.budget = Budget(seconds)
        self.keyframes: list[float] = []
        self.in_order = False
        self.length = 0.0
        self.unseen = math.inf
        self.rewind()

    def rewind(self) -> None:
        """Open the file anew: a seek to 0 fails in some containers and misses frames in others."""
        self.container = open_container(self._file)
        if self._index is None:
            self._index = choose_stream(self.container).index
            if len(self.container.streams.video) > 1:  # some of it was read to choose
                self.container = open_container(self._file)
        if self._restarts:  # FFmpeg would read ahead until time has passed a missing stamp
            self.container.flags &= ~cast("int", Flags.gen_pts.value)
        self.stream = cast("VideoStream", self.container.streams[self._index])
        self.stream.thread_type = "AUTO"
        self.stream.thread_count = DECODE_THREADS
        self.stream.codec_context.skip_frame = self._skip_frame
        self._seconds = float(self.stream.time_base or 0)
        self._zero = start_seconds(self.container, self.stream)
        self._set_clocks()
        self.pictures_end = 0.0
        self.last_keyframe = -math.inf

    @property
    def frame_seconds(self) -> float:
        """The usual time from frame to frame; 0 if the file has none."""
        rate = self.stream.average_rate or self.stream.guessed_rate
        return 1 / float(rate) if rate else 0.0

    @property
    def pixel_aspect(self) -> float:
        """The width of a pixel over its height; nonsense counts as 1."""
        aspect = float(self.stream.sample_aspect_ratio or 1)
        return aspect if 0.2 < aspect < 5 else 1.0

    @property
    def may_restart(self) -> bool:
        """Whether it is a container of broadcasts and discs, whose parts are often joined."""
        return bool(self.container.format.flags & cast("int", ContainerFlags.ts_discont.value))

    @property
    def restarts(self) -> bool:
        """Whether time stamps restart, so that seeking is impossible; see `find_restarts`."""
        return self.in_order and self.may_restart

    @property
    def skips_frames(self) -> bool:
        """Whether the decoder leaves frames out."""
        return self._skip_frame != "DEFAULT"

    def skip(self, frames: Literal["NONREF", "BIDIR"]) -> None:
        """Leave out frames that no other needs, or that are predicted from both sides."""
        self._skip_frame = self.stream.codec_context.skip_frame = frames

    def claimed_length(self) -> float | None:
        """Return the length in the header, in seconds; None if it has none."""
        if self.stream.duration:
            return self.claimed_begin() + self.stream.duration * self._seconds
        if self.container.duration:
            return self.container.duration / av.time_base
        return None

    def claimed_begin(self) -> float:
        """Return when the pictures begin, by the header."""
        return (self.stream.start_time or 0) * self._seconds - self._zero

    def is_outlasted(self) -> bool:
        """Return whether the sound continues after the pictures, as far as headers show."""
        pictures = self.stream.metadata.get("DURATION", "")  # a tag of Matroska's
        if self.stream.duration:
            end = self.claimed_length() or 0.0
        elif re.fullmatch(r"\d+:\d\d:\d\d\.\d+", pictures, re.ASCII):
            hours, minutes, seconds = pictures.split(":")
            end = 3600 * int(hours) + 60 * int(minutes) + float(seconds)
        else:
            return False
        return (self.container.duration or 0) / av.time_base - end > SOUND_AFTER

    def find_restarts(self) -> None:
        """Set `restarts`, by reading all packets of a film whose time stamps may restart."""
        if self.may_restart and not self.keyframes:
            self.survey()

    def survey(self) -> PacketLog:
        """Read all packets; set the keyframes, the length, and whether time stamps restart."""
        # restarts are found without the time stamps that FFmpeg makes up
        self._restarts = self.may_restart
        log = self._read_all()
        if self._restarts and not self._clocks[self.stream.index].restarted:
            self._restarts = False
            log = self._read_all()
        self.keyframes = sorted(set(itertools.compress(log.times, log.keyframes)))
        self.in_order = self._clocks[self.stream.index].restarted
        return log

    def packets(self) -> Iterator[Packet[VideoStream]]:
        """Yield the packets from here on; a file that was cut off ends where it was cut."""
        sounds = self.container.streams.audio
        packets = of_known_streams(self.container.demux([self.stream, *sounds]))
        while True:
            try:
                packet = next(packets)
            except (StopIteration, *DAMAGE):
                return
            if not packet.size:
                continue
            self._clocks[packet.stream_index].set(packet)
            if packet.stream_index != self._index:
                self.length = max(self.length, self._sound_end(packet))
                continue
            time = self.time(packet)
            length = (packet.duration or 0) * self._seconds or self.frame_seconds
            self.pictures_end = max(self.pictures_end, time + length)
            self.length = max(self.length, self.pictures_end)
            if packet.is_keyframe:
                self.last_keyframe = time
            yield cast("Packet[VideoStream]", packet)

    def keyframe_packet(self, time: float) -> Packet[VideoStream] | None:
        """Return the keyframe at a time, or near it if the container seeks coarsely."""
        first = -math.inf
        if self.in_order:
            first = time - ROUNDING
            if first <= self.last_keyframe:
                self.rewind()
            self.stream.codec_context.flush_buffers()  # as a seek does
        else:
            try:
                stamp = round((time + self._zero) / self._seconds)
                self.container.seek(stamp, stream=self.stream, backward=True)
            except DAMAGE:
                return None
            self._set_clocks()
        keyframes = (packet for packet in self.packets() if packet.is_keyframe)
        return next((packet for packet in keyframes if self.time(packet) >= first), None)

    def finds(self, time: float) -> bool:
        """Return whether a seek to a keyframe's time finds it: some containers seek coarsely."""
        packet = self.keyframe_packet(time)
        return packet is not None and abs(self.time(packet) - time) <= ROUNDING

    def time(self, packet: Packet[Any]) -> float:
        """Return when a picture's packet is shown."""
        stamp = packet.dts if packet.pts is None else packet.pts
        return self.pictures_end if stamp is None else self.stamp_time(stamp)

    def stamp_time(self, stamp: int) -> float:
        """Return the time of a stamp of the stream."""
        return stamp * self._seconds - self._zero

    def _set_clocks(self) -> None:
        leaps = self.may_restart
        self._clocks = {
            stream.index: Clock(leaps=leaps)
            for stream in (self.stream, *self.container.streams.audio)
        }

    def _read_all(self) -> PacketLog:
        self.rewind()
        log = PacketLog()
        for packet in self.packets():
            log.add(self.time(packet), packet.size, keyframe=packet.is_keyframe)
            if self.budget.is_spent(SURVEY_SHARE):
                self.unseen = self.pictures_end
                self.length = max(self.length, self.claimed_length() or 0.0)
                break
        return log

    def _sound_end(self, packet: Packet[Any]) -> float:
        if packet.pts is None:
            return 0.0
        return float((packet.pts + (packet.duration or 0)) * packet.time_base) - self._zero
