"""Writes the sound of a clip: copied if players take it in the clip's container, or as AAC."""

from __future__ import annotations

import math
from collections.abc import Container
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

from av.codec import Codec

from qvsearch.media.packets import DAMAGE, SOUND_DECODERS

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet

# FFmpeg also writes DTS, Vorbis, PCM and TrueHD into MP4, but hardly any player supports that
IN_MP4 = {"aac", "mp3", "mp2", "ac3", "eac3", "alac", "flac", "opus"}
IN_VOB = {"mp2", "mp3", "ac3", "dts", "pcm_dvd"}  # FFmpeg's own list names MP2 alone
AAC_RATE = 48_000  # for sound whose own rate AAC does not have


class Sound:
    """Writes the sound between two times of the source, in its time base's seconds, from 0 on.

    `lost` is the reason why the clip lacks sound of the source; None if it is complete.
    """

    def __init__(
        self, opened: InputContainer, written: OutputContainer, in_mp4: Container[str] = IN_MP4
    ) -> None:
        """Take the two files, and the codecs that are copied into MP4."""
        self.lost: str | None = None
        self.stream = cast("AudioStream | None", opened.streams.best("audio"))
        self._written = written
        self._copied = self._encoded = None
        self._last = -math.inf  # the end of the written sound, in the source's time base
        if self.stream is None:
            return
        # av types it otherwise, but has none for a codec that FFmpeg does not know
        context = cast("Any", self.stream.codec_context)
        if context is None:
            self.lost = "its codec is unknown"
        elif _takes(written, context.codec.canonical_name, context.name, in_mp4):
            self._copied = written.add_stream_from_template(self.stream)
        elif context.name not in SOUND_DECODERS or not _takes(written, "aac", "aac", in_mp4):
            self.lost = f"its codec, {context.name}, is not supported"
        elif not context.sample_rate or not context.channels:
            self.lost = "it has no sample rate"
        else:
            self._encoded = _new_stream(written, context.sample_rate, context.channels)

    def write(self, packet: Packet[Any], zero: Fraction, stop: Fraction) -> None:
        """Write a packet between `zero`, which becomes 0, and `stop`."""
        if packet.pts is None or packet.dts is None or packet.dts <= self._last:
            return  # after a seek some containers give a part of a packet, and then all of it
        time = packet.pts * packet.time_base
        if self._copied is not None and zero <= time < stop:
            self._last = packet.dts
            shift = round(zero / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = self._copied
            self._written.mux(packet)
        elif self._encoded is not None and time < stop:
            self._last = packet.dts
            self._written.mux(self._encoded_from(self._encoded, packet, zero))

    def end(self) -> None:
        """Write the rest that the encoder holds."""
        if self._encoded is not None and self._encoded.codec_context.is_open:
            self._written.mux(self._encoded.encode(None))

    def _encoded_from(
        self, stream: AudioStream, packet: Packet[Any], zero: Fraction
    ) -> list[Packet[Any]]:
        """Encode a packet; return the new packets, or none if it is damaged."""
        packets: list[Packet[Any]] = []
        try:
            for frame in cast("list[AudioFrame]", packet.decode()):
                after = (frame.pts or 0) - round(zero / (frame.time_base or packet.time_base))
                if after >= 0:
                    frame.pts = after
                    packets += stream.encode(frame)
        except DAMAGE:
            self.lost = self.lost or "some of it is damaged"
        return packets


def _takes(written: OutputContainer, codec: str, name: str, in_mp4: Container[str]) -> bool:
    """Return whether the container takes a codec; `name` is FFmpeg's name of its decoder."""
    own = {"mp4": in_mp4, "vob": IN_VOB}.get(written.format.name)
    return name in written.supported_codecs if own is None else codec in own


def _new_stream(written: OutputContainer, rate: int, channels: int) -> AudioStream:
    rates = Codec("aac", "w").audio_rates or ()
    stream = written.add_stream("aac", rate=rate if rate in rates else AAC_RATE)
    stream.codec_context.layout = "mono" if channels == 1 else "stereo"
    return stream
