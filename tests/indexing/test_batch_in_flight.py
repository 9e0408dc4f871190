"""Ctrl-C ends an indexer after the batch in flight, twice at once, and no process outlives it."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import cheap_model, paused
from support.readers import rows

from qvsearch.cli.app import main
from qvsearch.library.library import Library

NOTES = 12
PATIENCE = 60  # seconds, after which a process hangs

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="processes have no handles"),
]


@pytest.fixture
def folder(tmp_path, disk):
    cheap_model.write_notes(tmp_path / "notes", NOTES)
    Library.create(tmp_path / "library", cheap_model.FINGERPRINT)
    return tmp_path


@pytest.fixture
def indexer(folder):
    """An indexer that has committed a batch of one note, and is about to embed one of several."""
    with subprocess.Popen(
        [sys.executable, paused.__file__, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"at work\n"
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"at work\n"
        yield process
        process.kill()


def descendants(pid):
    """Return handles of the processes that a process started, and those that these did."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
    found = [child for child, parent in parents.items() if parent == pid]
    return [os.pidfd_open(child) for child in found] + [
        handle for child in found for handle in descendants(child)
    ]


def have_ended(handles):
    for handle in handles:
        ended, _, _ = select.select([handle], [], [], PATIENCE)
        os.close(handle)
        assert ended, "a process outlives the indexer"
    return True


def goes_on(folder):
    with cheap_model.instead():
        assert main(["index", str(folder / "notes"), "-l", str(folder / "library"), "-q"]) == 0
    return len(rows(folder / "library")) == NOTES


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_after_the_batch_in_flight(folder, indexer, number):
    started = descendants(indexer.pid)
    assert started, "files are decoded elsewhere"
    indexer.send_signal(number)
    output, error = indexer.communicate()  # which also lets the batch go on
    assert (indexer.returncode, error) == (130, b"")
    left = NOTES - 1 - cheap_model.BATCH
    assert output.startswith(b"interrupted, %d files left; run it again" % left)
    assert len(rows(folder / "library")) == 1 + cheap_model.BATCH
    assert have_ended(started)
    assert goes_on(folder)


def test_a_second_ctrl_c_ends_it_at_once(folder, indexer):
    started = descendants(indexer.pid)
    while indexer.poll() is None:
        indexer.send_signal(signal.SIGINT)
    assert indexer.returncode == -signal.SIGINT
    assert len(rows(folder / "library")) == 1
    assert have_ended(started)
    assert goes_on(folder)


def test_a_killed_indexer_leaves_no_process_behind(folder, indexer):
    started = descendants(indexer.pid)
    indexer.kill()
    assert len(rows(folder / "library")) == 1
    assert have_ended(started)
    assert goes_on(folder)
