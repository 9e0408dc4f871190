"""Encodes short films of many containers and codecs, damages them by a seed, and makes them lie."""

import functools
import io
import random
import struct
from fractions import Fraction

import av
import numpy as np

from support.damage import mutated

WIDTH, HEIGHT, RATE, FRAMES = 64, 48, 10, 30
FAST = {
    "libx264": {"preset": "ultrafast"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "libsvtav1": {"preset": "12"},
}


def frames(count=FRAMES, width=WIDTH, height=HEIGHT):
    """Return pictures of stripes that move, and change at the tenth of each ten."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    for number in range(count):
        grey = (4 * x + 5 * y + 8 * number + 90 * (number // 10)) % 256
        yield av.VideoFrame.from_ndarray(grey.astype(np.uint8)[..., None].repeat(3, -1), "rgb24")


def film(form, codec="libx264", rate=RATE, pixels="yuv420p", **options):
    """Return a film as bytes; `options` are the container's."""
    file = io.BytesIO()
    with av.open(file, "w", format=form, options=options) as container:
        stream = container.add_stream(codec, rate=rate, options={"g": "10"} | FAST.get(codec, {}))
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else pixels
        for frame in frames():
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


@functools.cache
def seeds():
    """One short film of each container and codec, by name."""
    av.logging.set_level(None)
    return {
        "mp4": film("mp4"),
        "mp4 hevc": film("mp4", "libx265"),
        "mp4 fragments": film("mp4", movflags="frag_keyframe+empty_moov"),
        "mov": film("mov", "mjpeg"),
        "mkv": film("matroska"),
        "mkv mpeg4": film("matroska", "mpeg4"),
        "webm vp8": film("webm", "libvpx"),
        "webm vp9": film("webm", "libvpx-vp9"),
        "webm av1": film("webm", "libsvtav1"),
        "avi": film("avi", "mpeg4"),
        "mpg": film("mpeg", "mpeg2video", rate=25),
        "ts": film("mpegts"),
        "flv": film("flv", "flv1"),
        "asf": film("asf", "wmv2"),
    }


def damaged(number):
    """Return the name of a seed and its bytes after one to three mutations."""
    rng = random.Random(f"hostile film {number}")
    names = list(seeds())
    name = names[number % len(names)]
    return name, bytes(mutated(seeds()[name], rng, list(seeds().values())))


def changing_size():
    """A film whose frames grow and shrink: VP8 tells the size in each keyframe."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("libvpx", rate=RATE, options=FAST["libvpx"])
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for part, factor in enumerate((1, 4, 2)):
            encoder = av.CodecContext.create("libvpx", "w")
            encoder.width, encoder.height = WIDTH * factor, HEIGHT * factor
            encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, RATE)
            encoder.options = FAST["libvpx"]
            packets = [
                packet
                for frame in [*frames(20, WIDTH * factor, HEIGHT * factor), None]
                for packet in encoder.encode(frame)
            ]
            for number, packet in enumerate(packets):
                packet.stream = stream
                packet.pts = packet.dts = part * 20 + number
                packet.time_base = Fraction(1, RATE)
                container.mux(packet)
    return file.getvalue()


def patched(data, place, form, *values):
    changed = bytearray(data)
    struct.pack_into(form, changed, place, *values)
    return bytes(changed)


def lies():
    """Yield (name, film) of headers that lie about times, rates and counts."""
    # where ISO/IEC 14496-12 has them: a name, and what follows it at so many bytes
    for field, box, offset in (
        ("timescale", b"mdhd", 16),
        ("length", b"mdhd", 20),
        ("steps", b"stts", 8),
        ("step count", b"stts", 12),
        ("step", b"stts", 16),
        ("sample size", b"stsz", 8),
        ("samples", b"stsz", 12),
        ("chunks", b"stco", 8),
        ("chunk runs", b"stsc", 8),
        ("keyframes", b"stss", 8),
    ):
        for value in (0, 1, 10**9, 2**31 - 1, 2**31, 2**32 - 1):
            place = seeds()["mp4"].index(box) + offset
            yield f"mp4 {field} {value}", patched(seeds()["mp4"], place, ">I", value)
    # Microsoft's AVIMAINHEADER and AVISTREAMHEADER
    for field, chunk, offset in (
        ("microseconds of a frame", b"avih", 8),
        ("frames", b"avih", 24),
        ("scale", b"strh", 28),
        ("rate", b"strh", 32),
        ("start", b"strh", 36),
        ("length", b"strh", 40),
    ):
        for value in (0, 1, 10**9, 2**31, 2**32 - 1):
            place = seeds()["avi"].index(chunk) + offset
            yield f"avi {field} {value}", patched(seeds()["avi"], place, "<I", value)
    # Matroska's TimestampScale, in nanoseconds, and Duration
    for value in (0, 1, 2**24 - 1):
        place = seeds()["mkv"].index(b"\x2a\xd7\xb1\x83") + 4
        changed = patched(seeds()["mkv"], place, ">BH", value >> 16, value & 0xFFFF)
        yield f"mkv scale {value}", changed
    for value in (float("nan"), float("inf"), -1.0, 0.0, 1e300):
        place = seeds()["mkv"].index(b"\x44\x89\x88") + 3
        yield f"mkv length {value}", patched(seeds()["mkv"], place, ">d", value)
    for rate in (1, 1000):
        yield f"rate {rate}", film("matroska", rate=rate)


def large_frames():
    """A film whose keyframes claim 16383 x 16383 pixels, as VP8 can (RFC 6386, section 9.1)."""
    data, place = seeds()["webm vp8"], -1
    while (place := data.find(b"\x9d\x01\x2a", place + 1)) >= 0:
        data = patched(data, place + 3, "<HH", 0x3FFF, 0x3FFF)
    return data


def many_samples():
    """An mp4 that claims two thousand million samples of one byte each in 12 bytes."""
    data = seeds()["mp4"]
    data = patched(data, data.index(b"stsz") + 8, ">II", 1, 2**31 - 1)
    return patched(data, data.index(b"stts") + 12, ">II", 2**31 - 1, 1)
