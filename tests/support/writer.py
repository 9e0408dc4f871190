"""A process that changes a library in known steps, and dies or fails where it is told to.

Run as a program: `writer.py TASK FOLDER [NUMBER...]`; it prints a line for each thing it has done.
"""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import filelock
import numpy as np

from qvsearch import files as durable
from qvsearch.cli import app as cli
from qvsearch.errors import QvsearchError
from qvsearch.library.failures import Failure
from qvsearch.library.library import Library
from qvsearch.library.repair import repair
from qvsearch.models.prompt import DOCUMENT_INSTRUCTION
from qvsearch.runtime import loading as fingerprint
from qvsearch.types import Detail, Fingerprint, Item, Kind, Segment, Stored
from support import cheap_model
from support.faulty_disk import FaultyDisk, failing
from support.readers import nearest_rows
from support.recording_disk import tree_of

PROGRAM = [sys.executable, __file__]
DIM = 8
FINGERPRINT = Fingerprint("some/model", "abc123", DIM, Detail.LOW, DOCUMENT_INSTRUCTION, 1, 1)
FAILURES = [Failure(b"/photos/bad.jpg", 1, 2, "cut off", 1)]


def photo(number):
    path = b"photo %d.jpg" % number
    return Segment(Item(b"/photos", path, Kind.IMAGE, number, number), f"hash{number}")


def vector(number):
    found = np.random.default_rng(number).standard_normal(DIM, dtype=np.float32)
    return found / np.linalg.norm(found)


def add(library, numbers):
    library.add([photo(number) for number in numbers], np.stack([vector(n) for n in numbers]))


def remove(library, wanted):
    gone = [row for row, each in library.segments.items() if wanted(each.item.size)]
    library.remove(gone)


def content(library):
    """Return the stored vector of each photo number."""
    rows = list(library.segments)
    vectors = library.vectors(rows)
    return {library.segments[row].item.size: vectors[i].tobytes() for i, row in enumerate(rows)}


def expected(numbers):
    return {n: vector(n).astype(np.float16).astype(np.float32).tobytes() for n in numbers}


# What the steps below make of a library of 0 to 20 in seven files, and of none.
START = expected(range(21))
STEPS = {
    "none": START,
    "merged": expected([*range(1, 24)]),
    "compacted": expected(range(8, 24)),
    "extended": expected([*range(8, 24), 50]),
    "failures": expected([*range(8, 24), 50]),
}


def prepare(folder, store=Stored.FLOAT16, count=21):
    library = Library.create(folder, FINGERPRINT, store)
    library.add_root(b"/photos")
    for start in range(0, count, 3):
        add(library, range(start, start + 3))
        library.commit()


def steps(folder):
    """Change a library, yielding the name of each step that is done."""
    library = Library.open(folder)
    with library.lock():
        done = content(library)
        if 21 not in done:
            add(library, range(21, 24))
            remove(library, lambda number: number == 0)
            library.commit()
            yield "merged"
        if 7 in content(library):
            remove(library, lambda number: number < 8)
            library.commit()
            yield "compacted"
        if 50 not in content(library):
            library.add_root(b"/more")
            row = replace(photo(50), item=replace(photo(50).item, root=b"/more"))
            library.add([row], vector(50)[None])
            library.commit()
            yield "extended"
        library.save_failures(FAILURES)
        yield "failures"


