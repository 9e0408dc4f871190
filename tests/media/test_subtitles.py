"""Subtitles are lines of the film, at their times, whatever they are stored in."""

import io
import math
import random
from fractions import Fraction

import av
import numpy as np
import pytest
from support.damage import mutated
from support.hostile_videos import film

from qvsearch.errors import MediaError
from qvsearch.media import subtitles
from qvsearch.media.encoding import to_text
from qvsearch.media.packets import DAMAGE, open_container
from qvsearch.media.workers import Decoders
from qvsearch.types import DecodeOptions, Item, Kind, Skipped

SRT = """1
00:00:00,500 --> 00:00:01,000
<i>Hello</i> there,
{\\an8}old friend

2
00:00:02,250 --> 00:00:03,000
Grüße
3
00:00:04,000 --> 00:00:05,000
after a missing blank line
"""
VTT = """WEBVTT

NOTE not spoken

STYLE
::cue { color: red }

intro
00:01.500 --> 00:02.000 align:start position:0%
<v Ada>Tea &amp; cake</v>

01:00:00.000 --> 01:00:01.000
an hour later
"""
ASS = """[Script Info]
Title: not spoken
[Events]
Format: Start, End, Style, Text
Dialogue: 0:00:01.50,0:00:02.00,Default,{\\b1}Bold{\\b0} words,\\Nwith a comma
Dialogue: 0:00:02.00,0:00:03.00,Default,{\\p1}m 0 0 l 100 0 100 100{\\p0}
Comment: 0:00:02.00,0:00:03.00,Default,not shown
"""


def read(text, suffix=b".srt"):
    return [tuple(line) for line in subtitles.lines(text, suffix)]


def test_subrip():
    assert read(SRT) == [
        (0.5, "Hello there,"),
        (0.5, "old friend"),
        (2.25, "Grüße"),
        (4.0, "after a missing blank line"),
    ]


def test_webvtt():
    assert read(VTT, b".vtt") == [(1.5, "Tea & cake"), (3600.0, "an hour later")]


def test_substation_alpha_has_its_own_columns_and_no_drawings():
    assert read(ASS, b".ass") == [(1.5, "Bold words, with a comma")]


def test_captions_that_roll_up_are_said_once():
    rolling = "".join(
        f"00:0{at}.000 --> 00:0{at + 1}.000\n{above}\n{below}\n\n"
        for at, (above, below) in enumerate([("one", "two"), ("two", "three"), ("three", "four")])
    )
    assert [text for _, text in read("WEBVTT\n\n" + rolling, b".vtt")] == [
        *("one", "two", "three", "four")
    ]


@pytest.mark.parametrize(
    ("name", "belongs"),
    [
        (b"film.srt", True),
        (b"FILM.SRT", True),
        (b"film.en.vtt", True),
        (b"film.pt-BR.forced.ass", True),
        (b"film 2.srt", False),
        (b"film.director's cut, the long one.srt", False),
        (b"film.a.b.c.srt", False),
        (b"film.txt", False),
        (b"other.srt", False),
    ],
)
def test_files_of_the_same_name_belong_to_a_film(name, belongs):
    assert (subtitles.belongs(name, [b"film.mp4"]) is not None) is belongs


HOSTILE_TIMES = """-00:00:05,000 --> 00:00:01,000
before the film

99:00:00,000 --> 99:00:01,000
long after it

00:00:02,000 --> 00:00:01,000
ends before it begins

00:00:01,000 --> 00:00:09,000
out of order

00:99:00,000 -->
seconds that are none

9999999:00:00,000 --> 1
too many digits
"""


def test_odd_times_are_put_right_or_left_out():
    spoken = sorted(subtitles.lines(HOSTILE_TIMES, b".srt"))
    assert subtitles.spoken_between(spoken, 0.0, 3.0) == (
        "0.000\tbefore the film\n1.000\tout of order\n2.000\tends before it begins"
    )
    assert subtitles.spoken_between(spoken, 1.5, 1.9) is None


