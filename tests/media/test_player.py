"""Moments of videos as browsers play them."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from support.images import item_of
from support.videos import frame_of, make, number_in

from qvsearch.files import content_hash
from qvsearch.media.player import LONGEST, Player
from qvsearch.types import Kind, Segment, Skipped


@pytest.fixture(scope="module")
def player(tmp_path_factory):
    with Player(1, tmp_path_factory.mktemp("moments")) as player:
        yield player


def segment_of(path):
    item = item_of(path, Kind.VIDEO)
    return Segment(item, content_hash(item.location, item.size))


def probed(path):
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        sound = container.streams.best("audio")
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video)]
        name = None if sound is None else sound.codec_context.codec.canonical_name
        return container.format.name, video.codec_context.name, name, frames


@pytest.mark.parametrize(
    ("name", "form", "codec"),
    [
        ("a.mp4", "mp4", "libx264"),
        ("a.mov", "mov", "libx264"),
        ("a.webm", "webm", "libvpx-vp9"),
    ],
)
def test_what_browsers_play_is_not_made_anew(player, tmp_path, name, form, codec):
    path = make(tmp_path / name, map(frame_of, range(20)), form=form, codec=codec)
    assert player.moment(segment_of(path), 0, 1) is None


@pytest.mark.parametrize(
    ("name", "form", "codec"),
    [
        ("a.mkv", "matroska", "libx264"),
        ("a.mp4", "mp4", "mpeg4"),
        ("a.avi", "avi", "mjpeg"),
        ("a.ts", "mpegts", "libx264"),
        ("b.mp4", "matroska", "libx264"),  # a suffix that lies
        ("a.mpg", "vob", "mpeg2video"),
    ],
)
def test_all_else_becomes_what_they_play(player, tmp_path, name, form, codec):
    rate = 25 if codec == "mpeg2video" else 10
    path = make(tmp_path / name, map(frame_of, range(60)), form=form, codec=codec,
                keyframe_every=10, rate=rate)  # fmt: skip
    made = player.moment(segment_of(path), 2.0, 2.4 if rate == 25 else 4.0)
    assert isinstance(made, Path), made
    form, codec, _, frames = probed(made)
    assert form.startswith("mov,mp4")
    assert codec == "h264"
    expected = 2 * rate
    assert abs(number_in(frames[0]) - expected) <= rate, "from the keyframe before on"
    assert abs(number_in(frames[-1]) - (60 if rate == 25 else 39)) <= 2


def test_sound_that_they_do_not_play_is_encoded(player, tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w", format="matroska") as container:
        video = container.add_stream("libx264", rate=10, options={"g": "10"})
        video.width, video.height, video.pix_fmt = 176, 144, "yuv420p"
        sound = container.add_stream("ac3", rate=48_000)
        sound.codec_context.layout = "stereo"
        for number in range(30):
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame_of(number), "rgb24")))
            for part in range(3):
                frame = av.AudioFrame.from_ndarray(
                    np.zeros((2, 1600), np.float32), "fltp", "stereo"
                )
                frame.sample_rate, frame.pts = 48_000, (number * 3 + part) * 1600
                frame.time_base = Fraction(1, 48_000)
                container.mux(sound.encode(frame))
        container.mux(video.encode())
        container.mux(sound.encode())
    made = player.moment(segment_of(path), 1.0, 2.0)
    assert isinstance(made, Path), made
    assert probed(made)[:3] == ("mov,mp4,m4a,3gp,3g2,mj2", "h264", "aac")


def test_large_pictures_become_smaller(player, tmp_path):
    frames = [frame_of(number, (1980, 1080)) for number in range(2)]
    path = make(tmp_path / "a.avi", frames, form="avi", codec="mjpeg")
    made = player.moment(segment_of(path), 0.0, 0.2)
    assert probed(made)[3][0].shape == (698, 1280, 3)


def test_a_moment_is_made_once_and_bounded(player, tmp_path):
    path = make(tmp_path / "a.mkv", map(frame_of, range(40)), form="matroska", rate=1)
    segment = segment_of(path)
    made = player.moment(segment, 0.0, 20.0)
    before = made.stat().st_ino
    assert player.moment(segment, 0.0, 20.0).stat().st_ino == before
    assert player.moment(segment, 0.0, LONGEST) == player.moment(segment, 0.0, 1e6)


def test_what_cannot_be_played_has_a_reason(player, tmp_path):
    path = make(tmp_path / "a.mkv", map(frame_of, range(10)), form="matroska")
    segment = segment_of(path)
    late = player.moment(segment, 500.0, 501.0)
    assert isinstance(late, Skipped)
    path.write_bytes(b"\x1a\x45\xdf\xa3" + bytes(5000))
    assert isinstance(player.moment(segment_of(path), 0, 1), Skipped)
    assert isinstance(player.moment(segment, 1, 2), Skipped), "it has changed"
    folder = tmp_path / "not a folder"
    folder.touch()
    path = make(tmp_path / "b.mkv", map(frame_of, range(10)), form="matroska")
    with Player(1, folder) as other:
        assert "cannot be written" in other.moment(segment_of(path), 0, 1).reason
