import os
import shutil
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice

import numpy as np
import pytest
from support.commands import write_files
from support.nodes import Nodes
from support.screens import recording, screen

from qvsearch.distributed import blocks, driver
from qvsearch.distributed.destination import Destination
from qvsearch.distributed.driver import Order, _Run, index
from qvsearch.distributed.opening import new_fingerprint
from qvsearch.errors import QvsearchError
from qvsearch.indexing import pipeline
from qvsearch.indexing.batching import embed_files
from qvsearch.indexing.session import IngestOptions
from qvsearch.library.library import Library
from qvsearch.media import ocr
from qvsearch.published.address import read_address
from qvsearch.published.engine import Table
from qvsearch.published.publishers import list_publishers
from qvsearch.published.publishing import publish
from qvsearch.published.schema import About, published, types
from qvsearch.runtime.choice import Choice
from qvsearch.runtime.loading import load_embedder
from qvsearch.types import Detail, Kind

CHOICE = Choice(model="demo")
OFTEN = IngestOptions(commit_seconds=0)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    write_files(folder)
    return folder


@pytest.fixture
def order(tmp_path, folder):
    return Order(os.fsencode(folder), read_address(str(tmp_path / "t.lance")), "files", CHOICE)


def run(order, nodes=None, options=OFTEN, report=lambda _: None, stop=lambda: False):
    return index(order, nodes or Nodes(), options, report, stop)


def rows(order):
    """The rows of a table by path, each as its place in the file and its line."""
    columns = ("row", "publisher", "root", "path", "line", "mean", "spread", "vector")
    table = Table(order.address)
    found = sorted(published(table.scan(columns), "t"), key=lambda each: each.row)
    by_path = {}
    for each in found:
        by_path.setdefault(each.segment.item.path, []).append(each)
    return by_path


def counts(summary):
    return summary.embedded, summary.unchanged, summary.skipped, summary.removed


def test_a_table_gets_the_rows_that_publish_would_write(order, folder, tmp_path):
    assert counts(run(order)) == (5, 0, 0, 0)
    library = Library.create(tmp_path / "library", Table(order.address).about.fingerprint)
    load = lambda: load_embedder(library.fingerprint, CHOICE)  # noqa: E731
    pipeline.index(library, [order.root], load, OFTEN, lambda _: None, lambda: False)
    other = read_address(str(tmp_path / "other.lance"))
    publish(library.folder, other, "files")
    mine, theirs = rows(order), rows(Order(order.root, other, "files", CHOICE))
    assert mine.keys() == theirs.keys()
    for path, segments in theirs.items():
        for one, two in zip(mine[path], segments, strict=True):
            assert (one.row, one.publisher) == (two.row, two.publisher)
            assert one.segment.content_hash == two.segment.content_hash
            assert one.segment.metadata == two.segment.metadata
            assert one.segment.lines == two.segment.lines
            np.testing.assert_allclose(one.vector, two.vector, atol=1e-3)
            np.testing.assert_allclose(one.background, two.background, atol=1e-3)


def words(address):
    """The words of each row of a table, as a search finds them and as its text."""
    found = Table(address).scan(("row", "tokens", "words")).to_pylist()
    return {each["row"]: (each["tokens"], each["words"] or "") for each in found}


@pytest.mark.skipif(find_spec("rapidocr") is None, reason="needs the extra [ocr]")
def test_a_table_has_the_words_in_pictures_that_index_reads(order, folder, tmp_path):
    screen("Invoice 4711").save(folder / "screen.png")
    screen("Invoice 4711").save(folder / "again.png")
    screen("Receipt 1200").save(folder / "scan.pdf", resolution=72)
    recording(folder / "film.mp4", screen("Order 815"))
    reading = replace(OFTEN, ocr=True)
    summary = run(order, options=reading)
    assert (summary.pictures_read, summary.pictures_unread) == (4, 0)
    library = Library.create(tmp_path / "library", Table(order.address).about.fingerprint)
    load = lambda: load_embedder(library.fingerprint, CHOICE)  # noqa: E731
    pipeline.index(library, [order.root], load, reading, lambda _: None, lambda: False)
    other = read_address(str(tmp_path / "other.lance"))
    publish(library.folder, other, "files")
    assert words(order.address) == words(other)
    assert "Receipt 1200\nTotal 1,234.56 EUR" in [text for _, text in words(other).values()]


