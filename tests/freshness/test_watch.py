"""`watch` follows folders: real events of a real file system, indexed by a real second process.

Each test waits for what the watcher tells or shows, never for a time.
"""

import json
import os
import shutil
import sys
import threading
import time
from collections import namedtuple
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import psutil
import pytest
from support.cheap_model import FINGERPRINT, instead, write_notes
from support.processes import linux

from qvsearch.cli.app import main
from qvsearch.errors import LibraryLocked, QvsearchError
from qvsearch.freshness import watcher as watching
from qvsearch.freshness.settling import Settling
from qvsearch.freshness.watcher import Settings, Watcher
from qvsearch.library.library import Library
from qvsearch.library.lock import WriterLock

DEADLINE = 60.0  # seconds; what is waited for comes within a few


class Watched:
    """A library, its folder of notes, and a watcher in a thread."""

    def __init__(self, folder: Path):
        self.folder, self.library, self.notes = folder, folder / "library", folder / "notes"
        self.heard = SimpleQueue()
        self.error = None
        self.running = None

    def start(self, **settings):
        order = json.dumps({"folder": str(self.library), "choice": {}, "nice": False})
        command = (sys.executable, "-m", "support.cheap_worker", order)
        self.watcher = Watcher(
            self.library, Settings(command, **settings), self.heard.put, self.heard.put
        )
        self.running = threading.Thread(target=self._run, daemon=True)
        self.running.start()

    def _run(self):
        try:
            self.watcher.run()
        except QvsearchError as error:
            self.error = error
            self.heard.put(error)

    def told(self, state):
        """Wait for a notice."""
        while True:
            heard = self.heard.get(timeout=DEADLINE)
            if getattr(heard, "state", None) == state:
                return heard
            assert not isinstance(heard, Exception), heard

    def batch(self):
        """Wait for the end of a batch, and return its summary and the states of its files."""
        states = []
        while True:
            heard = self.heard.get(timeout=DEADLINE)
            if isinstance(heard, dict) and heard["state"] == "summary":
                return heard, states
            if isinstance(heard, dict):
                states.append(heard["state"])

    def batches_until(self, names):
        """Wait until the library has exactly these files; return the summaries up to then."""
        summaries = []
        while self.names() != names:
            summaries.append(self.batch()[0])
        return summaries

    def embedding(self):
        """Wait until the worker is in the middle of a batch."""
        deadline = time.monotonic() + DEADLINE
        while not (self.folder / "embedding").exists():
            assert time.monotonic() < deadline
            threading.Event().wait(0.02)

    def names(self):
        places = Library.open(self.library).by_location()
        return {os.path.basename(place) for place in places}

    def stop(self):
        if self.running is not None:
            self.watcher.stop()
            self.running.join(DEADLINE)
            assert not self.running.is_alive()


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """Three notes that a library has; nothing watches them yet."""
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(watching, "FIRST_RETRY", 0.2)
    monkeypatch.setattr(watching, "Settling", partial(Settling, 0.3))
    monkeypatch.setattr(psutil, "sensors_battery", lambda: None)
    watched = Watched(tmp_path)
    Library.create(watched.library, FINGERPRINT)
    write_notes(watched.notes, 3)
    with instead(batch=100, commit_seconds=60.0):
        assert main(["index", str(watched.notes), "-l", str(watched.library), "--quiet"]) == 0
    yield watched
    watched.stop()


@pytest.fixture
def started(watched):
    """The same, watched, after the first scan."""
    watched.start()
    assert watched.told("watching").root == os.fsencode(watched.notes)
    assert watched.batch()[0]["unchanged"] == 3
    return watched


