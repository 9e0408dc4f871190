"""What is in texts and is not words: it costs no passages, and lines keep their numbers."""

import base64
import os
import random

import pytest

from qvsearch import media
from qvsearch.errors import MediaError
from qvsearch.media.text import ALIKE, front_matter, without_noise
from qvsearch.types import DecodeOptions, Item, Kind

DATA = random.Random(1).randbytes(400_000)


def decode(folder, name, content):
    path = folder / name
    path.write_bytes(content.encode())
    status = os.stat(path)
    item = Item(os.fsencode(path), b"", Kind.TEXT, status.st_size, status.st_mtime_ns)
    return [
        (segment, input_.text)
        for segment, input_ in media.decode(item, "", DecodeOptions(1)).segments
    ]


def kept(text, suffix):
    return "".join(line for _, line in without_noise(text, suffix))


@pytest.mark.parametrize(
    "data",
    [
        "data:image/png;base64," + base64.b64encode(DATA).decode(),
        "data:image/svg+xml," + "%3Csvg%20xmlns=%27http://www.w3.org/2000/svg%27%3E" * 5000,
        base64.b64encode(DATA).decode(),
        base64.urlsafe_b64encode(DATA).decode(),
        base64.encodebytes(DATA).decode(),
        base64.encodebytes(DATA).decode().replace("\n", "\r\n"),
        "> " + base64.encodebytes(DATA).decode().replace("\n", "\n> "),
        DATA.hex(),
    ],
    ids=["data URI", "SVG", "base64", "URL", "mail", "mail of DOS", "quoted mail", "hex"],
)
def test_encoded_data_is_left_out(tmp_path, data):
    text = f"The harbour at dusk.\n![map]({data})\nBoats come home.\n"
    [(segment, passage)] = decode(tmp_path, "note.md", text)
    assert len(passage.encode()) < 300
    assert passage.splitlines()[0] == "The harbour at dusk."
    assert passage.splitlines()[-1] == "Boats come home."
    assert segment.lines == (1, len(text.splitlines()))


@pytest.mark.parametrize(
    "text",
    [
        "d" * 5000,
        "sha512 " + DATA[:64].hex(),
        "/home/Anna/Documents/2023/Projects/Alpha/Beta/Reports/Final/Drafts/Third/" * 5,
        "Donaudampfschifffahrtsgesellschaftskapitaensmuetzenabzeichenfabrikant" * 5,
        "-" * 300 + "\n" + "=" * 300,
        "https://example.com/a?id=Zm9vYmFy&token=" + base64.b64encode(DATA[:60]).decode(),
        "the data: image/png, text/plain",
        "import 'data:text/javascript,console.log(1)'",
    ],
)
def test_long_words_stay(text):
    assert kept(text, ".md") == text


def test_a_file_of_nothing_else_has_no_text(tmp_path):
    with pytest.raises(MediaError, match="no text"):
        decode(tmp_path, "key.txt", base64.encodebytes(DATA).decode())


def telemetry(n):
    """One cue of a drone's subtitles, at 30 a second."""
    time = f"00:{n // 1800:02}:{n // 30 % 60:02},{n % 30 * 33:03}"
    return (
        f"{n}\n{time} --> {time}\n"
        f'<font size="28">FrameCnt: {n}, DiffTime: 33ms\n2024-05-06 10:11:12.{n % 1000:03}\n'
        f"[iso: {100 + n % 7}] [shutter: 1/{500 + n}.0] [ev: {(n % 5 - 2) / 10}] "
        f"[latitude: {-33 - n / 1e6:.6f}] [longitude: {151 + n / 1e6:.6f}] "
        f"[rel_alt: {n / 100} abs_alt: {n / 90:.3f}] </font>\n\n"
    )


def test_telemetry_is_a_few_passages(tmp_path):
    passages = decode(tmp_path, "DJI_0001.SRT", "".join(map(telemetry, range(18_000))))
    assert 1 <= len(passages) <= 5
    assert "latitude: -33.0" in passages[0][1]
    assert "-->" not in passages[0][1]
    assert "<" not in passages[0][1]


