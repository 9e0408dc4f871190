"""A power cut at any moment leaves a library that was committed, with all that was acknowledged.

Histories of a library are recorded, operation by operation. For each beginning of each recording,
and each way in which a disk may lose, keep, tear or reorder what it was not asked to sync, the
folder is opened, read and searched, unless it equals one before in all that a reader reads. From
every eighth the history is gone through again. That syncs are needed, and missed where they are
left out, is held as well.
"""

import errno
import os
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pytest
from support import cheap_model, writer
from support.readers import view
from support.recording_disk import Platter, RecordingDisk, lay_out, tree_of
from support.views import Views, noting

from qvsearch import files as durable
from qvsearch.errors import QvsearchError
from qvsearch.files import is_temporary
from qvsearch.indexing import pipeline as ingest
from qvsearch.library.library import Library
from qvsearch.library.manifest import MANIFEST
from qvsearch.library.repair import repair
from qvsearch.library.rules import Rules
from qvsearch.types import Stored

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("disk")]


@dataclass
class Replay:
    """How many states of the disk were replayed, how many of them differed, and what was wrong.

    `resumed` is from how many of them the history was gone through again.
    """

    states: int
    trees: int
    resumed: int
    wrong: list[str]


def replay(above, history, leaves_out=(), again=8):
    """Record a history of a library in a folder, and look at it after every power cut.

    A history is called with the library's folder and with what it calls whenever something was
    acknowledged, or only may be on the disk; called again, it does what is left to do, from one of
    `again` trees that differ in more than the content of half-written files.
    """
    library = above / "library"
    before, legal = tree_of(above), [view(library)]
    disk = RecordingDisk(above, leaves_out)

    def acknowledge(*, surely=True):
        legal.append(view(library))
        disk.note("acknowledged" if surely else "possible")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durable, "os", disk)
        history(library, acknowledge)
    assert len({repr(each) for each in legal}) == len(legal) > 1
    views = Views(above, lambda: look(library))
    found, platter, trees, whole = Replay(0, 0, 0, []), Platter(before), set(), set()
    sure = reached = 0  # the states that were acknowledged last, and made last
    for place, operation in enumerate(chain([("begin", "")], disk.operations)):
        if operation[0] in ("acknowledged", "possible"):
            reached += 1
            sure = reached if operation[0] == "acknowledged" else sure
        elif operation[0] != "begin":
            platter.apply(operation)
        for loss, tree in platter.states():
            found.states += 1
            trees.add(frozenset(tree.items()))
            seen = views.of(tree, lay_out)
            if seen not in legal[sure : reached + 2]:
                found.wrong.append(f"{place} {operation[:2]}, {loss}: {seen!r:.200}")
            if (key := without_halves(tree)) not in whole:
                whole.add(key)
                if len(whole) % again == 0:
                    found.resumed += 1
                    found.wrong += go_on(library, history, tree, seen, legal[-1])
    found.trees = len(trees)
    return found


def without_halves(tree):
    """Return a tree without the content of files that were being written."""
    return frozenset(
        (path, b"" if content and is_temporary(path) else content) for path, content in tree.items()
    )


def look(library):
    """Return the view of a library after a power cut."""
    try:
        return view(library)
    except (AssertionError, QvsearchError) as error:
        return f"not sound: {error}"


def go_on(library, history, tree, seen, end):
    """Bring a history to its end from a tree that a reader has seen; return what is wrong."""
    lay_out(tree)
    try:
        assert view(library) == seen
        with noting(library.parent) as paths:
            history(library, lambda **_: None)
        assert not {path for _, path in paths if is_temporary(path) and path in tree}
        assert view(library) == end
    except (AssertionError, QvsearchError) as error:
        return [f"not gone on from {seen!r:.200}: {error}"]
    return []


def make(library, acknowledge):
    if not Library.exists(library):
        Library.create(library, writer.FINGERPRINT)
        acknowledge()
    made = Library.open(library)
    if not len(made):
        made.add_root(b"/photos")
        writer.add(made, range(5))
        made.commit()
        acknowledge()


def merge_compact_and_note_failures(library, acknowledge):
    for _ in writer.steps(library):
        acknowledge()


def measure_against_a_bank(library, acknowledge):
    made = Library.open(library)
    if made.baseline is None:
        made.set_baseline(np.stack([writer.vector(1000 + number) for number in range(4)]))
        made.commit()
        acknowledge()
    if 30 not in writer.content(made):
        writer.add(made, [30])
        writer.remove(made, lambda number: number < 4)
        made.commit()
        acknowledge()


