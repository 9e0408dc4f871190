"""A saved clip shows what the video shows there: its frames bear numbers, its sound a pitch."""

import math
import os
import re
import sys
import tempfile
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from support.acting import cutting
from support.videos import FAST, HEIGHT, WIDTH, frame_of, make, number_in

from qvsearch.errors import QvsearchError
from qvsearch.media import clip_writer as cut
from qvsearch.media import sandbox
from qvsearch.media.clip_writer import end_at, write_clip
from qvsearch.media.clips import Clip, ClipFolder, patience
from qvsearch.media.frames import Film
from qvsearch.media.packets import choose_stream, open_container
from qvsearch.media.sandbox import ConfinedProcess

RATE = 10


@pytest.fixture
def own_process(monkeypatch):
    """For tests that prove something about the process: it is a new one."""
    monkeypatch.setattr(sandbox, "ConfinedProcess", ConfinedProcess)


def save_clip(source, start, end, folder):
    with ClipFolder(folder) as clips:
        return clips.save(source, start, end).path


def numbers(path):
    """The time in seconds and the number of each frame that a player would show."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        start = (stream.start_time or 0) * stream.time_base
        return [
            (
                float(frame.pts * stream.time_base - start),
                number_in(frame.to_ndarray(format="rgb24")),
            )
            for frame in container.decode(stream)
        ]


def codec_and_length(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.codec_context.name, container.duration / av.time_base


@cache
def numbered(*, form, codec, count, keyframe_every):
    with tempfile.TemporaryDirectory() as folder:
        path, frames = Path(folder, "film"), map(frame_of, range(count))
        make(path, frames, form=form, codec=codec, rate=RATE, keyframe_every=keyframe_every)
        return path.read_bytes()


def write_numbered(path, count=300, keyframe_every=10, form="mp4", codec="libx264"):
    path.write_bytes(numbered(form=form, codec=codec, count=count, keyframe_every=keyframe_every))
    return path


@pytest.mark.parametrize(
    ("name", "form", "codec", "suffix"),
    [
        ("a.mp4", "mp4", "libx264", ".mp4"),
        ("a.mov", "mov", "libx264", ".mp4"),
        ("a.mkv", "matroska", "libx264", ".mp4"),
        ("a.webm", "webm", "libvpx", ".webm"),
        ("a.avi", "avi", "mjpeg", ".avi"),
        ("a.avi", "avi", "mpeg4", ".mp4"),
        ("a.ts.mpg", "mpegts", "libx264", ".mp4"),
        ("a.wmv", "asf", "wmv2", ".wmv"),
    ],
)
def test_a_clip_begins_at_the_keyframe_before_and_is_whole(tmp_path, name, form, codec, suffix):
    source = write_numbered(tmp_path / name, 120, form=form, codec=codec)
    path = save_clip(os.fsencode(source), 4.6, 7.9, tmp_path / "out")
    assert path.suffix == suffix
    shown = numbers(path)
    first = shown[0][1]
    assert 36 <= first <= 46
    for time, number in shown:
        assert number / RATE - first / RATE == pytest.approx(time, abs=0.06)
    assert shown[-1][1] == 78
    assert [number for _, number in shown] == list(range(first, shown[-1][1] + 1))


def test_what_is_near_a_keyframe_is_copied_bit_by_bit(tmp_path):
    source = write_numbered(tmp_path / "a.mp4", 120)

    def packets(path, start, end):
        with av.open(str(path)) as container:
            [stream] = container.streams.video
            listed = [
                (float(p.pts * stream.time_base), bytes(p))
                for p in container.demux(stream)
                if p.size
            ]
        return [data for time, data in listed if start <= time < end]

    path = save_clip(os.fsencode(source), 3.0, 6.0, tmp_path)
    assert packets(path, -1, 99) == packets(source, 3.0, 6.0)
    assert numbers(path)[0] == (0.0, 30)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.mp4", "mp4"),
        ("a.mov", "mov"),
        ("a.mkv", "matroska"),
        ("a.avi", "avi"),
        ("a.mpg", "mpegts"),
    ],
)
@pytest.mark.parametrize("start", [5.0, 5.4, 7.95])
def test_pictures_that_are_decoded_before_they_are_shown_stay_in_their_order(
    tmp_path, name, form, start
):
    source = tmp_path / name
    options = {"g": "10", "bf": "3", "sc_threshold": "0", "preset": "veryfast"}
    with av.open(source, "w", format=form) as container:
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(120):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_of(number), "rgb24")))
        container.mux(stream.encode())
    shown = numbers(save_clip(os.fsencode(source), start, start + 2, tmp_path / "out"))
    first = shown[0][1]
    assert start * RATE - 11 <= first <= start * RATE
    late = 2 if form == "avi" else 0  # frames: its times are those of decoding
    end = math.ceil((start + 2) * RATE)
    assert [number for _, number in shown] in (
        list(range(first, end)),
        list(range(first, end - late)),
    )


def test_more_frames_than_a_clip_can_time_are_thinned_out(tmp_path):
    source = make(tmp_path / "a.mp4", map(frame_of, range(2040)), rate=2000, keyframe_every=5000)
    shown = numbers(save_clip(os.fsencode(source), 1.005, 1.015, tmp_path / "out"))
    assert 9 <= len(shown) <= 11
    assert all(number / 2000 - 1.005 == pytest.approx(time, abs=0.002) for time, number in shown)


def test_what_is_far_from_a_keyframe_is_encoded_from_the_very_frame(tmp_path):
    source = write_numbered(tmp_path / "a.mp4", keyframe_every=250)
    path = save_clip(os.fsencode(source), 12.3, 15.0, tmp_path / "out")
    shown = numbers(path)
    assert [number for _, number in shown] == list(range(123, 150))
    for time, number in shown:
        assert time == pytest.approx((number - 123) / RATE, abs=0.002)
    codec, length = codec_and_length(path)
    assert (codec, path.suffix) == ("h264", ".mp4")
    assert length == pytest.approx(2.7, abs=0.15)


def test_without_libx264_there_is_mpeg4(tmp_path, monkeypatch):
    source = write_numbered(tmp_path / "a.mp4", 100, keyframe_every=250)
    monkeypatch.setattr(cut, "can_encode", lambda name: name != "libx264")
    path = tmp_path / "clip.mp4"
    assert write_clip(source, 5.0, 8.0, path) == (".mp4", None)
    assert codec_and_length(path)[0] == "mpeg4"
    assert [number for _, number in numbers(path)] == list(range(50, 80))


def test_a_picture_that_stands_fills_its_clip(tmp_path):
    times = [0, 100, 20_000]
    frames = [frame_of(n) for n in range(3)]
    source = make(tmp_path / "a.mkv", frames, form="matroska", times=times)
    path = save_clip(os.fsencode(source), 8.0, 13.0, tmp_path / "out")
    assert {number for _, number in numbers(path)} == {1}
    assert codec_and_length(path)[1] == pytest.approx(5.0, abs=0.1)


def with_sound(path, seconds=20, keyframe_every=10):
    """Numbered frames, and a tone that is as many times 100 Hz as the second it is in."""
    with av.open(str(path), "w") as container:
        options = {"g": str(keyframe_every), "preset": "ultrafast"}
        pictures = container.add_stream("libx264", rate=RATE, options=options)
        pictures.width, pictures.height = WIDTH, HEIGHT
        sound = container.add_stream("aac", rate=44100)
        for number in range(seconds * RATE):
            picture = av.VideoFrame.from_ndarray(frame_of(number), "rgb24")
            container.mux(pictures.encode(picture))
        for second in range(seconds):
            wave = np.sin(2 * np.pi * 100 * (second + 1) * np.arange(44100) / 44100)
            samples = av.AudioFrame.from_ndarray(
                (0.5 * wave[None]).astype(np.float32), format="fltp", layout="mono"
            )
            samples.sample_rate, samples.pts = 44100, second * 44100
            samples.time_base = Fraction(1, 44100)
            container.mux(sound.encode(samples))
        container.mux(pictures.encode())
        container.mux(sound.encode())
    return path


def pitch(path, second):
    """The frequency heard in the middle of a second, in Hz."""
    with av.open(str(path)) as container:
        heard = {}
        for frame in container.decode(audio=0):
            at = round(frame.time * 44100)
            heard |= dict(enumerate(frame.to_ndarray()[0].tolist(), at))
    middle = [
        heard.get(at, 0.0)
        for at in range(int((second + 0.25) * 44100), int((second + 0.75) * 44100))
    ]
    return np.argmax(np.abs(np.fft.rfft(middle))) * 44100 / len(middle)


def with_other_sound(path, codec, rate=44100, form=None, pictures="libx264", options=None):
    """Numbered frames, B-frames among them, with a tone as in `with_sound`, in any codec."""
    with av.open(str(path), "w", format=form) as container:
        options = FAST.get(pictures, {}) | (options or {"g": "12", "bf": "2"})
        seen = container.add_stream(pictures, rate=25, options=options)
        seen.width, seen.height, seen.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        heard = container.add_stream(codec, rate=rate, layout="mono")
        if codec in {"mp2", "wmav2"}:
            heard.codec_context.bit_rate = 64_000
        for second in range(12):
            for number in range(25):
                picture = av.VideoFrame.from_ndarray(frame_of(second * 25 + number), "rgb24")
                container.mux(seen.encode(picture))
            wave = np.sin(2 * np.pi * 100 * (second + 1) * np.arange(rate) / rate)
            samples = av.AudioFrame.from_ndarray(
                (16000 * wave[None]).astype(np.int16), format="s16", layout="mono"
            )
            samples.sample_rate, samples.pts = rate, second * rate
            samples.time_base = Fraction(1, rate)
            container.mux(heard.encode(samples))
        container.mux(seen.encode())
        container.mux(heard.encode())
    return path


DVD = {"codec": "ac3", "rate": 48000, "form": "vob", "pictures": "mpeg2video"}


@pytest.mark.parametrize(
    ("name", "sound", "keyframe_every", "kept"),
    [
        ("a.mpg", DVD, 12, "ac3"),
        ("a.mpg", {**DVD, "codec": "mp2"}, 12, "mp2"),
        ("a.mpg", {**DVD, "form": "mpegts"}, 12, "ac3"),
        ("a.mpg", DVD, 250, "ac3"),
        ("a.mp4", {"codec": "mp3"}, 12, "mp3"),
        ("a.wmv", {"codec": "wmav2"}, 12, "aac"),
        ("a.wmv", {"codec": "wmav2"}, 250, "aac"),
        ("a.avi", {"codec": "adpcm_ms"}, 12, "aac"),
        ("a.mov", {"codec": "pcm_s16le"}, 12, "aac"),
        ("a.mov", {"codec": "pcm_s16be", "rate": 22254}, 12, "aac"),  # AAC lacks this rate
        ("a.3gp", {"codec": "libopencore_amrnb", "rate": 8000}, 12, "aac"),
        ("a.3gp", {"codec": "libopencore_amrnb", "rate": 8000, "pictures": "h263"}, 12, "amr_nb"),
    ],
)
def test_sound_of_any_codec_is_kept_and_ends_with_the_pictures(
    tmp_path, name, sound, keyframe_every, kept
):
    options = {"g": str(keyframe_every), "bf": "0" if "h263" in sound.values() else "2"}
    source = with_other_sound(tmp_path / name, **sound, options=options)
    with ClipFolder(tmp_path / "out") as clips:
        clip = clips.save(os.fsencode(source), 6.1, 10.0)
    assert clip.lost is None
    with av.open(str(clip.path)) as container:
        [heard], [seen] = container.streams.audio, container.streams.video
        codec = heard.codec_context.codec.canonical_name
        first = min(heard.start_time * heard.time_base, seen.start_time * seen.time_base)
        ends = {stream: 0.0 for stream in (heard, seen)}
        for frame in (f for packet in container.demux(heard, seen) for f in packet.decode()):
            length = 0.04 if isinstance(frame, av.VideoFrame) else frame.samples / frame.sample_rate
            stream = seen if isinstance(frame, av.VideoFrame) else heard
            ends[stream] = max(ends[stream], frame.time + length - float(first))
    assert codec == kept
    assert 3.8 < ends[seen] < 4.9
    assert ends[heard] == pytest.approx(ends[seen], abs=0.15)


@pytest.mark.parametrize("keyframe_every", [12, 250])
def test_a_clip_without_its_sound_is_told_from_others(tmp_path, keyframe_every):
    options = {"g": str(keyframe_every), "bf": "0"}
    source = with_other_sound(tmp_path / "a.avi", "adpcm_yamaha", options=options)
    with ClipFolder(tmp_path / "out") as clips:
        clip = clips.save(os.fsencode(source), 6.1, 10.0)
    assert clip.lost == "its codec, adpcm_yamaha, is not supported"
    assert numbers(clip.path)[-1][1] in (248, 249)  # AVI numbers frames as decoded


@pytest.mark.parametrize("keyframe_every", [12, 250])
def test_clips_of_recordings_that_were_joined_are_those_of_their_time(tmp_path, keyframe_every):
    options = {"g": str(keyframe_every), "bf": "0"}
    one = with_other_sound(tmp_path / "one.mpg", **DVD, options=options)
    joined = tmp_path / "joined.mpg"
    joined.write_bytes(one.read_bytes() * 2)
    for start in (4.0, 16.0):  # each has sound of its own second
        path = save_clip(os.fsencode(joined), start, start + 3, tmp_path / "out")
        first = numbers(path)[0][1] / 25
        assert start % 12 - 1 <= first <= start % 12
        with av.open(str(path)) as container:
            heard = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
        wave = np.concatenate(heard)[48000 // 4 : 48000 // 2]
        tone = np.argmax(np.abs(np.fft.rfft(wave))) * 48000 / len(wave)
        assert tone == pytest.approx(100 * (int(first + 0.3) + 1), abs=60)


def test_of_a_joined_recording_only_the_sound_near_the_keyframe_is_held(tmp_path):
    one = with_other_sound(tmp_path / "one.mpg", **DVD, options={"g": "12", "bf": "0"})
    joined = tmp_path / "joined.mpg"
    joined.write_bytes(one.read_bytes() * 2)
    with joined.open("rb") as file, joined.open("rb") as again, open_container(again) as opened:
        film = Film(file)
        film.find_restarts()
        assert film.restarts
        pictures, sound = choose_stream(opened), opened.streams.best("audio")
        wanted = cut._begin(opened, pictures) + 20
        packets = cut._packets(film, opened, [pictures, sound], None)
        ahead, zero = cut._from_keyframe(packets, pictures, wanted)
    assert wanted - 0.5 <= zero <= wanted
    heard = [cut._time(packet) for packet in ahead if packet.stream is sound]
    assert zero - 1 <= min(heard) < zero


def test_a_file_without_a_head_of_its_film_is_left_as_it_is(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\0\0\0\x08ftyp\0\0\0\x10mdatpictures")
    before = path.read_bytes()
    end_at(path, 1.0)
    assert path.read_bytes() == before


@pytest.mark.parametrize("keyframe_every", [10, 500])
def test_sound_stays_with_its_picture(tmp_path, keyframe_every):
    source = with_sound(tmp_path / "a.mp4", keyframe_every=keyframe_every)
    path = save_clip(os.fsencode(source), 12.0, 16.0, tmp_path / "out")
    assert numbers(path)[0] == (0.0, 120)
    assert [pitch(path, second) for second in range(4)] == pytest.approx(
        [1300, 1400, 1500, 1600], abs=10
    )


def test_a_phones_video_stays_upright(tmp_path):
    from support.videos import decode

    source = write_numbered(tmp_path / "a.mp4", 60, keyframe_every=10)
    data = bytearray(source.read_bytes())
    place = data.index(b"tkhd") + 44
    turned = [0, 65536, 0, -65536, 0, 0, 0, 0, 2**30]
    data[place : place + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in turned)
    source.write_bytes(data)
    for start, end in [(2.0, 4.0), (2.5, 4.0)]:
        path = save_clip(os.fsencode(source), start, end, tmp_path / "out")
        for segment, _ in decode(path):
            assert (segment.width, segment.height) == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"clip.mp4", "clip"),
        (b"a/../-rf.mp4", "rf"),
        (b"..mp4", "clip"),
        (b"\x1b]0;title\x07\n.mp4", "_]0;title__"),
        ("a\u202eb\u200bc.mp4".encode(), "a_b_c"),
        (b"\xff\xfe.mp4", "__"),
        ("\u6d77\u8fb9.mp4".encode(), "\u6d77\u8fb9"),
        ("\u6d77".encode() * 80 + b".mp4", "\u6d77" * 33),
    ],
)
def test_names_are_harmless(tmp_path, name, expected):
    folder = tmp_path / "in"
    (folder / "a").mkdir(parents=True)
    source = os.path.join(os.fsencode(folder), name)
    os.rename(write_numbered(tmp_path / "x.mp4", 30), source)
    path = save_clip(source, 1.0, 2.0, tmp_path / "out")
    assert path.parent == tmp_path / "out"
    assert re.fullmatch(re.escape(expected) + r" 0m01\.0s-0m02\.0s [0-9a-f]{6}\.mp4", path.name)


def test_a_clip_that_is_there_is_not_written_again(tmp_path):
    source = write_numbered(tmp_path / "a.mp4", 60)
    out = tmp_path / "out"
    with ClipFolder(out) as clips:
        first = clips.save(os.fsencode(source), 1.0, 2.0)
        first.path.write_bytes(b"as it was")
        moved = source.rename(tmp_path / "b.mp4").rename(source)
        again = clips.save(os.fsencode(moved), 1.0, 2.0)
        assert (first.is_new, again) == (True, Clip(first.path, is_new=False))
        assert first.path.read_bytes() == b"as it was"
        write_numbered(source, 61)  # another film of that name
        other = clips.save(os.fsencode(source), 1.0, 2.0)
    assert other.is_new
    assert sorted(out.iterdir()) == sorted([first.path, other.path])


def refused(source, match, folder, start=1.0, end=2.0):
    with pytest.raises(QvsearchError, match=match) as caught:
        save_clip(os.fsencode(source), start, end, folder)
    assert "\n" not in str(caught.value)
    assert not folder.is_dir() or not list(folder.iterdir())


def test_what_cannot_be_cut_is_said_and_leaves_nothing(tmp_path):
    out = tmp_path / "out"
    refused(tmp_path / "gone.mp4", r"gone\.mp4 cannot be cut: it is no longer there", out)
    refused(tmp_path, "cannot be cut: it is no longer there", out)
    nonsense = tmp_path / "nonsense.mp4"
    nonsense.write_bytes(b"<html>" * 100)
    refused(nonsense, r"nonsense\.mp4 cannot be cut: invalid data", out)
    source = write_numbered(tmp_path / "a.mp4", 30)
    refused(source, "cannot be cut: it shows nothing from 50.0 s to 60.0 s", out, 50.0, 60.0)
    not_a_folder = tmp_path / "file"
    not_a_folder.write_text("")
    refused(source, r"file: file exists", not_a_folder)
    refused(source, r"file.*: not a directory", not_a_folder / "out")


def test_a_file_that_was_cut_off_gives_what_is_left(tmp_path):
    source = write_numbered(tmp_path / "a.mkv", 300, form="matroska")
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    path = save_clip(os.fsencode(source), 10.0, 200.0, tmp_path / "out")
    shown = numbers(path)
    assert shown[0] == (0.0, 100)
    assert 110 < shown[-1][1] < 200


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("hang", "took longer than 0.3 s"),
        ("segfault", "the decoder crashed (SIGSEGV)"),
        ("escape", "the decoder crashed (SIGKILL)"),  # it has been taken over, and is ended
        ("bad", "truncated image"),
        ("nothing", "nothing was written"),
        ("empty", "nothing was written"),
        ("link", "nothing was written"),
    ],
)
@pytest.mark.faults
@pytest.mark.usefixtures("own_process")
def test_a_film_that_takes_its_process_along_costs_its_own_clip(tmp_path, name, reason):
    for stem in ("before", name, "after"):
        (tmp_path / f"{stem}.mp4").touch()
    out = tmp_path / "clips" / "of" / "mine"
    with ClipFolder(out, cutting, lambda start, _: 0.3 if start else 60.0) as clips:
        before = clips.save(os.fsencode(tmp_path / "before.mp4"), 0.0, 1.0).path
        with pytest.raises(QvsearchError) as caught:
            clips.save(os.fsencode(tmp_path / f"{name}.mp4"), float(name == "hang"), 2.0)
        after = clips.save(os.fsencode(tmp_path / "after.mp4"), 0.0, 1.0).path
    assert str(caught.value) == f"{tmp_path}/{name}.mp4 cannot be cut: {reason}"
    assert sorted(out.iterdir()) == sorted([before, after])
    assert sorted(path.suffix for path in tmp_path.rglob("*.mp4")) == [".mp4"] * 5


@pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine not in sandbox.FORBIDDEN,
    reason="only Linux lets a process give these up",
)
@pytest.mark.usefixtures("own_process")
def test_a_film_that_is_cut_reaches_no_network_and_starts_no_program(tmp_path, monkeypatch):
    monkeypatch.setenv("PORT", "9")
    with ClipFolder(tmp_path / "out", cutting) as clips:
        for name in ("connect", "program"):
            (tmp_path / f"{name}.mp4").touch()
            with pytest.raises(QvsearchError, match="Operation not permitted"):
                clips.save(os.fsencode(tmp_path / f"{name}.mp4"), 0.0, 1.0)


def test_patience_grows_with_the_moment():
    assert patience(0.0, 0.0) == 120
    assert patience(10.0, 70.0) == 730
