"""What happens to a library when its writer dies, fails, or is not alone."""

import errno
import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from support import writer
from support.faulty_disk import FAILED, FaultyDisk, failing
from support.readers import nearest_rows
from support.views import Views, what_is_left
from support.writer import STEPS, content, run, steps

from qvsearch import files as durable
from qvsearch.errors import LibraryLocked, QvsearchError
from qvsearch.library.library import Library
from qvsearch.library.repair import check

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("disk")]

KILLED = "writers killed, at every operation"


def start(*arguments):
    return subprocess.Popen(
        [*writer.PROGRAM, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def folder(in_memory):
    writer.prepare(in_memory / "library")
    return in_memory / "library"


def tidy(folder):
    """Whether there is nothing in a library but what its manifest refers to."""
    names = {path.name for path in folder.iterdir()}
    assert names <= {"manifest.json", "manifest.json.bak", "segments", "lock", "failed.jsonl"}
    files = {path.name for path in (folder / "segments").iterdir()}
    listed = (folder / "manifest.json").read_text()
    assert all(f'"{name.partition(".")[0]}"' in listed for name in files)
    return True


def legal(name):
    """Return what a library may hold after this step and before the end of the next."""
    names = list(STEPS)
    place = names.index(name)
    return [STEPS[each] for each in names[place : place + 2]]


def finish(folder):
    """Do what is left to do, as a re-run does."""
    for _ in steps(folder):
        pass
    assert content(Library.open(folder)) == STEPS["failures"]
    assert Library.open(folder).load_failures() == writer.FAILURES
    assert check(folder) == []
    assert tidy(folder)


def test_a_killed_writer_leaves_a_committed_state_wherever_it_dies(folder, tally):
    lines = [line.split() for line in run("kill", folder)]
    done = {int(number): name for _, number, name in lines}
    assert len(done) > 60
    assert set(done.values()) == set(STEPS)
    assert done[len(done)] == "failures"
    copy, left = folder.with_name("copy"), set()
    views = Views(copy, lambda: (content(Library.open(copy)), check(copy)))
    for at, name in done.items():
        folder.with_name(f"library {at}").rename(copy)
        found, problems = views.now()
        assert (found in legal(name), problems) == (True, [])
        if (state := what_is_left(copy)) not in left:
            left.add(state)
            finish(copy)
        shutil.rmtree(copy)
        tally[KILLED] += at < len(done)  # the last one ends by itself
    assert len(left) > 10


def test_a_library_whose_making_was_killed_can_be_made(tmp_path, tally):
    lines = run("kill making", tmp_path / "library")
    assert len(lines) > 10
    assert lines[-1] == f"at {len(lines)} 0"
    for at in range(1, len(lines)):
        folder = tmp_path / f"library {at}"
        if not Library.exists(folder):
            Library.create(folder, writer.FINGERPRINT)
        assert len(Library.open(folder)) == 0
        tally[KILLED] += 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_every_operation_may_fail_and_a_rerun_mends_it(folder, tally, number):
    outcomes = [json.loads(line) for line in run("fail", folder, number)]
    assert len(outcomes) > 60
    copy, left = folder.with_name("copy"), set()
    views = Views(copy, lambda: (content(Library.open(copy)), check(copy)))
    for at, last, said in outcomes:
        assert said is None or str(folder) in said
        folder.with_name(f"library {at}").rename(copy)
        found, problems = views.now()
        assert (found in legal(last), problems) == (True, [])
        if (state := what_is_left(copy)) not in left:
            left.add(state)
            finish(copy)
        shutil.rmtree(copy)
        tally[FAILED] += at < len(outcomes)  # nothing failed in the last one
    assert [at for at, *_ in outcomes] == list(range(1, len(outcomes) + 1))
    assert len(left) > 5


def test_the_same_object_commits_once_there_is_space_again(folder, monkeypatch):
    library = Library.open(folder)
    writer.add(library, range(21, 24))
    with monkeypatch.context() as patch:
        patch.setattr(durable, "os", FaultyDisk(12, failing(errno.ENOSPC)))
        with pytest.raises(QvsearchError, match="no space for 000008"):
            library.commit()
    assert content(library) == writer.expected(range(24))
    assert content(Library.open(folder)) == STEPS["none"]
    library.commit()
    assert content(Library.open(folder)) == content(library) == writer.expected(range(24))
    assert tidy(folder)


def replaced(disk, name):
    """Return which operation put a file of this name in place."""
    (place,) = (
        place
        for place, (step, arguments) in enumerate(disk.steps)
        if step == "replace" and arguments[1].name == name
    )
    return place


def test_a_commit_that_may_be_on_the_disk_is_not_overwritten_by_the_next(
    folder, monkeypatch, tally
):
    trial, disk = Library.open(shutil.copytree(folder, folder.with_name("trial"))), FaultyDisk()
    library = Library.open(folder)
    with library.lock(), trial.lock():
        with monkeypatch.context() as patch:
            patch.setattr(durable, "os", disk)
            writer.add(trial, range(21, 24))
            trial.commit()
            last = disk.names.index("fsync", replaced(disk, "manifest.json"))
            patch.setattr(durable, "os", FaultyDisk(last + 1, failing(errno.EIO)))
            writer.add(library, range(21, 24))
            with pytest.raises(QvsearchError, match=r"cannot write manifest\.json in"):
                library.commit()
        assert content(Library.open(folder)) == writer.expected(range(24))
        writer.add(library, [30])
        at, failed = 0, True
        while failed:
            at, failed = at + 1, False
            with monkeypatch.context() as patch:
                patch.setattr(durable, "os", FaultyDisk(at, failing(errno.EIO)))
                try:
                    library.commit()
                except QvsearchError:
                    failed = True
            found = content(Library.open(folder))
            assert found in (writer.expected(range(24)), writer.expected([*range(24), 30]))
            assert check(folder) == []
            tally[FAILED] += failed
    assert at > 30
    assert content(Library.open(folder)) == writer.expected([*range(24), 30])
    assert tidy(folder)


def test_readers_see_one_commit_while_others_follow(tmp_path):
    folder = writer.begin(tmp_path / "library").folder
    views = [Library.open(folder)]
    with start("commit", str(folder), "30") as process:
        assert process.stdin.write("go\n")
        process.stdin.flush()
        while process.poll() is None:
            view = Library.open(folder)
            assert content(view) == writer.after(view.generation)
            if view.generation > views[-1].generation:  # each is kept, so only one of each
                views.append(view)
    assert process.returncode == 0
    views.append(Library.open(folder))
    assert [views[0].generation, views[-1].generation] == [1, 30]
    for view in views:  # of most of them all files are deleted by now
        assert content(view) == writer.after(view.generation)
        best = nearest_rows(view, writer.vector(4), 1)[0][0]
        assert view.segments[best].item.size == 4


def test_a_second_writer_leaves_at_once_and_names_the_first(folder):
    library = Library.open(folder)
    with start("hold", str(folder)) as process:
        assert process.stdout.readline() == "held\n"
        for task in (library.lock().__enter__, lambda: library.save_failures([])):
            with pytest.raises(LibraryLocked, match=f"process {process.pid} on ") as caught:
                task()
            assert caught.value.exit_code == 11
        writer.add(library, [30])
        with pytest.raises(LibraryLocked):
            library.commit()
        assert content(Library.open(folder)) == STEPS["none"]
        process.send_signal(signal.SIGKILL)
    # The dead one's name is still there, its lock is not.
    assert (folder / "lock.json").exists()
    library.commit()
    assert 30 in content(Library.open(folder))
    assert tidy(folder)
    with library.lock(), pytest.raises(LibraryLocked, match=f"process {os.getpid()} on "):
        Library.open(folder).save_failures([])


def test_what_another_process_committed_is_not_lost(folder):
    first, second = Library.open(folder), Library.open(folder)
    writer.add(second, [30])
    second.commit()
    with first.lock():
        assert 30 in content(first)
        writer.add(first, [31])
        first.commit()
    assert content(Library.open(folder)) == STEPS["none"] | writer.expected([30, 31])
    writer.add(second, [32])
    with pytest.raises(QvsearchError, match="another process changed"):
        second.commit()
    assert 32 not in content(Library.open(folder))


def test_a_library_that_may_only_be_read_is_searched_and_its_change_refused():
    with tempfile.TemporaryDirectory() as above:
        Path(above).chmod(0o755)
        folder = Path(above) / "library"
        writer.prepare(folder)
        lines = run("try to write", folder)
        folder.chmod(0o755)
    assert lines[0] == "found 7"
    assert all(line.startswith("refused cannot ") and str(folder) in line for line in lines[1:5])
    assert lines[6::2] == ["index 2", "index 2"], "and no model was loaded, nor downloaded"
    for line in lines[5::2]:
        assert line.startswith("qvsearch: cannot ")
        assert str(folder) in line
