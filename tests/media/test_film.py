"""Films whose containers hold more than one plain stream from 0 on: each as a player shows it."""

from fractions import Fraction

import av
import numpy as np
import pytest
from support.videos import (
    Calls,
    assert_times_are_those_of_the_frames,
    assert_whole,
    decode,
    frame_of,
    make,
    number_in,
)

from qvsearch.media import packets, video
from qvsearch.media.clip_writer import write_clip
from qvsearch.media.frames import Film
from qvsearch.types import Item, Kind, kind_of

RED, GREEN, BLUE = (220, 30, 30), (30, 180, 40), (30, 40, 200)


def plain(colour, seconds, rate=25, size=(176, 144)):
    """Frames of one colour."""
    return [np.full((size[1], size[0], 3), colour, np.uint8)] * round(seconds * rate)


def shown(segments):
    """(start, end, name of the colour) of each moment, in whole seconds."""
    names = ["red", "green", "blue"]
    return [
        (
            round(segment.start),
            round(segment.end),
            names[int(input_.images[0].mean(axis=(0, 1)).argmax())],
        )
        for segment, input_ in segments
    ]


def mux(path, tracks, form="matroska", seconds_of_sound=None, sound_from=0.0):
    """Write tracks of pictures, each (frames, start in s, codec, disposition), and sound."""
    with av.open(str(path), "w", format=form) as container:
        streams = []
        for frames, _, codec, disposition in tracks:
            stream = container.add_stream(codec, rate=10)
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24"}.get(codec, "yuv420p")
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
            stream.disposition = disposition
            streams.append(stream)
        sound = None
        if seconds_of_sound:
            sound = container.add_stream("aac", rate=8000, layout="mono")
        packets = []
        for stream, (frames, start, _, _) in zip(streams, tracks, strict=True):
            for number, pixels in enumerate(frames):
                picture = av.VideoFrame.from_ndarray(pixels, "rgb24")
                picture.pts, picture.time_base = (
                    round(1000 * start + 100 * number),
                    Fraction(1, 1000),
                )
                packets += stream.encode(picture)
            packets += stream.encode(None)
        if sound is not None:
            for number in range(round(seconds_of_sound * 8000 / 1024)):
                samples = av.AudioFrame.from_ndarray(
                    np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
                )
                samples.sample_rate, samples.time_base = 8000, Fraction(1, 8000)
                samples.pts = round(sound_from * 8000) + 1024 * number
                packets += sound.encode(samples)
            packets += sound.encode(None)
        packets = [packet for packet in packets if packet.size]
        container.mux(sorted(packets, key=lambda packet: packet.dts * packet.time_base))
    return path


@pytest.mark.parametrize(
    ("form", "codec"),
    [
        ("mpeg", "mpeg2video"),
        ("mpegts", "mpeg2video"),
        ("mpegts", "libx264"),
        ("matroska", "libx264"),
    ],
)
@pytest.mark.parametrize("every", [15, 500])
def test_time_goes_on_where_files_were_joined(tmp_path, form, codec, every):
    parts = [[*plain(RED, 10), *plain(GREEN, 10)], plain(BLUE, 10)]
    path = tmp_path / "joined.mpg"
    data = b""
    for frames in parts:
        part = make(
            tmp_path / "part", frames, form=form, codec=codec, rate=25, keyframe_every=every
        )
        data += part.read_bytes()
    path.write_bytes(data)
    segments = decode(path)
    assert shown(segments) == [(0, 10, "red"), (10, 20, "green"), (20, 30, "blue")]
    assert_whole(segments, 30.0, within=0.2)
    assert segments[0][0].metadata.duration == pytest.approx(30.0, abs=0.2)