def test_each_line_is_in_one_moment_only():
    spoken = [subtitles.Line(float(number), f"line {number}") for number in range(100)]
    parts = [subtitles.spoken_between(spoken, at, at + 12.5) for at in np.arange(0, 100, 12.5)]
    rows = "\n".join(parts).splitlines()
    assert rows == [f"{number}.000\tline {number}" for number in range(100)]


def test_bombs_are_cut(tmp_path):
    million = tmp_path / "film.srt"
    million.write_text("".join(f"00:00:01,000 --> 2\ncue {n}\n\n" for n in range(1_000_000)))
    (tmp_path / "film.en.srt").write_text("00:00:02,000 --> 3\n" + "x" * 10_000_000)
    with (tmp_path / "film.de.srt").open("wb") as file:
        file.write(b"00:00:03,000 --> 4\nbegin\n\n")
        file.truncate(100 * 2**20)
    spoken = sorted(subtitles.beside(bytes(tmp_path / "film.mp4")))
    assert 100_000 < len(spoken) <= 100_002
    assert max(len(line.text) for line in spoken) == subtitles.LONGEST_LINE
    words = subtitles.spoken_between(spoken, 0.0, 10.0)
    assert len(words) == subtitles.LONGEST_MOMENT


def test_binary_files_and_folders_of_that_name_have_no_lines(tmp_path):
    (tmp_path / "film.srt").write_bytes(bytes(range(256)) * 100)
    (tmp_path / "film.vtt").mkdir()
    (tmp_path / "film.ass").symlink_to("nowhere")
    assert subtitles.beside(bytes(tmp_path / "film.mp4")) == []


def test_older_encodings_are_guessed(tmp_path):
    cue = "00:00:01,000 --> 00:00:02,000\n"
    text = cue + "Я вернусь домой завтра утром, обещаю тебе это.\n" * 3
    (tmp_path / "film.ru.srt").write_bytes(text.encode("cp1251"))
    [line] = subtitles.beside(bytes(tmp_path / "film.mp4"))
    assert line == (1.0, "Я вернусь домой завтра утром, обещаю тебе это.")


def damaged_files(count):
    """Read files that are damaged by a seed; their lines must be sound."""
    seeds = [SRT.encode(), VTT.encode(), ASS.encode(), SRT.encode("utf-16")]
    read = 0
    for number in range(count):
        data = bytes(mutated(seeds[number % 4], random.Random(f"subtitle {number}"), seeds))
        suffix = subtitles.SUFFIXES[number % len(subtitles.SUFFIXES)]
        try:
            text = to_text(data)
        except MediaError:
            continue
        spoken = sorted(subtitles.lines(text, suffix))
        assert all(math.isfinite(time) and text.strip() for time, text in spoken)
        subtitles.spoken_between(spoken, 0.0, 10.0)
        read += 1
    return read


def test_a_thousand_damaged_files():
    assert damaged_files(1_000) > 500


@pytest.mark.soak
def test_ten_thousand_damaged_files():
    assert damaged_files(10_000) > 5_000


LINES = [(0.4, "The first line"), (1.2, "Zweite Zeile"), (2.3, "the last")]


def payload(codec, text):
    data = text.encode()
    if codec == "mov_text":
        return len(data).to_bytes(2) + data + b"\0\0\0\x16styl junk"
    return b"0,0,Default,,0,0,0,,{\\i1}" + data if codec == "ass" else data


