"""A library that is renamed and moved: whatever happens, one whole library is there."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import mover, writer
from support.faulty_disk import FAILED, FaultyDisk, failing
from support.full_disk import namespace
from support.writer import content
from test_crash import KILLED

from qvsearch import files as durable
from qvsearch.errors import LibraryLocked, QvsearchError
from qvsearch.library import relocating
from qvsearch.library.library import Library
from qvsearch.library.lock import WriterLock
from qvsearch.library.relocating import move_library
from qvsearch.library.repair import check

pytestmark = pytest.mark.faults

COUNT = 3
LEFT = ".*.????????.tmp"  # what an interrupted move leaves


@pytest.fixture
def folder(tmp_path):
    writer.prepare(tmp_path / "here" / "library", count=COUNT)
    return tmp_path / "here" / "library"


@pytest.fixture
def elsewhere(in_memory, tmp_path):
    """A folder on another file system."""
    if in_memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    return in_memory


def whole(place):
    """Whether a library is there with all it had, and with nothing of a lock."""
    if not Library.exists(place):
        return False
    assert content(Library.open(place)) == writer.expected(range(COUNT))
    assert check(place) == []
    return True


def test_within_a_file_system_one_renaming_moves_all(folder, tmp_path, disk):
    (folder / "notes.txt").write_text("mine")
    target = tmp_path / "new" / "place" / "photos"
    move_library(folder, target)
    assert not folder.exists()
    assert whole(target)
    assert (target / "notes.txt").read_text() == "mine"
    assert not (target / "lock.json").exists()
    assert [name for name in disk.names if name == "replace"] == ["replace"] * 2  # one is lock.json
    with Library.open(target).lock():  # nobody holds it
        pass
    (tmp_path / "empty").mkdir()
    move_library(target, tmp_path / "empty")
    assert whole(tmp_path / "empty")


def test_another_file_system_gets_a_verified_copy(folder, elsewhere, disk):
    (folder / "notes.txt").write_text("mine")
    (folder / ".000009.faiss.0123abcd.tmp").write_bytes(b"of a killed commit")
    before = sorted(each.relative_to(folder) for each in folder.rglob("*") if each.name[0] != ".")
    seen = []
    move_library(folder, elsewhere / "photos", lambda done, of: seen.append((done, of)))
    assert not folder.exists()
    assert whole(elsewhere / "photos")
    after = sorted(
        each.relative_to(elsewhere / "photos") for each in (elsewhere / "photos").rglob("*")
    )
    assert after == before
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]
    assert os.listdir(folder.parent) == []
    move_library(elsewhere / "photos", folder)  # and back
    assert whole(folder)
    assert os.listdir(elsewhere) == []


def test_a_killed_move_leaves_a_whole_library_and_can_be_ended(folder, elsewhere, tally):
    target = elsewhere / "there" / "library"
    target.parent.mkdir()
    program = [sys.executable, mover.__file__, str(folder), str(target)]
    lines = subprocess.run(program, stdout=subprocess.PIPE, check=True, text=True).stdout
    tries = lines.count("at ")
    assert lines.splitlines()[-1] == f"at {tries} move"
    assert tries > 40
    both = 0
    for at in range(1, tries + 1):
        here, there = (
            each.parent.with_name(f"{each.parent.name} {at}") / "library"
            for each in (folder, target)
        )
        left = [each for each in (here, there) if whole(each)]
        assert left, at
        both += len(left) == 2
        if here in left:
            move_library(here, there)
        assert whole(there)
        assert not here.exists()
        relocating.sweep_leftovers(here)  # as any later move from or to this place does
        assert list(here.parent.glob(LEFT)) == list(there.parent.glob(LEFT)) == []
        tally[KILLED] += at < tries
    assert both, "none died between the copy and the deletion"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_any_operation_may_fail(folder, elsewhere, monkeypatch, tally, number):
    at, ended = 0, False
    while not ended:
        at += 1
        copy = shutil.copytree(folder, folder.with_name(f"copy {at}"))
        target = elsewhere / f"copy {at}"
        disk = FaultyDisk(at, failing(number))
        with monkeypatch.context() as patch:
            patch.setattr(durable, "os", disk)
            try:
                move_library(copy, target)
                ended = not disk.acted
            except QvsearchError as error:
                assert f"copy {at}" in str(error)  # noqa: PT017
        assert whole(copy) or whole(target)
        if Library.exists(copy):
            move_library(copy, target)
        assert whole(target)
        relocating.sweep_leftovers(copy)
        assert not list(copy.parent.glob(LEFT))
        assert not list(elsewhere.glob(LEFT))
        tally[FAILED] += disk.acted
        shutil.rmtree(target)
    assert at > 40


def test_a_full_file_system_is_named_and_nothing_is_moved(folder, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    before = namespace(small)
    code = f"""
import subprocess, os
from pathlib import Path
from types import SimpleNamespace
from qvsearch.errors import QvsearchError
from qvsearch.library import relocating
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", {str(small)!r}], check=True)
Path({str(small / "filler")!r}).write_bytes(bytes(64 << 10))
plenty = SimpleNamespace(free=1 << 40)  # as a file system with quotas may have
for usage in (relocating.shutil.disk_usage, lambda _: plenty):
    relocating.shutil.disk_usage = usage
    try:
        relocating.move_library(Path({str(folder)!r}), Path({str(small / "photos")!r}))
    except QvsearchError as error:
        print(error, os.listdir({str(small)!r}))