@pytest.mark.parametrize("every", [5, 50])
def test_time_goes_on_in_long_films_that_were_joined(tmp_path, every):
    path = tmp_path / "joined.ts"
    with path.open("wb") as file:
        for colour in (RED, GREEN, BLUE):
            frames = plain(colour, 120, 5)
            part = tmp_path / "part"
            make(part, frames, form="mpegts", rate=5, keyframe_every=every)
            file.write(part.read_bytes())
    segments = decode(path)
    assert shown(segments) == [(0, 120, "red"), (120, 240, "green"), (240, 360, "blue")]


def test_pictures_that_begin_after_the_sound_begin_late(tmp_path):
    frames = [frame_of(n) for n in range(30)]
    track = (frames, 5.0, "libx264", 1)
    path = mux(tmp_path / "a.mkv", [track], seconds_of_sound=10)
    segments = decode(path)
    assert_whole(segments, 10.0, within=0.2)
    for _, input_ in segments:
        assert number_in(input_.images[0]) < 30
    alone = decode(mux(tmp_path / "b.mkv", [track]))
    assert_whole(alone, 3.0)
    assert_times_are_those_of_the_frames(alone)


def test_a_moment_of_pictures_that_begin_late(tmp_path):
    frames = [*plain(RED, 4, 10), *plain(GREEN, 4, 10), *plain(BLUE, 4, 10)]
    path = mux(tmp_path / "a.mkv", [(frames, 5.0, "libx264", 1)], seconds_of_sound=20)
    assert shown(decode(path)) == [(0, 9, "red"), (9, 13, "green"), (13, 20, "blue")]
    saved = tmp_path / "clip.mp4"
    write_clip(path, 9.0, 13.0, saved)
    assert shown(decode(saved)) == [(0, 4, "green")]


@pytest.mark.parametrize("form", ["mp4", "matroska"])
def test_a_frame_is_shown_until_the_next_one_comes(tmp_path, form):
    """Recorders of screens write a frame only if something has changed."""
    path = tmp_path / "film"
    make(path, map(frame_of, range(4)), form=form, times=[0, 4000, 8000, 8100])
    with path.open("rb") as file:
        film = Film(file)
        film.survey()
        times = [0.0, 1.0, 3.9, 4.0, 6.0, 7.99, 8.05, 8.1]
        found = [
            (time, number_in(np.array(film.upright(each)))) for time, each in film.frames_at(times)
        ]
    assert found == list(zip(times, [0, 0, 0, 1, 1, 1, 2, 3], strict=True))


def test_a_picture_with_sound_is_as_long_as_the_sound(tmp_path):
    path = mux(tmp_path / "a.mkv", [([frame_of(7)], 0.0, "libx264", 1)], seconds_of_sound=600)
    [(segment, input_)] = decode(path)
    assert number_in(input_.images[0]) == 7
    assert (segment.start, segment.end) == (0.0, pytest.approx(600, abs=0.3))
    assert segment.metadata.duration == segment.end


@pytest.mark.parametrize(
    "other",
    [
        ([frame_of(0)], "mjpeg", 0),
        ([frame_of(0)], "mjpeg", 1),
        ([frame_of(0)] * 30, "png", 1),
        ([frame_of(0, (64, 48))] * 30, "libx264", 1),
        ([frame_of(0)] * 30, "libx264", 0),
    ],
    ids=["a still", "a still by default", "no film's codec", "a proxy", "no default"],
)
@pytest.mark.parametrize("first", [True, False])
def test_the_stream_that_players_show_is_the_film(tmp_path, other, first):
    frames, codec, disposition = other
    tracks = [(frames, 0.0, codec, disposition), ([frame_of(9)] * 30, 0.0, "libx264", 1)]
    form = "mov" if codec == "png" else "matroska"
    path = mux(tmp_path / "a.mkv", tracks if first else tracks[::-1], form)
    [(segment, input_)] = decode(path)
    assert number_in(input_.images[0]) == 9
    assert segment.end == pytest.approx(3.0, abs=0.11)


