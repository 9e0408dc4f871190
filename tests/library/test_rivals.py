"""One indexer at a time, and searches that never notice it.

Of two indexers that start together one works, and the other leaves while it works, naming it, also
where a dead one's name lies about. Searchers that ask all the time while commits follow each other
get answers of one generation each, and no error.
"""

import json
import os
import subprocess
import sys

import pytest
from support import cheap_model, rivals, writer

from qvsearch.library.library import Library

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("disk")]


def run(*arguments):
    program = [sys.executable, rivals.__file__, *map(str, arguments)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("pairs", [20, pytest.param(50, marks=pytest.mark.soak)])
def test_of_two_indexers_one_works_and_the_other_leaves_naming_it(in_memory, tally, pairs):
    Library.create(in_memory / "new", cheap_model.FINGERPRINT)
    for name in "ab":
        cheap_model.write_notes(in_memory / name, 3)
    races = run("index", in_memory, pairs)
    assert len(races) == pairs
    for each in races:
        assert each["codes"] == [11, 0], "it leaves while the other one waits in its work"
        assert each["said"].startswith(f"qvsearch: the library {in_memory / 'library'} is being")
        assert f" by process {each['winner']} on " in each["said"]
        assert each["said"].count("\n") == 1
        notes = in_memory / each["won"]
        assert each["held"] == sorted(map(str, notes.iterdir()))
        tally["pairs of indexers at once"] += 1
    with cheap_model.instead():
        for name in "ab":
            command = ["index", str(in_memory / name), "-l", str(in_memory / "library"), "--quiet"]
            assert cheap_model.cli.main(command) == 0
    library = Library.open(in_memory / "library")
    assert set(library.roots) == {os.fsencode(in_memory / name) for name in "ab"}
    assert len(library) == 6


def test_the_whole_program_leaves_a_held_library_and_searches_it(tmp_path):
    library = Library.create(tmp_path / "library", cheap_model.FINGERPRINT)
    cheap_model.write_notes(tmp_path / "notes", 1)
    program = [sys.executable, "-m", "qvsearch"]
    with library.lock():
        for command, code in (("index", 11), ("remove", 11), ("status", 0)):
            paths = [] if command == "status" else [str(tmp_path / "notes")]
            done = subprocess.run(
                [*program, command, *paths, "-l", str(library.folder)],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == code
            assert code == 0 or f"by process {os.getpid()} on " in done.stderr


@pytest.mark.parametrize("queries", [100, pytest.param(200, marks=pytest.mark.soak)])
def test_searchers_get_answers_of_one_generation_each_while_others_commit(
    in_memory, tally, queries
):
    library = writer.begin(in_memory / "library")
    searchers = run("search", library.folder, queries, 21)
    assert [each["right"] for each in searchers] == [queries] * rivals.SEARCHERS
    assert sum(each["generations"] for each in searchers) > 3 * rivals.SEARCHERS
    commits = Library.open(library.folder).generation - library.generation
    assert commits == 20
    tally["searches while another process commits"] += sum(each["right"] for each in searchers)
    tally["commits meanwhile"] += commits
