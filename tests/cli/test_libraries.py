"""The libraries of the data folder: listed, deleted, and kept from the demo's model."""

import errno
import json
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from support.colours import FINGERPRINT

from qvsearch.cli.app import main
from qvsearch.library import libraries
from qvsearch.library.library import Library
from qvsearch.library.lock import WriterLock


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The data folder of a user who names no library in the environment."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("QVSEARCH_LIBRARY", raising=False)
    monkeypatch.delenv("QVSEARCH_MODEL", raising=False)
    return tmp_path / "qvsearch"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the data folder is not chosen so")
def test_libraries_are_listed_with_model_and_size(data, capfd):
    assert main(["libraries", "--json"]) == 0
    assert capfd.readouterr().out == ""
    for name in ("main", "holidays", "broken"):
        Library.create(data / name, FINGERPRINT)
    (data / "broken" / "manifest.json").write_bytes(b"{")
    (data / "no library").mkdir()
    assert main(["libraries", "--json"]) == 0
    found = {each["name"]: each for each in map(json.loads, capfd.readouterr().out.splitlines())}
    assert sorted(found) == ["broken", "holidays", "main"]
    assert "is damaged" in found["broken"]["problem"]
    assert found["main"]["model"] == FINGERPRINT.model
    assert [found[name]["is_default"] for name in sorted(found)] == [False, False, True]
    size = sum(each.stat().st_size for each in (data / "main").rglob("*") if each.is_file())
    assert found["main"]["size"] == size
    assert main(["libraries"]) == 0
    assert "main (default)" in capfd.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the data folder is not chosen so")
def test_a_library_is_deleted_and_nothing_else(data, capfd):
    for name in ("main", "holidays"):
        Library.create(data / name, FINGERPRINT)
    assert main(["libraries", "delete", "holidays"]) == 2  # nobody is there to be asked
    assert "--yes" in capfd.readouterr().err
    (data / "holidays" / "notes.txt").write_text("mine")
    with WriterLock(data / "holidays").held():
        assert main(["libraries", "delete", "holidays", "--yes"]) == 11
    assert Library.exists(data / "holidays")
    assert main(["libraries", "delete", "holidays", "--yes"]) == 0
    assert [each.name for each in (data / "holidays").iterdir()] == ["notes.txt"]
    assert main(["libraries", "delete", "main", "--yes"]) == 0
    assert [each.name for each in data.iterdir()] == ["holidays"]
    assert main(["libraries", "delete", "main", "--yes"]) == 2
    assert "no library at" in capfd.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the data folder is not chosen so")
def test_a_folder_that_cannot_be_read_or_changes_costs_no_other_its_line(data, monkeypatch):
    for name in ("changing", "closed", "main"):
        Library.create(data / name, FINGERPRINT)
    (data / "changing" / ".a.tmp").write_text("until the commit ends")
    whole, looked = libraries.exists, Path.is_file

    def exists(folder):
        if folder.name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return whole(folder)

    def is_file(path):
        found = looked(path)
        if path.suffix == ".tmp":
            path.unlink()
        return found

    monkeypatch.setattr(libraries, "exists", exists)
    monkeypatch.setattr(Path, "is_file", is_file)
    changing, closed, main_ = libraries.list_libraries()
    assert [each.problem for each in (changing, main_)] == [None, None]
    assert changing.size == main_.size > 0
    assert closed.problem == f"cannot read {data / 'closed'} of the library: Permission denied"


@pytest.mark.parametrize("manifest", [b'{"name": "a web app"}', b"no JSON", None])
def test_a_folder_that_is_no_library_is_not_deleted(data, tmp_path, monkeypatch, capfd, manifest):
    monkeypatch.chdir(tmp_path)
    app = tmp_path / "app"
    (app / "segments").mkdir(parents=True)
    if manifest is not None:
        (app / "manifest.json").write_bytes(manifest)
    for name in ("lock", "notes.tmp", "segments/essay.txt", "segments/essay.faiss"):
        (app / name).write_text("mine")
    before = sorted(app.rglob("*"))
    assert main(["libraries", "delete", "app", "--yes"]) == 2
    assert "is not a library of qvsearch; nothing was deleted" in capfd.readouterr().err
    assert sorted(app.rglob("*")) == before


def test_own_files_within_a_library_outlive_it(data, tmp_path):
    folder = tmp_path / "holidays"
    Library.create(folder, FINGERPRINT)
    (folder / "segments").mkdir()
    mine = ["notes.tmp", "segments/essay.jsonl", "segments/000001.txt"]
    for name in [*mine, "segments/000001.jsonl", "segments/000001.faiss", "segments/.a.tmp"]:
        (folder / name).write_text("some")
    (folder / "manifest.json").write_bytes(b"{")  # a damaged one can be deleted
    assert main(["libraries", "delete", str(folder), "--yes"]) == 0
    left = [str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()]
    assert sorted(left) == mine[:1] + sorted(mine[1:])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the data folder is not chosen so")