SUBTITLES = """1
00:00:01,000 --> 00:00:04,000
<i>The boats come home.</i>

2
00:00:05,000 --> 00:00:06,000
{\\an8}How many?
42

3
00:01:05,000 --> 00:01:06,000
How many?
"""
CAPTIONS = """WEBVTT

intro
00:01.000 --> 00:04.000 align:start position:0%
<v Anna>The boats<00:00:02.000><c> come home.</c>

00:00:04.000 --> 00:00:08.000 line:63%
The boats come home.
How many?

00:00:08.000 --> 00:00:09.000
The boats come home.
How many?
"""


def test_subtitles_are_what_is_said(tmp_path):
    [(segment, passage)] = decode(tmp_path, "film.srt", SUBTITLES)
    assert passage.split("\n") == ["The boats come home.", "How many?", "42"]
    assert segment.snippet == "The boats come home. How many? 42"
    assert segment.lines == (3, 8)


def test_captions_that_roll_up_are_said_once(tmp_path):
    [(segment, passage)] = decode(tmp_path, "film.vtt", CAPTIONS)
    assert passage.split("\n") == ["intro", "The boats come home.", "How many?"]
    assert segment.lines == (3, 9)


def test_the_words_of_a_long_film_all_stay(tmp_path):
    said = [f"Words of the cue {chr(97 + n % 26)}{chr(97 + n // 26)}." for n in range(600)]
    cues = (f"{n}\n00:00:01,000 --> 00:00:02,000\n{words}\n\n" for n, words in enumerate(said, 1))
    passages = decode(tmp_path, "film.srt", "".join(cues))
    whole = "\n".join(passage for _, passage in passages).split("\n")
    assert sorted(set(whole)) == sorted(said)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".log"])
def test_readings_of_a_sensor_are_a_few_lines(tmp_path, suffix):
    rows = [f"{n},{n / 7:.3f},-{n * 31 % 997}" for n in range(5_000)]
    text = "\n".join(["time,pressure,depth", *rows, "the sensor broke"])
    [(segment, passage)] = decode(tmp_path, f"dive{suffix}", text)
    assert passage.split("\n") == ["time,pressure,depth", *rows[:ALIKE], "the sensor broke"]
    assert segment.lines == (1, 5_002)


def test_a_list_in_prose_stays_whole():
    text = "".join(f"{n}. step\n" for n in range(100))
    assert kept(text, ".md") == text


def test_shapes_are_counted_within_bounds():
    lines = [f"{n:020b}\n".translate({48: "a", 49: "b"}) for n in range(15_000)]
    assert len(list(without_noise("".join(lines), ".log"))) == 15_000


FRONT = "---\ntitle: Holiday\ntags: [sea, boats]\ndate: 2024-05-06\n---\n"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (FRONT + "\nThe harbour.\n", 5),
        (FRONT.replace("\n", "\r\n") + "The harbour.", 5),
        (FRONT.replace("---", "+++").replace(":", " =") + "The harbour.", 5),
        ("---\n# a comment\ntitle: x\n...\nThe harbour.", 4),
        ("---\nA rule across the page.\n---\nThe harbour.", 0),
        ("---\ntitle: never closed\n", 0),
        ("title: x\n---\n", 0),
        ("", 0),
    ],
)
def test_front_matter(text, lines):
    assert front_matter(text) == lines


def test_the_body_is_the_snippet_of_a_page(tmp_path):
    [(segment, passage)] = decode(tmp_path, "page.md", FRONT + "\n# The harbour\n\nBoats.\n")
    assert segment.snippet == "# The harbour Boats."
    assert passage.startswith("---\ntitle: Holiday")
    assert segment.lines == (1, 9)


def test_a_page_without_a_body_has_its_front_matter(tmp_path):
    [(segment, _)] = decode(tmp_path, "page.md", FRONT)
    assert segment.snippet.startswith("--- title: Holiday")
