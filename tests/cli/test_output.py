import base64
import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hits import ITEM, NAMES, hit, record
from support.terminal import in_terminal, is_harmless, without_escapes

from qvsearch.cli import hit_tables, output
from qvsearch.indexing.counts import Event
from qvsearch.records import library as records
from qvsearch.records import reports
from qvsearch.retrieval.calibration import CUT
from qvsearch.types import Item, Kind, Metadata, Moment, Skipped


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"plain.jpg", "plain.jpg"),
        ("Zoë 海 👩‍👧.jpg".encode(), "Zoë 海 👩‍👧.jpg"),
        (b"\x1b]0;owned\x07.jpg", "\\x1b]0;owned\\x07.jpg"),
        (b"two\nlines\tand\rmore", "two\\nlines\\tand\\rmore"),
        (b"not utf-8 \xff\xfe", "not utf-8 \\xff\\xfe"),
        ("gpj.\u202egod".encode(), "gpj.\\u202egod"),
        (b"c1 \xc2\x9b31m", "c1 \\x9b31m"),
        ("from os.fsdecode \udcff", "from os.fsdecode \\xff"),
        (b"[red]x[/red]", "[red]x[/red]"),
    ],
)
def test_names_are_shown_so_that_no_terminal_acts_on_them(name, shown):
    assert output.safe_text(name) == shown


@given(st.one_of(st.binary(), st.text(st.characters())))
def test_any_name_becomes_harmless(name):
    assert is_harmless(output.safe_text(name))


@given(st.binary(min_size=1).filter(lambda name: b"/" not in name and b"\0" not in name))
def test_a_path_in_json_is_exact_and_harmless(name):
    line = output.json_line(output.path_fields("path", b"/photos/" + name))
    assert line.endswith(b"\n")
    assert is_harmless(line.decode()[:-1])
    fields = json.loads(line)
    back = fields["path"].encode() if "path" in fields else base64.b64decode(fields["path_b64"])
    assert back == b"/photos/" + name


@given(st.text(st.characters()))
def test_other_text_in_json_never_breaks_a_strict_reader(text):
    line = output.json_line({"reason": text}).decode("utf-8")
    assert is_harmless(line[:-1])
    expected = "".join("\ufffd" if "\ud800" <= each <= "\udfff" else each for each in text)
    assert json.loads(line) == {"reason": expected}


def test_a_hit_says_what_it_has_and_leaves_out_the_rest():
    assert record(width=40, height=30) == {
        "rank": 1,
        "relevance": 0.5,
        "score": 0.5,
        "id": "000a86c76bfc6871da",
        "kind": "image",
        "path": "/photos/dog.jpg",
        "width": 40,
        "height": 30,
        "mtime": "2023-07-04T16:30:01Z",
        "library": "/lib",
    }


def test_a_moment_a_passage_and_a_rerank_score_are_in_the_json():
    other = hit(b"/photos/a.mp4", Kind.VIDEO, start=0.0, end=1.5).segment
    video = record(
        b"/photos/a.mp4",
        Kind.VIDEO,
        moments=(Moment(0.75, 0.25, other, 0.0, 1.5),),
        start=2.0,
        end=3.0,
        rerank_score=0.9,
    )
    assert (video["start"], video["end"], video["rerank_score"]) == (2.0, 3.0, 0.9)
    assert video["moments"] == [{"relevance": 0.75, "score": 0.25, "start": 0.0, "end": 1.5}]
    text = record(b"/photos/a.txt", Kind.TEXT, lines=(3, 9), snippet="a\nb")
    assert (text["lines"], text["snippet"]) == ([3, 9], "a\nb")


def test_what_a_file_says_of_itself_its_copies_and_its_clip_are_in_the_json():
    metadata = Metadata("2023-07-04T18:30:00+02:00", "Apple iPhone 12", 48.2, 16.37, 61.5, False)
    found = replace(hit(metadata=metadata, clip=True), duplicates=(Item(b"/\xff", b"", *ITEM),))
    said = records.hit_record(found, Path("/lib"), {"saved": "/clips/dog.mp4"})
    assert said["taken"] == "2023-07-04T18:30:00+02:00"
    assert (said["camera"], said["latitude"], said["longitude"]) == ("Apple iPhone 12", 48.2, 16.37)
    assert (said["duration"], said["page"], said["clip"]) == (61.5, False, True)
    assert said["duplicates"] == [{"path_b64": base64.b64encode(b"/\xff").decode()}]
    assert said["saved"] == "/clips/dog.mp4"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (9_300_000_000, "2264-09-14T21:20:00Z"),
        (10**13, None),
    ],
)
def test_odd_file_times_are_told_or_left_out(seconds, expected):
    assert record(mtime_ns=seconds * 10**9).get("mtime") == expected


def test_things_are_counted_as_one_speaks():
    assert [output.counted(n, "file") for n in (0, 1, 2, 1000)] == [
        *("0 files", "1 file", "2 files", "1,000 files")
    ]