"""
    done = subprocess.run(
        [*before, sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    asked, tried = done.stdout.splitlines()
    assert asked.startswith(f"no space for {small / 'photos'}: it needs ")
    assert "free some and run the same command again" in tried
    assert "['filler']" in asked
    assert "['filler']" in tried
    assert whole(folder)


def test_a_library_that_is_being_changed_or_damaged_is_not_moved(folder, elsewhere):
    target = elsewhere / "photos"
    with WriterLock(folder).held(), pytest.raises(LibraryLocked):
        move_library(folder, target)
    vectors = next((folder / "segments").glob("*.faiss"))
    sound = vectors.read_bytes()
    vectors.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    with pytest.raises(QvsearchError, match=r"is damaged: .* nothing was moved"):
        move_library(folder, target)
    assert os.listdir(elsewhere) == []
    vectors.write_bytes(sound)
    (folder / "link").symlink_to("/etc")
    with pytest.raises(QvsearchError, match="link is not a plain file"):
        move_library(folder, target)
    (folder / "link").unlink()
    assert whole(folder)


def test_a_place_that_is_taken_is_refused(folder, tmp_path):
    writer.prepare(tmp_path / "other")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for target, reason in (
        (folder, "is at .* already"),
        (folder / "deeper", "lies in the library"),
        (tmp_path / "other" / "segments" / "deeper", "lies in the library"),
        (tmp_path / "other", "is already a library"),
        (tmp_path / "full", "holds other files; name a new folder: .*/full/library"),
        (tmp_path / "file", "is not a folder"),
        (tmp_path / "file" / "deeper", "is not a folder"),
        (Path("/"), "is a whole file system"),
    ):
        with pytest.raises(QvsearchError, match=reason):
            move_library(folder, target)
        assert whole(folder)
    link = tmp_path / "link"
    link.symlink_to(folder)
    with pytest.raises(QvsearchError, match=f"is a link; move the library itself: {folder}"):
        move_library(link, tmp_path / "new" / "place")
    move_library(link, tmp_path / "renamed")
    assert (tmp_path / "renamed").is_symlink()
    assert whole(tmp_path / "renamed")
    with pytest.raises(QvsearchError, match="no library"):
        move_library(tmp_path / "none", tmp_path / "new")


def test_a_name_that_a_pattern_may_misread(tmp_path, elsewhere):
    folder = tmp_path / "a[b]*\n\udcff"
    writer.prepare(folder, count=COUNT)
    other = tmp_path / ".aXb.0123abcd.tmp"
    other.mkdir()
    move_library(folder, elsewhere / folder.name)
    assert whole(elsewhere / folder.name)
    assert os.listdir(tmp_path) == [other.name]


def test_another_library_at_the_new_place_is_not_taken_for_the_copy(folder, elsewhere):
    writer.prepare(elsewhere / "photos", count=6)
    with pytest.raises(QvsearchError, match="is already another library"):
        move_library(folder, elsewhere / "photos")
    assert whole(folder)
    assert len(Library.open(elsewhere / "photos")) == 6


def test_what_a_running_move_has_written_is_not_swept(folder, elsewhere):
    staging = elsewhere / ".photos.0123abcd.tmp"
    staging.mkdir()
    with WriterLock(staging).held():
        relocating.sweep_leftovers(elsewhere / "photos")
        assert staging.exists()
    relocating.sweep_leftovers(elsewhere / "other")
    assert staging.exists()
    relocating.sweep_leftovers(elsewhere / "photos")
    assert not staging.exists()


@pytest.mark.parametrize("at", [5, 15, 25])
def test_an_interrupted_copy_is_removed(folder, elsewhere, monkeypatch, at):
    def interrupt():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(durable, "os", FaultyDisk(at, interrupt))
        with pytest.raises(KeyboardInterrupt):
            move_library(folder, elsewhere / "photos")
    assert whole(folder)
    assert os.listdir(elsewhere) == []
    assert os.listdir(folder.parent) == ["library"]


def test_who_waits_for_a_library_that_is_moved_makes_no_folder_in_its_place(folder, tmp_path):
    waiting = Library.open(folder)
    move_library(folder, tmp_path / "new")
    with pytest.raises(QvsearchError, match="no library"), waiting.lock():
        pass
    assert not folder.exists()
    move_library(tmp_path / "new", folder)
    assert whole(folder)


def test_the_second_of_two_movers_moves_nothing(folder, tmp_path, monkeypatch):
    check_target = relocating._check_target

    def slow(*arguments):
        check_target(*arguments)
        monkeypatch.setattr(relocating, "_check_target", check_target)
        move_library(folder, tmp_path / "first")

    monkeypatch.setattr(relocating, "_check_target", slow)
    with pytest.raises(QvsearchError, match="no library"):
        move_library(folder, tmp_path / "second")
    assert whole(tmp_path / "first")
    assert not (tmp_path / "second").exists()
