"""Roots get other paths by one edit of the manifest; then nothing is embedded or found twice."""

import json
import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from support.cheap_model import FINGERPRINT, CheapModel, instead, write_notes
from support.commands import home, records, run  # noqa: F401 - fixtures

from qvsearch.errors import QvsearchError
from qvsearch.library import moving
from qvsearch.library.identity import segments_of
from qvsearch.library.library import Library
from qvsearch.library.searches import SavedSearch, read_search, write_search


class Counting(CheapModel):
    """Counts what it embeds."""

    embedded = 0

    def embed(self, inputs):
        self.embedded += len(inputs)
        return super().embed(inputs)


@pytest.fixture
def drive(home, run):  # noqa: F811
    """Two roots of one drive, and another root; the first has rules and a failure."""
    Library.create(home / "library", FINGERPRINT)
    for folder, count in (("usb/a", 30), ("usb/b", 3), ("other", 2)):
        (home / folder).mkdir(parents=True)
        write_notes(home / folder, count)
        for path in (home / folder).iterdir():
            path.write_text(f"{folder} {path.name}")
    (home / "usb" / "a" / "bad.png").write_text("no picture")
    with instead(batch=100, commit_seconds=60.0):
        assert run("index", home / "usb/a", "--exclude", "drafts/", "--quiet")[0] == 3
        for each in ("other", "usb/b"):
            assert run("index", home / each, "--quiet")[0] == 0
    return home


def index(run, *arguments):  # noqa: F811
    """Return the exit code, the summary, and how many inputs were embedded."""
    with instead(Counting()) as model:
        code, out, error = run("index", "--json", *arguments)
    assert error == ""
    return code, json.loads(out.splitlines()[-1]), model.embedded


def places(library):
    return set(Library.open(library).by_location())


def files(library):
    """The bytes of vectors and lines."""
    segments = sorted((library / "segments").iterdir())
    return {
        each.name: each.read_bytes() for each in segments if each.suffix in {".faiss", ".jsonl"}
    }


def test_a_remounted_drive_is_followed_without_indexing(drive, run):  # noqa: F811
    library = drive / "library"
    before, vectors = places(library), files(library)
    (drive / "usb").rename(drive / "media")
    code, out, error = run("roots", "move", drive / "usb", drive / "media", "--json")
    assert (code, error) == (0, "")
    [record] = records(out)
    assert record["moved"] == [
        {"path": str(drive / "media" / name), "before": str(drive / "usb" / name)} for name in "ab"
    ]
    assert (record["compared"], record["same"]) == (33, 33)
    assert files(library) == vectors
    opened = Library.open(library)
    assert opened.roots == [os.fsencode(drive / each) for each in ("media/a", "other", "media/b")]
    assert opened.rules[os.fsencode(drive / "media/a")].exclude == ("drafts/",)
    assert [each.path for each in opened.load_failures()] == [
        os.fsencode(drive / "media/a/bad.png")
    ]
    assert {each.replace(b"/media/", b"/usb/") for each in places(library)} == before
    assert run("check")[0] == 0
    code, summary, embedded = index(run)
    assert (code, summary["unchanged"], summary["skipped_before"], embedded) == (0, 35, 1, 0)
    assert summary["indexed"] == 0
    assert index(run, drive / "media/b")[2] == 0


def test_the_old_path_may_be_indexed_again_and_its_files_are_others(drive, run):  # noqa: F811
    (drive / "other").rename(drive / "moved")
    assert run("roots", "move", drive / "other", drive / "moved")[0] == 0
    shutil.copytree(drive / "moved", drive / "other")
    (drive / "other" / "0000.txt").write_text("another note of that name\n")
    assert index(run, drive / "other")[0] == 0
    library = Library.open(drive / "library")
    numbers = library.columns.items[list(library.segments)]
    assert len(set(numbers.tolist())) == len(library.by_location()) == 37
    for segment in library.segments.values():
        assert [each.item for each in segments_of(library, segment.item_id)] == [segment.item]