def test_a_file_that_comes_changes_moves_and_goes(started):
    path = started.notes / "new.txt"
    path.write_text("a new note")
    summary, states = started.batch()
    assert (summary["embedded"], summary["found"]) == (1, 1), "only the file was looked at"
    assert states == ["planned", "indexed", "committed"]
    path.write_text("another text")
    assert started.batch()[0]["embedded"] == 1
    path.rename(started.notes / "moved.txt")
    summary, _ = started.batch()
    assert (summary["reused"], summary["embedded"], summary["removed"]) == (1, 0, 1)
    (started.notes / "moved.txt").unlink()
    assert started.batch()[0]["removed"] == 1
    assert started.names() == {b"0000.txt", b"0001.txt", b"0002.txt"}


def test_what_does_not_concern_the_library_wakes_nobody(started):
    for name in (".hidden.txt", "a.part", "@eaDir/a.txt", ".git/a.txt", "code.o"):
        (started.notes / name).parent.mkdir(exist_ok=True)
        (started.notes / name).write_text("x")
    (started.notes / "link.txt").symlink_to("0000.txt")
    (started.notes / "short").touch()
    (started.notes / "short").unlink()
    (started.notes / "z.txt").write_text("the last one")
    summary, _ = started.batch()
    assert (summary["found"], summary["embedded"], summary["skipped"]) == (1, 1, 0)


@pytest.mark.faults
def test_a_file_that_fails_is_shown_once(started):
    (started.notes / "bad.png").write_text("not a picture")
    summary, states = started.batch()
    assert (summary["skipped"], states.count("skipped")) == (1, 1)
    (started.notes / "0000.txt").unlink()
    summary, states = started.batch()
    assert (summary["skipped_before"], summary["removed"], states.count("skipped")) == (1, 1, 0)


def test_removed_files_follow_the_rule_of_their_root(started):
    write_notes(started.notes / "inner", 12, first=20)
    write_notes(started.notes / "rest", 20, first=40)
    new = {b"%04d.txt" % number for number in (*range(20, 32), *range(40, 60))}
    started.batches_until(started.names() | new)
    for number in range(20, 31):
        (started.notes / "inner" / f"{number:04}.txt").unlink()
    write_notes(started.notes / "inner", 1, first=70)
    summaries = started.batches_until(
        {b"%04d.txt" % number for number in (0, 1, 2, 31, *range(40, 60), 70)}
    )
    assert sum(each["removed"] for each in summaries) == 11
    assert all(each["kept"] == [] for each in summaries)


@pytest.mark.faults
def test_many_files_at_once_and_a_storm_of_renames(started):
    names = started.names() | {b"%04d.txt" % number for number in range(100, 2100)}
    write_notes(started.folder / "elsewhere", 2000, first=100)
    (started.folder / "elsewhere").rename(started.notes / "many")
    summaries = started.batches_until(names)
    assert sum(each["embedded"] for each in summaries) == 2000
    for number in range(5):
        for path in list(started.notes.glob("many*/*.txt"))[:100]:
            path.rename(path.with_name(f"{number}-{path.name[-8:]}"))
        (folder,) = started.notes.glob("many*")
        folder.rename(started.notes / f"many{number}")
    names = {os.fsencode(path.name) for path in started.notes.rglob("*.txt")}
    summaries = started.batches_until(names)
    assert sum(each["embedded"] for each in summaries) == 0
    assert len(Library.open(started.library).by_location()) == 2003


@pytest.mark.faults
def test_a_drive_that_goes_and_comes_back(started):
    started.notes.rename(started.folder / "unplugged")
    assert started.told("away").root == os.fsencode(started.notes)
    write_notes(started.folder / "unplugged", 1, first=7)
    (started.folder / "unplugged" / "0000.txt").unlink()
    assert len(started.names()) == 3
    (started.folder / "unplugged").rename(started.notes)
    assert started.told("back").root == os.fsencode(started.notes)
    summary, _ = started.batch()
    assert (summary["embedded"], summary["removed"]) == (1, 1)
    write_notes(started.notes, 1, first=8)
    assert started.batch()[0]["found"] == 1, "events arrive again"


