"""A disk that fails at its Nth operation, or is full from there on, costs a sentence and no row.

The whole command line runs, with a cheap model, once for each N and each error, until no operation
is left to fail. It never ends well with a library that is not what it says; what was committed is
there and searched; once the disk is sound, the same command ends as if nothing had been, from
whatever the failed one has left. What a failed fsync may have lost is never asked for again.
"""

import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import count

import pytest
from support import cheap_model
from support.faulty_disk import FAILED, FaultyDisk, FullDisk, failing
from support.readers import rows, view
from support.views import Views, what_is_left

from qvsearch import files as durable
from qvsearch.cli.app import main
from qvsearch.errors import QvsearchError
from qvsearch.library.library import Library
from qvsearch.library.manifest import MANIFEST

pytestmark = pytest.mark.faults

ENDED, SOME_SKIPPED = 2, 3


class Home:
    """A folder of notes, and libraries of it; of the first one some notes are not known yet."""

    def __init__(self, folder, capfd):
        self.folder, self.capfd = folder, capfd
        self.library = folder / "library"
        cheap_model.write_notes(folder / "notes", 4)
        Library.create(self.library, cheap_model.FINGERPRINT)
        assert self.index(self.library, FaultyDisk())[0] == 0
        (folder / "notes/0001.txt").write_text("changed\n")
        (folder / "notes/0002.txt").unlink()
        (folder / "notes/bad.txt").write_bytes(b"\0" * 100)
        cheap_model.write_notes(folder / "notes", 1, first=4)

    def index(self, library, disk):
        """Return the exit code, how many commits were acknowledged, and what was said of errors."""
        command = ["index", str(self.folder / "notes"), "-l", str(library), "--json"]
        with pytest.MonkeyPatch.context() as patch, cheap_model.instead():
            patch.setattr(durable, "os", disk)
            code = main(command)
        found = self.capfd.readouterr()
        states = [json.loads(line)["state"] for line in found.out.splitlines()]
        return code, states.count("committed"), found.err

    def copy(self):
        """Return a library as the first one was left."""
        target = self.folder / "copy"
        shutil.rmtree(target, ignore_errors=True)
        return shutil.copytree(self.library, target)


@pytest.fixture
def home(in_memory, capfd):
    return Home(in_memory, capfd)


def is_one_sentence(said):
    return said.startswith("qvsearch: ") and said.count("\n") == 1 and len(said) < 500


class Watching(FaultyDisk):
    """Sees what a library holds after each commit."""

    def __init__(self, library):
        super().__init__()
        self.library, self.committed = library, [rows(library)]

    def replace(self, old, new):
        self._count("replace", (old, new))
        os.replace(old, new)
        if new.name == MANIFEST:
            self.committed.append(rows(self.library))


@pytest.mark.parametrize(
    ("disk_type", "number"),
    [
        (FaultyDisk, errno.EIO),
        (FaultyDisk, errno.ENOSPC),
        pytest.param(FaultyDisk, errno.EDQUOT, marks=pytest.mark.soak),
        (FullDisk, errno.ENOSPC),
    ],
)
def test_a_disk_that_fails_costs_a_sentence_and_no_row(home, tally, disk_type, number):
    watch = Watching(home.copy())
    assert home.index(watch.library, watch)[:2] == (SOME_SKIPPED, 3)
    committed, whole = watch.committed, view(watch.library)
    assert len(committed) == 4
    assert committed[-1] == whole[0]
    failed, views, left = 0, Views(watch.library, lambda: view(watch.library)), set()
    for at in count(1):
        library, disk = home.copy(), disk_type(at, failing(number))
        code, acknowledged, said = home.index(library, disk)
        if len(disk.steps) < at:
            break
        found = views.now()[0]
        assert found in committed[acknowledged : acknowledged + 2]
        if code == SOME_SKIPPED:
            assert found == committed[-1]
            assert said == ""
        else:
            failed += 1
            assert code == ENDED
            assert is_one_sentence(said)
            assert re.match("qvsearch: (no space for|cannot (write|read)) .*", said)
            assert str(library) in said
        if disk_type is FaultyDisk and disk.names[at - 1] == "fsync":
            assert code == ENDED
            assert is_given_up(disk.steps, at)
        if (state := what_is_left(library)) not in left:
            left.add(state)
            # 0 if it was noted already that a file cannot be read
            assert home.index(library, FaultyDisk())[0] in (0, SOME_SKIPPED)
            again = view(library)
            tried_once = [replace(each, tries=1) for each in again[2]]  # the failed run tried, too
            assert (*again[:2], tried_once, again[3]) == whole
        tally[FAILED] += disk.acted  # a disk that is full fails only who writes
    assert failed > 100, f"{failed} of {at - 1}"
    assert len(left) > 10


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_library_is_made_or_not_wherever_its_making_fails(in_memory, monkeypatch, tally, number):
    for at in count(1):
        folder, disk = in_memory / f"{at}" / "library", FaultyDisk(at, failing(number))
        with monkeypatch.context() as patch:
            patch.setattr(durable, "os", disk)
            try:
                Library.create(folder, cheap_model.FINGERPRINT)
            except QvsearchError as error:
                assert str(folder.parent) in str(error)  # noqa: PT017
        if len(disk.steps) < at:
            break
        monkeypatch.setattr(durable, "os", FaultyDisk())
        if not Library.exists(folder):
            Library.create(folder, cheap_model.FINGERPRINT)
        assert view(folder) == ({}, None, [], {})
        tally[FAILED] += 1
    assert at > 20
    assert {"mkdir", "open", "write", "fsync", "close", "replace"} <= set(disk.names)


def is_given_up(steps, at):
    """Whether the descriptor that fsync failed for is just closed, and its file never renamed."""
    (descriptor,) = steps[at - 1][1]
    path = next(arguments[0] for name, arguments in steps[at - 1 :: -1] if name == "open")
    renamed = [arguments[0] for name, arguments in steps[at:] if name == "replace"]
    return steps[at] == ("close", (descriptor,)) and path not in renamed


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_an_indexer_without_standard_streams_indexes(in_memory, closed):
    cheap_model.write_notes(in_memory / "notes", 3)
    Library.create(in_memory / "library", cheap_model.FINGERPRINT)
    command = [sys.executable, cheap_model.__file__, "index", in_memory / "notes"]
    line = shlex.join(map(str, [*command, "-l", in_memory / "library"]))
    done = subprocess.run(["sh", "-c", f"{line} {closed}"], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert len(view(in_memory / "library")[0]) == 3
