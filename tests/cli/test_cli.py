import base64
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.colours import FINGERPRINT
from support.commands import (  # noqa: F401 - fixtures
    COLOURS,
    brief_doctor,
    files,
    home,
    indexed,
    records,
    run,
    write_files,
)
from support.moving_videos import moving
from support.videos import make

from qvsearch.cli.app import command_line, main
from qvsearch.library.library import Library
from qvsearch.machine.speeds import Speeds, device_name, keep_speeds
from qvsearch.models.registry import DEFAULT_MODEL
from qvsearch.types import Detail


@pytest.fixture(scope="module")
def shared(tmp_path_factory, tiny):
    """The same for tests that only read."""
    folder = tmp_path_factory.mktemp("shared") / "files"
    folder.mkdir()
    write_files(folder)
    library = str(folder.parent / "library")
    assert main(["index", str(folder), "--model", str(tiny), "-l", library, "-q"]) == 0
    for name in ("a song.flac", "program"):
        (folder.parent / name).touch()
    return folder


@pytest.fixture
def searchable(shared, home, monkeypatch):
    monkeypatch.setenv("QVSEARCH_LIBRARY", str(shared.parent / "library"))
    return shared


def subprocess_of(*arguments, **options):
    command = [sys.executable, "-m", "qvsearch", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def path_of(record):
    return base64.b64decode(record["path_b64"]) if "path_b64" in record else record["path"].encode()


def is_one_sentence(error):
    return error.startswith("qvsearch: ") and error.count("\n") == 1 and "Traceback" not in error


def test_index_says_what_it_did(run, files, tiny):
    (files / "empty.png").touch()
    code, output, error = run("index", files, "--model", tiny)
    lines = output.decode().splitlines()
    assert lines[0] == "found 6 = indexed 5 + unchanged 0 + skipped 1"
    assert lines[1].startswith("embedded 5, reused 0, removed 0; 5 segments in ")
    assert lines[2:] == ["skipped:", f"  {files}/empty.png: empty file"]
    assert (code, error) == (3, "")


def test_a_file_that_was_skipped_before_is_no_news(run, files, tiny):
    empty = files / "empty.png"
    empty.touch()
    code, output, _ = run("index", files, "--model", tiny)
    assert (code, f"  {empty}: empty file\n" in output.decode()) == (3, True)
    for _ in range(3):
        code, output, _ = run("index", files)
        assert code == 0
        lines = output.decode().splitlines()
        assert lines[0] == "found 6 = indexed 0 + unchanged 5 + skipped 1"
        assert lines[2:] == [
            "skipped as before: 1 file; qvsearch status lists them, and --retry-failed tries again"
        ]
    assert f"{empty}: empty file (tried 2 times)" in run("status")[1].decode()
    assert run("index", files, "-q")[:2] == (0, b"")
    assert run("index", files, "--strict")[0] == 3
    code, output, _ = run("index", files, "--json")
    assert (code, records(output)[-1]["skipped_before"]) == (0, 1)
    assert run("index", files, "--retry-failed")[0] == 3
    empty.write_bytes(b"no picture")
    assert run("index", files)[0] == 3, "it is another file now"


def test_a_missing_folder_is_named_and_the_others_are_indexed(run, files, tiny, home):
    code, output, error = run("index", files, home / "missing", "--model", tiny)
    assert (code, error) == (3, "")
    assert output.decode().startswith("found 5 = indexed 5 ")
    assert f"not there: {home}/missing; nothing was removed\n" in output.decode()


def test_files_that_are_not_taken_are_named_by_index_and_status(run, files, tiny):
    for name in ("a.DOC", "b.doc", "c.pages", "d.bin", ".e.doc"):
        (files / name).touch()
    counts = {".doc": 2, ".pages": 1, "others": 1}
    said = "left aside: 2 .doc, 1 .pages, 1 other"
    assert said in run("index", files, "--model", tiny, "--dry-run")[1].decode()
    code, output, _ = run("index", files, "--model", tiny, "--json")
    assert (code, records(output)[-1]["left_aside"]) == (0, counts)
    code, output, _ = run("index", files, files)
    assert said in output.decode(), "each file is counted once"
    assert records(run("status", "--json")[1])[0]["left_aside"] == counts
    assert re.search("left aside +2 .doc, 1 .pages, 1 other\n", run("status")[1].decode())


def test_a_folder_of_nothing_but_other_files_says_so(run, home, tiny):
    (home / "papers").mkdir()
    (home / "papers/a.doc").touch()
    code, output, _ = run("index", home / "papers", "--model", tiny)
    assert code == 0
    assert output.decode().startswith("found 0 = ")
    assert "left aside: 1 .doc; qvsearch does not take such files\n" in output.decode()


def test_index_in_json_is_an_event_a_line_and_a_summary(run, files, tiny):
    code, output, error = run("index", files, "--model", tiny, "--json")
    *events, summary = records(output)
    assert (code, error) == (0, "")
    assert sorted(path_of(event) for event in events if event["state"] == "indexed") == sorted(
        os.fsencode(path) for path in files.iterdir()
    )
    assert summary["state"] == "summary"
    assert summary["found"] == summary["indexed"] + summary["unchanged"] + summary["skipped"] == 5
    code, output, _ = run("index", files, "--json")
    assert (code, records(output)[-1]["unchanged"], records(output)[-1]["segments"]) == (0, 5, 0)


def test_quiet_is_quiet(run, files, tiny):
    assert run("index", files, "--model", tiny, "-q") == (0, b"", "")


def test_a_dry_run_does_nothing(run, files, tiny, home):
    code, output, error = run("index", files, "--model", tiny, "--dry-run")
    assert (code, error) == (0, "")
    assert "would embed 4 images, 1 text, about 5 segments" in output.decode()
    _, output, _ = run("index", files, "--model", tiny, "--dry-run", "--json")
    assert records(output)[0]["to_embed"] == {"image": 4, "text": 1}
    assert not (home / "library").exists()


def test_one_file_is_counted_as_one(run, home, tiny):
    note = home / "note.txt"
    note.write_text("A note about the sea.\n")
    said = [
        run(*arguments)[1].decode()
        for arguments in (
            ["index", note, "--model", tiny, "--dry-run"],
            ["index", note, "--model", tiny],
            ["status"],
            ["explain", "the sea", note, "--all"],
            ["remove", note],
        )
    ]
    assert "would embed 1 text, about 1 segment\n" in said[0]
    assert "; 1 segment in " in said[1]
    assert re.search("text +1 file, 1 segment\n", said[2])
    assert re.search("failed +0 files\n", said[2])
    assert re.search("rank +1 of 1 file\n", said[3])
    assert said[4] == "removed 1 file from the library, and nothing from the disk\n"


def test_a_path_that_is_not_there_makes_no_library(run, home, tiny):
    code, output, error = run("index", home / "missing", "--model", tiny)
    assert (code, output) == (2, b"")
    assert is_one_sentence(error)
    assert str(home / "missing") in error
    assert not (home / "library").exists()


def test_search_finds_files_of_each_kind(run, searchable):
    code, output, error = run("search", "the sea", "--all", "--by-kind", "--json")
    hits = records(output)
    assert (code, error) == (0, "")
    assert [(hit["kind"], hit["rank"]) for hit in hits] == [
        *(("image", rank) for rank in (1, 2, 3, 4)),
        ("text", 1),
    ]
    assert hits[-1]["lines"] == [1, 2]
    assert hits[-1]["snippet"].startswith("A note about the sea.")
    assert (hits[0]["width"], hits[0]["height"]) == (64, 64)
    relevance = [hit["relevance"] for hit in hits if hit["kind"] == "image"]
    assert relevance == sorted(relevance, reverse=True)


def test_one_list_is_ordered_by_relevance(run, searchable):
    _, output, _ = run("search", "the sea", "--all", "--json")
    hits = records(output)
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5]
    relevance = [hit["relevance"] for hit in hits]
    assert relevance == sorted(relevance, reverse=True)
    assert all(0 <= each <= 1 for each in relevance)