def test_an_event_in_json():
    event = Event("skipped", b"/photos/\xff.jpg", Kind.IMAGE, reason="empty file")
    assert reports.event_record(event) == {
        "state": "skipped",
        "path_b64": base64.b64encode(b"/photos/\xff.jpg").decode(),
        "kind": "image",
        "reason": "empty file",
    }
    assert reports.event_record(Event("committed")) == {"state": "committed"}


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ({"start": 133.2, "end": 138.7}, "02:13-02:19"),
        ({"start": 0.0, "end": 0.4}, "00:00-00:01"),
        ({"start": 1.9999999999999998, "end": 3.0000000000000004}, "00:02-00:03"),
        ({"start": 3599.0, "end": 3725.0}, "59:59-1:02:05"),
        ({"lines": (12, 31)}, "lines 12-31"),
        ({"lines": (7, 7)}, "line 7"),
        ({"width": 40, "height": 30}, "40x30"),
        ({}, ""),
    ],
)
def test_where_in_its_item_a_segment_is(place, shown):
    assert output.place_text(hit(**place)) == shown


def test_skipped_files_beyond_twenty_are_counted(capsysbinary):
    output.print_skipped([Skipped(b"/a%d\n" % number, "empty file") for number in range(23)])
    lines = capsysbinary.readouterr().out.decode().splitlines()
    assert lines[0] == "  /a0\\n: empty file"
    assert len(lines) == 21
    assert lines[-1] == "  ... and 3 more; --json lists them all"


def test_a_table_in_a_pipe_is_plain_whole_and_harmless(capsysbinary):
    long = b"/photos/" + b"very-long-name-" * 20 + b".jpg"
    hit_tables.print_hits(
        [hit(name, rank=rank) for rank, name in enumerate([*NAMES, long], start=1)], CUT
    )
    shown = capsysbinary.readouterr().out.decode()
    assert is_harmless(shown.replace("\n", ""))
    for name in (*NAMES, long):
        assert output.safe_text(name) in shown


VIENNA = Metadata(latitude=48.21, longitude=16.37)
OCEAN = Metadata(latitude=0.0, longitude=-140.0)


def test_the_place_of_a_photo_is_a_column_in_a_pipe(capsysbinary):
    far = hit(b"/photos/b.jpg", metadata=OCEAN)
    hit_tables.print_hits([hit(b"/photos/a.jpg", metadata=VIENNA), far, hit()], 0.0)
    heading, vienna, ocean, _ = capsysbinary.readouterr().out.decode().splitlines()
    column = heading.index("place")
    assert vienna[column:].split("  ")[0] == "Vienna, Austria"
    assert ocean[column:].split() == ["/photos/b.jpg"]
    hit_tables.print_hits([far, hit()], 0.0)
    assert b"place" not in capsysbinary.readouterr().out


@pytest.mark.parametrize(("columns", "name", "lines"), [(60, "a", 2), (80, "a", 2), (80, "b", 3)])
def test_the_place_of_a_photo_takes_no_room_of_a_path_on_a_terminal(columns, name, lines):
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
    code += "from qvsearch.cli import hit_tables\nfrom qvsearch.types import Metadata\n"
    code += "from support.hits import hit\n"
    path = f"/photos/{name * (9 if name == 'a' else 70)}.jpg"  # which fits, or in no case
    code += f"taken = hit({path.encode()!r}, metadata={VIENNA!r})\n"
    code += "hit_tables.print_hits([taken], 0.0)"
    shown = without_escapes(in_terminal(code, columns))
    assert ("Vienna, Austria" in shown) == (columns == 80)
    assert len(shown.splitlines()) == lines


def test_the_name_of_a_near_duplicate_is_shown_as_it_is(capsysbinary):
    named = replace(hit().segment.item, path=b"two\nlines, two  spaces.jpg")
    hit_tables.print_hits([replace(hit(), duplicates=(named,))], 0.5)
    assert b"like it: /photos/two\\nlines, two  spaces.jpg\n" in capsysbinary.readouterr().out


def test_words_of_the_query_in_a_path_are_marked_where_it_is_shown(tmp_path, monkeypatch):
    from qvsearch.cli.layout import link

    monkeypatch.chdir(tmp_path)
    location = os.fsencode(tmp_path) + b"/red\x1b star \xff red.jpg"
    start = len(str(tmp_path)) + 1
    path = link(location, [(0, 2), (start, start + 3), (start + 12, start + 15)])
    assert path.plain == r"red\x1b star \xff red.jpg"
    assert [path.plain[each.start : each.end] for each in path.spans] == ["red", "red"]
    assert link(b"/photos/a.jpg", [(1, 7)]).spans[0].start == 1


def test_paths_in_a_pipe_are_exact_bytes(capsysbinary):
    hits = [hit(name) for name in NAMES]
    output.write_paths(hits, b"\0")
    assert capsysbinary.readouterr().out == b"".join(name + b"\0" for name in NAMES)


