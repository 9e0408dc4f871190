"""The command line of `index --ray`; nodes are in this process."""

import os
import sys
from contextlib import contextmanager

import pytest
from support.commands import files, home, records, run  # noqa: F401 - fixtures
from support.nodes import Nodes
from support.ray_nodes import free_port
from support.screens import screen

from qvsearch.cli import output
from qvsearch.media import ocr
from qvsearch.published.address import read_address
from qvsearch.published.engine import Table


@pytest.fixture
def nodes(monkeypatch):
    nodes = Nodes()

    @contextmanager
    def connected(address, gpus):
        assert address == "head:6379"
        yield nodes

    monkeypatch.setattr("qvsearch.distributed.cluster.connected", connected)
    return nodes


@pytest.fixture
def indexed(run, files, home, nodes):
    """Run `index --ray` over the files, with more arguments."""
    table = home / "archive.lance"

    def indexed(*arguments):
        options = ("--ray", "head:6379", "--publish", table, "--model", "demo")
        return run("index", files, *options, *arguments)

    return indexed


def test_a_run_prints_what_index_prints(indexed, home):
    code, output, _ = indexed()
    assert code == 0
    assert output.startswith(b"found 5 = indexed 5 + unchanged 0 + skipped 0\n")
    assert output.endswith(b"archive.lance as files\n")
    assert Table(read_address(str(home / "archive.lance"))).count("publisher = 'files'") == 5
    assert not (home / "library").exists()


def test_json_has_the_events_of_index(indexed, files):
    (files / "broken.jpg").write_bytes(b"no picture")
    code, output, error = indexed("--json", "--as", "studio")
    *events, summary = records(output)
    assert (code, error) == (3, "")  # a program gets no progress
    assert {event["state"] for event in events} == {"planned", "indexed", "skipped", "committed"}
    assert (summary["found"], summary["embedded"], summary["skipped"]) == (6, 5, 1)


def test_pictures_that_need_the_extra_are_pointed_out(indexed, files, monkeypatch):
    monkeypatch.setattr(ocr, "is_installed", lambda: False)
    monkeypatch.setattr(output, "is_watched", lambda _: True)
    screen("Invoice 4711").save(files / "screen.png")
    _, _, error = indexed()
    assert "1 picture looks like a screenshot" in error
    assert 'pip install "qvsearch[ocr]" on all nodes, and then index with --force' in error
    _, _, error = indexed("--force", "--no-ocr")
    assert "screenshot" not in error


def test_files_are_chosen_as_index_chooses_them(indexed, files, nodes):
    hidden = os.path.join(os.fsencode(files), b".hid\xff.png")
    os.link(files / "red.png", hidden)
    code, _, _ = indexed("--kind", "image", "--exclude", "b*", "--quiet")
    assert (code, sum(nodes.given, [])) == (0, ["green.png", "red.png", "yellow.png"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["."], "--publish LANCE-URI"),
        ([".", "--publish", "t.lance", "--dry-run"], "--dry-run is for a local library"),
        ([".", "--publish", "t.lance", "-l", "main"], "--library is for a local library"),
        ([".", "--publish", "t.lance", "--store", "int8"], "--store is for a local library"),
        (["--publish", "t.lance"], "takes one PATH"),
        ([".", "..", "--publish", "t.lance"], "takes one PATH"),
        ([".", "--publish", "table"], "'table' is not the place of a table"),
        ([".", "--publish", "t.lance", "--as", "a/b"], "'a/b' cannot be a name"),
    ],
)
def test_options_that_do_not_fit_are_refused(run, home, nodes, arguments, message):
    code, output, error = run("index", *arguments, "--ray", "head:6379")
    assert (code, output) == (2, b"")
    assert message in error
    assert nodes.given == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([".", "--publish", "t.lance"], "--publish of index needs --ray"),
        ([".", "--as", "x"], "--as of index needs --ray"),
        (["s3://bucket/photos"], "s3://bucket/photos is indexed with --ray only"),
    ],
)
def test_options_of_a_cluster_need_one(run, home, arguments, message):
    code, _, error = run("index", *arguments)
    assert (code, message in error) == (2, True)
    assert not (home / "library").exists()


def test_a_missing_extra_is_one_sentence(run, home, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, error = run("index", ".", "--ray", "auto", "--publish", "t.lance")
    assert code == 2
    assert error == 'qvsearch: index --ray needs Ray: pip install "qvsearch[ray]"\n'


@pytest.mark.parametrize("address", ["nowhere", "ray://localhost:10001"])
def test_what_is_no_address_is_refused(run, home, address):
    code, _, error = run("index", ".", "--ray", address, "--publish", "t.lance")
    assert (code, "give HOST:PORT, or auto" in error) == (2, True)


def test_a_cluster_that_does_not_answer_is_one_sentence(run, home, monkeypatch):
    monkeypatch.setattr("qvsearch.distributed.cluster.needed", lambda *_: None)  # takes seconds
    address = f"127.0.0.1:{free_port()}"
    code, _, error = run("index", ".", "--ray", address, "--publish", "t.lance")
    assert (code, f"--ray {address} does not answer: Connection refused" in error) == (2, True)
