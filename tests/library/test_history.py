"""Whatever happens to files and to the library, in any order, it holds what a dictionary does.

Proved by a state machine of hypothesis in both stored forms: files are added, changed, renamed,
copied, removed and forgotten; runs are killed at any operation on the disk, and what they left is
opened, searched, checked and gone on with; files are merged and compacted all the while.
"""

import itertools
import os
import shutil
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from support.cheap_model import DecodersHere
from support.faulty_disk import FaultyDisk
from support.indexer import DIM, FINGERPRINT, Counting, hash_vector
from support.library_damage import unit
from support.readers import make_older, nearest_rows
from support.rows import rounded

from qvsearch import files as durable
from qvsearch.errors import QvsearchError
from qvsearch.indexing import pipeline as ingest
from qvsearch.indexing.forget import forget
from qvsearch.indexing.pipeline import IngestOptions, index
from qvsearch.library import merge_plan
from qvsearch.library.library import Library
from qvsearch.library.repair import check
from qvsearch.types import EmbedInput, Stored

pytestmark = pytest.mark.faults

NAMES = [f"{folder}{letter}.txt" for folder in ("", "sub/") for letter in "abc"]
TEXTS = {
    "red": "red",
    "green": "green",
    "blue": "blue",
    "long": "a long note. " * 300,
    "longer": "another long note, of two. " * 240,
    "kept": "always there",
}
ACTS = st.tuples(
    st.sampled_from(["write", "write", "write", "touch", "copy", "rename", "delete"]),
    st.sampled_from(NAMES),
    st.sampled_from(NAMES),
    st.sampled_from(sorted(TEXTS)),
)
SOAK_SECONDS = 600


class Killed(BaseException):
    """The process is dead: nothing after it is done."""


class DeadlyDisk(FaultyDisk):
    """From operation `at` on no operation is done, and all but deleting end the process."""

    def __getattr__(self, name):
        step = super().__getattr__(name)
        if name != "unlink":
            return step

        def unlink(*arguments):
            if 0 < self.at <= len(self.steps):
                raise OSError(5, "dead")
            return step(*arguments)

        return unlink

    def _count(self, name, arguments):
        self.steps.append((name, arguments))
        if 0 < self.at <= len(self.steps):
            raise Killed


def vectors_of(words):
    """What becomes of a text: the vectors of its passages."""
    from qvsearch.media.passages import passages
    from qvsearch.media.text import without_noise

    found = passages(without_noise(words, ".txt"))
    parts = ["".join(piece.text for piece in pieces).rstrip("\r\n") for pieces in found]
    return np.stack([hash_vector(EmbedInput(text=part)) for part in parts])


