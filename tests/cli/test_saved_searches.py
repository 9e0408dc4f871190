"""search --save, @NAME and --new-since, and the command searches, as a person uses them."""

import base64
import json
import os
import shutil
import sys

import pytest
from PIL import Image
from support.commands import files, home, indexed, records, run  # noqa: F401
from support.terminal import in_terminal, without_escapes

from qvsearch.cli.app import main
from qvsearch.library.library import Library
from qvsearch.library.searches import read_search


def names(output):
    return sorted(os.path.basename(each["path"]) for each in records(output))


def add(run, folder, name):  # noqa: F811
    Image.new("RGB", (64, 64), (len(os.listdir(folder)), 9, 9)).save(folder / name)
    assert run("index", folder, "--quiet")[0] == 0


def test_a_saved_search_is_repeated_from_any_folder(run, indexed, home, monkeypatch):  # noqa: F811
    monkeypatch.chdir(indexed)
    search = ["search", "the sea", "--under", ".", "--kind", "image", "--all", "--not", "a -k b"]
    first = run(*search, "-k", "3", "--save", "Sea & sun", "--json")
    assert (first[0], len(records(first[1])), first[2]) == (0, 3, "")
    (home / "sea").mkdir()
    monkeypatch.chdir(home)
    (home / "the sea").write_text("a file of that name is not the query")
    assert run("search", "@Sea & sun", "--json") == first
    # options given now replace the saved ones, and are not kept
    code, output, _ = run("search", "@Sea & sun", "--json", "-k", "2", "--kind", "text")
    assert (code, names(output)) == (0, ["note.txt"])
    assert len(records(run("search", "@Sea & sun", "--json", "-k", "2")[1])) == 2
    assert run("search", "@Sea & sun", "--json") == first
    assert run("search", "@Sea & sun", "--min-relevance", "1", "--json")[0] == 1
    assert run("explain", "@Sea & sun", indexed / "red.png", "--json")[0] in (0, 1)
    [listed] = records(run("searches", "--json")[1])
    assert listed["options"] == {
        "words": "the sea",
        "not": ["a -k b"],
        "kind": ["image"],
        "under": [{"path": str(indexed)}],
        "top": 3,
        "all": True,
    }
    assert listed["last_used"] >= listed["saved"]
    table = run("searches")[1].decode()
    assert "'the sea' --not 'a -k b' --kind image" in " ".join(table.split())


def test_a_file_may_be_the_query(run, indexed, monkeypatch):  # noqa: F811
    query = os.fsencode(indexed) + b"/\xff query.png"
    shutil.copyfile(indexed / "red.png", query)
    monkeypatch.chdir(indexed)
    first = run("search", b"\xff query.png", "--all", "--json", "--save", "red")
    assert first[0] == 0
    monkeypatch.chdir("/")
    assert run("search", "@red", "--json") == first
    [listed] = records(run("searches", "--json")[1])
    assert base64.b64decode(listed["options"]["file_b64"]) == query
    os.unlink(query)
    code, output, error = run("search", "@red")
    assert (code, output) == (2, b"")
    assert error.endswith("query.png, the query of @red, is no longer there\n")


def test_only_new_files_are_shown_once(run, indexed):  # noqa: F811
    assert run("search", "the sea", "--all", "--no-dedupe", "--save", "sea", "-k", "50")[0] == 0
    assert run("search", "@sea", "--new-since", "--json") == (1, b"", "")
    add(run, indexed, "black.png")
    (indexed / "red.png").rename(indexed / "renamed.png")
    shutil.copyfile(indexed / "blue.png", indexed / "copied.png")
    add(run, indexed, "other.png")
    code, output, error = run("search", "@sea", "--new-since", "--json")
    assert (code, error) == (0, "")
    assert names(output) == ["black.png", "other.png"]
    assert run("search", "@sea", "--new-since", "--json") == (1, b"", "")
    add(run, indexed, "third.png")
    # other options only for this time: it does not count as a use
    assert names(run("search", "@sea", "--new-since", "--json", "-k", "9")[1]) == ["third.png"]
    assert names(run("search", "@sea", "--new-since", "--json")[1]) == ["third.png"]


def test_without_a_reader_the_files_stay_new(run, indexed, monkeypatch):  # noqa: F811
    run("search", "the sea", "--all", "--no-dedupe", "--save", "sea")
    add(run, indexed, "black.png")
    ours, theirs = os.pipe()
    os.close(ours)
    with monkeypatch.context() as patch, open(theirs, "w") as printed:
        patch.setattr(sys, "stdout", printed)
        patch.setattr(sys, "stderr", sys.stderr)
        assert main(["search", "@sea", "--new-since", "--json"]) == 0
    assert names(run("search", "@sea", "--new-since", "--json")[1]) == ["black.png"]