def test_pictures_that_no_node_can_read_are_counted(order, folder, monkeypatch):
    monkeypatch.setattr(ocr, "is_installed", lambda: False)
    screen("Invoice 4711").save(folder / "screen.png")
    assert run(order).pictures_unread == 0
    again = IngestOptions(force=True, ocr=True)
    assert run(order, options=again).pictures_unread == 1


class Reader:
    """Reads every picture as one text, or fails like a process that does not start."""

    text = "Invoice 4711"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def read(self, _item, segments, _stop):
        if self.text is None:
            raise QvsearchError("the process that reads pictures does not start")
        return dict.fromkeys(range(len(segments)), self.text)


def test_an_error_of_ocr_costs_no_file_without_pictures_to_read(order, folder, monkeypatch):
    monkeypatch.setattr(driver, "BLOCKS_AN_ACTOR", 1)
    monkeypatch.setattr(ocr, "is_installed", lambda: True)
    monkeypatch.setattr(blocks, "PictureReader", Reader)
    monkeypatch.setattr(Reader, "text", None)
    screen("Invoice 4711").save(folder / "a screen.png")  # the first of the block
    reading = replace(OFTEN, ocr=True)
    with pytest.raises(QvsearchError, match="reads pictures does not start"):
        run(order, options=reading)
    assert len(rows(order)) == 5
    assert b"a screen.png" not in rows(order)  # or a later run would not read its words
    monkeypatch.setattr(Reader, "text", "Invoice 4711")
    assert counts(run(order, options=reading)) == (1, 5, 0, 0)
    assert [text for _, text in words(order.address).values() if "Invoice" in text]


def test_an_error_of_the_model_costs_no_file_embedded_before(order, monkeypatch):
    def failing(files, load, stop):
        yield from islice(embed_files(files, load, stop), 2)
        raise QvsearchError("no memory")

    monkeypatch.setattr(driver, "BLOCKS_AN_ACTOR", 1)
    monkeypatch.setattr(blocks, "embed_files", failing)
    with pytest.raises(QvsearchError, match="no memory"):
        run(order, options=replace(OFTEN, ocr=True))
    assert len(rows(order)) == 2


def test_only_what_is_new_or_changed_is_given_to_nodes(order, folder):
    run(order)
    nodes = Nodes()
    assert counts(run(order, nodes)) == (0, 5, 0, 0)
    assert nodes.given == []
    shutil.copy(folder / "red.png", folder / "red again.png")
    (folder / "note.txt").write_text("one line " * 500)  # more passages
    assert counts(run(order, nodes)) == (2, 4, 0, 0)
    assert sorted(sum(nodes.given, [])) == ["note.txt", "red again.png"]
    assert len(rows(order)[b"note.txt"]) > 1
    (folder / "note.txt").write_text("one line")  # fewer again
    run(order)
    assert len(rows(order)[b"note.txt"]) == 1
    assert counts(run(order, options=IngestOptions(force=True))) == (6, 0, 0, 0)
    assert len(rows(order)) == 6


def test_a_run_that_fails_keeps_its_blocks_and_the_next_one_does_the_rest(order):
    failing = Nodes(actors=5, fails_after=3)  # each block is one file
    with pytest.raises(QvsearchError, match="no memory"):
        run(order, failing)
    assert len(rows(order)) == 3
    rest = Nodes(actors=5)
    assert counts(run(order, rest)) == (2, 3, 0, 0)
    assert not set(sum(rest.given, [])) & set(sum(failing.given, []))
    assert len(rows(order)) == 5


def test_an_interrupted_run_keeps_its_blocks_and_counts_the_rest(order):
    events = []
    nodes = Nodes(actors=5)
    summary = run(order, nodes, report=events.append, stop=lambda: len(nodes.given) == 2)
    assert (summary.interrupted, summary.embedded, summary.left) == (True, 2, 3)
    assert [each.state for each in events].count("committed") == 2
    assert len(rows(order)) == 2


def test_files_that_are_gone_leave_the_table_but_never_a_whole_folder(order, folder):
    run(order)
    (folder / "red.png").unlink()
    assert counts(run(order)) == (0, 4, 0, 1)
    away = folder.rename(folder.with_name("away"))
    summary = run(order)
    assert (summary.removed, summary.unreachable) == (0, (order.root,))
    folder.mkdir()  # a drive that is not mounted
    summary = run(order)
    assert (summary.removed, len(summary.kept), len(rows(order))) == (0, 1, 4)
    assert counts(run(order, options=IngestOptions(prune=True))) == (0, 0, 0, 4)
    assert rows(order) == {}
    folder.rmdir()
    away.rename(folder)
    assert counts(run(order)) == (4, 0, 0, 0)