@pytest.mark.parametrize(("answer", "stays"), [(b"n\n", True), (b"y\n", False)])
def test_a_person_is_asked(data, answer, stays):
    Library.create(data / "main", FINGERPRINT)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "qvsearch", "libraries", "delete", "main"]
    with (
        open(ours, "wb", buffering=0) as terminal,
        subprocess.Popen(command, stdin=theirs, stdout=subprocess.DEVNULL) as process,
    ):
        terminal.write(answer)
        process.wait()
    assert process.returncode == (130 if stays else 0)
    assert Library.exists(data / "main") == stays


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the data folder is not chosen so")
@pytest.mark.parametrize("more", [[], ["--dry-run"], ["-l", "main"]])
def test_the_default_library_never_gets_the_demos_model(data, tmp_path, capfd, more):
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    index = ["index", str(tmp_path / "a.png"), "--model", "demo", "-q"]
    assert main([*index, *more]) == 2
    assert "-l NAME" in capfd.readouterr().err
    assert not Library.exists(data / "main")
    assert main([*index, "-l", "drawn"]) == 0


def test_without_a_library_the_list_names_the_next_command(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["libraries"]) == 0
    said = "there is no library yet; create one with: qvsearch index FOLDER\n"
    assert capfd.readouterr().out == said
    assert main(["libraries", "--json"]) == 0
    assert capfd.readouterr().out == ""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the data folder is not chosen so")
def test_a_library_gets_another_name_and_another_folder(data, tmp_path, capfd):
    for name in ("holidays", "work"):
        Library.create(data / name, FINGERPRINT)
    assert main(["libraries", "rename", "holidays", "sömmer 2"]) == 0
    assert capfd.readouterr().out == f"moved {data / 'holidays'} to {data / 'sömmer 2'}\n"
    assert sorted(each.name for each in data.iterdir()) == ["sömmer 2", "work"]
    with WriterLock(data / "work").held():
        assert main(["libraries", "rename", "work", "play"]) == 11
    for arguments, reason in (
        (["rename", "work", "sömmer 2"], "is already a library"),
        (["rename", "work", "a/b"], "cannot be the name of a library: it has a slash"),
        (["rename", "work", ""], "it is empty"),
        (["rename", "work", "x" * 201], "it has more than 200 bytes"),
        (["rename", "work", "a\nb"], "a character that is not printed"),
        (["rename", "none", "new"], "no library none"),
        (["move", "work", str(data / "sömmer 2" / "a")], "lies in the library"),
    ):
        assert main(["libraries", *arguments]) == 2
        assert reason in capfd.readouterr().err, arguments
    assert main(["libraries", "rename", "work", "--", "-x"]) == 2
    assert "it begins with" in capfd.readouterr().err
    assert main(["libraries", "move", "work", str(tmp_path / "drive" / "work")]) == 0
    assert Library.exists(tmp_path / "drive" / "work")
    assert main(["libraries", "rename", str(tmp_path / "drive" / "work"), "play"]) == 0
    assert Library.exists(tmp_path / "drive" / "play")
    assert main(["libraries", "--json"]) == 0
    (line,) = capfd.readouterr().out.splitlines()[-1:]
    assert json.loads(line)["name"] == "sömmer 2"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the data folder is not chosen so")
def test_the_demos_model_does_not_become_the_default_library(data, tmp_path, capfd):
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    assert main(["index", str(tmp_path / "a.png"), "--model", "demo", "-q", "-l", "drawn"]) == 0
    assert main(["libraries", "rename", "drawn", "main"]) == 2
    assert "the demo model" in capfd.readouterr().err
    assert Library.exists(data / "drawn")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the data folder is not chosen so")
def test_the_list_has_files_by_kind_the_last_change_and_what_is_wrong(data, tmp_path, capfd):
    (tmp_path / "files").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (64, 64), "red").save(tmp_path / "files" / f"{name}.png")
    (tmp_path / "files" / "long.txt").write_text("a red star\n" * 2000)
    (tmp_path / "files" / "bad.jpg").write_bytes(b"no picture")
    index = ["index", str(tmp_path / "files"), "--model", "demo", "-q", "-l", "drawn"]
    assert main(index) == 3
    Library.create(data / "empty", FINGERPRINT)
    (data / ".drawn.0123abcd.tmp").mkdir()
    (data / ".drawn.0123abcd.tmp" / "manifest.json").write_bytes(b"{")
    capfd.readouterr()
    assert main(["libraries", "--json"]) == 0
    drawn, empty = map(json.loads, capfd.readouterr().out.splitlines())
    assert drawn["files"] == {"image": 2, "text": 1}
    assert drawn["segments"] > 3
    assert drawn["failed"] == 1
    assert drawn["changed"][:2] == "20"
    assert not {"files", "failed", "not_indexed", "problem"} & empty.keys()
    assert main(["libraries"]) == 0
    out = capfd.readouterr().out
    assert "2 images, 1 text" in out
    assert "drawn: 1 file could not be indexed" in out
