"""Videos as files. Each drawn frame bears its own number, so that times can be read off pixels."""

import gc
import io
import os
import random
import struct
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image
from support.videos import (
    HEIGHT,
    LOW,
    WIDTH,
    Calls,
    assert_times_are_those_of_the_frames,
    assert_whole,
    decode,
    decode_both,
    frame_of,
    make,
    number_in,
    shown,
)

from qvsearch.errors import MediaError
from qvsearch.files import content_hash
from qvsearch.media import video
from qvsearch.media.clip_writer import write_clip
from qvsearch.types import VideoMode


@pytest.mark.parametrize(
    ("name", "form", "codec"),
    [
        ("a.mp4", "mp4", "libx264"),
        ("b.mp4", "mp4", "libx265"),
        ("a.mov", "mov", "libx264"),
        ("a.mkv", "matroska", "libx264"),
        ("a.webm", "webm", "libvpx"),
        ("b.webm", "webm", "libvpx-vp9"),
        ("c.webm", "webm", "libsvtav1"),
        ("a.avi", "avi", "mpeg4"),
        ("b.avi", "avi", "mjpeg"),
        ("a.m4v", "ipod", "libx264"),
        ("b.m4v", "m4v", "mpeg4"),
        ("a.mpg", "mpeg", "mpeg1video"),
        ("b.mpg", "mpeg", "mpeg2video"),
        ("c.mpg", "mpegts", "mpeg2video"),
        ("a.wmv", "asf", "wmv2"),
        ("a.3gp", "3gp", "h263"),
    ],
)
def test_formats(tmp_path, name, form, codec):
    rate = 25 if codec.startswith("mpeg") else 10
    path = tmp_path / name
    frames = [frame_of(n) for n in range(5 * rate)]
    try:
        make(path, frames, form=form, codec=codec, rate=rate)
    except (av.error.FFmpegError, ValueError) as error:
        pytest.skip(f"this build of PyAV cannot write it: {error}")
    segments, clips = decode_both(path)
    assert len(segments) in (4, 5, 6)
    assert_whole(segments, 5.0)
    assert_whole(clips, 5.0)
    assert_times_are_those_of_the_frames([*segments, *clips], rate)
    for segment, input_ in segments:
        wide = codec == "h263"  # whose pixels are 12 to 11
        assert (segment.width, segment.height) == (192 if wide else WIDTH, HEIGHT)
        assert segment.content_hash == content_hash(os.fsencode(path), os.path.getsize(path))
        assert segment.metadata.duration == pytest.approx(5.0, abs=0.11)
        assert input_.images[0].shape == (160, 192, 3) or input_.images[0].shape == (128, 192, 3)


def test_a_raw_stream_has_neither_length_nor_times(tmp_path):
    frames = [frame_of(n) for n in range(125)]
    path = make(tmp_path / "a.mpg", frames, form="mpeg1video", codec="mpeg1video", rate=25)
    segments, clips = decode_both(path)
    assert len(segments) in (4, 5, 6)
    assert_whole(segments, 5.0)
    assert_times_are_those_of_the_frames([*segments, *clips], 25, within=0.1)


def test_h264_in_avi_has_no_times_of_its_own(tmp_path):
    path = make(tmp_path / "b.avi", [frame_of(n) for n in range(50)], form="avi")
    segments, clips = decode_both(path)
    assert len(segments) in (4, 5, 6)
    assert_whole(segments, 5.0, within=0.3)
    # the container counts packets, which come reordered
    assert_times_are_those_of_the_frames([*segments, *clips], within=0.3)