def test_a_bad_file_is_named_and_tried_again(order, folder):
    (folder / "broken.jpg").write_bytes(b"no picture")
    summary = run(order)
    assert [os.path.basename(each.path) for each in summary.failures] == [b"broken.jpg"]
    assert summary.found == summary.indexed + summary.unchanged + summary.skipped == 6
    assert counts(run(order)) == (0, 5, 1, 0)


def test_a_folder_that_is_not_there_creates_nothing(order, folder):
    shutil.rmtree(folder)
    with pytest.raises(QvsearchError, match="does not exist; this computer and all nodes"):
        run(order)
    assert not os.path.exists(order.address.uri)


def test_a_name_belongs_to_one_folder(order, folder, tmp_path):
    run(order)
    other = Order(os.fsencode(tmp_path), order.address, "files", CHOICE)
    with pytest.raises(QvsearchError, match="published as files"):
        run(other)
    assert len(rows(order)) == 5


def test_of_two_runs_of_a_folder_the_first_one_stops(order):
    def overtake(event):
        if event.state == "committed" and not overtaken:
            overtaken.append(run(order))

    overtaken = []
    with pytest.raises(QvsearchError, match="another run indexes"):
        run(order, Nodes(actors=5), report=overtake)
    found = rows(order)
    assert len(found) == 5
    assert all(len(segments) == 1 for segments in found.values())  # no row twice
    [publisher] = list_publishers(Table(order.address))
    assert (publisher.files, publisher.rows) == (5, 5)


def test_a_run_that_ended_is_whole_and_an_interrupted_one_is_not(order):
    stopped = []
    run(order, Nodes(actors=5), report=stopped.append, stop=lambda: len(stopped) > 2)
    [publisher] = list_publishers(Table(order.address))
    assert (publisher.token, list(publisher.roots)) == ("", ["files/files"])
    run(order)
    [publisher] = list_publishers(Table(order.address))
    assert publisher.token
    assert publisher.roots == {"files/files": 5}


def test_rows_that_are_there_twice_are_healed(order):
    run(order)
    table = Table(order.address)
    table.append(table.scan(types(table.about.fingerprint.dim), "kind = 0"))
    assert table.count() > 5
    run(order)
    assert Table(order.address).count() == 5
    assert counts(run(order)) == (0, 5, 0, 0)


def test_only_kinds_that_the_model_embeds_are_indexed(order):
    run(order)
    table = Table(order.address)
    destination = Destination(table, "texts", order.root)
    about = replace(table.about, fingerprint=replace(table.about.fingerprint, kinds=(Kind.TEXT,)))
    table.about = about
    begun = _Run(destination, OFTEN, lambda _: None, lambda: False).begin()
    assert {item.kind for item in begun} == {Kind.TEXT}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(model="Qwen/Qwen3-VL-Embedding-2B"), "made with --model demo, not Qwen"),
        (Choice(dim=64), "made with --dim 128, not 64"),
        (Choice(dtype="int8"), "made with --dtype float, not int8"),
    ],
)
def test_a_table_keeps_its_model(order, choice, message):
    run(order)
    with pytest.raises(QvsearchError, match=message):
        run(Order(order.root, order.address, "files", choice))
    assert counts(run(Order(order.root, order.address, "files", Choice()))) == (0, 5, 0, 0)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(model="Qwen/Qwen3-VL-2B-Instruct"), "give an embedder"),
        (Choice(model="demo-reranker"), "is a reranker"),
        (Choice(model="demo", dtype="int8"), "publish a library of it"),
        (Choice(model="Q4_K_M.gguf"), "compared with exact vectors first, which --ray does not do"),
    ],
)
def test_a_new_table_is_not_created_with_a_model_that_cannot_fill_it(order, choice, message):
    with pytest.raises(QvsearchError, match=message):
        run(Order(order.root, order.address, "files", choice))
    assert not os.path.exists(order.address.uri)


def test_a_table_whose_vectors_another_version_computes_stays_as_it_is(order):
    fingerprint = replace(new_fingerprint(CHOICE, Detail.LOW), prompt_layout=99)
    Table(order.address, create=About(fingerprint))
    with pytest.raises(QvsearchError, match=r"the table .* prompt layout 99.* into a new table"):
        run(order)
    assert Table(order.address).count() == 0
