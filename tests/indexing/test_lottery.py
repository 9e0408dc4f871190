"""Indexers killed at random times lose nothing that they acknowledged, and little work.

After each kill the library is read as a whole: it is one that was committed, with every file that
was acknowledged, and with the words of these files. The next run goes on from there, takes the dead
one's lock over, and in the end all vectors and words are those of a run that nobody disturbed. What
is embedded twice is one batch.
"""

import json
import signal
import subprocess
import sys
from collections import Counter

import pytest
from support import cheap_model, lottery
from support.readers import rows, view

from qvsearch.cli.app import main
from qvsearch.library.library import Library

NOTES = 60
KILLED = "indexers killed at random"


@pytest.fixture
def folder(in_memory, disk):
    cheap_model.write_notes(in_memory / "notes", NOTES)
    for name in ("new", "undisturbed"):
        Library.create(in_memory / name, cheap_model.FINGERPRINT)
    with cheap_model.instead():
        assert main(["index", str(in_memory / "notes"), "-l", str(in_memory / "undisturbed")]) == 0
    return in_memory


def words(folder):
    """Return the text of each note, in the order of the rows; all of them are found by a word."""
    library = Library.open(folder)
    assert library.words.postings("note")[0].tolist() == list(library.segments)
    return [library.words.text(row) for row in library.segments]


def draw(folder, tally, kills, seed, *options):
    program = [sys.executable, lottery.__file__, str(folder), str(kills), str(seed), *options]
    whole = list(rows(folder / "undisturbed").items())
    texts = words(folder / "undisturbed")
    assert len(whole) == len(set(texts)) == NOTES
    there, found = 0, Counter()
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        for record in map(json.loads, process.stdout):
            promised = there + record["acknowledged"]
            notes = view(folder / "library")[0]
            assert list(notes.items()) == whole[: len(notes)], "a committed state"
            assert words(folder / "library") == texts[: len(notes)]
            assert len(notes) in (promised, promised + 1), "each note is a commit here"
            assert record["embedded"] - record["acknowledged"] <= cheap_model.BATCH
            if record["exit"] == 0:
                assert len(notes) == NOTES
                there = 0
            else:
                assert record["exit"] == -signal.SIGKILL
                there = len(notes)
                found[KILLED] += 1
                found["acknowledged items looked for after these kills"] += promised
                found["of these kills while the lock was held"] += record["locked"]
            process.stdin.write("\n")
            process.stdin.flush()
    assert process.returncode == 0
    assert found[KILLED] == kills
    assert all(found.values())
    tally.update(found)


def test_killed_indexers_lose_nothing_that_was_acknowledged(folder, tally):
    draw(folder, tally, 25, 1)


@pytest.mark.soak
@pytest.mark.parametrize("options", [[], ["workers"]])
def test_many_killed_indexers_lose_nothing_that_was_acknowledged(folder, tally, options):
    draw(folder, tally, 250, 2, *options)