def test_a_picture_finds_itself(run, searchable):
    for picture in (searchable / "red.png", searchable / "blue.png"):
        _, output, _ = run("search", picture, "--kind", "image", "--json", "-k", "1", "--all")
        (hit,) = records(output)
        assert hit["path"] == str(picture)


def test_the_table_is_plain_in_a_pipe(run, searchable):
    code, output, _ = run("search", "the sea", "--top", "2", "--all")
    shown = output.decode()
    assert code == 0
    assert len(re.findall(r"^\d +0\.\d\d +(image|text) ", shown, re.M)) == 2
    assert "\x1b" not in shown
    _, output, _ = run("search", "the sea", "--all", "--by-kind")
    assert re.findall(r"^(Images|Texts)$", output.decode(), re.M) == ["Images", "Texts"]


QUERIES = b"\xef\xbb\xbfthe sea\r\n\nfiles/red.png\nmissing.png\n\xff\nblue\n"


def standard_input(monkeypatch, data):
    """Give this process something to read."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_many_queries_are_answered_by_number_as_if_alone(run, searchable, home, monkeypatch):
    monkeypatch.chdir(searchable.parent)
    (home / "queries.txt").write_bytes(QUERIES)
    options = ["--all", "-k", "2", "--json"]
    expected = [
        {"query": number, **hit}
        for number, query in ((1, "the sea"), (3, "files/red.png"), (6, "blue"))
        for hit in records(run("search", query, *options)[1])
    ]
    for source in (["--queries", home / "queries.txt"], ["-"], ["--queries", "-"]):
        standard_input(monkeypatch, QUERIES)
        code, output, error = run("search", *source, *options)
        assert records(output) == expected
        assert code == 3
        assert error.splitlines() == [
            "qvsearch: query 4: there is no file missing.png;"
            " to look for its name, put it in quotes: '\"missing.png\"'",
            "qvsearch: query 5: the query is no UTF-8 text; type it again",
        ]


def test_many_queries_have_headings_and_one_exit_code(run, searchable, home):
    queries = home / "queries.txt"
    queries.write_text("the sea\nred \x1b[31m\n")
    code, output, error = run("search", "--queries", queries, "--all", "-k", "1")
    lines = output.decode().splitlines()
    assert (code, error) == (0, "")
    assert lines[0] == "1: the sea"
    second = lines.index("2: red \\x1b[31m")
    assert lines[second - 1] == ""
    assert second < 6  # the heading, a hit and perhaps its snippet
    code, output, _ = run("search", "--queries", queries, "--all", "-k", "1", "--paths")
    assert (code, len(output.splitlines())) == (0, 2)
    assert run("search", "--queries", queries, "--min-relevance", "1", "--paths")[0] == 1
    queries.write_text(" \n\n")
    assert "there is no query in" in run("search", "--queries", queries)[2]


def test_a_line_that_is_too_long_costs_no_other(run, searchable, home):
    queries = home / "queries.txt"
    queries.write_text("word " * 20_000 + "\nthe sea\n" + "w" * 65_536 + "\n" + "w" * 65_536)
    code, output, error = run("search", "--queries", queries, "--all", "-k", "1", "--json")
    assert (code, [each["query"] for each in records(output)]) == (3, [2])
    assert error.splitlines() == [
        f"qvsearch: query {number}: it is longer than 65,535 bytes" for number in (1, 3, 4)
    ]


def test_a_query_that_is_piped_in_is_answered_before_the_next_one_is_there(searchable):
    command = ["search", "-", "--all", "-k", "1", "--paths"]
    with subprocess_of(*command, stdin=subprocess.PIPE) as process:
        for query in (b"the sea\n", b"blue\n"):
            process.stdin.write(query)
            process.stdin.flush()
            assert process.stdout.readline().startswith(os.fsencode(searchable))
        process.stdin.close()
        assert process.wait() == 0


def test_filters_alone_list_files_newest_first(run, searchable):
    code, output, error = run("search", "--kind", "image", "--json")
    hits = records(output)
    assert (code, error) == (0, "")
    assert [hit["mtime"] for hit in hits] == sorted((hit["mtime"] for hit in hits), reverse=True)
    assert not any({"relevance", "score"} & set(hit) for hit in hits)
    code, output, _ = run("search", "--sort", "path", "--paths")
    assert output.split() == sorted(output.split())
    assert len(output.split()) == 5
    _, output, _ = run("search", "--kind", "text")
    heading, first, *_ = output.decode().splitlines()
    assert heading.split() == ["kind", "size", "date", "path"]
    assert re.search(r"1 +text +lines 1-2 +\d{4}-\d\d-\d\d +.*note.txt$", first)
    assert run("search", "--camera", "canon") == (1, b"", "")


def test_relevant_hits_are_sorted_as_asked(run, searchable):
    _, output, _ = run("search", "the sea", "--all", "--sort", "path", "--paths", "--no-dedupe")
    assert output.split() == sorted(output.split())
    _, output, _ = run("search", "the sea", "--all", "--sort", "date", "-k", "2")
    assert output.split()[:5] == b"relevance kind size date path".split()


def test_a_search_without_hits(run, searchable):
    assert run("search", "sea", "--all", "--kind", "video") == (1, b"", "")
    assert run("search", "sea", "--all", "--under", searchable.parent / "library") == (1, b"", "")
    assert run("search", "sea", "--all", "--before", "1990-01-01")[0] == 1
    assert run("search", "sea", "--all", "--after", "1990-01-01")[0] == 0
    assert run("search", "sea", "--min-relevance", "1") == (1, b"", "")


def test_a_relative_path_under_which_to_search(run, searchable, monkeypatch):
    monkeypatch.chdir(searchable.parent)
    _, output, _ = run("search", "sea", "--under", "files/red.png", "--paths", "--all")
    assert output == os.fsencode(searchable / "red.png") + b"\n"


def test_a_query_may_begin_with_a_dash(run, searchable):
    assert run("search", "--kind", "text", "--paths", "--all", "--", "-40 degrees")[0] == 0


def test_filters_go_through_to_the_search(run, searchable):
    def paths(*filters):
        _, output, error = run("search", "sea", "--all", "--json", *filters)
        assert error == ""
        return {Path(hit["path"]).name for hit in records(output)}

    pictures = {f"{colour}.png" for colour in COLOURS}
    assert paths("--glob", "r*.png", "--glob", "*.txt") == {"red.png", "note.txt"}
    assert paths("--min-size", "64x64") == pictures
    assert paths("--min-size", "65x64") == set()
    assert paths("--orientation", "square") == pictures
    assert paths("--orientation", "portrait") == set()
    assert paths("--camera", "canon") == paths("--near", "48,16") == set()
    assert paths("--duration", "1s") == set()


def test_what_to_leave_out_and_what_to_be_like_are_part_of_the_query(run, searchable):
    red, blue = searchable / "red.png", searchable / "blue.png"
    options = ["--all", "--no-dedupe", "--json", "--kind", "image"]
    first = [run("search", "--like", each, *options)[1] for each in (red, blue)]
    assert [records(output)[0]["path"] for output in first] == [str(red), str(blue)]
    _, output, _ = run("search", "--like", red, "--unlike", red, *options)
    assert records(output)[0]["relevance"] < 0.5
    weights = ["--like-weight", "2", "--not-weight", "0.5"]
    assert run("search", "sea", "--like", red, "--not", "sky", *weights, *options)[0] == 0


def test_a_moment_that_cannot_be_cut_out_costs_only_its_own_clip(run, home, tiny):
    folder = home / "films"
    folder.mkdir()
    for name in ("gone.mp4", "here.mp4"):
        make(folder / name, moving(1, 3), rate=10)
    assert run("index", folder, "--model", tiny, "--quiet")[0] == 0
    (folder / "gone.mp4").unlink()
    search = ("search", "a film", "--all", "--no-dedupe", "--json", "--save-clips")
    code, output, error = run(*search, home / "clips")
    saved = {Path(hit["path"]).name: hit.get("saved") for hit in records(output)}
    assert code == 3
    assert saved == {"gone.mp4": None, "here.mp4": str(*(home / "clips").iterdir())}
    assert is_one_sentence(error)
    assert "gone.mp4 cannot be cut: it is no longer there" in error
    (folder / "gone.mp4").write_bytes((folder / "here.mp4").read_bytes())
    assert run(*search, home / "clips")[0] == 0
    code, output, error = run(*search, "")  # as of a shell's variable that is not set
    assert (code, output) == (2, b"")
    assert "a path is empty" in error


def test_clips_are_padded_and_named_where_they_are_printed(run, home, tiny):
    film = make(home / "film.mp4", moving(1, 6), rate=10)
    assert run("index", film, "--model", tiny, "--quiet")[0] == 0
    search = ["search", "a film", "--all", "--save-clips", home / "clips"]
    assert run(*search, "--padding", "100")[0] == 0
    [whole] = (home / "clips").iterdir()
    assert re.match("film 0m00.0s-0m06.0s [0-9a-f]{6}.mp4", whole.name)  # no longer than the film
    code, output, _ = run(*search, "--padding", "100")
    assert code == 0
    assert f"saved before: {whole}" in output.decode()
    assert list((home / "clips").iterdir()) == [whole]
    assert run("search", "a film", "--padding", "1")[0] == 2
    assert run(*search, "--padding", "-1")[0] == 2


def test_explain_says_why(run, searchable, home):
    red = searchable / "red.png"
    code, output, _ = run("explain", "the sea", red, "--all", "--no-dedupe", "--json")
    (said,) = records(output)
    assert code == 0
    assert (said["path"], said["items"]) == (str(red), 5)
    assert 1 <= said["rank"] <= 5
    assert "reason" not in said
    assert len(said["segments"]) == 1
    code, output, _ = run("explain", "the sea", red, "--camera", "canon", "--json")
    (said,) = records(output)
    assert code == 1
    assert said["reason"] == "hidden by " + said["hidden_by"][0]
    code, output, _ = run("explain", "the sea", home / "missing.png")
    assert code == 1
    assert "there is no such file" in output.decode()


def test_several_libraries_by_name(run, files, tiny, home):
    assert run("index", files / "red.png", "-l", "holidays", "--model", tiny)[0] == 0
    _, output, _ = run("search", "sea", "--library", "holidays", "--json", "--all")
    assert records(output)[0]["library"] == str(home / "home" / "qvsearch" / "holidays")


MISTAKES = [
    (["search", "sea", "--kind", "audio"], "'audio'.*image.*video.*text"),
    (["search", "sea", "--top", "0"], "-k must be at least 1, not 0"),
    (["search", "sea", "-k", "many"], "-k 'many' is not a whole number; it must be at least 1"),
    (["search", "sea", "--topp", "3"], "--topp.*--top.*; see: qvsearch search --help"),
    (["search", "sea", "--image"], "--image.*; see: qvsearch search --help"),
    (["search", "a", "red", "star", "-k", "3"], 'put the query in quotes: .* search "a red star"'),
    (["explain", "a", "red", "star.png"], 'the query in quotes: .* explain "a red" star.png'),
    (["search", "files/red.png", "files/blue.png"], "files/red.png --like files/blue.png"),
    (["status", "-l", "main", "-l", "other"], "--library is given twice"),
    (["index", "files", "--model", "demo", "--model", "demo"], "--model is given twice"),
    (["similar", "files/red.png", "-k", "1", "--top", "2"], "--top is given twice"),
    (["search", "files"], "files is a folder; .*--under files; .*add a space"),
    (["search", "./files/"], "is a folder"),
    (["search", "a song.flac"], "is a .flac file; .* a file such as .jpg"),
    (["search", "program"], "is a file without a suffix; .* a file such as .jpg"),
    (["search", "sea", "--after", "soon"], "--after 'soon' is not a date"),
    (["search", "sea", "--before", "2020", "--after", "2021"], "nothing is both after"),
    (["search", "sea", "--near", "100,0"], "--near '100,0'"),
    (["search", "sea", "--near", "here"], "--near 'here'"),
    (["search", "sea", "--min-size", "big"], "--min-size 'big'"),
    (["search", "sea", "--duration", "long"], "--duration 'long'"),
    (["search", "sea", "--orientation", "upright"], "'upright'.*landscape"),
    (["search", "sea", "--glob", ""], "--glob"),
    (["search", "sea", "--glob", "[a"], "--glob"),
    (["search", "sea", "--camera", " "], "--camera"),
    (["search", "sea", "--min-relevance", "2"], "--min-relevance must be from 0 to 1, not 2"),
    (["search", "sea", "--min-relevance", "nan"], "--min-relevance must be from 0 to 1"),
    (["search", "sea", "--min-relevance", "0.2", "--all"], "--all is --min-relevance 0"),
    (["search", "--not", "people"], "the query looks for nothing"),
    (["search", "sea", "--not", " "], "--not is empty"),
    (["search", "a \udcff"], "the query is no UTF-8 text"),
    (["search", "sea", "--not", "\udcff"], "--not is no UTF-8 text"),
    (["search", "sea", "--like", "missing.jpg"], "missing.jpg: no such file"),
    (["search", "-40 degrees"], "put -- before words that begin with -"),
    (["search", "sea", "--unlike", "sheet.xls"], "sheet.xls has an unsupported suffix"),
    (["search", "sea", "--like", "files"], "files is a folder; give a file"),
    (["similar", "files"], "files is a folder; give a file"),
    (["search", "sea", "--like-weight", "0"], "--like-weight 0 is no weight"),
    (["search", "sea", "--not-weight", "nan"], "--not-weight must be from 0 to 1000, not nan"),
    (["search", "sea", "--not-weight", "inf"], "--not-weight must be from 0 to 1000, not inf"),
    (["search", "sea", "--like-weight", "1e300"], "--like-weight must be from 0 to 1000, not 1e3"),
    (["search", "sea", "--padding", "inf"], "--padding must be from 0 to 86400, not inf"),
    (["search", "sea", "--padding", "1e300"], "--padding must be from 0 to 86400, not 1e300"),
    (["search", "sea", "--queries", "files/note.txt"], "--queries FILE has the queries"),
    (["search", "-", "--queries", "files/note.txt"], "--queries FILE has the queries"),
    (["search", "--queries", "missing.txt"], "No such file or directory: .*missing.txt"),
    (["search", "--queries", "program"], "there is no query in .*program; write one a line"),
    (["search", "--sort", "relevance"], "nothing is relevant without a query"),
    (["search", "--kind", "text", "--rerank"], "nothing is relevant without a query"),
    (["search", "--kind", "text", "--min-relevance", "0"], "nothing is relevant without a query"),
    (["search", "--kind", "video", "--save-clips", "clips"], "--save-clips cuts .*; give one"),
    (["search", "--kind", "text", "--not", "people"], "the query looks for nothing"),
    (["search", "", "--kind", "text"], "the query looks for nothing"),
    (["search", "sea", "--sort", "size"], "'size'.*relevance.*date.*path"),
    (["search", "sea", "--rerank-budget", "soon"], "--rerank-budget 'soon' is no time"),
    (["search", "sea", "--rerank-budget", "5s"], "--rerank-budget has no effect without --rerank"),
    (["search", "sea", "--rerank-top", "0"], "--rerank-top"),
    (["search"], "the query looks for nothing"),
    (["search", "  "], "the query looks for nothing"),
    (["explain", "sea"], "FILE"),
    (["explain", " ", "files/red.png"], "the query looks for nothing"),
    (["search", "sea", "--image", "missing.jpg"], "missing.jpg: no such file"),
    (["search", "sea", "--model", "Qwen/Qwen3-VL-Embedding-8B"], "made with --model"),
    (["search", "sea", "--device", "abacus"], "abacus"),
    (["search", "sea", "--rerank"], "Qwen/Qwen3-VL-Reranker-2B.*models pull"),
    (["index", "files", "--dim", "64000"], "--dim"),
    (["index", "files", "-l", "new", "--model", "demo-reranker"], "demo-reranker is a reranker"),
    (["index", "files", "--detail", "high"], "made with --detail low"),
    (["index", "missing"], "missing"),
    (["remove", "missing"], "missing"),
    (["searhc", "sea"], "searhc"),
    (["models", "verify", "Qwen/Qwen3-VL-Embedding-2B"], "models pull"),
]


@pytest.mark.parametrize(("arguments", "says"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_one_sentence_that_names_it(run, searchable, monkeypatch, arguments, says):
    monkeypatch.chdir(searchable.parent)
    code, output, error = run(*arguments)
    assert (code, output) == (2, b"")
    assert is_one_sentence(error)
    assert re.search(says, error)


def test_an_unreadable_query_picture(run, searchable, home):
    (home / "broken.jpg").write_bytes(b"nothing")
    code, output, error = run("search", "sea", "--image", home / "broken.jpg")
    assert (code, output) == (2, b"")
    assert is_one_sentence(error)
    assert "broken.jpg cannot be the query" in error


def test_libraries_that_cannot_be_searched(run, home):
    code, output, error = run("search", "sea")
    assert (code, output) == (2, b"")
    assert is_one_sentence(error)
    assert str(home / "library") in error
    Library.create(home / "library", FINGERPRINT)
    code, _, error = run("search", "sea")
    assert code == 2
    assert is_one_sentence(error)
    assert "is empty; fill it with: qvsearch index FOLDER" in error


ON_A_LIBRARY = [
    ["index", "files", "--model", "demo"],
    ["index", "files", "--model", "demo", "--dry-run"],
    ["search", "sea"],
    ["explain", "sea", "files/red.png"],
    ["similar", "files/red.png"],
    *(["dupes"], ["status"], ["status", "--fields"], ["remove", "files"], ["warm"]),
    *(["check"], ["check", "--repair"], ["check", "--recall"]),
]


@pytest.mark.usefixtures("brief_doctor")
@pytest.mark.parametrize("name", ["./file", "file/library", "file/a/b", "link/library"])
def test_a_file_where_the_library_would_be_is_named_by_every_command(run, files, monkeypatch, name):
    monkeypatch.chdir(files.parent)
    Path("file").write_bytes(b"mine")
    Path("link").symlink_to("nowhere")
    before = sorted(Path().rglob("*"))
    in_the_way = files.parent / name.removeprefix("./").partition("/")[0]
    what = "a broken link" if in_the_way.is_symlink() else "not a folder"
    sentence = (
        f"no library can be at {files.parent / name}: {in_the_way} is {what};"
        " name another one with --library"
    )
    for arguments in ON_A_LIBRARY:
        said = run(*arguments, "--library", name)
        assert said == (2, b"", f"qvsearch: {sentence}\n"), arguments
    facts = records(run("doctor", "--json", "--library", name)[1])
    assert [fact["trap"] for fact in facts if fact["name"] == "library"] == [sentence]
    assert sorted(Path().rglob("*")) == before
    assert Path("file").read_bytes() == b"mine"


def test_a_new_library_without_weights_says_how_to_get_them(home, files):
    process = subprocess_of("index", str(files))
    output, error = process.communicate()
    assert (process.returncode, output) == (2, b"")
    assert is_one_sentence(error.decode())
    assert "qvsearch models pull Qwen/Qwen3-VL-Embedding-2B" in error.decode()
    assert not (home / "library").exists()


def test_a_reranker_adds_its_score(run, searchable, tiny):
    options = ["--rerank", "all", "--rerank-top", "3", "--reranker", tiny, "--json", "--all"]
    code, output, error = run("search", "the sea", *options)
    assert (code, error) == (0, "")
    hits = records(output)
    judged = [hit for hit in hits if "rerank_score" in hit]
    assert len(judged) == 3
    assert all(0 <= hit["rerank_score"] <= 1 for hit in judged)
    assert all("score" in hit for hit in hits)


@pytest.mark.parametrize(
    ("arguments", "scope", "query"),
    [
        (["--rerank", "sea"], "auto", "sea"),
        (["sea", "--rerank"], "auto", "sea"),
        (["--rerank", "all", "sea"], "all", "sea"),
        (["--rerank=auto", "sea"], "auto", "sea"),
        (["--rerank", "-k", "3", "sea"], "auto", "sea"),
        (["--", "--rerank"], None, "--rerank"),
        (["sea"], None, "sea"),
    ],
)
def test_rerank_takes_a_scope_or_none(arguments, scope, query):
    command = command_line().commands["search"]
    parsed = command.make_context("search", list(arguments)).params
    assert (parsed["rerank"], parsed["query"]) == (scope, query)


HOSTILE = [
    b"two\nlines.png",
    b"\x1b]0;owned\x07\x1b[31m.png",
    b"\xff\xfe not utf-8.png",
    "gpj.\u202egnp.png".encode(),
    b"-k.png",
    b"[red]markup[bold].png",
    b"  spaces  .png",
]


def test_hostile_names_are_indexed_shown_harmlessly_and_given_back_exactly(run, home, tiny):
    folder = os.fsencode(home / "hostile")
    os.mkdir(folder)
    paths = [os.path.join(folder, name) for name in HOSTILE]
    for shade, path in enumerate(paths):
        with open(path, "wb") as file:
            Image.new("RGB", (64, 64), (20 * shade, 0, 0)).save(file, "PNG")
    # a path that cannot be read, so that the report shows such a name too
    broken = os.path.join(folder, b"broken\x1b[2J\xff\n.png")
    with open(broken, "wb"):
        pass
    code, output, error = run("index", folder, "--model", tiny)
    assert (code, error) == (3, "")
    assert b"\x1b" not in output
    assert output.count(b"\n") == 4

    _, output, _ = run("search", "red", "--all", "--no-dedupe", "--json")
    assert b"\x1b" not in output
    assert "\u202e".encode() not in output
    assert sorted(path_of(hit) for hit in records(output)) == sorted(paths)
    _, output, _ = run("search", "red", "--all", "--no-dedupe")
    assert b"\x1b" not in output
    output.decode("utf-8")
    _, output, _ = run("search", "red", "--all", "--no-dedupe", "-0")
    assert sorted(output.split(b"\0")[:-1]) == sorted(paths)
    _, output, _ = run("search", "red", "--all", "--no-dedupe", "--paths", "--under", paths[0])
    assert output == paths[0] + b"\n"
    assert run("search", "--image", paths[2], "--all", "--json", "--", paths[0])[0] == 0


def test_a_relative_path_that_begins_with_a_dash(run, home, tiny, monkeypatch):
    monkeypatch.chdir(home)
    Image.new("RGB", (64, 64)).save(home / "-0.png")
    assert run("index", "--model", tiny, "--", "-0.png")[0] == 0


def test_status_counts_and_finds_what_is_stale(run, indexed):
    (indexed / "empty.png").touch()
    run("index", indexed)
    (indexed / "red.png").unlink()
    (indexed / "note.txt").write_text("changed")
    code, output, error = run("status", "--json")
    (status,) = records(output)
    assert (code, error) == (0, "")
    assert status["kinds"] == {
        "image": {"items": 4, "segments": 4},
        "text": {"items": 1, "segments": 1},
    }
    assert status["gone"] == [{"path": str(indexed / "red.png")}]
    assert status["changed"] == [{"path": str(indexed / "note.txt")}]
    assert status["failed"] == [
        {"path": str(indexed / "empty.png"), "reason": "empty file", "tries": 1}
    ]
    assert status["roots"] == [{"path": str(indexed), "reachable": True}]
    assert status["model"]["detail"] == "low"
    code, output, _ = run("status")
    assert code == 0
    assert "4 files, 4 segments" in output.decode()
    assert "empty.png: empty file (tried once)" in output.decode()


def test_status_names_the_detail_of_documents(run, files, tiny):
    run("index", files, "--model", tiny, "--document-detail", "high")
    _, output, _ = run("status")
    assert "low detail (high for documents)" in " ".join(output.decode().split())


def test_a_folder_s_name_with_spaces_can_be_copied_from_an_error(run, indexed):
    (folder := indexed / "our pictures").mkdir()
    _, _, error = run("search", folder)
    assert ["--under", f"{folder};"] == shlex.split(error[error.index("--under") :])[:2]
    _, _, error = run("status", "-l", table := folder / "shared.lance")
    assert shlex.split(error[error.index("qvsearch publish") :])[2:] == [str(table)]


def test_status_of_a_root_that_is_away(run, indexed):
    indexed.rename(indexed.parent / "away")
    _, output, _ = run("status", "--json")
    (status,) = records(output)
    assert (status["gone"], status["roots"][0]["reachable"]) == ([], False)
    code, output, _ = run("index", indexed)
    assert code == 3
    assert f"not there: {indexed}; nothing was removed" in output.decode()


def test_remove_forgets_and_leaves_the_files(run, indexed):
    code, output, _ = run("remove", indexed / "red.png", indexed / "note.txt", "--json")
    assert (code, records(output)) == (0, [{"removed": 2}])
    assert (indexed / "red.png").exists()
    _, output, _ = run("search", "sea", "--paths", "--all")
    assert len(output.splitlines()) == 3


def test_check_finds_a_flipped_byte_and_repair_keeps_the_rest(run, indexed, home):
    assert run("check") == (0, b"every byte is as it was written\n", "")
    vectors = next((home / "library" / "segments").glob("*.faiss"))
    data = bytearray(vectors.read_bytes())
    data[-3] ^= 1
    vectors.write_bytes(data)
    code, output, _ = run("check", "--json")
    (report,) = records(output)
    assert code == 1
    assert [problem["file"] for problem in report["problems"]] == [f"segments/{vectors.name}"]
    code, _, error = run("search", "sea")
    assert code == 2
    assert is_one_sentence(error)
    assert run("check", "--repair")[0] == 0
    assert run("check")[0] == 0
    assert run("index", indexed)[0] == 0
    assert len(run("search", "sea", "--paths", "--all")[1].splitlines()) == 5


def test_a_locked_library_is_left_alone(run, indexed, home):
    library = Library.open(home / "library")
    with library.lock():
        code, output, error = run("index", indexed)
    assert (code, output) == (11, b"")
    assert is_one_sentence(error)
    assert str(os.getpid()) in error


def test_doctor_reports_facts(run, home):
    code, output, error = run("doctor", "--json")
    assert (code, error) == (0, "")
    facts = {fact["name"]: fact["value"] for fact in records(output)}
    assert {"torch", "transformers", "pillow-heif", "device", "library", "free disk"} <= set(facts)
    assert facts["library"] == f"{home / 'library'} (does not exist yet)"
    seconds = [
        float(facts[f"photo, {detail}"].split()[0].replace(",", ""))
        for detail in ("low", "medium", "high")
    ]
    assert 0 < seconds[0] < seconds[1] < seconds[2]


def test_the_plan_and_the_doctor_use_what_was_kept(run, home, tiny):
    folder = home / "files"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.txt").write_text(f"note {number}")
    (folder / "a.png").write_bytes(b"only its name is looked at")
    arguments = ("index", folder, "--model", tiny, "--dry-run")
    assert b"measured" not in run(*arguments)[1]
    device = device_name(torch.device("cpu"))
    each = {detail: 100.0 for detail in Detail}
    keep_speeds(str(tiny), device, "float32", Speeds(each, each, 10.0))
    assert b"would take about 2 minutes (measured on this machine)" in (run(*arguments)[1])
    (line,) = records(run(*arguments, "--json")[1])
    assert (line["seconds"], line["measured"]) == (130, True)
    keep_speeds(DEFAULT_MODEL, device, "float32", Speeds(each, each, 10.0))
    keep_speeds(DEFAULT_MODEL, device, "int8", Speeds(each, {}, 6.0))
    keep_speeds(DEFAULT_MODEL, device, "bfloat16", Speeds({}, {}, 5.0))
    cpu = ("--device", "cpu", "--dtype", "float32")
    found = records(run("doctor", *cpu, "--json")[1])
    assert [fact.get("trap") for fact in found if fact["name"] == "device"] == [
        "bfloat16 is 2.0 times as fast as float32, measured on this machine;"
        " run `index` with --dtype bfloat16"
    ]
    facts = {fact["name"]: fact["value"] for fact in found}
    assert facts["photo, high"] == "100.0 s with the 2B model, measured"
    assert facts["text passage"] == "10.0 s with the 2B model, measured"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--model", "no/where/at-all"), "no/where/at-all"),
        (("--model", "someone/else"), "qvsearch models pull someone/else"),
        (("--device", "abacus"), "abacus"),
        (("--dtype", "float8"), "float8"),
        (("--detail", "vague"), "vague"),
    ],
)
def test_bench_says_in_one_sentence_what_is_not_there(arguments, named, run, home):
    code, output, error = run("bench", *arguments)
    assert (code, output) == (2, b"")
    assert is_one_sentence(error)
    assert named in error


def test_a_reader_that_leaves_stops_nothing(home, files, tiny, run, monkeypatch):
    ours, theirs = os.pipe()
    os.close(ours)
    with open(theirs, "w") as printed, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", printed)
        assert main(["index", str(files), "--model", str(tiny), "--json"]) == 0
    code, output, error = run("search", "sea", "--paths", "--all")
    assert (code, error) == (0, "")
    assert len(output.splitlines()) == 5


def test_version_and_help(run):
    assert re.fullmatch(rb"qvsearch \d+\.\d+\.\d+\n", run("--version")[1])
    assert b"qvsearch index ~/Photos" in run()[1]
    assert run("search", "-h")[0] == 0


def test_the_installed_program_is_the_same_program(home):
    program = Path(sys.executable).parent / "qvsearch"
    done = subprocess.run([program, "status"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert is_one_sentence(done.stderr)


def test_a_mistake_of_ours_is_no_empty_answer():
    code = """