def with_track(form, codec, shift=0, chapters=()):
    """A film of three seconds with a track of subtitles; all its times begin at `shift`."""
    source, target = io.BytesIO(film("mp4")), io.BytesIO()
    with av.open(source) as pictures, av.open(target, "w", format=form) as container:
        stream = container.add_stream_from_template(pictures.streams.video[0])
        track = container.add_mux_stream(codec)
        track.time_base = Fraction(1, 1000)
        container.set_chapters(list(chapters))
        packets = [packet for packet in pictures.demux() if packet.size]
        for packet in packets:
            late = round(shift / packet.time_base)
            packet.stream, packet.pts, packet.dts = stream, packet.pts + late, packet.dts + late
        for time, text in LINES:
            packet = av.Packet(payload(codec, text))
            packet.time_base, packet.duration = Fraction(1, 1000), 500
            packet.pts = packet.dts = round(1000 * (time + shift))
            packet.stream = track
            packets.append(packet)
        for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
            container.mux(packet)
    return target.getvalue()


def decode(path):
    status = path.stat()
    item = Item(
        bytes(path.parent), path.name.encode(), Kind.VIDEO, status.st_size, status.st_mtime_ns
    )
    with Decoders(1) as decoders:
        [decoded] = decoders.decode([(item, "")], DecodeOptions(65_536))
    assert not isinstance(decoded, Skipped), decoded.reason
    return [segment for segment, _ in decoded.segments]


def spoken_in(segments):
    """The lines of all moments, each of which must be in the moment of its time."""
    rows = []
    for segment in segments:
        for row in (segment.words or "").splitlines():
            time, text = row.split("\t")
            assert segment.start <= float(time) < segment.end
            rows.append((float(time), text))
    return rows


@pytest.mark.parametrize(
    ("form", "codec"),
    [("matroska", "subrip"), ("matroska", "ass"), ("mp4", "mov_text"), ("matroska", "webvtt")],
)
def test_tracks_inside_a_film(form, codec, tmp_path):
    path = tmp_path / "film.mkv"
    path.write_bytes(with_track(form, codec))
    assert spoken_in(decode(path)) == LINES


def damaged_tracks(count):
    """Read the tracks and chapters of films that are damaged by a seed."""
    chapter = {"id": 1, "start": 0, "end": 3000, "time_base": Fraction(1, 1000)}
    chapters = [chapter | {"metadata": {"title": "Finale"}}]
    forms = [("matroska", "subrip"), ("matroska", "ass"), ("mp4", "mov_text")]
    seeds = [with_track(*form, chapters=chapters) for form in forms]
    opened = 0
    for number in range(count):
        rng = random.Random(f"spoken film {number}")
        data = bytes(mutated(seeds[number % len(seeds)], rng, seeds))
        try:
            container = open_container(io.BytesIO(data))
        except DAMAGE:
            continue
        spoken = sorted(subtitles.inside(container, 0.0, 10.0))
        subtitles.spoken_between(spoken, 0.0, 10.0)
        opened += 1
    return opened


def test_tracks_of_damaged_films():
    assert damaged_tracks(300) > 100


@pytest.mark.soak
def test_tracks_of_many_damaged_films():
    assert damaged_tracks(10_000) > 3_000


def test_times_count_from_the_start_that_players_show(tmp_path):
    path = tmp_path / "film.mkv"
    path.write_bytes(with_track("matroska", "subrip", shift=5))
    assert spoken_in(decode(path)) == LINES


def test_chapters_are_lines_and_files_beside_a_film_join_them(tmp_path):
    path = tmp_path / "film.mkv"
    chapter = {"id": 1, "start": 1500, "end": 3000, "time_base": Fraction(1, 1000)}
    path.write_bytes(
        with_track("matroska", "subrip", chapters=[chapter | {"metadata": {"title": "Finale"}}])
    )
    (tmp_path / "film.de.srt").write_text("00:00:02,900 --> 00:00:03,000\nEnde\n")
    segments = decode(path)
    assert spoken_in(segments) == sorted([*LINES, (1.5, "Finale"), (2.9, "Ende")])
    assert segments[0].snippet.startswith("The first line")
    assert sum(segment.words is None for segment in segments) == sum(
        segment.snippet is None for segment in segments
    )