class History(RuleBasedStateMachine):
    """`files` are on the disk and `known` in the library: each path with the name of its text."""

    stored = Stored.FLOAT16
    tally = Counter()

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.root = self.folder / "media"
        (self.root / "sub").mkdir(parents=True)
        (self.root / "keep.md").write_text(TEXTS["kept"])
        self.clock = itertools.count(10**18, 10**9)
        self.files = {"keep.md": "kept"}
        self.known = {}
        self.vectors = {}
        self.embedder = Counting()
        self.library = Library.create(self.folder / "library", FINGERPRINT, self.stored)

    def teardown(self):
        durable.os = FaultyDisk()
        shutil.rmtree(self.folder)

    # -------------------------------------------------------------- what happens to files

    @rule(acts=st.lists(ACTS, min_size=1, max_size=3))
    def change(self, acts):
        for act, name, other, words in acts:
            if act == "write":
                self.write(name, words)
            elif name in self.files:
                getattr(self, act)(name, other)

    def write(self, name, words):
        """Add a file or change it; one that looks untouched would be taken for unchanged."""
        (self.root / name).write_text(TEXTS[words])
        self.files[name] = words
        self.touch(name)

    def touch(self, name, _=None):
        os.utime(self.root / name, ns=(0, next(self.clock)))

    def copy(self, name, other):
        self.write(other, self.files[name])

    def rename(self, name, other):
        (self.root / name).rename(self.root / other)
        self.files[other] = self.files.pop(name)

    def delete(self, name, _):
        (self.root / name).unlink()
        del self.files[name]

    # -------------------------------------------------------------- what the user does

    def run(self):
        self.embedder.embedded.clear()
        index(
            self.library,
            [os.fsencode(self.root)],
            self.embedder.load,
            IngestOptions(prune=True, commit_seconds=0),
            lambda _: None,
            lambda: False,
        )

    @initialize()
    def first(self):
        self.update()

    @rule()
    def update(self):
        new = set(self.files.values()) - set(self.known.values())
        # what only overwritten files held is gone with the commit of the first of these
        stays = {
            words for name, words in self.known.items() if self.files.get(name, words) == words
        }
        lost = set(self.files.values()) - stays
        self.run()
        least, most = (sum(len(self.rows_of(words)) for words in each) for each in (new, lost))
        assert least <= len(self.embedder.embedded) <= most, (self.known, self.files)
        self.known = dict(self.files)

    @rule(name=st.sampled_from([*NAMES, "sub", ""]))
    def forget(self, name):
        below = {known for known in self.known if known == name or known.startswith(f"{name}/")}
        gone = below if name else set(self.known)
        with suppress(QvsearchError):  # where nothing is known of it
            assert forget(self.library, [os.fsencode(self.root / name)]) == len(gone)
        self.known = {known: words for known, words in self.known.items() if known not in gone}

    @rule(acts=st.lists(ACTS, min_size=1, max_size=4), at=st.integers(1, 90))
    def killed(self, acts, at):
        """A run dies; then each file is as before it or as after it, and whole."""
        self.change(acts)
        before = dict(self.known)
        durable.os = DeadlyDisk(at)
        try:
            self.run()
            died = False
        except Killed:
            died = True
        finally:
            durable.os = FaultyDisk()
        self.library = Library.open(self.library.folder)
        found = self.found()
        self.known = {}
        for name in before.keys() | self.files.keys():
            states = [words for words in (before.get(name), self.files.get(name)) if words]
            if name in found:
                (self.known[name],) = {words for words in states if self.holds(found[name], words)}
            else:
                # what was there stays until the new is there, or is gone for good
                assert name not in before or name not in self.files
        assert found.keys() == self.known.keys()
        if not died:
            assert self.known == self.files
        self.tally["of these steps kills"] += died

    @rule(older=st.booleans())
    def open(self, older):
        if older:
            make_older(self.library.folder, below=3)
        self.library = Library.open(self.library.folder)
        assert check(self.library.folder) == []

    # -------------------------------------------------------------- what must hold

    def rows_of(self, words):
        if words not in self.vectors:
            self.vectors[words] = rounded(vectors_of(TEXTS[words]), self.stored)
        return self.vectors[words]

    def found(self):
        """The stored vectors of each file, by its name."""
        rows = list(self.library.segments)
        vectors = self.library.vectors(rows)
        found = {}
        for row, vector in zip(rows, vectors, strict=True):
            item = self.library.segments[row].item
            name = os.fsdecode(os.path.relpath(item.location, os.fsencode(self.root)))
            found.setdefault(name, []).append(vector)
        return found

    def holds(self, found, words):
        expected = self.rows_of(words)
        return len(found) == len(expected) and np.allclose(np.sort(found, 0), np.sort(expected, 0))

    @invariant()
    def is_the_dictionary(self):
        found = self.found()
        assert found.keys() == self.known.keys()
        assert all(self.holds(found[name], words) for name, words in self.known.items())
        self.tally["steps of random histories"] += 1

    @invariant()
    def finds_the_best(self):
        (query,) = unit(1, 5, DIM)
        expected = Counter()
        for words in self.known.values():
            expected.update(np.round(self.rows_of(words) @ query, 4).tolist())
        best = sorted(expected.elements(), reverse=True)[:9]
        hits = nearest_rows(self.library, query, 9)
        np.testing.assert_allclose([score for _, score in hits], best, atol=2e-4)


@pytest.fixture
def _lowered(disk, monkeypatch):
    monkeypatch.setattr(ingest, "Decoders", DecodersHere)
    monkeypatch.setattr(ingest, "baseline_vectors", lambda *_: unit(3, 5, DIM))
    monkeypatch.setattr(merge_plan, "TIERS", (300, 3000, 30000))
    monkeypatch.setattr(merge_plan, "MERGE", 3)


def play(tally, stored, examples, steps, derandomize):
    class Machine(History):
        pass

    Machine.stored, Machine.tally = stored, tally
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=derandomize,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # to make a failing history shorter would take minutes
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.usefixtures("_lowered")
@pytest.mark.parametrize("stored", Stored)
def test_any_history_of_files_is_a_dictionary(tally, stored):
    play(tally, stored, 20, 40, derandomize=True)


@pytest.mark.soak
@pytest.mark.usefixtures("_lowered")
def test_many_histories_of_files_are_dictionaries(tally):
    """For ten minutes; the last run of it is in the README."""
    started, forms = time.monotonic(), itertools.cycle(Stored)
    while time.monotonic() - started < SOAK_SECONDS:
        play(tally, next(forms), 20, 60, derandomize=False)