import sys
from qvsearch.cli import app as cli
from qvsearch.library import library
library.Library.open = lambda folder: 1 / 0
sys.argv = ["qvsearch", "search", "sea"]
sys.exit(cli.main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.png"], "there is no file missing.png; to look for its name, put it in quotes"),
        (
            ["sea", "--under", "nowhere"],
            "is neither on the disk nor in the library; check the spelling",
        ),
        (
            ["sea", "--json", "--paths"],
            "--json, --csv, --paths and --print0 are four ways to print",
        ),
        (["sea", "-0", "--paths"], "--json, --csv, --paths and --print0 are four ways to print"),
        (["sea", "--rerank", "--reranker", "demo"], "demo is no reranker"),
        (["sea", "--rerank-top", "3"], "--rerank-top has no effect without --rerank"),
        (["sea", "--reranker", "demo-reranker"], "--reranker has no effect without --rerank"),
        (["sea", "--rerank", "--reranker", "Qwen/Qwen3-VL-Embedding-2B"], "is no reranker"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(run, indexed, home, arguments, sentence):
    code, output, error = run("search", *arguments)
    assert (code, output) == (2, b"")
    assert sentence in error
    assert error.count("\n") == 1


def test_words_may_be_those_of_a_folder(run, searchable, monkeypatch):
    monkeypatch.chdir(searchable.parent)
    assert run("search", "files ", "--all", "--paths")[0] == 0
    assert run("search", "files in the sea", "--all", "--paths")[0] == 0


def test_any_number_of_hits_may_be_asked_for(run, searchable):
    options = ("--all", "--no-dedupe", "--paths")
    everything = run("search", "sea", "-k", "5", *options)
    assert everything[1].count(b"\n") == 5
    for many in ("6", str(sys.maxsize), "99999999999999999999"):
        assert run("search", "sea", "-k", many, *options) == everything
        picture = (searchable / "red.png", "-k", many)
        assert run("similar", *picture)[1] == run("similar", searchable / "red.png")[1]
        assert run("explain", "sea", *picture, "--all", "--no-dedupe")[0] == 0


def test_many_words_that_end_like_a_file_are_words(run, indexed, home):
    words = " ".join(["word"] * 80) + " notes.txt"
    code, _, error = run("search", words, "--all")
    assert (code, error) == (0, "")


@pytest.mark.parametrize("option", ["--hub", "--dtype"])
def test_an_unknown_value_is_refused_even_where_no_model_is_needed(run, indexed, home, option):
    code, _, error = run("index", indexed, option, "foo")
    assert code == 2
    assert "'foo'" in error
    assert run("index", indexed)[0] == 0