@pytest.mark.parametrize(("name", "form"), [("a.mp4", "mp4"), ("a.mkv", "matroska")])
def test_a_long_video_is_read_by_keyframe(tmp_path, monkeypatch, name, form):
    frames = [frame_of(n) for n in range(2000)]
    path = make(tmp_path / name, frames, form=form, rate=5, keyframe_every=10)
    calls = Calls(monkeypatch)
    segments = decode(path)
    assert 40 <= len(segments) <= 200
    assert_whole(segments, 400.0, within=0.3)
    assert_times_are_those_of_the_frames(segments, 5)
    assert max(segment.end - segment.start for segment, _ in segments) <= 10
    assert calls.decoded <= 200 + len(segments)
    assert calls.read < 2000


def test_a_video_with_a_keyframe_a_second_needs_no_other_frame(tmp_path, monkeypatch):
    path = make(tmp_path / "a.mp4", [frame_of(n) for n in range(600)], keyframe_every=10)
    calls = Calls(monkeypatch)
    segments, clips = decode_both(path)
    assert_whole(segments, 60.0)
    assert_times_are_those_of_the_frames([*segments, *clips])
    assert 50 <= len(segments) <= 60
    assert calls.decoded <= 120


def test_a_long_video_with_few_keyframes_is_decoded_through(tmp_path):
    frames = [frame_of(n % 2000) for n in range(1700)]
    path = make(tmp_path / "a.mp4", frames, rate=5, keyframe_every=400)
    segments, clips = decode_both(path)
    assert_whole(segments, 340.0, within=0.3)
    assert_whole(clips, 340.0, within=0.3)
    assert_times_are_those_of_the_frames([*segments, *clips], 5)
    assert max(segment.end - segment.start for segment, _ in segments) < 2.5


