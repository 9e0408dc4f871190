"""Whatever breaks in a library is said, or harmless: no wrong answer is given that `check` misses.

Proved over every file of libraries of both stored forms by flipped bits, truncations, zeroed pages,
files deleted, emptied, doubled and exchanged, each searched in a process of its own
(library_damage.py), so that a crash would be seen; and of a sample of the same damages that `check
--repair` keeps what is sound, whatever stops it in the middle, and that the next run embeds what
was lost.
"""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from support import library_damage, writer
from support.faulty_disk import FAILED
from support.indexer import FINGERPRINT, Bench, notes
from support.library_damage import content, every, make, names, put
from support.views import Views, what_is_left

from qvsearch.library.library import Library
from qvsearch.library.manifest import read_committed
from qvsearch.library.repair import check, repair
from qvsearch.types import Stored

REFUSED = ("refused when opened", "refused when searched")
MOST_MEMORY = 200 * 1024 * 1024  # bytes that a whole sweep may take


pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("disk")]


def swept(folder, stored, seed, bits, lengths):
    """What a user meets of each damage; fails where the process that meets it does."""
    done = subprocess.run(
        [sys.executable, library_damage.__file__, folder, stored, *map(str, (seed, bits, lengths))],
        capture_output=True,
        check=False,
        timeout=3600,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    *records, last = map(json.loads, done.stdout.splitlines())
    assert last["grown"] < MOST_MEMORY
    return records


def judge(record, tally):
    """Examine what came of a damage, and count those of files that are not taken for large too."""
    examine(record)
    names = {"flip": "flipped bits", "cut": "cuts"}
    name = names.get(record["what"].partition(" ")[0], "zeroed, swapped, emptied or lost files")
    tally[f"{name} in libraries"] += not record["large"]


def examine(record):
    """Fail where a user would be told what is not so."""
    names = {name.rpartition("/")[2] for name in record["files"]}
    stems = {name.partition(".")[0] for name in names}
    met, texts = record["met"], record["texts"]
    if record["files"] == ["manifest.json"] and record["what"].startswith("of "):
        # a whole manifest of other files is refused for those, and an older one is a state that was
        assert met == "answers of the commit before" or record["check"], record
        assert met in REFUSED or record["what"] == "of the commit before", record
        return
    if met in REFUSED:
        (text,) = texts
        assert "\n" not in text, record
        # where a line and its vector do not fit each other, either may be the damaged one
        assert any(stem in text for stem in stems), record
        assert "check --repair" in text, record
    if met != "same answers":
        assert record["check"], record
    for file in record["check"]:
        assert file.rpartition("/")[2].partition(".")[0] in stems, record
    assert met != "other answers" or record["large"], record
    if names == {"failed.jsonl"}:
        assert (met, record["check"]) == ("same answers", []), record
    elif record["check"] == []:
        assert record["failures"] == 2, record


@pytest.mark.parametrize("stored", Stored)
def test_no_damage_is_met_unsaid(tmp_path, tally, stored):
    records = swept(tmp_path / "library", stored, 1, 200, 60)
    for record in records:
        judge(record, tally)
    small = Counter(record["met"] for record in records if not record["large"])
    large = Counter(record["met"] for record in records if record["large"])
    assert small.keys() == {REFUSED[0], "same answers", "answers of the commit before"}
    assert small["answers of the commit before"] == 1
    assert large.keys() == {*REFUSED, "same answers", "other answers"}
    assert sum(small.values()) > 300


@pytest.mark.soak
@pytest.mark.parametrize("stored", Stored)
@pytest.mark.parametrize("seed", range(2, 7))
def test_many_damages_are_met_unsaid_neither(tmp_path, tally, stored, seed):
    for record in swept(tmp_path / "library", stored, seed, 4000, 1000):
        judge(record, tally)


# ------------------------------------------------------------------ repair


def sample(folder, stored, count):
    """Some damages of a new library, of every sort, in order."""
    before = make(folder, stored)
    damages = [
        each
        for each in every(folder, np.random.default_rng(3), before, before, 300, 120)
        if each.what != "of the commit before"
    ]
    return damages[:: len(damages) // count]


def touched(folder, damages):
    """The rows of the segment files that a damage is of."""
    stems = {Path(name).stem for name in damages.files}
    return sum(file.rows for file in read_committed(folder).files if file.name in stems)


@pytest.mark.parametrize("stored", Stored)
def test_repair_keeps_what_is_sound_of_any_damage_and_counts_what_is_not(tmp_path, tally, stored):
    folder, copy = tmp_path / "library", tmp_path / "copy"
    damages = sample(folder, stored, 60)
    sound = content(Library.open(folder))
    lost = Counter()
    for each in damages:
        shutil.copytree(folder, copy)
        put(copy, each.files)
        found = repair(copy)
        again = content(Library.open(copy))
        assert again.items() <= sound.items()
        assert (found.kept, found.kept + found.lost) == (len(again), len(sound))
        assert found.lost <= touched(folder, each)
        if each.what.startswith("flip"):
            assert found.lost <= 5  # a row, and what is left of the films on both sides
        assert check(copy) == []
        assert repair(copy).problems == ()
        lost["some" if found.lost else "none"] += 1
        tally["damages repaired"] += 1
        shutil.rmtree(copy)
    assert lost.keys() == {"some", "none"}


def test_what_repair_lost_is_embedded_by_the_next_run_and_nothing_else(tmp_path):
    Library.create(tmp_path / "library", FINGERPRINT)
    (tmp_path / "media").mkdir()
    bench = Bench(tmp_path / "library", tmp_path / "media")
    notes(bench.root, 30)
    bench.index()
    before = bench.rows()
    (path,) = bench.library_folder.glob("segments/*.jsonl")
    data = bytearray(path.read_bytes())
    for word in (b"004.txt", b"017.txt", b"018.txt"):
        data[data.index(word)] ^= 1
    path.write_bytes(data)
    # with each its neighbours: a passage that is lost may have been of either
    lost = [3, 4, 5, 16, 17, 18, 19]
    assert repair(bench.library_folder).lost == len(lost)
    assert bench.index().embedded == len(lost)
    assert sorted(bench.embedder.embedded) == sorted(f"note {number}" for number in lost)
    assert bench.rows() == before
    assert bench.index().unchanged == 30


def test_a_repair_that_fails_anywhere_has_changed_no_file_that_is_still_needed(in_memory, tally):
    folder, copy = in_memory / "library", in_memory / "copy"
    make(folder, Stored.INT8)
    sound = content(Library.open(folder))
    for name in ("segments/000003.faiss", "segments/000005.jsonl", "segments/000006.jsonl"):
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)
    shutil.copytree(folder, copy)
    expected = repair(copy)
    whole = content(Library.open(copy))
    assert 0 < expected.lost <= 12
    assert whole.items() < sound.items()
    files = {name: (folder / name).read_bytes() for name in names(folder)}
    generation, left = read_committed(folder).generation, set()
    views = Views(copy, lambda: (content(Library.open(copy)), check(copy)))
    outcomes = writer.run("fail to repair", folder, errno.ENOSPC, errno.EACCES)
    for at, _, said in map(json.loads, outcomes):
        assert said is None or str(folder) in said
        shutil.rmtree(copy)
        folder.with_name(f"library {at}").rename(copy)
        if read_committed(copy).generation == generation:
            now = {name: (copy / name).read_bytes() for name in files}
            assert all(now[name] == files[name] for name in files if ".bak" not in name)
            if (state := what_is_left(copy)) not in left:
                left.add(state)
                assert repair(copy).kept == expected.kept
                assert views.now() == (whole, [])
        else:
            assert views.now() == (whole, [])
        tally[FAILED] += at < len(outcomes)  # nothing failed in the last one
    assert len(outcomes) > 20
    assert len(left) > 5


def test_damaged_files_are_kept_aside_as_they_were_found(tmp_path):
    folder = tmp_path / "library"
    make(folder, Stored.FLOAT16)
    path = folder / "segments" / "000005.jsonl"
    os.truncate(path, 999)
    broken = path.read_bytes()
    repair(folder)
    assert (folder / "quarantine" / "000005.jsonl").read_bytes() == broken
