"""Indexers killed at random times lose nothing that they acknowledged, and little work.

After each kill the library is read as a whole: it is one that was committed, with every file that
was acknowledged. The next run goes on from there, takes the dead one's lock over, and in the end
all vectors are those of a run that nobody disturbed. What is embedded twice is one batch.
"""

import json
import signal
import subprocess
import sys

import cheap_model
import lottery
import pytest
from faulty_disk import FaultyDisk
from readers import rows, view

from qvsearch import durable
from qvsearch.cli import main
from qvsearch.library import Library

NOTES = 60


@pytest.fixture
def folder(in_memory, monkeypatch):
    monkeypatch.setattr(durable, "os", FaultyDisk())
    cheap_model.write_notes(in_memory / "notes", NOTES)
    for name in ("new", "undisturbed"):
        Library.create(in_memory / name, cheap_model.FINGERPRINT)
    with cheap_model.instead():
        assert main(["index", str(in_memory / "notes"), "-l", str(in_memory / "undisturbed")]) == 0
    return in_memory


def draw(folder, kills, seed, *options):
    """Return how many dead held the lock, and how many items were looked for after their deaths."""
    program = [sys.executable, lottery.__file__, str(folder), str(kills), str(seed), *options]
    whole = list(rows(folder / "undisturbed").items())
    assert len(whole) == NOTES
    there = killed = holding = checked = 0
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        for record in map(json.loads, process.stdout):
            promised = there + record["acknowledged"]
            found = view(folder / "library")[0]
            assert list(found.items()) == whole[: len(found)], "a committed state"
            assert len(found) in (promised, promised + 1), "each note is a commit here"
            assert record["embedded"] - record["acknowledged"] <= cheap_model.BATCH
            if record["exit"] == 0:
                assert len(found) == NOTES
                there = 0
            else:
                assert record["exit"] == -signal.SIGKILL
                there, killed = len(found), killed + 1
                holding += record["locked"]
                checked += promised
            process.stdin.write("\n")
            process.stdin.flush()
    assert process.returncode == 0
    assert killed == kills
    return holding, checked


def test_killed_indexers_lose_nothing_that_was_acknowledged(folder):
    holding, checked = draw(folder, 25, 1)
    assert holding > 0
    assert checked > 0


@pytest.mark.soak
@pytest.mark.parametrize("options", [[], ["workers"]])
def test_many_killed_indexers_lose_nothing_that_was_acknowledged(folder, capsys, options):
    holding, checked = draw(folder, 250, 2, *options)
    with capsys.disabled():
        sys.stdout.write(f"\n250 kills, {holding} with the lock, {checked} acknowledged items\n")