def test_frames_that_are_predicted_from_both_sides(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(path, "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "3", "g": "250"})
        stream.width, stream.height = WIDTH, HEIGHT
        for number in range(500):
            picture = av.VideoFrame.from_ndarray(frame_of(number), "rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    segments, clips = decode_both(path)
    assert 16 <= len(segments) <= 24
    assert_whole(segments, 20.0)
    assert_times_are_those_of_the_frames([*segments, *clips], 25)


def test_neighbours_that_look_the_same_are_one_moment(tmp_path):
    scenes = [frame_of(0)] * 40 + [frame_of(2047)] * 30 + [frame_of(5)] * 30
    segments = decode(make(tmp_path / "a.mp4", scenes))
    assert [(segment.start, segment.end) for segment, _ in segments] == [(0, 4), (4, 7), (7, 10)]


def test_a_noisy_still_is_one_moment_and_a_slow_change_is_not(tmp_path):
    rng = np.random.default_rng(1)
    still = np.full((HEIGHT, WIDTH, 3), 100)
    noisy = [(still + rng.integers(-8, 9, still.shape)).astype(np.uint8) for _ in range(100)]
    assert len(decode(make(tmp_path / "noise.mp4", noisy))) == 1
    fade = [np.full((HEIGHT, WIDTH, 3), 40 + n, np.uint8) for n in range(100)]
    path = make(tmp_path / "fade.mp4", fade)
    assert len(decode(path)) > 1
    assert len(decode_both(path)[0]) > 5


def test_a_small_thing_that_moves_is_seen(tmp_path):
    frames = []
    for n in range(50):
        pixels = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        pixels[60:84, 3 * n : 3 * n + 24] = 230
        frames.append(pixels)
    path = make(tmp_path / "a.mp4", frames)
    assert len(decode_both(path)[0]) in (4, 5)
    assert len(decode(path)) == 1


@pytest.mark.parametrize(
    "matrix",
    [
        (1, 0, 0, 1),
        (0, 1, -1, 0),  # a phone held upright
        (-1, 0, 0, -1),
        (0, -1, 1, 0),
        (-1, 0, 0, 1),
        (1, 0, 0, -1),
        (0, 1, 1, 0),
        (0, -1, -1, 0),
    ],
)
def test_phone_videos_are_upright(tmp_path, matrix):
    pixels = np.full((128, 192, 3), 60, np.uint8)
    pixels[:40, :60] = 250  # a bright top left corner
    path = make(tmp_path / "a.mp4", [pixels] * 10)
    data = bytearray(path.read_bytes())
    a, b, c, d = (65536 * value for value in matrix)
    place = data.index(b"tkhd") + 44  # as in ISO/IEC 14496-12
    struct.pack_into(">9i", data, place, a, b, 0, c, d, 0, 0, 0, 2**30)
    path.write_bytes(data)
    [(segment, input_)] = decode(path)
    upright = shown(pixels, matrix)
    assert (segment.height, segment.width) == upright.shape[:2]
    assert np.abs(input_.images[0].astype(int) - upright).mean() < 4


def test_pixels_that_are_not_square(tmp_path):
    path = tmp_path / "dvd.mpg"
    with av.open(path, "w", format="mpeg") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 720, 576, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(64, 45)
        for _ in range(10):
            picture = np.zeros((576, 720, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    [(segment, input_)] = decode(path)
    assert (segment.width, segment.height) == (1024, 576)  # 16 to 9
    height, width, _ = input_.images[0].shape
    assert width / height == pytest.approx(16 / 9, rel=0.1)


def test_a_variable_frame_rate(tmp_path):
    times = [0, 40, 80, 2500, 2540, 6000, 6100, 7250, 9999]
    numbers = [0, 1, 2, 0b11100011100, 3, 0b00011100011, 4, 0b10101010101, 7]
    path = make(tmp_path / "a.mkv", map(frame_of, numbers), form="matroska", times=times)
    segments, _ = decode_both(path)
    assert_whole(segments, 10.0, within=0.15)
    for segment, input_ in segments:
        time = times[numbers.index(number_in(input_.images[0]))] / 1000
        assert segment.start - 0.002 <= time < segment.end
    # the frames that stand for more than a second, whatever comes shortly before them
    assert [number_in(input_.images[0]) for _, input_ in segments] == [2, 3, 4, 0b10101010101]


def test_a_stream_that_starts_late_starts_at_zero(tmp_path):
    times = [5000 + 100 * n for n in range(30)]
    path = make(tmp_path / "a.mkv", [frame_of(n) for n in range(30)], form="matroska", times=times)
    segments, clips = decode_both(path)
    assert_whole(segments, 3.0)
    assert_whole(clips, 3.0)
    assert_times_are_those_of_the_frames([*segments, *clips])


def test_one_frame(tmp_path):
    [(segment, input_)] = decode(make(tmp_path / "a.mp4", [frame_of(77)]))
    assert number_in(input_.images[0]) == 77
    assert (segment.start, segment.end) == (0.0, pytest.approx(0.1, abs=0.01))


class Unseekable(io.RawIOBase):
    """A sink like a pipe: a muxer cannot go back to write lengths and indexes."""

    def __init__(self):
        self.data = bytearray()

    def writable(self):
        return True

    def write(self, data):
        self.data += data
        return len(data)


@pytest.mark.parametrize("seconds", [8, 120])
def test_a_streamed_file_without_length_or_index(tmp_path, seconds):
    sink = Unseekable()
    frames = [frame_of(n) for n in range(seconds * 10)]
    make(sink, frames, form="matroska", keyframe_every=10)
    path = tmp_path / "a.webm"
    path.write_bytes(sink.data)
    with av.open(str(path)) as container:
        assert not container.duration
    segments, _ = decode_both(path)
    assert 0.8 * seconds <= len(segments) <= 1.2 * seconds
    assert_whole(segments, seconds)
    assert_times_are_those_of_the_frames(segments)


def mp4_with_length(path, frames, factor):
    """An mp4 whose three headers all tell a length that is wrong by a factor."""
    make(path, frames)
    data = bytearray(path.read_bytes())
    for name, offset in [(b"mvhd", 20), (b"mdhd", 20), (b"tkhd", 24)]:
        place = data.index(name) + offset
        (length,) = struct.unpack_from(">I", data, place)
        struct.pack_into(">I", data, place, int(length * factor))
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("factor", [0.02, 0.5, 3, 1000])
def test_a_header_that_lies_about_the_length(tmp_path, factor):
    frames = [frame_of(n) for n in range(200)]
    segments, _ = decode_both(mp4_with_length(tmp_path / "a.mp4", frames, factor))
    assert 12 <= len(segments) <= 20
    assert_whole(segments, 20.0)
    assert_times_are_those_of_the_frames(segments)


@pytest.mark.parametrize(("name", "form"), [("a.mkv", "matroska"), ("a.avi", "avi")])
@pytest.mark.parametrize("seconds", [20, 100])
def test_a_truncated_file_gives_what_is_left(tmp_path, name, form, seconds):
    codec = "mpeg4" if form == "avi" else "libx264"
    frames = [frame_of(n) for n in range(seconds * 10)]
    path = make(tmp_path / name, frames, form=form, codec=codec, keyframe_every=5)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    segments, _ = decode_both(path)
    assert seconds * 0.25 < len(segments) <= seconds * 0.7
    assert segments[-1][0].end < seconds * 0.7
    assert_whole(segments, segments[-1][0].end)
    assert_times_are_those_of_the_frames(segments)


def fast_start(path, frames):
    """An mp4 with its index in front, as cameras and sites write them."""
    with av.open(path, "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "5"})
        stream.height, stream.width = frames[0].shape[:2]
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    return path


def test_a_download_that_was_cut_off(tmp_path):
    path = fast_start(tmp_path / "a.mp4", [frame_of(n) for n in range(900)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    segments, _ = decode_both(path)  # the index still tells of 90 seconds
    assert 25 < len(segments) < 60
    assert 30 < segments[-1][0].end < 60
    assert_times_are_those_of_the_frames(segments)


@pytest.mark.parametrize("use", ["decode", "cut"])
def test_frames_gather_no_memory_and_no_threads(tmp_path, use):
    """A 4K frame has 12 MB, and one a moment is taken of up to 381."""
    path = make(tmp_path / "a.mkv", [frame_of(n) for n in range(300)], form="matroska")

    def threads():
        return len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 0

    gc.collect()
    gc.disable()  # which comes seldom, as frames are few objects
    try:
        before, others = threads(), sum(isinstance(o, av.VideoFrame) for o in gc.get_objects())
        if use == "decode":
            assert len(decode(path, VideoMode.BOTH)) > 30
        else:
            write_clip(path, 5.0, 25.0, tmp_path / "clip.mp4")
        held = sum(isinstance(each, av.VideoFrame) for each in gc.get_objects()) - others
        started = threads() - before
    finally:
        gc.enable()
    assert held < 10
    assert started < 10


def test_an_mp4_whose_index_is_lost_is_refused(tmp_path):
    path = make(tmp_path / "a.mp4", [frame_of(n) for n in range(50)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match="not a video"):
        decode(path)


def test_streams_that_begin_late(tmp_path):
    """A broadcast whose sound in 32 languages sets in after the 5 MB that FFmpeg looks ahead."""
    rng = np.random.default_rng(1)
    noise = [rng.integers(0, 256, (240, 320, 3), np.uint8) for _ in range(60)]
    path = tmp_path / "a.mpg"
    with av.open(path, "w", format="mpeg") as container:
        options = {"g": "5", "qmin": "1", "qmax": "1"}  # large
        stream = container.add_stream("mpeg2video", rate=25, options=options)
        stream.height, stream.width, stream.bit_rate = 240, 320, 10**8
        for pixels in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    film = path.read_bytes().removesuffix(b"\0\0\1\xb9")  # the end code
    assert len(film) > 5_000_000
    packet = b"\x80\0\0" + bytes(64)  # ISO/IEC 13818-1, 2.4.3.6: an audio stream without times
    sounds = b"".join(
        b"\0\0\1" + bytes([number]) + struct.pack(">H", len(packet)) + packet
        for number in range(0xC0, 0xE0)
    )
    path.write_bytes(film + sounds + film)
    with av.open(path) as container:
        assert len(container.streams) == 1
    [(segment, _), *_] = decode(path)
    assert segment.start == 0.0
    saved = tmp_path / "clip.mpg"
    write_clip(path, 0.0, 60.0, saved)
    assert decode(saved)


def sound(path, cover=None):
    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100)
        picture = None
        if cover is not None:
            picture = container.add_stream("mjpeg", rate=1)
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic.value
        samples = av.AudioFrame.from_ndarray(
            np.zeros((1, 44100), np.float32), format="fltp", layout="mono"
        )
        samples.sample_rate = 44100
        container.mux(stream.encode(samples))
        container.mux(stream.encode())
        if picture is not None:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(cover, "rgb24")))
            container.mux(picture.encode())
    return path


def test_sound_alone_is_refused(tmp_path):
    with pytest.raises(MediaError, match="no moving pictures in it"):
        decode(sound(tmp_path / "a.mp4"))


def test_sound_with_a_cover_is_refused(tmp_path):
    path = sound(tmp_path / "a.mp4", cover=frame_of(3, (64, 64)))
    with pytest.raises(MediaError, match="no moving pictures in it, only a cover"):
        decode(path)


@pytest.mark.parametrize("content", [b"\0", b"<html>" * 100, bytes(5000), b"RIFF\0\0\0\0AVI "])
def test_what_is_no_video_is_refused(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError, match="not a video|no frame|no moving") as caught:
        decode(path)
    assert str(tmp_path) not in str(caught.value)


def test_a_picture_called_mp4_is_refused(tmp_path):
    path = tmp_path / "a.mp4"
    Image.fromarray(frame_of(1)).save(path, "JPEG")
    with pytest.raises(MediaError, match="not a video"):
        decode(path)


def test_playlists_open_no_other_file(tmp_path):
    real = make(tmp_path / "real.mp4", [frame_of(n) for n in range(20)])
    segment = make(tmp_path / "real.ts", [frame_of(n) for n in range(20)], form="mpegts")
    playlists = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{segment}\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile {real}\n",
        "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" '
        f'type="static"><BaseURL>{real}</BaseURL></MPD>\n',
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    }
    for name, text in playlists.items():
        path = tmp_path / f"{name}.mp4"
        path.write_text(text)
        with pytest.raises(MediaError, match="not a video"):
            decode(path)


def test_frames_are_within_the_budget(tmp_path):
    pixels = np.zeros((1080, 1920, 3), np.uint8)
    [(segment, input_)] = decode(make(tmp_path / "a.mp4", [pixels] * 3))
    height, width, _ = input_.images[0].shape
    assert height * width <= LOW
    assert (height % 32, width % 32) == (0, 0)
    assert (segment.width, segment.height) == (1920, 1080)


def test_damaged_videos_are_decoded_or_refused(tmp_path):
    rng = random.Random(5)
    frames = [frame_of(n) for n in range(60)]
    outcomes = []
    for form, name in [
        ("mp4", "a.mp4"),
        ("matroska", "a.mkv"),
        ("avi", "a.avi"),
        ("mpeg", "a.mpg"),
    ]:
        codec, rate = ("mpeg2video", 25) if form == "mpeg" else ("mpeg4", 10)
        make(tmp_path / name, frames, form=form, codec=codec, rate=rate)
        whole = (tmp_path / name).read_bytes()
        for _ in range(12):
            data = bytearray(whole)
            for _ in range(rng.randint(1, 64)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            (tmp_path / "damaged").write_bytes(data)
            try:
                segments = decode(tmp_path / "damaged")
            except MediaError as error:
                outcomes.append(str(error))
                continue
            assert 1 <= len(segments) <= video.MAX_MOMENTS
            assert segments[0][0].start == 0.0
            outcomes.append(len(segments))
    assert len([outcome for outcome in outcomes if isinstance(outcome, int)]) > 10