SHOW = """
import sys
sys.path.insert(0, {tests!r})
from dataclasses import replace
from qvsearch.cli import hit_tables
from qvsearch.types import Kind, Moment
from support.hits import NAMES, hit
video = hit(b"/photos/holiday in the mountains.mp4", Kind.VIDEO, start=133.0, end=139.0)
video = replace(video, moments=(Moment(0.5, 0.5, video.segment, 133.0, 139.0),) * 5)
video = replace(video, duplicates=(video.segment.item,) * 3)
text = hit(b"/photos/notes.md", Kind.TEXT, lines=(12, 31), snippet="word " * 100)
long = hit(b"/photos/" + b"deep/" * 40 + b"dog.jpg", width=4000, height=3000, rerank_score=0.75)
wide = hit("/photos/海の夕日{{}}.jpg".encode() * 1, rank=2)
hit_tables.print_hits([long, wide, *(hit(name) for name in NAMES), video, text], 0.0)
"""


def test_a_table_on_a_terminal_fits_and_links_to_the_exact_file():
    from rich.cells import cell_len

    shown = in_terminal(SHOW.format(tests=str(Path(__file__).parents[1])))
    plain = without_escapes(shown)
    assert is_harmless(plain.replace("\n", ""))
    paths = ("deep/", "like it: ")
    others = [line for line in plain.splitlines() if not any(each in line for each in paths)]
    assert max(map(cell_len, others)) <= 80
    assert "file:///photos/%1B%5B31m%0A.jpg" in shown
    assert "02:13-02:19" in plain
    assert "lines 12-31" in plain
    assert "[red]x[/red].jpg" in plain
    assert f"\n   /photos/{'deep/' * 40}dog.jpg\n" in plain, "a path is whole on its own line"


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_no_path_is_broken_on_a_terminal(columns):
    """Names of any width: those that fit stand in the column, others on lines of their own."""
    from rich.cells import cell_len

    names = [
        f"/photos/{part * count}.jpg"
        for part in ("ab cd-", "夕日の海", "e\u0301👩‍👧")
        for count in (1, 7, 30)
    ]
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
    code += "from qvsearch.cli import hit_tables, output\nfrom support.hits import NAMES, hit\n"
    code += f"hit_tables.print_hits([hit(n.encode(), width=40, height=30) for n in {names!r}], 0.0)"
    plain = without_escapes(in_terminal(code, columns))
    lines = plain.splitlines()
    place = lines[0].index("path")
    for name in names:
        (line,) = [line for line in lines if line.endswith(name)]
        alone = line == f"   {name}"
        assert alone == (place + cell_len(name) > columns)
        if not alone:
            assert cell_len(line.removesuffix(name)) == place


def test_facts_on_a_terminal_break_at_spaces_and_never_in_a_path():
    facts = [("library", "/" + "deep/" * 40), ("note", "some words " * 20 + "w" * 90), ("", "ok")]
    code = f"from qvsearch.cli import layout\nlayout.print_facts({facts!r})"
    lines = [line.rstrip() for line in without_escapes(in_terminal(code)).splitlines()]
    assert lines[:2] == ["library", "  " + facts[0][1]]
    assert lines[-2:] == [" " * 9 + "w" * 90, " " * 9 + "ok"]
    assert lines[2].startswith("note     some words")
    assert " ".join(lines[2:-2]).split() == ["note", *["some", "words"] * 20]
    assert max(map(len, lines[2:-2])) <= 80


def test_paths_on_a_terminal_are_harmless():
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
    code += "from qvsearch.cli import output\nfrom support.hits import NAMES, hit\n"
    code += "output.write_paths([hit(n) for n in NAMES], b'\\n')"
    lines = in_terminal(code).replace("\r", "").splitlines()
    assert lines == [output.safe_text(name) for name in NAMES]


def test_a_reader_that_leaves_is_no_error():
    code = "from qvsearch.cli import output\nfor n in range(100_000): output.line(str(n))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == b"0\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_programs_that_are_started_have_all_standard_streams(tmp_path, closed):
    look = "import os; open('seen', 'w').write(str([os.fstat(n).st_rdev for n in (0, 1, 2)]))"
    code = "import subprocess, sys\nfrom qvsearch.cli.output import open_streams\nopen_streams()\n"
    code += f"subprocess.run([sys.executable, '-c', {look!r}], check=True)"
    command = (
        f"{shlex.join([sys.executable, '-c', code])} </dev/null >/dev/null 2>/dev/null {closed}"
    )
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, check=False).returncode == 0
    assert (tmp_path / "seen").read_text() == str([os.stat(os.devnull).st_rdev] * 3)


def test_hints_are_for_terminals_and_errors_for_all(capsys):
    output.hint("try --detail low")
    output.fail("no file \x1b.jpg")
    captured = capsys.readouterr()
    assert captured.err == "qvsearch: no file \\x1b.jpg\n"
    assert captured.out == ""
