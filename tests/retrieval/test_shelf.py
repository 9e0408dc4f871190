"""Open libraries of a server: read while a model computes, opened again, deleted, made anew."""

import shutil
import threading
import weakref
from dataclasses import replace

import pytest
from support.colours import FINGERPRINT, unit
from support.rows import photo

from qvsearch.library.identity import Gone
from qvsearch.library.library import Library
from qvsearch.retrieval.shelf import ByTurns, Shelf, Unknown, Unreadable


class Slow:
    """An embedder that computes until it is let go."""

    dim = FINGERPRINT.dim

    def __init__(self):
        self.computes, self.go_on = threading.Event(), threading.Event()

    def embed(self, inputs):
        self.computes.set()
        assert self.go_on.wait(60)
        return inputs


@pytest.fixture
def folder(tmp_path):
    return Library.create(tmp_path / "library", FINGERPRINT).folder


def add(folder):
    library = Library.open(folder)
    segment = photo(1)
    library.add_root(segment.item.root)
    library.add([segment], unit(1, 0, 0)[None])
    library.commit()
    return segment.item_id


def test_other_calls_read_a_library_while_a_model_computes(folder):
    shelf = Shelf([folder])
    slow = Slow()

    def compute():
        with shelf.reading():
            assert ByTurns(slow, shelf.turn).embed([1]) == [1]

    thread = threading.Thread(target=compute)
    thread.start()
    assert slow.computes.wait(60)
    with shelf.reading() as chosen:
        assert chosen.opened[0].library.fingerprint == FINGERPRINT
    slow.go_on.set()
    thread.join()


def test_a_model_computes_for_one_call_at_a_time_also_without_reading(folder):
    shelf = Shelf([folder])
    slow, results = Slow(), []
    embedder = ByTurns(slow, shelf.turn)
    first = threading.Thread(target=lambda: results.append(embedder.embed([1])))
    first.start()
    assert slow.computes.wait(60)
    slow.computes.clear()
    second = threading.Thread(target=lambda: results.append(embedder.embed([2])))
    second.start()
    with shelf.reading():
        assert not slow.computes.is_set()
    slow.go_on.set()
    first.join()
    second.join()
    assert sorted(results) == [[1], [2]]
    with shelf.reading():
        pass


def test_a_library_is_opened_again_only_after_a_commit(folder):
    shelf = Shelf([folder])
    (first,) = shelf.now().opened
    assert shelf.now().opened == (first,)
    library = Library.open(folder)
    library.add_root(b"/photos")
    library.commit()
    (again,) = shelf.now().opened
    assert again.library.roots == [b"/photos"]
    assert first.library.roots == [], "a call that began with it ends with it"
    assert again.embedder is first.embedder, "the model stays loaded"


def test_an_item_is_found_until_a_commit_removes_it(folder):
    item_id = add(folder)
    shelf = Shelf([folder])
    opened, segment = shelf.find(item_id)
    assert segment.item_id == item_id
    with shelf.turn:
        assert shelf.find(item_id) == (opened, segment), "without waiting for a call that reads"
    with pytest.raises(Gone):
        shelf.find("0" * 48)
    library = Library.open(folder)
    library.remove([0])
    library.commit()
    with pytest.raises(Gone):
        shelf.find(item_id)


def test_a_library_that_cannot_be_read_is_named_and_the_others_are_open(tmp_path, folder):
    missing = tmp_path / "missing"
    shelf = Shelf([missing, folder])
    with shelf.reading() as chosen:
        assert [each.library.folder for each in chosen.opened] == [folder]
        assert [each.folder for each in chosen.lost] == [missing]
        assert f"no library at {missing}" in str(chosen.lost[0].error)
        assert chosen.names == {missing: "missing", folder: "library"}
    for name in ("missing", str(missing)):
        with pytest.raises(Unreadable, match="no library at"), shelf.reading([name]):
            pass
    with pytest.raises(Unknown, match="there is no library 'work' here; there are: "):
        shelf.now(["work"])


def test_a_deleted_library_is_lost_and_one_made_anew_is_read_anew(folder):
    item_id = add(folder)
    shelf = Shelf([folder])
    (before,) = shelf.now().opened
    shutil.rmtree(folder)
    assert shelf.now().opened == ()
    with pytest.raises(Unreadable):
        shelf.find(item_id)
    Library.create(folder, FINGERPRINT)
    (after,) = shelf.now().opened
    assert after.state != before.state
    with pytest.raises(Gone):
        shelf.find(item_id)


def test_the_model_of_a_library_that_is_made_anew_is_let_go(folder):
    other = Library.create(folder.parent / "other", FINGERPRINT).folder
    shelf = Shelf([folder, other])
    model = weakref.ref(shelf.now().opened[0].embedder)
    for each in (folder, other):
        assert model() is not None
        shutil.rmtree(each)
        Library.create(each, replace(FINGERPRINT, revision="later"))
        assert {one.library.fingerprint.revision for one in shelf.now().opened} >= {"later"}
    assert model() is None
