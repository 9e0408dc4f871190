"""Writes a moment of a video to a file of its own, copied if possible."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Container, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import av
import numpy as np
from av.codec import Codec
from av.codec.codec import UnknownCodecError

from qvsearch.errors import MediaError
from qvsearch.media.frames import Film
from qvsearch.media.motion import open_film
from qvsearch.media.packets import (
    DAMAGE,
    ROUNDING,
    Clock,
    choose_stream,
    of_known_streams,
    open_container,
    start_seconds,
)
from qvsearch.media.sound import IN_MP4, Sound

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from PIL import Image

# a copy begins at a keyframe; if there is none so close before the start, the clip is encoded
NEAR_SECONDS = 1.0
PICTURES_IN_MP4 = {"h264", "hevc", "av1", "vp9", "mpeg4"}  # others stay in their container
OTHERS = {  # suffix and FFmpeg's name of the container of other codecs, by the source's format
    "avi": (".avi", "avi"),
    "asf": (".wmv", "asf"),
    "mpeg": (".mpg", "vob"),
    "mpegts": (".mpg", "vob"),
    "mov,mp4,m4a,3gp,3g2,mj2": (".mov", "mov"),
}
WEBM, MATROSKA = (".webm", "webm"), (".mkv", "matroska")  # the latter takes nearly everything
HIDES_AN_END = {"mp4", "mov"}  # containers that can end before their last picture
LEAD_SECONDS = 1.0  # of sound before a clip: a packet of it may reach into the clip
LATE_SECONDS = 10  # of pictures that a file may hold before their sound
ENCODERS: dict[Literal["libx264", "mpeg4"], dict[str, str]] = {
    "libx264": {"crf": "18", "preset": "veryfast"},
    "mpeg4": {"b": "8000000"},
}
ENCODE_THREADS = 2  # each holds frames of its own: of 8K, 50 MB each
TICKS = 1000  # a second, in encoded clips: frames may come at any time
# if the last picture stands for so long, it is shown again at the end: players would end too early
STANDS_LONG, LAST_SECONDS = 0.5, 0.04


# boxes that hold boxes, and the offset of the length in each box that has one, behind its head:
# ISO/IEC 14496-12, version 0 of the boxes, which FFmpeg writes for files of less than 2^31 ticks
HOLDERS = {b"moov", b"trak", b"edts"}
SECONDS_AT = {b"mvhd": 16, b"tkhd": 20, b"elst": 8}
TIMESCALE_AT = 12  # in mvhd
HEAD = 8  # bytes: size and name


def write_clip(source: Path, start: float, end: float, target: Path) -> tuple[str, str | None]:
    """Write the moment `[start, end)`, in seconds, of a video to a file.

    Returns the suffix for the file and, if it lacks the sound of the source, the reason. Pictures
    are copied if there is a keyframe in the second before `start`; then the clip begins with it.
    Otherwise they are encoded. Raises MediaError if the video cannot be cut or the file cannot be
    written.
    """
    try:
        with source.open("rb") as first, source.open("rb") as second:
            file, again = (open_film(each, os.fsencode(source)) for each in (first, second))
            film = Film(file)
            film.find_restarts()
            try:
                with open_container(again) as opened:
                    written = copy_moment(film, opened, source.suffix.lower(), start, end, target)
                if written is not None and target.exists():  # not if no packet was whole
                    return written
            except DAMAGE:  # it may still be decoded
                pass
            with open_container(again) as opened:
                return ".mp4", encode_moment(film, opened, start, end, target)
    except DAMAGE as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(reason.lower()) from error


def copy_moment(
    film: Film,
    opened: InputContainer,
    suffix: str,
    start: float,
    end: float,
    target: Path,
    in_mp4: Container[str] = IN_MP4,
) -> tuple[str, str | None] | None:
    """Copy pictures; return the result of `write_clip`, or None if no keyframe is near enough.

    Sounds with a codec in `in_mp4` are copied into MP4, all others encoded.
    """
    pictures = choose_stream(opened)
    if opened.format.name == "avi" and pictures.codec_context.has_b_frames:
        return None  # the order of the pictures is unknown
    begin, base = _begin(opened, pictures), pictures.time_base or Fraction(1)
    start_stamp, stop = begin + Fraction(start), begin + Fraction(end) - Fraction(ROUNDING)
    # MPEG programs and transport streams have no index: a seek ends at any picture
    earlier = start_stamp - Fraction(NEAR_SECONDS)
    # a seek to the beginning misses the first picture in some containers
    since = earlier if earlier > begin else None
    sounds = [sound for sound in [opened.streams.best("audio")] if sound is not None]
    packets = _packets(film, opened, [pictures, *sounds], since)
    ahead, zero = _from_keyframe(packets, pictures, start_stamp)
    if zero is None or start_stamp - zero > NEAR_SECONDS:
        return None
    _complete(ahead, pictures)
    suffix, form = _container(opened, pictures, suffix)
    with av.open(str(target), "w", format=form) as written:
        sound = Sound(opened, written, in_mp4)
        stream = written.add_stream_from_template(pictures)
        last_end = zero
        for packet in _until(itertools.chain(ahead, packets), pictures, stop, form):
            if packet.stream is not pictures:
                sound.write(packet, zero, stop)
            elif (time := _time(packet)) is not None and time >= zero:
                last_end = max(last_end, time + (packet.duration or 0) * base)
                _mux(packet, written, stream, zero)
        sound.end()
    if form in HIDES_AN_END and last_end > stop:
        end_at(target, float(stop - zero))
    return suffix, sound.lost


def _packets(
    film: Film, opened: InputContainer, streams: Sequence[Stream], since: Fraction | None
) -> Iterator[Packet[Any]]:
    """Yield packets from about a time on, or all, with continuous stamps, if the film's restart."""
    if not film.restarts and since is not None:
        opened.seek(round(since / (streams[0].time_base or 1)), stream=streams[0], backward=True)
    clocks = {stream.index: Clock(leaps=True) for stream in streams}
    for packet in of_known_streams(opened.demux(streams)):
        if film.restarts:
            clocks[packet.stream_index].set(packet)
        yield packet