def test_of_streams_that_are_alike_the_larger_one_is_the_film(tmp_path):
    tracks = [([frame_of(n, (88 * n, 72 * n))] * 30, 0.0, "libx264", 1) for n in (2, 3)]
    for name, order in (("a.mkv", tracks), ("b.mkv", tracks[::-1])):
        [(segment, _)] = decode(mux(tmp_path / name, order))
        assert (segment.width, segment.height) == (264, 216)


def scene_in_grey(path, before, behind, form="mp4", codec="libx264", keyframe_every=100):
    """Write 3.4 s of a thing that moves, in the midst of grey, without a keyframe of its own."""
    grey = np.full((144, 176, 3), 128, np.uint8)
    scene = []
    for number in range(34):
        pixels = np.full((144, 176, 3), BLUE, np.uint8)
        pixels[40:100, 10 + 3 * number : 50 + 3 * number] = RED
        scene.append(pixels)
    frames = [*[grey] * round(10 * before), *scene, *[grey] * round(10 * behind)]
    return make(path, frames, form=form, codec=codec, keyframe_every=keyframe_every)


@pytest.mark.parametrize(
    ("form", "codec"),
    [
        ("mp4", "libx264"),
        ("matroska", "libx264"),
        ("mpegts", "libx264"),
        ("webm", "libvpx"),
        ("avi", "mpeg4"),
    ],
)
def test_a_short_scene_between_the_keyframes_of_a_long_film_is_a_moment(tmp_path, form, codec):
    path = scene_in_grey(tmp_path / "a.mkv", 103, 211, form, codec)
    segments = decode(path)
    assert [(segment.start, segment.end) for segment, _ in segments] == [
        (0.0, pytest.approx(103.0, abs=0.3)),
        (pytest.approx(103.0, abs=0.3), pytest.approx(106.4, abs=0.3)),
        (pytest.approx(106.4, abs=0.3), pytest.approx(317.4, abs=0.3)),
    ]
    blue = [int(input_.images[0][5, 5].argmax()) == 2 for _, input_ in segments]
    assert blue[1]
    grey = segments[0][1].images[0]
    assert np.abs(grey.astype(int) - 128).max() < 12


def test_what_stays_as_it_is_between_keyframes_is_not_decoded(tmp_path, monkeypatch):
    path = scene_in_grey(tmp_path / "a.mp4", 103, 211)
    calls = Calls(monkeypatch)
    decode(path)
    # the keyframes every 10 s, and the 10 s around the scene, once to look and once to take
    assert calls.decoded < 32 + 2 * 100 + 10


def test_a_film_that_takes_too_long_is_indexed_as_far_as_it_came(tmp_path, monkeypatch):
    frames = [frame_of(n) for n in range(600)]
    path = make(tmp_path / "a.mp4", frames, keyframe_every=1000)
    calls = Calls(monkeypatch)
    monkeypatch.setattr(packets, "monotonic", lambda: calls.decoded)  # a second a packet
    monkeypatch.setattr(video, "patience", lambda _: 500.0)
    segments = decode(path)
    assert 5 < segments[-1][0].end < 40
    assert_whole(segments, segments[-1][0].end)
    assert_times_are_those_of_the_frames(segments)
    assert segments[0][0].metadata.duration == pytest.approx(60.0, abs=0.11)


def test_the_rest_of_a_long_film_that_takes_too_long_is_looked_at_by_keyframe(
    tmp_path, monkeypatch
):
    frames = [frame_of(n) for n in range(1600)]
    path = make(tmp_path / "a.mp4", frames, rate=5, keyframe_every=50)
    calls = Calls(monkeypatch)
    monkeypatch.setattr(packets, "monotonic", lambda: calls.decoded)
    monkeypatch.setattr(video, "patience", lambda _: 2000.0)
    segments = decode(path)
    assert_whole(segments, 320.0, within=0.3)
    assert_times_are_those_of_the_frames(segments, 5)
    assert len([segment for segment, _ in segments if segment.end < 150]) > 30
    assert len([segment for segment, _ in segments if segment.start >= 200]) == 12


