"""search with --copy-to, --link-to, --playlist, --timeline and --csv, as a person uses it."""

import base64
import csv
import filecmp
import io
import json
import os
from pathlib import Path

import opentimelineio as otio
import pytest
from PIL import Image
from support import hostile, pages
from support.commands import files, home, indexed, records, run  # noqa: F401
from support.terminal import in_terminal, is_harmless, without_escapes
from support.videos import frame_of, make

from qvsearch.cli.hit_csv import COLUMNS
from qvsearch.records.library import hit_record

SEA = ["search", "the sea", "--all", "--no-dedupe"]


def test_hits_are_copied_and_the_json_says_where(run, indexed, home):  # noqa: F811
    out = home / "out"
    code, output, error = run(*SEA, "--kind", "image", "--copy-to", out, "--ranked", "--json")
    assert (code, error) == (0, "")
    for hit in records(output):
        name = f"{hit['rank']:03}-{os.path.basename(hit['path'])}"
        assert hit["copy"] == str(out / name)
        assert filecmp.cmp(out / name, hit["path"], shallow=False)
    assert len(os.listdir(out)) == 4
    (indexed / "red.png").unlink()
    code, output, error = run(*SEA, "--kind", "image", "--copy-to", out, "--ranked")
    assert code == 3
    assert error == f"qvsearch: not copied: {indexed}/red.png: it is no longer there\n"
    assert output.decode().endswith(f"copied 0 files to {out}; 3 were there before\n")
    code, output, error = run(*SEA, "--kind", "text", "--link-to", home / "links", "--paths")
    assert (code, output) == (0, os.fsencode(indexed / "note.txt") + b"\n")
    assert os.readlink(home / "links" / "note.txt") == str(indexed / "note.txt")


def test_hits_of_several_queries_share_the_folder(run, indexed, home):  # noqa: F811
    (home / "queries").write_text("the sea\na dog\n")
    code, _, error = run(*SEA[:1], *SEA[2:], "--queries", home / "queries", "--copy-to", "out")
    assert (code, error) == (0, "")
    assert sorted(os.listdir("out")) == sorted(os.listdir(indexed))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--ranked"], "--ranked is for copies and links; give --copy-to or --link-to"),
        (["--copy-to", "a", "--link-to", "b"], "are two ways; give one of them"),
        (["--copy-to", "file"], "is not a folder; give --copy-to a folder, or a new name"),
        (["--playlist", "file"], "file exists; delete it, or give another name"),
        (["--playlist", "a.pls"], "a.pls has another suffix; give .m3u8"),
        (["--playlist", "none/a.m3u8"], "there is no folder"),
        (["--timeline", "a.xml"], "a.xml has another suffix; give .otio, .fcpxml or .edl"),
        (["--padding", "2"], "--padding is for moments; give --save-clips, --playlist or"),
        (["--csv", "--json"], "--json, --csv, --paths and --print0 are four ways to print"),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_written(
    run,  # noqa: F811
    indexed,  # noqa: F811
    arguments,
    reason,
):
    with open("file", "w"):
        pass
    code, output, error = run(*SEA, *arguments)
    assert (code, output, error.count("\n")) == (2, b"", 1)
    assert reason in error
    assert os.listdir() == ["file"]


def test_moments_need_videos_and_one_query(run, indexed):  # noqa: F811
    code, output, error = run(*SEA, "--playlist", "a.m3u8", "--json")
    assert (code, len(records(output))) == (3, 5)
    assert error == f"qvsearch: no hit is a video; {os.getcwd()}/a.m3u8 was not written\n"
    code, output, error = run("search", "--queries", "-", "--playlist", "a.m3u8")
    assert (code, output) == (2, b"")
    assert "--playlist and --timeline take one query; leave out --queries" in error
    assert os.listdir() == []


