"""Writes a moment of a video to a file of its own, copied where that is possible."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import av
import numpy as np
from av.codec import Codec
from av.codec.codec import UnknownCodecError

from qvsearch.errors import MediaError
from qvsearch.media.film import (
    DAMAGE,
    ROUNDING,
    Film,
    choose_stream,
    of_known_streams,
    open_container,
    start_seconds,
)

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from PIL import Image

# a copy begins at a keyframe; where none lies so close before the start, it is encoded anew
NEAR_SECONDS = 1.0
IN_MP4 = {"h264", "hevc", "av1", "vp9", "mpeg4"}  # others stay in the container they are in
MUXERS = {".mkv": "matroska", ".wmv": "asf", ".mpg": "mpeg", ".mpeg": "mpeg", ".m4v": "ipod"}
ENCODERS: dict[Literal["libx264", "mpeg4"], dict[str, str]] = {
    "libx264": {"crf": "18", "preset": "veryfast"},
    "mpeg4": {"b": "8000000"},
}
ENCODE_THREADS = 2  # each holds frames of its own: of 8K, 50 MB each
TICKS = 1000  # a second, in what is encoded: frames may come at any time
# where the last picture stands for longer than a player would guess, it is shown again at the end
STANDS_LONG, LAST_SECONDS = 0.5, 0.04


def write_clip(source: Path, start: float, end: float, made: Path) -> str:
    """Write what a video shows in `[start, end)` seconds to a file; return the suffix it is to get.

    Nothing is encoded anew where a keyframe lies in the second before `start`, with which a copy
    then begins. Sound is kept where the new container takes it as it is. Raises MediaError where
    it cannot be cut, or the file not be written.
    """
    try:
        with source.open("rb") as file, source.open("rb") as again:
            try:
                with open_container(file) as opened:
                    suffix = _copy(opened, source.suffix.lower(), start, end, made)
                if suffix is not None and made.exists():  # it is not where no packet was whole
                    return suffix
            except DAMAGE:  # what cannot be copied may still be decoded
                pass
            with open_container(again) as opened:
                _encode(Film(file), opened, start, end, made)
    except DAMAGE as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(reason.lower()) from error
    return ".mp4"


def _copy(opened: InputContainer, suffix: str, start: float, end: float, made: Path) -> str | None:
    """Copy packets and return the suffix; None where no keyframe is near enough."""
    pictures = choose_stream(opened)
    if opened.format.name == "avi" and pictures.codec_context.has_b_frames:
        return None  # it does not say in which order they are shown
    begin, base = _begin(opened, pictures), pictures.time_base or Fraction(1)
    wanted, stop = begin + Fraction(start), begin + Fraction(end)
    opened.seek(round(wanted / base), stream=pictures, backward=True)
    packets = of_known_streams(opened.demux([pictures, *opened.streams.audio[:1]]))
    ahead, zero = _from_keyframe(packets, pictures, wanted)
    if zero is None or wanted - zero > NEAR_SECONDS:
        return None
    _complete(ahead, pictures)
    if pictures.codec_context.name in IN_MP4:
        suffix = ".mp4"
    with av.open(str(made), "w", format=MUXERS.get(suffix, suffix[1:])) as written:
        streams: dict[int, Stream] = {
            pictures.index: written.add_stream_from_template(pictures),
            **_sound(opened, written),
        }
        for packet in itertools.chain(ahead, packets):
            is_picture = packet.stream is pictures
            if is_picture and packet.dts is not None and packet.dts * base >= stop:
                break
            # of pictures, one that is shown after the end may be needed by one before it
            _mux(packet, written, streams, zero, None if is_picture else stop)
    return suffix


def _from_keyframe(
    packets: Iterator[Packet[Any]], pictures: VideoStream, wanted: Fraction
) -> tuple[list[Packet[Any]], Fraction | None]:
    """Read up to a time; return what came since the last keyframe, and that one's time.

    Sound is kept from earlier on: it may lie before the pictures that it belongs to.
    """
    read: list[Packet[Any]] = []
    zero: Fraction | None = None
    for packet in packets:
        time = _time(packet)
        if packet.stream is pictures and packet.is_keyframe and time is not None:
            if time > wanted + Fraction(ROUNDING):
                return [*read, packet], zero
            zero = time
            read = [each for each in read if each.stream is not pictures]
        read.append(packet)
        if (
            packet.stream is pictures
            and packet.dts is not None
            and packet.dts * packet.time_base > wanted
        ):
            break
    return read, zero


def _complete(packets: Sequence[Packet[Any]], pictures: VideoStream) -> None:
    """Say when pictures are decoded where nothing does: in Matroska after a seek."""
    following: int | None = None
    for packet in reversed(packets):
        if packet.stream is pictures:
            if packet.dts is None and following is not None:
                packet.dts = following - (packet.duration or 1)
            following = packet.dts


def _encode(film: Film, opened: InputContainer, start: float, end: float, made: Path) -> None:
    """Encode what is shown, decoded from the keyframe before on; copy the sound."""
    begin = _begin(opened, choose_stream(opened)) + Fraction(start)
    with av.open(str(made), "w", format="mp4") as written:
        stream: VideoStream | None = None
        last = -1
        for time, frame, after in film.frames_between(start, end):
            if stream is None:
                stream = _new_stream(written, film, frame)
                sound = _sound(opened, written)
            stands = min(after, end) - max(time, start)
            times = [max(time, start) - start]
            if after >= end - ROUNDING and stands > STANDS_LONG:
                times.append(end - LAST_SECONDS - start)
            shown = film.upright(frame)
            for tick in (round(at * TICKS) for at in times):
                if tick > last:  # of several within one a player would show only the last
                    written.mux(stream.encode(_picture(shown, stream, tick)))
                    last = tick
        if stream is None:
            raise MediaError(f"it shows nothing from {start:.1f} s to {end:.1f} s")
        written.mux(stream.encode(None))
        if sound:
            audio = opened.streams.audio[0]
            opened.seek(round(begin / (audio.time_base or 1)), stream=audio, backward=True)
            stop = begin + Fraction(end - start)
            for packet in of_known_streams(opened.demux(audio)):
                time_ = _time(packet)
                if time_ is not None and time_ >= stop:
                    break
                _mux(packet, written, sound, begin, stop)


def _new_stream(written: OutputContainer, film: Film, frame: VideoFrame) -> VideoStream:
    """Add pictures of a frame's size, upright, to be encoded as this build of FFmpeg can."""
    name = next(name for name in ENCODERS if _can_encode(name))
    stream = written.add_stream(name, rate=TICKS, options=ENCODERS[name])
    stream.codec_context.thread_count = ENCODE_THREADS
    shown = film.upright(frame)
    turned = shown.size != (frame.width, frame.height)
    stream.width, stream.height = (max(2, side // 2 * 2) for side in shown.size)
    stream.pix_fmt = "yuv420p"
    aspect = 1 / film.pixel_aspect if turned else film.pixel_aspect
    stream.codec_context.sample_aspect_ratio = Fraction(aspect).limit_denominator(255)
    stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
    return stream


def _picture(shown: Image.Image, stream: VideoStream, tick: int) -> VideoFrame:
    if shown.size != (stream.width, stream.height):
        shown = shown.resize((stream.width, stream.height))
    picture = av.VideoFrame.from_ndarray(np.asarray(shown), "rgb24")
    picture.pts, picture.time_base = tick, Fraction(1, TICKS)
    return picture


def _can_encode(name: str) -> bool:
    try:
        Codec(name, "w")
    except UnknownCodecError:
        return False
    return True


def _sound(opened: InputContainer, written: OutputContainer) -> dict[int, Stream]:
    """Add the sound if the container takes it as it is; return it by its index in the source."""
    for sound in opened.streams.audio[:1]:
        # av types it otherwise, but has none for a codec that FFmpeg does not know
        if sound.codec_context and sound.codec_context.name in written.supported_codecs:
            return {sound.index: written.add_stream_from_template(sound)}
    return {}


def _mux(
    packet: Packet[Any],
    written: OutputContainer,
    streams: Mapping[int, Stream],
    zero: Fraction,
    stop: Fraction | None,
) -> None:
    """Write a packet of the time from `zero` on, which becomes 0, and before `stop`."""
    time = _time(packet)
    if time is None or packet.dts is None or packet.pts is None or time < zero:
        return
    if packet.stream.index not in streams or (stop is not None and time >= stop):
        return
    shift = round(zero / packet.time_base)
    packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
    packet.stream = streams[packet.stream.index]
    written.mux(packet)


def _begin(opened: InputContainer, pictures: VideoStream) -> Fraction:
    return Fraction(start_seconds(opened, pictures)).limit_denominator(1_000_000)


def _time(packet: Packet[Any]) -> Fraction | None:
    return None if packet.pts is None else packet.pts * packet.time_base