def test_a_film_that_is_read_too_slowly_is_looked_at_by_keyframe(tmp_path, monkeypatch):
    path = scene_in_grey(tmp_path / "a.mp4", 103, 211)
    calls = Calls(monkeypatch)
    monkeypatch.setattr(packets, "monotonic", lambda: calls.read)
    monkeypatch.setattr(video, "patience", lambda _: 3000.0)
    segments = decode(path)
    assert_whole(segments, 317.4)
    assert calls.decoded < 50


@pytest.mark.parametrize(
    ("suffix", "form", "codec"),
    [
        ("ts", "mpegts", "libx264"),
        ("mts", "mpegts", "libx264"),
        ("m2ts", "mpegts", "libx264"),
        ("vob", "vob", "mpeg2video"),
        ("m2v", "mpeg2video", "mpeg2video"),
        ("mpv", "mpeg2video", "mpeg2video"),
        ("flv", "flv", "flv"),
        ("f4v", "f4v", "libx264"),
        ("ogv", "ogg", "libtheora"),
        ("3g2", "3g2", "libx264"),
        ("mxf", "mxf", "mpeg2video"),
        ("asf", "asf", "wmv2"),
        ("divx", "avi", "mpeg4"),
    ],
)
def test_films_of_cameras_discs_and_broadcasts(tmp_path, suffix, form, codec):
    assert kind_of(f"a.{suffix}".encode()) is Kind.VIDEO
    frames = [*plain(RED, 4), *plain(GREEN, 4), *plain(BLUE, 4)]
    path = tmp_path / f"a.{suffix}"
    try:
        make(path, frames, form=form, codec=codec, rate=25, keyframe_every=15)
    except (av.error.FFmpegError, ValueError) as error:
        pytest.skip(f"this build of PyAV cannot write it: {error}")
    assert shown(decode(path)) == [(0, 4, "red"), (4, 8, "green"), (8, 12, "blue")]


def differs(path, since=1):
    status = path.stat()
    item = Item(bytes(path), b"", Kind.VIDEO, status.st_size, status.st_mtime_ns)
    with path.open("rb") as file:
        return video.reads_otherwise(file, item, since)


def test_only_films_that_are_seen_otherwise_are_read_again(tmp_path):
    red, blue = plain(RED, 3, 10), plain(BLUE, 3, 10)
    one, still = (red, 0.0, "libx264", 1), ([frame_of(0)], 0.0, "mjpeg", 0)
    joined = tmp_path / "joined.mpg"
    for part in (red, blue):
        made = make(tmp_path / "part", part, form="mpeg", codec="mpeg2video", rate=25)
        with joined.open("ab") as file:
            file.write(made.read_bytes())
    seen_otherwise = [
        joined,
        mux(tmp_path / "late.mkv", [(red, 5.0, "libx264", 1)], seconds_of_sound=8),
        mux(tmp_path / "sound.mkv", [one], seconds_of_sound=30),
        mux(tmp_path / "sound.mp4", [one], form="mp4", seconds_of_sound=30),
        mux(tmp_path / "second.mkv", [still, one]),
        scene_in_grey(tmp_path / "long.mp4", 103, 211),
    ]
    alike = [
        tmp_path / "part",
        mux(tmp_path / "with sound.mkv", [one], seconds_of_sound=3),
        mux(tmp_path / "with sound.mp4", [one], form="mp4", seconds_of_sound=3),
        mux(tmp_path / "first.mkv", [one, still]),
        make(tmp_path / "still.mp4", plain(RED, 400, 5), rate=5, keyframe_every=50),
        make(tmp_path / "near.mp4", [frame_of(n) for n in range(620)], rate=2, keyframe_every=4),
    ]
    (tmp_path / "damaged.mp4").write_bytes(b"no film")
    assert [path.name for path in seen_otherwise if not differs(path)] == []
    assert [path.name for path in [*alike, tmp_path / "damaged.mp4"] if differs(path)] == []
    assert [path.name for path in seen_otherwise if differs(path, since=2)] == []
