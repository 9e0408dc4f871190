"""Indexers killed at random times lose nothing that they acknowledged, and little work.

After each kill the library is read as a whole: it is one that was committed, with every file that
was acknowledged, and with the words of these files. The next run goes on from there, takes the dead
one's lock over, and in the end all vectors and words are those of a run that nobody disturbed. What
is embedded twice is one batch. Notes of an older library get their words, and keep them.
"""

import json
import signal
import subprocess
import sys
from collections import Counter

import pytest
from support import cheap_model, lottery
from support.readers import forget_words, rows, view

from qvsearch.cli.app import main
from qvsearch.library.library import Library

pytestmark = pytest.mark.faults

NOTES = 60
OLDER, LATER = 54, 2  # the first ones lie in five shards, which no later one merges
KILLED = "indexers killed at random"


@pytest.fixture
def folder(in_memory, disk):
    cheap_model.write_notes(in_memory / "notes", NOTES)
    Library.create(in_memory / "new", cheap_model.FINGERPRINT)
    index(in_memory / "notes", in_memory / "undisturbed")
    return in_memory


@pytest.fixture
def older(in_memory, disk):
    """Return such a folder, whose new library has the first notes without words."""
    cheap_model.write_notes(in_memory / "notes", OLDER)
    index(in_memory / "notes", in_memory / "new")
    forget_words(in_memory / "new")
    cheap_model.write_notes(in_memory / "notes", LATER, first=OLDER)
    index(in_memory / "notes", in_memory / "undisturbed")
    return in_memory


def index(notes, library):
    Library.create(library, cheap_model.FINGERPRINT)
    with cheap_model.instead():
        assert main(["index", str(notes), "-l", str(library)]) == 0


def words(folder):
    """Return the text of each note with words by its row; all of them are found by a word."""
    library = Library.open(folder)
    without = {row for rows in library.without_words() for row in rows.tolist()}
    read = [row for row in library.segments if row not in without]
    assert library.words.postings("note")[0].tolist() == read
    return {row: library.words.text(row) for row in read}


def draw(folder, tally, kills, seed, *options, older=0):
    program = [sys.executable, lottery.__file__, str(folder), str(kills), str(seed), *options]
    whole = list(rows(folder / "undisturbed").items())
    texts = words(folder / "undisturbed")
    assert len(whole) == len(set(texts.values())) == (older + LATER if older else NOTES)
    there, found, read = older, Counter(), set()
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        for record in map(json.loads, process.stdout):
            promised = there + record["acknowledged"]
            notes = view(folder / "library")[0]
            assert list(notes.items()) == whole[: len(notes)], "a committed state"
            now = words(folder / "library")
            assert read.union(range(older, len(notes))) <= now.keys(), "words that were lost"
            assert now == {row: texts[row] for row in now}
            read = {row for row in now if row < older}
            assert len(notes) in (promised, promised + 1), "each note is a commit here"
            assert record["embedded"] - record["acknowledged"] <= cheap_model.BATCH
            if record["exit"] == 0:
                assert len(now) == len(notes) == len(whole)
                there, read = older, set()
            else:
                assert record["exit"] == -signal.SIGKILL
                there = len(notes)
                found[KILLED] += 1
                found["acknowledged items looked for after these kills"] += promised
                found["of these kills while the lock was held"] += record["locked"]
                if older:
                    found["of these kills between the words of older notes"] += (
                        0 < len(read) < older
                    )
            process.stdin.write("\n")
            process.stdin.flush()
    assert process.returncode == 0
    assert found[KILLED] == kills
    assert all(found.values())
    tally.update(found)


def test_killed_indexers_lose_nothing_that_was_acknowledged(folder, tally):
    draw(folder, tally, 25, 1)


def test_killed_indexers_lose_no_words_of_an_older_library(older, tally):
    draw(older, tally, 15, 3, "words", older=OLDER)


@pytest.mark.soak
def test_many_killed_indexers_lose_no_words_of_an_older_library(older, tally):
    draw(older, tally, 250, 4, "words", older=OLDER)


@pytest.mark.soak
@pytest.mark.parametrize("options", [[], ["workers"]])
def test_many_killed_indexers_lose_nothing_that_was_acknowledged(folder, tally, options):
    draw(folder, tally, 250, 2, *options)
