"""Small videos whose frames carry their number, and what decoding gives for them."""

import os
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from qvsearch import media
from qvsearch.files import content_hash
from qvsearch.media.frames import Film
from qvsearch.types import DecodeOptions, Item, Kind, VideoMode

LOW = 256 * 32 * 32


FAST = {
    "libx264": {"preset": "ultrafast", "sc_threshold": "0"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "threads": "1"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
}


WIDTH, HEIGHT, BITS = 176, 144, 11


def frame_of(number, size=(WIDTH, HEIGHT)):
    """Vertical bars, white for the ones of the number; the lower half is grey."""
    bits = np.array([number >> bit & 1 for bit in range(BITS)], np.uint8)
    bars = np.resize((255 * bits).repeat(size[0] // BITS), size[0])
    frame = np.full((size[1], size[0], 3), 128, np.uint8)
    frame[: size[1] // 2] = bars.repeat(3).reshape(-1, 3)
    return frame


def number_in(pixels):
    height, width, _ = pixels.shape
    centres = [int((bit + 0.5) * width / BITS) for bit in range(BITS)]
    return sum(int(pixels[height // 4, x].mean() > 128) << bit for bit, x in enumerate(centres))


def make(
    path,
    frames,
    *,
    form="mp4",
    codec="libx264",
    rate=10,
    times=None,
    keyframe_every=None,
):
    """Encode frames; `times` in milliseconds, else one after the other."""
    options = dict(FAST.get(codec, {}))
    if keyframe_every:
        options["g"] = str(keyframe_every)
    frames = list(frames)
    with av.open(path, "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.bit_rate = 2_000_000
        if times is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for index, pixels in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(pixels, "rgb24")
            if times is not None:
                picture.pts, picture.time_base = times[index], Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def decode(path, mode=VideoMode.FRAMES, max_pixels=LOW):
    status = os.stat(path)
    item = Item(os.fsencode(path), b"", Kind.VIDEO, status.st_size, status.st_mtime_ns)
    digest = content_hash(item.location, item.size)
    return media.decode(item, digest, DecodeOptions(max_pixels, mode)).segments


def decode_both(path):
    """The fine pictures and the clips of a video."""
    segments = decode(path, VideoMode.BOTH)
    clips = [each for each in segments if each[0].clip]
    pictures = segments[: len(segments) - len(clips)]
    assert not any(segment.clip for segment, _ in pictures)
    return pictures, clips


def assert_whole(segments, length, within=0.11):
    """The moments cover the video without a hole."""
    assert segments[0][0].start == 0.0
    for (one, _), (following, _) in pairwise(segments):
        assert one.end == following.start
        assert one.start < one.end
    assert segments[-1][0].end == pytest.approx(length, abs=within)
    assert segments[-1][0].start < segments[-1][0].end


def assert_times_are_those_of_the_frames(segments, rate=10, within=0.011):
    """A picture is one of its moment, and so are a clip's, each at its time."""
    for segment, input_ in segments:
        if segment.clip:
            times = [segment.start + time for time in input_.video.times]
            shown = [number_in(pixels) / rate for pixels in input_.video.pixels]
            assert shown == pytest.approx(times, abs=within)
            assert len(shown) <= 32
        else:
            times = [number_in(input_.images[0]) / rate]
        for time in times:
            assert segment.start - within <= time < segment.end + within


class Calls:
    """Counts what is decoded and what is only read."""

    def __init__(self, monkeypatch):
        self.decoded = self.read = 0
        decode_packet, packets = Film._decode, Film.packets

        def counting_decode(of, packet):
            self.decoded += packet is not None
            return decode_packet(of, packet)

        def counting_packets(of):
            for packet in packets(of):
                self.read += 1
                yield packet

        monkeypatch.setattr(Film, "_decode", counting_decode)
        monkeypatch.setattr(Film, "packets", counting_packets)


def shown(pixels, matrix):
    """Move each pixel where a display matrix a, b, c, d puts it."""
    a, b, c, d = matrix
    y, x = np.indices(pixels.shape[:2])
    to_x, to_y = a * x + c * y, b * x + d * y
    to_x, to_y = to_x - to_x.min(), to_y - to_y.min()
    result = np.zeros((to_y.max() + 1, to_x.max() + 1, 3), np.uint8)
    result[to_y, to_x] = pixels
    return result