def test_moments_are_a_playlist_and_a_timeline(run, indexed):  # noqa: F811
    film = make(indexed / "\x1b[31m #film.mp4", [frame_of(n) for n in range(100)], rate=25)
    assert run("index", indexed, "--no-ocr", "--quiet")[0] == 0
    query = [*SEA, "--kind", "video", "--json", "--padding", "1"]
    code, output, error = run(*query, "--playlist", "a.m3u8", "--timeline", "a.otio")
    assert (code, error) == (0, "")
    [hit] = records(output)
    start, end = max(0.0, hit["start"] - 1), min(4.0, hit["end"] + 1)
    lines = Path("a.m3u8").read_text("utf-8").splitlines()
    assert f"#EXTVLCOPT:start-time={start:.3f}" in lines
    assert lines[-1].endswith("/%1B%5B31m%20%23film.mp4")
    assert all(map(is_harmless, lines))
    clip = otio.adapters.read_from_file("a.otio").find_clips()[0]
    assert clip.source_range.start_time.to_seconds() == pytest.approx(start)
    assert clip.source_range.end_time_exclusive().to_seconds() == pytest.approx(end)
    code, _, error = run(*query, "--timeline", "a.otio")
    assert (code, "exists; delete it" in error) == (2, True)
    code, output, _ = run("search", "--kind", "video", "--timeline", "whole.edl")
    assert (code, output.decode().splitlines()[-1]) == (
        0,
        f"1 moment written to {os.getcwd()}/whole.edl",
    )
    edl = otio.adapters.read_from_file("whole.edl", rate=25)
    assert edl.find_clips()[0].source_range.duration.value == 100
    film.write_bytes(b"no film any more")
    code, output, error = run(*query, "--timeline", "b.otio")
    assert (code, len(records(output))) == (3, 1)
    assert "not in b.otio" in error
    assert not os.path.exists("b.otio")


def cells(output):
    """The records of a CSV file, by Python's reader of RFC 4180."""
    text = output.decode("utf-8")
    assert text.count("\r\n") == text.count("\n"), "names without a line break"
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def as_cell(value):
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def test_csv_has_the_fields_of_json(run, indexed):  # noqa: F811
    table = cells(run(*SEA, "--csv")[1])
    hits = records(run(*SEA, "--json")[1])
    assert len(table) == len(hits) == 5
    for row, hit in zip(table, hits, strict=True):
        assert tuple(row) == COLUMNS
        assert row == {name: as_cell(hit.get(name)) for name in COLUMNS}
    assert set(COLUMNS) == pages.names_of(hit_record)
    assert run("search", "the sea", "--min-relevance", "1", "--csv") == (1, b"", "")
    with open("queries", "w") as file:
        file.write("the sea\n\na dog\n")
    table = cells(run("search", "--queries", "queries", "--all", "-k", "2", "--csv")[1])
    assert [row["query"] for row in table] == ["1", "1", "3", "3"]
    copied = cells(run(*SEA, "--csv", "--copy-to", "out", "-k", "1")[1])
    assert os.path.dirname(copied[0]["copy"]) == os.path.abspath("out")


def test_csv_keeps_every_name(run, indexed):  # noqa: F811
    names = [*hostile.named(b".png"), b'=HYPERLINK("x"),+1.png', b"-1;@SUM(A1).png"]
    for shade, name in enumerate(names):
        place = os.path.join(os.fsencode(indexed), name)
        with open(place, "wb") as file:
            Image.new("RGB", (64, 64), (shade, 0, 0)).save(file, "PNG")
    assert run("index", indexed, "--quiet")[0] == 0
    output = run("search", "--kind", "image", "--csv", "-k", "99")[1]
    text = output.decode("utf-8")
    table = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    paths = {
        os.path.basename(row["path"].encode() or base64.b64decode(row["path_b64"])) for row in table
    }
    assert paths >= set(names)
    code = "from qvsearch.cli.app import main\n"
    code += "assert main(['search', '--kind', 'image', '--csv', '-k', '99']) == 0"
    shown = without_escapes(in_terminal(code))
    assert all(is_harmless(line) for line in shown.splitlines())
    assert "=HYPERLINK" in shown
