"""Several libraries on the command line: tables, JSON, exit codes, and what a person is told."""

import os

import pytest
from support.commands import files, home, records, run  # noqa: F401 - fixtures

from qvsearch.cli.app import main
from qvsearch.library.libraries import list_libraries
from qvsearch.library.library import Library
from qvsearch.library.names import chosen_folders, short_names


@pytest.fixture
def two(run, files, tiny, monkeypatch):  # noqa: F811
    """Two libraries of the data folder: one has all files, the other has the red picture only."""
    monkeypatch.delenv("QVSEARCH_LIBRARY")
    for name, path, model in (("photos", files, tiny), ("work", files / "red.png", "demo")):
        code, _, error = run("index", path, "--model", model, "-l", name, "--quiet")
        assert (code, error) == (0, "")
    return files


def test_one_list_with_a_column_for_the_library(run, two):  # noqa: F811
    code, out, _ = run("search", "red", "-l", "photos", "-l", "work", "--all", "--json")
    assert code == 0
    hits = records(out)
    paths = [hit["path"] for hit in hits]
    assert sorted(os.path.basename(path) for path in paths) == [
        *("blue.png", "green.png", "note.txt", "red.png", "yellow.png"),
    ]
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5]
    folders = {os.path.basename(hit["library"]) for hit in hits}
    assert folders <= {"photos", "work"}
    code, every, _ = run("search", "red", "--all-libraries", "--all", "--json")
    assert (code, every) == (0, out)
    code, table, _ = run("search", "red", "--all-libraries", "--all")
    heading, *rows = table.decode().splitlines()
    assert heading.split() == ["relevance", "kind", "size", "library", "path"]
    assert any(" photos " in row for row in rows)
    code, table, _ = run("search", "red", "-l", "photos", "-l", "photos", "--all")
    assert "library" not in table.decode().splitlines()[0]
    code, out, _ = run("search", "--sort", "path", "--all-libraries", "--paths")
    assert code == 0
    assert out.splitlines() == sorted(path.encode() for path in paths)


def test_a_library_that_cannot_be_opened_is_named_and_costs_no_other(run, two):  # noqa: F811
    photos, work = (each.folder for each in list_libraries())
    code, expected, _ = run("search", "red", "-l", "photos", "--all", "--json")
    (work / "manifest.json").write_bytes(b"{")
    code, out, error = run("search", "red", "--all-libraries", "--all", "--json")
    assert code == 3
    assert out == expected
    assert error.startswith("qvsearch: the library work is left out: ")
    assert "is damaged" in error
    queries = two / "queries.txt"
    queries.write_text("red\nblue\n")
    code, out, error = run("search", "--queries", queries, "--all-libraries", "--all", "--json")
    assert code == 3
    assert {hit["query"] for hit in records(out)} == {1, 2}
    assert error.count("left out") == 1
    code, out, error = run("search", "red", "-l", "work", "-l", "none", "--json")
    assert (code, out) == (2, b"")
    assert "none of these 2 libraries can be opened" in error
    code, _, error = run("search", "red", "-l", "work")
    assert code == 2
    assert "left out" not in error
    code, out, error = run("similar", two / "red.png", "--all-libraries", "--json")
    assert code == 3
    assert len(records(out)) == 3
    assert Library.exists(photos)


def test_similar_files_of_several_libraries(run, two):  # noqa: F811
    code, out, _ = run("similar", two / "blue.png", "--all-libraries", "--json")
    assert code == 0
    found = records(out)
    assert sorted(os.path.basename(each["path"]) for each in found) == [
        *("green.png", "red.png", "yellow.png"),
    ]
    relevance = [each["relevance"] for each in found]
    assert relevance == sorted(relevance, reverse=True)
    code, table, _ = run("similar", two / "blue.png", "--all-libraries")
    assert table.decode().split("\n")[0].split() == [
        *("relevance", "score", "size", "library", "path"),
    ]
    code, out, _ = run("similar", two / "blue.png", "-l", "photos", "--json")
    assert not any("relevance" in each for each in records(out))


def test_libraries_are_chosen_by_name_by_folder_and_from_the_environment(
    tmp_path,
    monkeypatch,
    run,  # noqa: F811
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("QVSEARCH_LIBRARY", str(tmp_path / "a folder with spaces"))
    assert chosen_folders([]) == [tmp_path / "a folder with spaces"]
    monkeypatch.delenv("QVSEARCH_LIBRARY")
    home = tmp_path / "data" / "qvsearch"  # noqa: F811
    assert chosen_folders([]) == [home / "main"]
    assert chosen_folders(["b", "a", str(home / "b")]) == [home / "b", home / "a"]
    code, _, error = run("search", "red", "--all-libraries")
    assert code == 2
    assert "there is no library in" in error
    for name in ("b", "c"):
        (home / name).mkdir(parents=True)
        (home / name / "manifest.json").write_bytes(b"{}")
    away = str(tmp_path / "away")
    assert chosen_folders([away, "c"], all_=True) == [tmp_path / "away", home / "c", home / "b"]
    assert short_names([home / "b", tmp_path / "c"]) == {home / "b": "b", tmp_path / "c": "c"}
    both = [home / "b", tmp_path / "b"]
    assert short_names(both) == {each: str(each) for each in both}


def test_the_options_of_one_library_stay(capfd, tmp_path):
    assert main(["status", "-l", "a", "-l", "b"]) == 2
    assert "--library is given twice" in capfd.readouterr().err
    assert main(["search", "red", "-l", ""]) == 2
    assert "the name of the library is empty" in capfd.readouterr().err