def _container(opened: InputContainer, pictures: VideoStream, suffix: str) -> tuple[str, str]:
    """Return the suffix and FFmpeg's name of the container for copied pictures."""
    if pictures.codec_context.codec.canonical_name in PICTURES_IN_MP4:
        return ".mp4", "mp4"
    return WEBM if suffix == ".webm" else OTHERS.get(opened.format.name, MATROSKA)


def _until(
    packets: Iterator[Packet[Any]], pictures: VideoStream, stop: Fraction, form: str
) -> Iterator[Packet[Any]]:
    """Yield the packets of the pictures and the sound before a time.

    A picture may need one that is shown after the end. If the container cannot hide that one, both
    are left out.
    """
    ended = False
    for packet in packets:
        time = _time(packet) if form not in HIDES_AN_END else None
        if packet.stream is not pictures:
            if ended and packet.pts is not None and packet.pts * packet.time_base >= stop:
                return
        elif packet.dts is not None:
            decoded = packet.dts * packet.time_base
            ended = ended or decoded >= stop or (time is not None and time >= stop)
            if decoded >= stop + LATE_SECONDS:
                return
            if ended:
                continue
        yield packet


def _from_keyframe(
    packets: Iterator[Packet[Any]], pictures: VideoStream, start_stamp: Fraction
) -> tuple[list[Packet[Any]], Fraction | None]:
    """Read up to a time; return the packets since the last keyframe, and its time.

    Sound of that time is included: it may lie before its pictures in the file.
    """
    read: list[Packet[Any]] = []
    zero: Fraction | None = None
    for packet in packets:
        time = _time(packet)
        if packet.stream is pictures and packet.is_keyframe and time is not None:
            if time > start_stamp + Fraction(ROUNDING):
                return [*read, packet], zero
            zero = time
            since = zero - Fraction(LEAD_SECONDS)
            read = [
                each
                for each in read
                if each.stream is not pictures and (at := _time(each)) is not None and at >= since
            ]
        read.append(packet)
        if (
            packet.stream is pictures
            and packet.dts is not None
            and packet.dts * packet.time_base > start_stamp
        ):
            break
    return read, zero


def _complete(packets: Sequence[Packet[Any]], pictures: VideoStream) -> None:
    """Set missing decoding times of pictures: Matroska has none after a seek."""
    following: int | None = None
    for packet in reversed(packets):
        if packet.stream is pictures:
            if packet.dts is None and following is not None:
                packet.dts = following - (packet.duration or 1)
            following = packet.dts


