"""A real cluster of two nodes. `pytest -m soak tests/distributed` runs these tests."""

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from importlib.util import find_spec

import numpy as np
import psutil
import pytest
from PIL import Image
from support.ray_nodes import ENVIRONMENT, two_nodes

from qvsearch.distributed.cluster import ACTOR_RESTARTS
from qvsearch.published.address import read_address
from qvsearch.published.engine import Table

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray"),
]
FILES = 600


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(0).integers(0, 256, (FILES, 16, 16, 3), np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).resize((256, 256)).save(folder / f"{number:04}.jpg")
    return folder


@pytest.fixture
def cluster():
    with two_nodes() as nodes:
        yield nodes


class Run:
    """`index --ray` as a process; iterating gives its events."""

    def __init__(self, address, folder, table):
        command = [sys.executable, "-m", "qvsearch", "index", folder, "--json", "--model", "demo"]
        self.process = subprocess.Popen(
            [*map(str, command), "--ray", address, "--publish", str(table)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | ENVIRONMENT,
        )

    def __iter__(self):
        return map(json.loads, iter(self.process.stdout.readline, b""))

    def until(self, state):
        return next(event for event in self if event["state"] == state)

    def end(self):
        """Return the exit code, the last event and what was written to standard error."""
        output, error = self.process.communicate()
        events = [json.loads(each) for each in output.splitlines()] or [{}]
        return self.process.returncode, events[-1], error.decode()


def names(table):
    found = Table(read_address(str(table))).scan(["path"]).column("path").to_pylist()
    return Counter(found)


def test_a_node_that_dies_costs_only_its_blocks(cluster, pictures, tmp_path):
    address, (_, second) = cluster
    table = tmp_path / "t.lance"
    run = Run(address, pictures, table)
    run.until("indexed")
    second.kill()
    code, summary, error = run.end()
    assert (code, error) == (0, "")
    assert (summary["found"], summary["embedded"], summary["skipped"]) == (FILES, FILES, 0)
    assert names(table) == Counter(os.fsencode(f"{number:04}.jpg") for number in range(FILES))


def test_a_process_that_dies_each_time_ends_the_run_with_the_reason(cluster, pictures, tmp_path):
    address, nodes = cluster
    run = Run(address, pictures, tmp_path / "t.lance")
    run.until("planned")
    killed = set()
    while run.process.poll() is None:
        for actor in (each for node in nodes for each in node.actors()):
            with suppress(psutil.Error):
                actor.kill()
                killed.add(actor.pid)
    code, _, error = run.end()
    assert code == 2
    assert re.fullmatch(r"qvsearch: the Ray cluster failed: .*a process was killed.*\n", error)
    assert len(killed) > ACTOR_RESTARTS


def test_a_driver_that_dies_goes_on_from_its_last_commit(cluster, pictures, tmp_path):
    address, _ = cluster
    table = tmp_path / "t.lance"
    run = Run(address, pictures, table)
    run.until("indexed")
    run.process.send_signal(signal.SIGINT)
    code, summary, error = run.end()
    assert (code, summary["interrupted"]) == (130, True)
    assert "Traceback" not in error
    done = names(table)
    assert len(done) == summary["indexed"] == FILES - summary["left"]
    assert 0 < len(done) < FILES

    run = Run(address, pictures, table)
    run.until("planned")
    run.process.kill()
    run.end()
    code, summary, _ = Run(address, pictures, table).end()
    assert (code, summary["unchanged"], summary["embedded"]) == (0, len(done), FILES - len(done))
    assert set(names(table).values()) == {1}