class DyingDisk(FaultyDisk):
    """At each operation a fork of this process is killed, and what that leaves is copied.

    The fork of a write does the first half of it before.
    """

    def __init__(self, folders):
        super().__init__()
        self._folders, self.done = folders, "none"

    def write(self, descriptor, data):
        start = os.lseek(descriptor, 0, os.SEEK_CUR)
        self._count("write", (descriptor, data[: len(data) // 2]))
        os.ftruncate(descriptor, start)
        os.lseek(descriptor, start, os.SEEK_SET)
        return os.write(descriptor, data)

    def _count(self, name, arguments):
        self.steps.append((name, arguments))
        child = os.fork()
        if child == 0:
            if name == "write":
                os.write(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        self.keep(len(self.steps))

    def keep(self, number):
        """Copy the folders, and tell what was done until then."""
        for each in self._folders:
            if each.exists():
                shutil.copytree(each, each.with_name(f"{each.name} {number}"))
        say(f"at {number} {self.done}")


def run(*arguments):
    """Run this as a program; returns the lines that it prints."""
    command = [*PROGRAM, *map(str, arguments)]
    found = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return found.stdout.splitlines()


def say(text):
    os.write(1, f"{text}\n".encode())


def kill_everywhere(steps, *folders):
    """Die at operation 1, 2, ... of some steps, and leave copies of the folders, numbered.

    A fork dies, in the state of this process, which goes on: so nothing is done twice. The last
    copies are those of the end.
    """
    durable.os = disk = DyingDisk(folders)
    for disk.done in steps:
        pass
    disk.keep(len(disk.steps) + 1)


class OwnLock:
    """A lock that forks have too; filelock takes it away from them."""

    def __init__(self, path, **_):
        self._path, self.is_locked = Path(path), False

    def acquire(self, **_):
        self._path.touch()
        self.is_locked = True

    def release(self):
        self.is_locked = False


class FailingDisk(FaultyDisk):
    """Each operation fails in a fork of this process, which goes on; what that leaves is copied.

    The folder is then put back: links keep the files that the fork replaced or deleted.
    """

    def __init__(self, folder, numbers):
        super().__init__()
        self._folder, self._numbers = folder, numbers
        self.failed_at = None  # in a fork

    def _count(self, name, arguments):
        self.steps.append((name, arguments))
        if self.failed_at:
            return
        at = len(self.steps)
        kept = shutil.copytree(self._folder, self._folder.with_name("kept"), copy_function=os.link)
        before = list(tree_of(kept).values())
        child = os.fork()
        if child == 0:
            self.failed_at = at
            failing(self._numbers[at % len(self._numbers)])()
        assert os.waitpid(child, 0)[1] == 0
        self.keep(at)
        shutil.rmtree(self._folder)
        kept.rename(self._folder)
        assert list(tree_of(self._folder).values()) == before, "it was not replaced, but changed"

    def keep(self, at):
        shutil.copytree(self._folder, self._folder.with_name(f"library {at}"))


def fail_everywhere(steps, folder, numbers):
    """Let operation 1, 2, ... of some steps fail, with these errors in turn.

    Leaves copies of the folder, numbered, and tells of each the last step that was done, and the
    error. The last copy is that of the end.
    """
    gc.freeze()
    filelock.FileLock = OwnLock
    durable.os = disk = FailingDisk(folder, numbers)
    last, error = "none", None
    try:
        for each in steps:
            last = each
    except QvsearchError as caught:
        error = str(caught)
    if disk.failed_at:
        say(json.dumps([disk.failed_at, last, error]))
        os._exit(0)
    assert error is None
    end = len(disk.steps) + 1
    disk.keep(end)
    say(json.dumps([end, last, None]))


def mend(folder):
    yield f"kept {repair(folder).kept}"


def make(folder):
    yield Library.create(folder, FINGERPRINT).generation


def begin(folder):
    """Make a library, and commit its first generation."""
    library = Library.create(folder, FINGERPRINT)
    library.add_root(b"/photos")
    follow(library)
    return library


def follow(library):
    """Commit the next generation; each holds what `after` says."""
    number = library.generation + 1
    add(library, range(3 * number, 3 * number + 3))
    remove(library, lambda found: found % 5 == 0)
    library.commit()


def commit_often(folder, number):
    """Commit up to that generation, when told to."""
    library = Library.open(folder)
    sys.stdin.readline()
    while library.generation < number:
        follow(library)
        say(f"done {library.generation}")


def after(generation):
    return expected(n for n in range(3, 3 * generation + 3) if n % 5)


def hold(folder):
    with Library.open(folder).lock():
        say("held")
        sys.stdin.read(1)


def try_to_write(folder):
    """As a user who may only read, at what is there and at what may be needed of Python too."""
    notes = folder.parent / "notes"
    cheap_model.write_notes(notes, 1)
    rehearsal = folder.parent / "rehearsal"  # after which all modules are loaded
    Library.create(rehearsal, FINGERPRINT)
    with cheap_model.instead():
        assert cli.main(["index", str(notes), "-l", str(rehearsal), "--quiet"]) == 0
    cheap_model.write_notes(notes, 2)
    os.chmod(folder, 0o555)  # noqa: S103
    if os.getuid() == 0:
        import filelock  # noqa: F401 (nobody may be unable to read where Python is installed)

        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    library = Library.open(folder)
    say(f"found {nearest_rows(library, vector(7), 1)[0][0]}")
    add(library, [100])
    for task in (
        library.commit,
        lambda: library.save_failures([]),
        lambda: library.lock().__enter__(),
        lambda: Library.create(folder / "other", FINGERPRINT),
    ):
        try:
            task()
        except QvsearchError as error:
            say(f"refused {error}")
    fingerprint.load_embedder = lambda *_: say("loads the model")
    fingerprint.resolve = lambda *_: say("downloads the model")
    os.dup2(1, 2)
    for place in (folder, folder / "other"):
        say(f"index {cli.main(['index', str(notes), '-l', str(place), '--quiet'])}")


if __name__ == "__main__":
    task, folder = sys.argv[1], Path(sys.argv[2])
    match task:
        case "kill":
            kill_everywhere(steps(folder), folder)
        case "kill making":
            kill_everywhere(make(folder), folder)
        case "fail":
            fail_everywhere(steps(folder), folder, list(map(int, sys.argv[3:])))
        case "fail to repair":
            fail_everywhere(mend(folder), folder, list(map(int, sys.argv[3:])))
        case "commit":
            commit_often(folder, int(sys.argv[3]))
        case "hold":
            hold(folder)
        case "try to write":
            try_to_write(folder)
