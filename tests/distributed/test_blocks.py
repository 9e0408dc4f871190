import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support.commands import write_files
from support.model_server import serving

from qvsearch.distributed.blocks import BlockEmbedder, Job
from qvsearch.distributed.cluster import Cluster, Pool, check_address, pool_of
from qvsearch.distributed.messages import item_block, items_of, outcome_block, outcomes_of
from qvsearch.errors import QvsearchError
from qvsearch.indexing.pipeline import IngestOptions, index
from qvsearch.indexing.scan import scan
from qvsearch.library.library import Library
from qvsearch.library.rules import ScanOptions
from qvsearch.runtime.choice import Choice
from qvsearch.runtime.loading import load_embedder, task_fingerprint
from qvsearch.runtime.local import LocalEmbedder
from qvsearch.types import Item, Kind, Skipped

CHOICE = Choice(model="demo")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    write_files(folder)
    return folder


@pytest.fixture
def job():
    return Job(task_fingerprint(None, CHOICE), CHOICE, decoders=1)


def items_in(folder):
    root = os.fsencode(folder)
    return [each for each in scan(root, root, ScanOptions()) if isinstance(each, Item)]


def outcomes(job, items):
    with BlockEmbedder(job) as embedder:
        block = embedder(item_block(items))
    return list(outcomes_of(block, job.fingerprint.dim))


def test_a_node_makes_the_rows_that_index_makes(folder, job, tmp_path):
    library = Library.create(tmp_path / "library", job.fingerprint)
    embedder = load_embedder(job.fingerprint, CHOICE)
    index(
        library,
        [os.fsencode(folder)],
        lambda: embedder,
        IngestOptions(),
        lambda _: None,
        lambda: False,
    )
    made = {each.item.location: each for each in outcomes(job, items_in(folder))}
    rows = library.by_location()
    assert made.keys() == rows.keys()
    for place, numbers in rows.items():
        segments = [library.segments[row] for row in numbers]
        item = replace(segments[0].item, ctime_ns=None, inode=None)
        assert list(made[place].segments) == [replace(each, item=item) for each in segments]
        np.testing.assert_allclose(made[place].vectors, library.vectors(numbers), atol=1e-3)
        words = [each.words or "" for each in made[place].segments]
        assert words == [library.words.text(row) for row in numbers]


def test_bad_files_are_named_and_cost_no_other(folder, job):
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "empty.txt").write_bytes(b"")
    items = items_in(folder)
    (folder / "red.png").unlink()
    reasons = {
        os.path.basename(each.path): each.reason
        for each in outcomes(job, items)
        if isinstance(each, Skipped)
    }
    assert reasons.keys() == {b"broken.jpg", b"empty.txt", b"red.png"}
    assert reasons[b"broken.jpg"].startswith("not an image")
    assert reasons[b"red.png"] == "no longer there"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "0.0.1"}, "install the same version on all nodes"),
        ({"choice": Choice(device="no such device")}, "'no such device' is not usable here"),
    ],
)
def test_what_is_wrong_with_a_node_reaches_the_driver(folder, job, change, message):
    with pytest.raises(QvsearchError, match=message):
        outcomes(replace(job, **change), items_in(folder))


def test_servers_compute_for_a_node(folder, job):
    here = {each.item.path: each for each in outcomes(job, items_in(folder))}
    with serving(LocalEmbedder("demo", "cpu")) as server:
        served = replace(job, choice=replace(CHOICE, servers=(server.url,)))
        there = {each.item.path: each for each in outcomes(served, items_in(folder))}
        assert server.bodies
    assert there.keys() == here.keys()
    for path, one in there.items():
        assert one.segments == here[path].segments
        np.testing.assert_allclose(one.vectors, here[path].vectors, atol=1e-4)


def test_a_node_that_does_not_see_the_folder_is_an_error_and_no_lost_files(folder, job):
    items = items_in(folder)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(QvsearchError, match="does not see .*files; mount it at the same path"):
        outcomes(job, items)


def test_names_and_reasons_that_are_not_utf_8_arrive():
    item = Item(b"/r\xff", b"\xfe.jpg", Kind.IMAGE, 5, 7)
    assert items_of(item_block([item])) == [item]
    skipped = Skipped(item.location, "cannot read \udcfe.jpg")
    assert list(outcomes_of(outcome_block([skipped]), 64)) == [skipped]


def test_rows_of_another_form_are_refused():
    import pyarrow

    names = ("location", "reason", "root", "lines", "vectors")
    row = dict(zip(names, (b"/r/a", None, b"/r", b"{}\n", bytes(4 * 64)), strict=True))
    with pytest.raises(QvsearchError, match="a node sent rows of another form"):
        list(outcomes_of(pyarrow.Table.from_pylist([row]), 64))


@pytest.mark.parametrize(
    ("nodes", "gpus", "pool"),
    [
        ([{"CPU": 1}], None, Pool(1, 1, 0)),  # all CPUs: nothing else needs one
        ([{"CPU": 8}, {"CPU": 8}, {}], None, Pool(2, 8, 0)),
        ([{"CPU": 4}, {"CPU": 64}], None, Pool(17, 4, 0)),
        ([{"CPU": 64}], None, Pool(4, 16, 0)),
        ([{"CPU": 96, "GPU": 8}, {"CPU": 4}], None, Pool(8, 12, 1)),
        ([{"CPU": 96, "GPU": 8}, {"CPU": 8, "GPU": 1}], True, Pool(9, 8, 1)),
        ([{"CPU": 2, "GPU": 8}], None, Pool(2, 1, 1)),
        ([{"CPU": 32, "GPU": 1}], False, Pool(2, 16, 0)),
    ],
)
def test_a_pool_never_takes_more_than_there_is(nodes, gpus, pool):
    assert pool_of(nodes, gpus) == pool
    assert pool.actors * pool.cpus <= sum(node.get("CPU", 0) for node in nodes)
    assert pool.decoders >= 1


@pytest.mark.parametrize(("nodes", "gpus"), [([{"CPU": 8}], True), ([{}, {"GPU": 1}], None)])
def test_a_cluster_that_can_run_nothing_is_an_error(nodes, gpus):
    with pytest.raises(QvsearchError, match="no node of the Ray cluster offers a .PU"):
        pool_of(nodes, gpus)


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        ("ModuleNotFoundError: No module named 'qvsearch'", "install it on all nodes"),
        ("ray.exceptions.ActorDiedError: The actor died", "a process was killed 21 times"),
        ("ray.exceptions.ActorUnavailableError: The actor", "leave some files out with --exclude"),
        ("ValueError: anything else", "ValueError: anything else"),
    ],
)
def test_errors_of_a_cluster_are_one_sentence(last, reason):
    class RayError(Exception):
        pass

    module = SimpleNamespace(exceptions=SimpleNamespace(RayError=RayError))
    with pytest.raises(QvsearchError, match=reason) as caught, Cluster(module, None)._errors():
        raise RayError(f"ray::_embedded()\n  a trace\n{last}")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("address", ["", "host", ":6379", "ray://host:10001", "host:http"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(QvsearchError, match="give HOST:PORT, or auto"):
        check_address(address)
