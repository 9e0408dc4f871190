"""Playlists and timelines: points are frames of the source, as other readers find them."""

import os
from dataclasses import replace
from fractions import Fraction
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree as ET

import av
import opentimelineio as otio
import pytest
from support.videos import frame_of, make, number_in

from qvsearch.errors import QvsearchError
from qvsearch.media import film_rates, sandbox
from qvsearch.media.film_rates import FilmRate, FilmRates
from qvsearch.media.sandbox import ConfinedProcess
from qvsearch.tasks.taking.cuts import Cut
from qvsearch.tasks.taking.spans import Span, playlist, spans_of
from qvsearch.tasks.taking.timeline import check_suffix, reel_names, timeline
from qvsearch.types import Hit, Item, Kind, Metadata, Moment, Segment

NTSC = Fraction(30000, 1001)
FILMS = {  # name: container, codec, rate
    "pal.mp4": ("mp4", "libx264", 25),
    "ntsc.mp4": ("mp4", "libx264", NTSC),
    "cinema.mov": ("mov", "libx264", Fraction(24000, 1001)),
    "fast.mkv": ("matroska", "libx264", Fraction(60000, 1001)),
    "old.avi": ("avi", "mpeg4", 15),
}
SPANS = [(0.0, 0.5), (0.5, 1.2), (1.001, 1.003), (0.9, 60.0)]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Films of 60 frames, each of which shows its number."""
    folder = tmp_path_factory.mktemp("films é")
    frames = [frame_of(number) for number in range(60)]
    for name, (form, codec, rate) in FILMS.items():
        make(folder / name, frames, form=form, codec=codec, rate=rate)
    return folder


def shown(path, start, end):
    """The numbers of the frames that are on screen within a span, by their own times."""
    with av.open(os.fspath(path)) as container:
        stream = container.streams.video[0]
        zero = (stream.start_time or 0) * stream.time_base
        frames = [
            (
                float(frame.pts * stream.time_base - zero),
                number_in(frame.to_ndarray(format="rgb24")),
            )
            for frame in container.decode(stream)
        ]
    ends = [time for time, _ in frames[1:]] + [frames[-1][0] + 0.1]
    return [
        number
        for (time, number), after in zip(frames, ends, strict=True)
        if time < end - 0.001 and after > start + 0.001
    ]


def bytes_of(url):
    assert url.startswith("file:///")
    return unquote_to_bytes(url.removeprefix("file://"))


@pytest.mark.parametrize("name", FILMS)
def test_points_are_the_frames_that_are_on_screen(films, name):
    path = os.fsencode(films / name)
    written = timeline([Span(path, *span) for span in SPANS], "words", ".otio")
    assert (written.skipped, written.variable) == ((), ())
    schema = otio.adapters.read_from_string(written.data.decode(), "otio_json")
    clips = list(schema.find_clips())
    assert len(clips) == len(SPANS)
    rate = FILMS[name][2]
    for clip, span in zip(clips, SPANS, strict=True):
        first = clip.source_range.start_time
        numbers = shown(films / name, *span)
        assert first.rate == pytest.approx(float(rate), abs=1e-9)
        count = int(clip.source_range.duration.value)
        assert list(range(int(first.value), int(first.value) + count)) == numbers
        assert clip.name == name
        assert bytes_of(clip.media_reference.target_url) == path
        assert clip.media_reference.available_range.duration.value == 60


def test_a_film_may_begin_late_and_have_a_timecode(tmp_path):
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("libx264", rate=NTSC, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 176, 144, "yuv420p"
        stream.metadata["timecode"] = "01:00:00;00"
        for number in range(60):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_of(number), "rgb24")))
        container.mux(stream.encode())
    path = os.fsencode(tmp_path / "a.mov")
    hour = 107_892  # frames of an hour at 29.97, without those that are dropped
    written = timeline([Span(path, 0.5, 1.0)], "words", ".otio")
    [clip] = otio.adapters.read_from_string(written.data.decode(), "otio_json").find_clips()
    numbers = shown(tmp_path / "a.mov", 0.5, 1.0)
    assert clip.source_range.start_time.value == hour + numbers[0]
    assert clip.media_reference.available_range.start_time.value == hour
    edl = timeline([Span(path, 0.5, 1.0)], "words", ".edl").data.decode()
    assert f"01:00:00;{numbers[0]:02} 01:00:01;00 00:00:00;00 00:00:00;{len(numbers):02}" in edl
    root = ET.fromstring(timeline([Span(path, 0.5, 1.0)], "words", ".fcpxml").data)
    assert seconds(root.find(".//asset").get("start")) == hour / NTSC


@pytest.mark.parametrize("name", ["pal.mp4", "ntsc.mp4"])
def test_an_edl_is_read_back_with_its_points(films, name):
    path = os.fsencode(films / name)
    written = timeline([Span(path, *span) for span in SPANS], "wörds " * 20, ".edl")
    text = written.data.decode("ascii")
    rate = float(FILMS[name][2])
    drops = name == "ntsc.mp4"
    assert ("FCM: DROP FRAME" in text, "FCM: NON-DROP FRAME" in text) == (drops, not drops)
    assert (";" in text, "00:00:00:00" in text) == (drops, not drops)
    assert len(text.splitlines()[0]) <= len("TITLE: ") + 70
    schema = otio.adapters.read_from_string(text, "cmx_3600", rate=rate)
    clips = list(schema.find_clips())
    for clip, span in zip(clips, SPANS, strict=True):
        numbers = shown(films / name, *span)
        assert clip.source_range.start_time.value == numbers[0]
        assert clip.source_range.duration.value == len(numbers)
        assert clip.name == name


def test_an_edl_has_one_rate_and_a_reel_for_each_film(films, tmp_path):
    frames = [frame_of(number) for number in range(30)]
    spans = []
    for name in "ab":
        (tmp_path / name).mkdir()
        twin = make(tmp_path / name / "IMG_12345678.mp4", frames, rate=25)
        spans.append(Span(os.fsencode(twin), 0.0, 1.0))
    others = [Span(os.fsencode(films / name), 0.0, 1.0) for name in ("ntsc.mp4", "old.avi")]
    written = timeline([others[0], *spans, others[1]], "words", ".edl")
    reels = [line.split()[1] for line in written.data.decode().splitlines() if " C  " in line]
    assert reels == ["IMG12345", "IMG12342"]
    assert [(os.path.basename(each.path), each.reason) for each in written.skipped] == [
        (
            b"ntsc.mp4",
            "it has 29.97 frames a second, not 25, as the others of this .edl;"
            " use .otio or .fcpxml",
        ),
        (
            b"old.avi",
            "it has 15 frames a second, and no timecode has that rate; use .otio or .fcpxml",
        ),
    ]
    alone = timeline(others[1:], "words", ".edl")
    assert (alone.data, alone.cuts) == (b"", ())
    assert "15 frames a second, and no timecode has that rate" in alone.skipped[0].reason
    mixed = timeline([others[1], replace(others[1], start=1.0, end=2.0), *spans], "words", ".edl")
    assert [each.path for each in mixed.skipped] == [others[1].path]
    assert [cut.span.path for cut in mixed.cuts] == [each.path for each in spans], (
        "a rate without timecodes is never that of the others"
    )


def test_thousands_of_films_of_one_beginning_have_reels_of_their_own():
    film = FilmRate(Fraction(25), 0.0, 60, 176, 144)
    names = [b"VID20263.mp4", *(b"VID_2026%06d.mp4" % number for number in range(5000))]
    reels = reel_names([Cut(Span(b"/films/" + name, 0.0, 1.0), film, 0, 25, 0) for name in names])
    assert len(reels) == len(set(reels.values())) == 5001
    assert list(reels.values())[:4] == ["VID20263", "VID20260", "VID20262", "VID20264"]
    assert max(map(len, reels.values())) == 8


def test_fcpxml_is_exact_and_read_back(films):
    names = ["ntsc.mp4", "pal.mp4", "ntsc.mp4"]
    spans = [Span(os.fsencode(films / name), 0.5, 1.5) for name in names]
    written = timeline(spans, "<words> & \x1b]0;x\x07\ufffe\uffff", ".fcpxml")
    root = ET.fromstring(written.data)
    assert "\x1b" not in written.data.decode()
    durations = [each.get("frameDuration") for each in root.iter("format")]
    assert durations == ["1001/30000s", "1/25s"]
    assert len(list(root.iter("asset"))) == 2
    place = Fraction(0)
    for clip, name in zip(root.iter("asset-clip"), names, strict=True):
        numbers = shown(films / name, 0.5, 1.5)
        rate = Fraction(FILMS[name][2])
        assert seconds(clip.get("start")) == numbers[0] / rate
        assert seconds(clip.get("offset")) == place
        duration = seconds(clip.get("duration"))
        # on whole frames of the sequence
        assert (duration * NTSC).denominator == 1
        assert abs(duration - len(numbers) / rate) <= 1 / NTSC / 2
        place += duration
    assert seconds(root.find(".//sequence").get("duration")) == place
    schema = otio.adapters.read_from_string(written.data.decode(), "fcpx_xml")
    read = [clip.media_reference.target_url for clip in schema.find_clips()]
    assert [bytes_of(url) for url in read] == [span.path for span in spans]


def seconds(text):
    return Fraction(text.removesuffix("s"))


def test_a_variable_rate_is_named(tmp_path):
    times = [40 * n + (25 if n % 3 else 0) for n in range(40)]
    path = make(tmp_path / "a.mp4", [frame_of(n) for n in range(40)], times=times)
    written = timeline([Span(os.fsencode(path), 0.2, 0.6)], "words", ".otio")
    assert written.variable == (os.fsencode(path),)
    assert len(written.cuts) == 1


def test_a_film_that_cannot_be_read_is_named_once(films, tmp_path):
    broken = tmp_path / "a.mp4"
    broken.write_bytes(b"no film")
    bad = os.fsencode(broken)
    spans = [Span(bad, 0.0, 1.0), Span(bad, 2.0, 3.0), Span(bad + b"x", 0.0, 1.0)]
    written = timeline([*spans, Span(os.fsencode(films / "pal.mp4"), 0.0, 1.0)], "words", ".otio")
    assert [each.path for each in written.skipped] == [bad, bad + b"x"]
    assert len(written.cuts) == 1


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"rate": [0, 1]},
        {"rate": [25, 10**12]},
        {"rate": [25, 1], "begin": 1e300},
        {"frames": -1},
        {"size": ["1", 1]},
    ],
)
def test_a_process_that_was_taken_over_gives_no_nonsense(message):
    whole = {
        "rate": [25, 1],
        "begin": 0.0,
        "frames": 1,
        "size": [1, 1],
        "variable": False,
        "timecode": "9" * 100,
        "sound": False,
    }
    assert film_rates._parse(whole, []).timecode is None
    with pytest.raises(ValueError, match="not the rate of a video"):
        film_rates._parse(message and whole | message, [])


def test_another_suffix_or_a_missing_extra_is_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(QvsearchError, match=r"another suffix; give \.otio, \.fcpxml or \.edl"):
        check_suffix(tmp_path / "a.xml")
    check_suffix(tmp_path / "a.OTIO")

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr("qvsearch.tasks.extras.import_module", missing)
    with pytest.raises(QvsearchError, match=r'OpenTimelineIO: pip install "qvsearch\[timeline\]"'):
        check_suffix(tmp_path / "a.otio")


def film_hit(path, start=None, end=None, moments=(), duration=10.0, gone=False):
    item = Item(os.fsencode(path), b"", Kind.VIDEO, 1, 1)
    segment = Segment(item, "00", start, end, metadata=Metadata(duration=duration))
    others = tuple(Moment(0.5, 0.5, segment, *each) for each in moments)
    return Hit(1, 0.9, 0.5, segment, start, end, others, gone=gone)


def test_moments_are_padded_within_their_film():
    photo = Hit(2, 0.9, 0.5, Segment(Item(b"/a.jpg", b"", Kind.IMAGE, 1, 1), "00"))
    found = [
        film_hit("/a.mp4", 1.0, 2.0, [(8.0, 9.5)]),
        photo,
        film_hit("/b.mp4"),
        film_hit("/c.mp4", 1.0, 2.0, duration=None),
        film_hit("/gone.mp4", 1.0, 2.0, gone=True),
    ]
    assert list(spans_of(found, 1.5)) == [
        Span(b"/a.mp4", 0.0, 3.5, 10.0),
        Span(b"/a.mp4", 6.5, 10.0, 10.0),
        Span(b"/b.mp4", None, None, 10.0),
        Span(b"/c.mp4", 0.0, 3.5),
    ]


def read_playlist(data):
    """Entries of an M3U file: path, title, seconds, and VLC's options."""
    lines = data.decode().splitlines()
    assert lines.pop(0) == "#EXTM3U"
    entries, options = [], {}
    for line in lines:
        name, _, value = line.partition(":")
        if name == "#EXTINF":
            length, _, title = value.partition(",")
            options |= {"length": float(length), "title": title}
        elif name == "#EXTVLCOPT":
            option, _, number = value.partition("=")
            options[option] = float(number)
        else:
            entries.append((bytes_of(line), options))
            options = {}
    assert options == {}
    return entries