def test_filters_use_the_new_path(drive, run):  # noqa: F811
    (drive / "usb").rename(drive / "media")
    assert run("roots", "move", drive / "usb/b", drive / "media/b")[0] == 0
    with instead():
        code, out, _ = run("search", "note", "--under", drive / "media", "--all", "--paths")
    assert code == 0
    assert {os.path.dirname(each) for each in out.splitlines()} == {os.fsencode(drive / "media/b")}


def test_saved_searches_follow_the_drive(drive, run):  # noqa: F811
    library = drive / "library"
    odd = os.fsdecode(os.fsencode(drive / "usb" / "a") + b"/\xff.txt")
    options = {
        "words": str(drive / "usb/a"),
        "like": [str(drive / "usb/a/0001.txt"), odd, str(drive / "other/0001.txt")],
        "under": [str(drive / "usb/b"), str(drive / "usb")],
    }
    write_search(library, SavedSearch("mine", options, "2026-01-01T00:00:00Z"))
    write_search(library, SavedSearch("plain", {"words": "notes"}, "2026-01-01T00:00:00Z"))
    plain = {each: each.read_bytes() for each in (library / "searches").iterdir()}
    (library / "searches" / ("0" * 32 + ".json")).write_text("damaged")
    (drive / "usb").rename(drive / "media")
    assert run("roots", "move", drive / "usb", drive / "media")[0] == 0
    assert read_search(library, "mine").options == {
        "words": str(drive / "usb/a"),
        "like": [
            str(drive / "media/a/0001.txt"),
            odd.replace("/usb/", "/media/"),
            str(drive / "other/0001.txt"),
        ],
        "under": [str(drive / "media/b"), str(drive / "media")],
    }
    assert sum(path.read_bytes() == before for path, before in plain.items()) == 1
    assert run("roots", "move", drive / "media/a", drive / "media/b/..")[0] == 2
    (drive / "media" / "a").rename(drive / "media" / "c")
    assert run("roots", "move", drive / "media/a", drive / "media/c")[0] == 0
    after = read_search(library, "mine").options  # a folder above a root that stays, stays
    assert after["under"] == [str(drive / "media/b"), str(drive / "media")]
    assert after["like"][0] == str(drive / "media/c/0001.txt")


def test_another_drive_is_refused_with_its_count(drive, run):  # noqa: F811
    (drive / "new").mkdir()
    for number in range(12):
        shutil.copy2(drive / "usb/a" / f"{number:04}.txt", drive / "new")
    before = (drive / "library/manifest.json").read_bytes()
    code, out, error = run("roots", "move", drive / "usb/a", drive / "new")
    assert (code, out) == (2, b"")
    assert "only 12 of 30 files" in error
    assert error.endswith(f"qvsearch index {drive / 'new'} -l {drive / 'library'}\n")
    assert (drive / "library/manifest.json").read_bytes() == before


def hints(run, monkeypatch, *arguments):  # noqa: F811
    """Return what a person reads after the run."""
    with monkeypatch.context() as patch, instead(Counting()):
        patch.setattr(sys.stderr, "isatty", lambda: True)
        _, _, error = run("index", *arguments)
    return error


def test_a_renamed_folder_that_is_indexed_anew_is_pointed_out(drive, run, monkeypatch):  # noqa: F811
    (drive / "usb/a").rename(drive / "Our pictures")
    error = hints(run, monkeypatch, drive / "Our pictures")
    assert f"30 of 30 files of {drive}/usb/a, which is not there" in error
    command = f"qvsearch remove {drive}/usb/a -l {drive}/library"
    assert error.rstrip().endswith(command)
    assert run(*shlex.split(command)[1:])[0] == 0
    assert drive / "Our pictures" in {
        Path(os.fsdecode(each)).parent for each in places(drive / "library")
    }
    assert "remove" not in hints(run, monkeypatch)


def test_a_folder_that_is_away_has_the_command_that_follows_it(drive, run, monkeypatch):  # noqa: F811
    (drive / "other").rename(drive / "away")
    assert f"roots move {drive}/other NEW -l" in hints(run, monkeypatch)
    assert "roots move" not in hints(run, monkeypatch, drive / "usb/b")  # it may be unplugged