def test_another_folder_under_the_name_of_the_root(started):
    shutil.copytree(started.notes, started.folder / "other")
    write_notes(started.folder / "other", 1, first=5)
    started.notes.rename(started.folder / "old")
    (started.folder / "other").rename(started.notes)
    started.batches_until({b"0000.txt", b"0001.txt", b"0002.txt", b"0005.txt"})
    write_notes(started.notes, 1, first=6)
    started.batches_until({b"0000.txt", b"0001.txt", b"0002.txt", b"0005.txt", b"0006.txt"})


def test_a_name_that_is_not_utf_8(started):
    name = b"caf\xe9.txt"
    Path(os.fsdecode(os.fsencode(started.notes) + b"/" + name)).write_text("latin")
    started.batches_until(started.names() | {name})
    write_notes(started.notes, 1, first=8)
    started.batches_until(started.names() | {b"0008.txt"})


def test_a_folder_that_is_indexed_meanwhile_is_followed_and_a_removed_one_is_not(started):
    write_notes(started.folder / "more", 1, first=20)
    with instead():
        assert main(["index", str(started.folder / "more"), "-l", str(started.library), "-q"]) == 0
    assert started.told("watching").root == os.fsencode(started.folder / "more")
    write_notes(started.folder / "more", 1, first=21)
    started.batches_until(started.names() | {b"0021.txt"})
    library = ["-l", str(started.library)]
    assert main(["remove", str(started.folder / "more"), str(started.notes), *library]) == 0
    with pytest.raises(AssertionError):
        started.told("lost")
    assert "has no folders yet" in str(started.error)


def test_a_locked_library_is_tried_again(started):
    with WriterLock(started.library).held():
        write_notes(started.notes, 1, first=5)
        assert f"process {os.getpid()}" in started.told("retry").reason
    started.batches_until(started.names() | {b"0005.txt"})


@pytest.mark.faults
def test_a_full_disk_is_told_once_and_tried_again(started):
    (started.folder / "full").touch()
    write_notes(started.notes, 2, first=5)
    assert "no space" in started.told("retry").reason
    (started.folder / "full").unlink()
    started.batches_until(started.names() | {b"0005.txt", b"0006.txt"})


@pytest.mark.faults
@linux
def test_a_worker_that_is_killed_is_replaced(started):
    (started.folder / "slow").touch()
    write_notes(started.notes, 1, first=5)
    started.embedding()
    psutil.Process(started.watcher._worker.pid).kill()
    (started.folder / "slow").unlink()
    assert "ended with code -9" in started.told("retry").reason
    started.batches_until(started.names() | {b"0005.txt"})


@pytest.mark.faults
@linux
def test_the_end_in_the_middle_of_a_batch_keeps_what_is_finished(started):
    (started.folder / "slow").touch()
    write_notes(started.notes, 250, first=100)
    started.embedding()
    worker = started.watcher._worker.pid
    started.watcher.stop()
    (started.folder / "slow").unlink()
    started.running.join(DEADLINE)
    assert not started.running.is_alive()
    assert not Path(f"/proc/{worker}").exists(), "it is waited for"
    assert 3 < len(started.names()) < 253
    with WriterLock(started.library).held():
        pass


BATTERY = namedtuple("sbattery", ["percent", "secsleft", "power_plugged"])  # as psutil returns it


def test_on_battery_it_waits(watched, monkeypatch):
    monkeypatch.setattr(psutil, "sensors_battery", lambda: BATTERY(50, 3600, False))
    watched.start()
    watched.told("battery")
    write_notes(watched.notes, 1, first=5)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: BATTERY(50, -2, True))
    watched.told("power")
    watched.batches_until(watched.names() | {b"0005.txt"})


def test_on_battery_it_works_if_that_is_wanted(watched, monkeypatch):
    monkeypatch.setattr(psutil, "sensors_battery", lambda: BATTERY(50, 3600, False))
    watched.start(on_battery=True)
    assert watched.batch()[0]["unchanged"] == 3


def test_one_watcher_for_each_library(started):
    second = Watcher(started.library, Settings(()), print, print)
    with pytest.raises(LibraryLocked, match=f"already watched by process {os.getpid()}"):
        second.run()