def test_a_playlist_has_each_moment_with_its_start_and_stop():
    hostile = b"/films/\n#EXTM3U \xff%20,\x1b[31m.mp4"
    spans = [Span(b"/films/a.mp4", 61.25, 3700.5), Span(hostile, 0.0, 1.0)]
    spans += [Span(b"/b", None, None), Span(b"/c", None, None, 12.5)]
    entries = read_playlist(playlist(spans))
    assert [path for path, _ in entries] == [span.path for span in spans]
    assert entries[0][1] == {
        "length": 3639.25,
        "title": "a.mp4 01:01-1:01:40",
        "start-time": 61.25,
        "stop-time": 3700.5,
    }
    assert "\x1b" not in entries[1][1]["title"]
    assert entries[2][1] == {"length": -1.0, "title": "b"}  # unknown
    assert entries[3][1] == {"length": 12.5, "title": "c"}


def test_rates_are_read_by_a_process_that_ends(films, monkeypatch):
    monkeypatch.setattr(sandbox, "ConfinedProcess", ConfinedProcess)  # not one that is kept
    with FilmRates() as rates:
        first = rates.read(os.fsencode(films / "pal.mp4"))
        process = rates._process._process.process
        assert first.rate == 25
        assert (first.width, first.height, first.has_sound) == (176, 144, False)
        assert rates.read(os.fsencode(films / "ntsc.mp4")).rate == NTSC
    with pytest.raises(ValueError, match="closed"):
        process.is_alive()