def test_copied_files_with_new_times_are_compared_by_content(drive, run):  # noqa: F811
    shutil.copytree(drive / "other", drive / "copy", copy_function=shutil.copyfile)
    for path in (drive / "copy").iterdir():
        os.utime(path, (0, 0))
    (drive / "copy" / "0001.txt").write_text("x" * (drive / "other/0001.txt").stat().st_size)
    os.utime(drive / "copy" / "0001.txt", (0, 0))
    code, _, error = run("roots", "move", drive / "other", drive / "copy")
    assert (code, "only 1 of 2 files" in error) == (2, True)


def test_what_cannot_be_a_new_path_is_refused(drive, run):  # noqa: F811
    (drive / "media").mkdir()
    (drive / "other" / "inner").mkdir()
    (drive / "link").symlink_to(drive / "other")
    before = (drive / "library/manifest.json").read_bytes()
    for old, new, words in (
        (
            "nothing",
            "media",
            f"no root at or below {drive}/nothing; there are: {drive}/",
        ),
        ("usb/a", "away", "is not there"),
        ("usb/a", "other", "is a root already"),
        ("usb/a", "other/inner", "would share files"),
        ("usb/a", ".", "would share files"),
        ("usb/a", "link", "would share files"),
        ("usb/a", "usb/a", "is a root already"),
    ):
        code, out, error = run("roots", "move", drive / old, drive / new)
        assert (code, out, words in error) == (2, b"", True), (old, new, error)
    assert (drive / "library/manifest.json").read_bytes() == before


def test_a_move_that_ends_before_its_columns_are_written_is_whole(drive, run, monkeypatch):  # noqa: F811
    def full(*_):
        raise QvsearchError("no space")

    (drive / "usb").rename(drive / "media")
    monkeypatch.setattr(moving, "write_columns", full)
    assert run("roots", "move", drive / "usb", drive / "media")[0] == 0
    assert all(Path(os.fsdecode(place)).exists() for place in places(drive / "library"))
    write_notes(drive / "other", 1, first=9)
    assert index(run)[1]["embedded"] == 1
    assert all(file.facts for file in Library.open(drive / "library")._manifest.files)
    assert run("check")[0] == 0


def test_a_reader_between_the_commits_of_a_move_opens_the_later_one(drive, run, monkeypatch):  # noqa: F811
    (drive / "usb").rename(drive / "media")
    load = Library._load

    def late(library, manifest):
        monkeypatch.setattr(Library, "_load", load)
        moves = {
            os.fsencode(drive / "usb" / name): os.fsencode(drive / "media" / name) for name in "ab"
        }
        moving.move_roots(library.folder, moves)
        load(library, manifest)

    monkeypatch.setattr(Library, "_load", late)
    assert os.fsencode(drive / "media/a") in Library.open(drive / "library").roots


def test_roots_are_listed_for_a_person_and_as_json(drive, run):  # noqa: F811
    (drive / "usb").rename(drive / "media")
    code, out, error = run("roots")
    lines = out.decode().splitlines()
    assert (code, error) == (0, "")
    assert lines[0].split() == ["images", "videos", "texts", "documents", "on", "path"]
    assert lines[1].split() == ["0", "0", "30", "0", "not", "there", str(drive / "usb/a")]
    assert lines[2].strip() == "--exclude drafts/"
    [first, third, second] = records(run("roots", "--json")[1])
    assert (first["reachable"], first["exclude"], first["items"]) == (
        False,
        ["drafts/"],
        {"text": 30},
    )
    assert (second["path"], third["reachable"]) == (str(drive / "usb/b"), True)
    last = third["last_run"]
    os.utime(drive / "library/lock", (0, 0))
    index(run)
    assert records(run("roots", "--json")[1])[0]["last_run"] >= last, "an unchanged run counts"


def test_a_library_without_roots_and_none_at_all(home, run):  # noqa: F811
    assert run("roots")[0] == 2
    Library.create(home / "library", FINGERPRINT)
    code, out, _ = run("roots")
    assert (code, b"qvsearch index FOLDER" in out) == (0, True)
    assert run("roots", "--json")[1] == b""