def encode_moment(
    film: Film,
    opened: InputContainer,
    start: float,
    end: float,
    target: Path,
    in_mp4: Container[str] = IN_MP4,
    side: int | None = None,
) -> str | None:
    """Encode the pictures and the sound; return the reason if there is no sound.

    `in_mp4` is as for `copy_moment`. The longer side has `side` pixels at most (default: any).
    """
    begin = _begin(opened, choose_stream(opened)) + Fraction(start)
    with av.open(str(target), "w", format="mp4") as written:
        stream: VideoStream | None = None
        last = -1
        for time, frame, after in film.frames_between(start, end):
            if stream is None:
                stream = _new_stream(written, film, frame, side)
                sound = Sound(opened, written, in_mp4)
            stands = min(after, end) - max(time, start)
            times = [max(time, start) - start]
            if after >= end - ROUNDING and stands > STANDS_LONG:
                times.append(end - LAST_SECONDS - start)
            image = film.upright(frame)
            for tick in (round(at * TICKS) for at in times):
                if tick > last:  # a player would show only the last of several within one
                    written.mux(stream.encode(_picture(image, stream, tick)))
                    last = tick
        if stream is None:
            raise MediaError(f"it shows nothing from {start:.1f} s to {end:.1f} s")
        written.mux(stream.encode(None))
        if sound.stream is not None and sound.lost is None:
            stop = begin + Fraction(end - start)
            for packet in _packets(film, opened, [sound.stream], begin):
                time_ = _time(packet)
                if time_ is not None and time_ >= stop:
                    break
                sound.write(packet, begin, stop)
            sound.end()
    return sound.lost


def _new_stream(
    written: OutputContainer, film: Film, frame: VideoFrame, side: int | None
) -> VideoStream:
    """Add a stream for upright pictures of a frame's size or less, in an encoder that is here."""
    name = next(name for name in ENCODERS if can_encode(name))
    stream = written.add_stream(name, rate=TICKS, options=ENCODERS[name])
    stream.codec_context.thread_count = ENCODE_THREADS
    image = film.upright(frame)
    turned = image.size != (frame.width, frame.height)
    share = 1.0 if side is None else min(1.0, side / max(image.size))
    stream.width, stream.height = (max(2, int(each * share) // 2 * 2) for each in image.size)
    stream.pix_fmt = "yuv420p"
    aspect = 1 / film.pixel_aspect if turned else film.pixel_aspect
    stream.codec_context.sample_aspect_ratio = Fraction(aspect).limit_denominator(255)
    stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
    return stream


def _picture(image: Image.Image, stream: VideoStream, tick: int) -> VideoFrame:
    if image.size != (stream.width, stream.height):
        image = image.resize((stream.width, stream.height))
    picture = av.VideoFrame.from_ndarray(np.asarray(image), "rgb24")
    picture.pts, picture.time_base = tick, Fraction(1, TICKS)
    return picture


def can_encode(name: str) -> bool:
    """Return whether this FFmpeg has an encoder."""
    try:
        Codec(name, "w")
    except UnknownCodecError:
        return False
    return True


def _mux(
    packet: Packet[Any], written: OutputContainer, stream: VideoStream, zero: Fraction
) -> None:
    """Write a picture's packet with times from `zero` on."""
    if packet.pts is not None and packet.dts is not None:
        shift = round(zero / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        packet.stream = stream
        written.mux(packet)


def _begin(opened: InputContainer, pictures: VideoStream) -> Fraction:
    return Fraction(start_seconds(opened, pictures)).limit_denominator(1_000_000)


def _time(packet: Packet[Any]) -> Fraction | None:
    return None if packet.pts is None else packet.pts * packet.time_base


def end_at(path: Path, seconds: float) -> None:
    """Make players end an MP4 file of FFmpeg after so many seconds, if it is longer.

    Later pictures stay in it, because others need them to be decoded.
    """
    with path.open("r+b") as file:
        boxes = list(_boxes(file, 0, path.stat().st_size))
        movie = next((place for name, place in boxes if name == b"mvhd"), None)
        if movie is None:
            return
        most = round(seconds * _number(file, movie + HEAD + TIMESCALE_AT))
        for name, place in boxes:
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
        if size == 1:  # the box is longer than 4 GB, and its size is behind its name
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
