"""Files of saved searches: hostile, damaged or newer ones cost one sentence and nothing else."""

import json
import os
from contextlib import suppress
from errno import ENOSPC

import pytest
from support.colours import FINGERPRINT
from support.faulty_disk import failing

from qvsearch.errors import QvsearchError
from qvsearch.library.libraries import delete_library
from qvsearch.library.library import Library
from qvsearch.library.searches import (
    NoSuchSearch,
    SavedSearch,
    check_name,
    delete_search,
    read_search,
    read_searches,
    rename_search,
    seen_path,
    write_search,
)

DOGS = SavedSearch("dogs", {"words": "a dog", "kind": ["image"], "top": 3}, "2026-01-01T00:00:00Z")
NAMES = ["dogs", "Dogs", "../../etc/passwd", "a/b", "Sommer 2023 – Šibenik", "." * 100, "-l"]


def the_file(folder):
    [path] = (folder / "searches").glob("*.json")
    return path


@pytest.mark.parametrize("name", NAMES)
def test_any_printable_name_is_kept(tmp_path, name):
    search = SavedSearch(check_name(name), DOGS.options)
    write_search(tmp_path, DOGS)
    write_search(tmp_path, search)
    assert read_search(tmp_path, name).name == name
    assert len(read_searches(tmp_path)) == (1 if name == "dogs" else 2)
    assert {path.parent.name for path in tmp_path.rglob("*.*")} == {"searches"}
    delete_search(tmp_path, name)
    with pytest.raises(NoSuchSearch):
        read_search(tmp_path, name)


@pytest.mark.parametrize("name", ["", " ", "@", "a\nb", "\x1b[31m", "x" * 101, "\u202eb", "\udcff"])
def test_other_names_are_refused(name):
    with pytest.raises(QvsearchError, match="cannot be the name of a saved search"):
        check_name(name)


def test_a_missing_search_names_the_others(tmp_path):
    with pytest.raises(NoSuchSearch, match="no saved search cats; save one with: --save NAME"):
        read_search(tmp_path, "cats")
    write_search(tmp_path, DOGS)
    with pytest.raises(NoSuchSearch, match="no saved search Dog; did you mean @dogs. there are"):
        read_search(tmp_path, "Dog")


def test_a_search_is_renamed_with_what_it_has_seen(tmp_path):
    write_search(tmp_path, DOGS)
    seen_path(tmp_path, "dogs").write_bytes(b"seen")
    write_search(tmp_path, SavedSearch("cats", {"words": "cats"}))
    with pytest.raises(QvsearchError, match="there is a saved search cats already"):
        rename_search(tmp_path, "dogs", "cats")
    rename_search(tmp_path, "dogs", "hounds")
    assert read_search(tmp_path, "hounds") == SavedSearch("hounds", DOGS.options, DOGS.saved)
    assert seen_path(tmp_path, "hounds").read_bytes() == b"seen"
    assert [each.name for each in read_searches(tmp_path)] == ["cats", "hounds"]
    assert not seen_path(tmp_path, "dogs").exists()


def damaged(**changes):
    record = {
        "version": 1,
        "name": "dogs",
        "saved": "2026",
        "used": None,
        "options": {"words": "a dog"},
    }
    return json.dumps(record | changes).encode()


DAMAGE = {
    "empty": b"",
    "cut off": damaged()[:-9],
    "no JSON": b"\xff\x00",
    "deep": b"[" * 100_000,
    "huge": b" " * 1_000_001,
    "a list": b"[]",
    "newer": damaged(version=2),
    "another name": damaged(name="cats"),
    "a control in its name": damaged(name="do\x1bgs"),
    "an unknown option": damaged(options={"open": True}),
    "a number for words": damaged(options={"words": 1}),
    "a word for a list": damaged(options={"not": "cats"}),
    "a boolean for a number": damaged(options={"top": True}),
    "a flag that is off": damaged(options={"all": False}),
    "a relative path": damaged(options={"like": ["../a.jpg"]}),
    "a NUL": damaged(options={"file": "/a\0b"}),
    "no options": damaged(options=None),
}


@pytest.mark.parametrize("data", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_named_and_can_be_deleted(tmp_path, data):
    write_search(tmp_path, SavedSearch("cats", {"words": "cats"}))
    write_search(tmp_path, DOGS)
    [path] = {*(tmp_path / "searches").iterdir()} - {
        path for path in (tmp_path / "searches").iterdir() if b"cats" in path.read_bytes()
    }
    path.write_bytes(data)
    with pytest.raises(QvsearchError, match="is damaged .*; delete it with: qvsearch searches del"):
        read_search(tmp_path, "dogs")
    sound, broken = sorted(read_searches(tmp_path), key=lambda each: bool(each.problem))
    assert (sound.name, sound.problem) == ("cats", None)
    assert (broken.name, broken.options) == (path.stem, {})
    delete_search(tmp_path, broken.name)
    assert [each.name for each in read_searches(tmp_path)] == ["cats"]


def test_paths_keep_their_bytes(tmp_path):
    options = {"file": os.fsdecode(b"/a\xff.jpg"), "under": [os.fsdecode(b"/\xfe")]}
    write_search(tmp_path, SavedSearch("x", options))
    assert read_search(tmp_path, "x").options == options


@pytest.mark.parametrize("at", range(1, 8))
def test_a_full_disk_leaves_the_old_search(tmp_path, disk, at):
    write_search(tmp_path, DOGS)
    disk.steps.clear()
    disk.at, disk.act = at, failing(ENOSPC)
    changed = SavedSearch("dogs", {"words": "other"})
    with suppress(QvsearchError):
        write_search(tmp_path, changed)
        disk.acted = False
    assert disk.acted or read_search(tmp_path, "dogs") == changed
    assert read_search(tmp_path, "dogs") in (DOGS, changed)
    assert [path.name for path in (tmp_path / "searches").iterdir()] == [the_file(tmp_path).name]


def test_searches_go_with_their_library_and_nothing_else(tmp_path):
    folder = tmp_path / "library"
    Library.create(folder, FINGERPRINT)
    write_search(folder, DOGS)
    seen_path(folder, "dogs").write_bytes(b"seen")
    (folder / "searches" / "mine.txt").write_text("mine")
    delete_library(str(folder))
    assert [path.name for path in folder.rglob("*.*")] == ["mine.txt"]


def test_a_folder_of_searches_alone_can_become_a_library(tmp_path):
    write_search(tmp_path / "library", DOGS)
    Library.create(tmp_path / "library", FINGERPRINT)
    assert read_searches(tmp_path / "library") == [DOGS]