def remember_rules(library, acknowledge):
    made, first, last = Library.open(library), Rules(exclude=("drafts/",)), Rules(("*.jpg",))
    if not made.rules:
        made.set_rules(b"/photos", first)
        writer.add(made, [30])
        made.commit()
        acknowledge()
    if made.rules[b"/photos"] == first:
        made.set_rules(b"/photos", last)
        made.commit()
        acknowledge()


class UnsureDisk:
    """Does not know whether a manifest has come to stay: its folder's fsync fails, once."""

    def __init__(self, disk):
        self._disk = disk
        self._is_unsure = False

    def replace(self, old, new):
        self._disk.replace(old, new)
        self._is_unsure = new.name == MANIFEST

    def fsync(self, descriptor):
        if self._is_unsure:
            self._is_unsure = False
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._disk.fsync(descriptor)

    def __getattr__(self, name):
        return getattr(self._disk, name)


def fail_to_sync(made, acknowledge):
    writer.add(made, range(30, 33))  # the eighth file, so that all are merged
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durable, "os", UnsureDisk(durable.os))
        with pytest.raises(QvsearchError, match="cannot write"):
            made.commit()
    acknowledge(surely=False)


def go_on_after_a_failed_sync(library, acknowledge):
    made = Library.open(library)
    with made.lock():
        if 30 not in writer.content(made):
            fail_to_sync(made, acknowledge)
        if 40 not in writer.content(made):
            writer.add(made, [40])
            made.commit()
            acknowledge()


def run_again_after_a_failed_sync(library, acknowledge):
    made = Library.open(library)
    if 30 not in writer.content(made):
        fail_to_sync(made, acknowledge)
    made = Library.open(library)
    if 40 not in writer.content(made):
        writer.add(made, [40])
        made.commit()
        acknowledge()


def mend(library, acknowledge):
    if repair(library).problems:
        acknowledge()


def index_notes(library, acknowledge):
    def report(event):
        if event.state == "committed":
            acknowledge()

    paths = [os.fsencode(library.parent.with_name("notes"))]
    with cheap_model.instead() as model:
        options = ingest.IngestOptions()
        made = Library.open(library)
        ingest.index(made, paths, lambda: model, options, report, lambda: False)


@pytest.fixture
def above(in_memory):
    (in_memory / "disk").mkdir()
    return in_memory / "disk"


HISTORIES = pytest.mark.parametrize(
    ("history", "store", "least"),
    [
        (make, None, 300),
        (merge_compact_and_note_failures, Stored.FLOAT16, 1000),
        (measure_against_a_bank, Stored.FLOAT16, 700),
        (measure_against_a_bank, Stored.INT8, 1850),
        (go_on_after_a_failed_sync, Stored.FLOAT16, 750),
        (run_again_after_a_failed_sync, Stored.FLOAT16, 850),
        (remember_rules, Stored.FLOAT16, 300),
        (mend, Stored.FLOAT16, 700),
        (index_notes, None, 600),
    ],
)


def begin(above, history, store):
    """Prepare what a history begins with."""
    library = above / "library"
    if history is index_notes:
        Library.create(library, cheap_model.FINGERPRINT)
        cheap_model.write_notes(above.with_name("notes"), 4)
    elif store is not None:
        writer.prepare(library, store, 6 if history in (measure_against_a_bank, mend) else 21)
    if history is mend:
        for name in ("000001.faiss", "000002.facts"):
            path = library / "segments" / name
            path.write_bytes(path.read_bytes()[:-10] + b"?" * 10)


def count(tally, found):
    tally["histories of power cuts"] += 1
    tally["states of the disk after power cuts"] += found.states
    tally["of these states different"] += found.trees
    tally["of these states gone on from"] += found.resumed


@HISTORIES
def test_a_power_cut_leaves_a_committed_state(above, tally, history, store, least):
    begin(above, history, store)
    found = replay(above, history)
    assert found.wrong == []
    assert found.states >= least, "of all nine histories"
    assert found.trees > 30
    assert found.resumed > 1
    count(tally, found)


@pytest.mark.soak
@HISTORIES
def test_every_state_can_be_gone_on_from(above, tally, history, store, least):
    begin(above, history, store)
    found = replay(above, history, again=1)
    assert found.wrong == []
    assert found.states >= least
    count(tally, found)


@pytest.mark.parametrize("left_out", ["sync", "sync folder"])
def test_a_sync_that_is_left_out_is_noticed(above, left_out):
    assert replay(above, make, [left_out]).wrong