def test_a_terminal_gets_the_next_command(indexed, run):  # noqa: F811
    code = "from qvsearch.cli.app import main\n"
    code += "assert main(['search', '--kind', 'image', '--save', 'the sea']) == 0\n"
    code += "assert main(['search', '@the sea', '--new-since']) == 1\n"
    shown = without_escapes(in_terminal(code))
    assert "saved; to repeat it: qvsearch search '@the sea' -l " in shown
    assert "nothing new is relevant since the last use of this search" in shown


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["@cats"], "no saved search cats; save one with: --save NAME; to look for the words, add"),
        (["sea", "--new-since"], "--new-since is for a saved search; give @NAME as the query"),
        (["sea", "--save", "a\nb"], "saved search: it has a character that is not printed; give"),
        (["sea", "--save", "@"], "'' cannot be the name of a saved search: it is empty; give"),
        (["sea", "--save", "a" * 101], "it has 101 characters, and at most 100 are kept; give"),
        (["--queries", "-", "--save", "a"], "--save keeps one query; leave out --queries"),
    ],
)
def test_mistakes_are_one_sentence(run, indexed, arguments, reason):  # noqa: F811
    code, output, error = run("search", *arguments)
    assert (code, output) == (2, b"")
    assert reason in error
    assert not (Library.open(indexed.parent / "library").folder / "searches").exists()


def test_a_missing_library_is_named(run, home):  # noqa: F811
    for arguments in (["search", "@sea"], ["searches"], ["searches", "delete", "sea"]):
        code, output, error = run(*arguments)
        assert (code, output) == (2, b"")
        assert error.startswith(f"qvsearch: no library at {home}/library; make one with")


def test_words_that_begin_with_the_mark_need_a_space(run, indexed):  # noqa: F811
    assert run("search", " @home", "--all", "--json")[0] == 0
    assert run("search", "@", "--all", "--json")[0] == 0


def test_searches_are_renamed_and_deleted(run, indexed):  # noqa: F811
    assert b"there is none yet" in run("searches")[1]
    assert run("searches", "--json") == (0, b"", "")
    run("search", "sea", "--all", "--save", "sea")
    run("search", "@sea", "-k", "2", "--save", "two")
    folder = indexed.parent / "library"
    assert read_search(folder, "two").options == {"words": "sea", "all": True, "top": 2}
    other = ("search", "other", "--all", "--save", "sea", "--copy-to", indexed.parent / "copies")
    code, output, error = run(*other)
    assert (code, output) == (2, b"")
    assert error.endswith(f"delete it with: qvsearch searches delete sea -l {folder}\n")
    assert not (indexed.parent / "copies").exists()
    assert "already" in run("searches", "rename", "sea", "two")[2]
    assert run("searches", "rename", "@sea", "ocean") == (0, b"", "")
    assert run("search", "@ocean", "--new-since")[0] == 1
    assert run("searches", "delete", "two") == (0, b"", "")
    assert [each["name"] for each in records(run("searches", "--json")[1])] == ["ocean"]
    assert run("searches", "delete", "two")[0] == 2
    assert "give --library last" in run("searches", "-l", "other", "delete", "ocean")[2]


def test_a_damaged_search_stops_no_other(run, indexed):  # noqa: F811
    run("search", "sea", "--all", "--save", "sea")
    [path] = (indexed.parent / "library" / "searches").glob("*.json")
    good = json.loads(path.read_bytes())
    path.write_text(json.dumps(good | {"options": {"words": "sea", "sort": "colour"}}))
    code, _, error = run("search", "@sea")
    assert (code, "--sort 'colour' is unknown" in error) == (2, True)
    path.write_bytes(b"{")
    assert run("search", "sea", "--all")[0] == 0
    code, output, _ = run("searches")
    assert (code, b"is damaged" in output) == (0, True)
    code, output, _ = run("check")
    assert (code, output.decode().startswith(f"searches/{path.name}: ")) == (1, True)
    assert run("check", "--repair")[0] == 0
    assert run("check") == (0, b"every byte is as it was written\n", "")
    assert run("searches", "--json") == (0, b"", "")
    path.write_bytes(b"{")
    assert run("searches", "delete", path.stem)[0] == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_library_that_cannot_be_written_is_searched(run, indexed):  # noqa: F811
    run("search", "sea", "--all", "--save", "sea")
    folder = indexed.parent / "library" / "searches"
    folder.chmod(0o500)
    try:
        assert run("search", "@sea")[0] == 0
        assert run("search", "@sea", "--new-since")[0] == 2
    finally:
        folder.chmod(0o700)
