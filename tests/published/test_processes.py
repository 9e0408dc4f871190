"""Publishers as processes: several at once, killed ones, and S3."""

import os
import random
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest
from support import publisher
from support.full_disk import namespace
from support.rows import photos
from support.shared_table import (
    add,
    in_library,
    in_table,
    new_library,
    passages,
    place,  # noqa: F401 - a fixture
    remove_files,
    send,
    torn_files,
)

from qvsearch.errors import QvsearchError
from qvsearch.library.library import Library
from qvsearch.published import publishing
from qvsearch.published.address import read_address
from qvsearch.published.engine import Table

pytestmark = pytest.mark.faults


@pytest.fixture(autouse=True)
def _own_user(tmp_path, monkeypatch):
    """Give processes a cache and settings of their own."""
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))


def finish(process):
    output, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (0, "")
    return output.splitlines()


def test_three_publishers_at_once(tmp_path, place):
    libraries = {
        name: new_library(tmp_path / name, [*photos(0, 30 + number), *passages(1, 5)])
        for number, name in enumerate(("anna", "ben", "carla"))
    }
    processes = [
        publisher.start(library.folder, place, name, 4) for name, library in libraries.items()
    ]
    for process in processes:
        assert finish(process)[-1] == "done"
    for name, library in libraries.items():
        assert in_table(place, f"publisher = '{name}'") == in_library(library)
    assert torn_files(Table(place)) == []


def change(library, seed):
    """Change, add and remove texts, each of which is several rows."""
    number = len(library) % 7
    remove_files(library, {b"notes/%d.txt" % each for each in (number, number + 1)})
    add(library, [*passages(number, 2 + seed % 5), *passages(100 + seed, 3)], seed)


ANNA = "publisher = 'anna'"


def is_there(place):
    """Whether a kill came after the table was created."""
    return any(Path(str(place)).glob("rows.lance/_versions/*.manifest"))


def check_killed(library, place, acknowledged, before):
    """Check anna's rows after a kill: what was acknowledged is there, and no file is in part."""
    if not is_there(place):
        assert not acknowledged
        return
    table = Table(place)
    assert torn_files(table) == []
    assert table.count(ANNA) >= acknowledged if not before else table.count(ANNA) > 0
    there = set(in_table(place, ANNA))
    missing = set(in_library(library)) - there
    again = send(library, place)
    assert again.rows <= len(in_library(library)) - acknowledged
    # files are sent whole, so that a missing row is sent with the rest of its file only
    assert bool(again.rows) == bool(missing)
    assert in_table(place, ANNA) == in_library(library)


@pytest.mark.parametrize("commits", [pytest.param(1, marks=pytest.mark.soak), 3])
def test_a_killed_publisher_repeats_nothing(tmp_path, place, commits):
    library = new_library(tmp_path / "library", [*photos(0, 10), *passages(1, 5), *passages(2, 9)])
    process = publisher.start(library.folder, place, "anna", 4)
    for _ in range(commits):
        acknowledged = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=300)
    check_killed(library, place, acknowledged, before=False)


def test_a_publisher_killed_while_files_change_leaves_whole_ones(tmp_path, place):
    library = new_library(tmp_path / "library", [*photos(0, 4), *passages(1, 5), *passages(2, 9)])
    send(library, place)
    remove_files(library, {b"notes/1.txt", b"notes/2.txt"})
    add(library, [*passages(1, 3), *passages(2, 12), *passages(3, 2)])
    process = publisher.start(library.folder, place, "anna", 2)
    process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=300)
    check_killed(library, place, 0, before=True)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_ten_of_two_hundred_kills(tmp_path, place, tally, seed):
    """A publisher is killed at random times, beside none, one or two others that go on."""
    names = ("anna", "ben", "carla")[: 1 + seed % 3]
    segments = [*photos(0, 10), *passages(1, 5), *passages(2, 9)]
    libraries = {name: new_library(tmp_path / name, segments) for name in names}
    chance, killed, usual = random.Random(seed), 0, 60.0
    for attempt in count():
        if killed == 10:
            break
        for library in libraries.values():
            change(library, attempt)
        libraries = {name: Library.open(each.folder) for name, each in libraries.items()}
        others = {
            name: publisher.start(libraries[name].folder, place, name, 2) for name in names[1:]
        }
        before = is_there(place) and Table(place).count(ANNA) > 0
        seconds = usual * chance.random()
        process = publisher.start(libraries["anna"].folder, place, "anna", 2, seconds)
        assert process.stdout.readline() == "ready\n"
        begun = time.monotonic()
        process.communicate(timeout=300)
        took = time.monotonic() - begun
        for name, other in others.items():
            assert finish(other)[-1] == "done"
            assert in_table(place, f"publisher = '{name}'") == in_library(libraries[name])
        if process.returncode == -signal.SIGALRM:
            killed += 1
            tally[f"publishers killed beside {len(others)} others"] += 1
        else:  # it was faster: the next ones are killed earlier
            usual = took
        usual *= 1.02
        check_killed(libraries["anna"], place, 0, before=before)


@pytest.fixture(scope="module")
def s3():
    """A server that stands in for S3, with a bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("NO_PROXY", "127.0.0.1")
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="bucket")
        yield
    server.stop()


def test_two_publishers_at_once_in_a_bucket(tmp_path, s3, monkeypatch):
    place = read_address("s3://bucket/family")
    libraries = {
        name: new_library(tmp_path / name, photos(0, 9 + number))
        for number, name in enumerate(("anna", "ben"))
    }
    other = publisher.start(libraries["ben"].folder, place, "ben", 4)
    monkeypatch.setattr(publishing, "ROWS_AT_ONCE", 4)
    send(libraries["anna"], place)
    assert finish(other)[-1] == "done"
    for name, library in libraries.items():
        assert in_table(place, f"publisher = '{name}'") == in_library(library)


def test_a_missing_bucket_is_named(tmp_path, s3):
    with pytest.raises(QvsearchError, match=r"cannot open s3://none/x: there is no such bucket"):
        send(new_library(tmp_path / "library", photos(0, 3)), read_address("s3://none/x"))


def test_a_bucket_without_rights_is_named(tmp_path, s3):
    from urllib.request import Request, urlopen

    endpoint = os.environ["AWS_ENDPOINT_URL"]

    def refuse_after(actions):
        url, plain = f"{endpoint}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        urlopen(Request(url, str(actions).encode(), plain, method="POST")).close()

    refuse_after(0)
    try:
        with pytest.raises(QvsearchError, match="the keys have no right to it"):
            send(new_library(tmp_path / "library", photos(0, 3)), read_address("s3://bucket/x"))
    finally:
        refuse_after("inf")


def test_a_server_that_does_not_answer_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr("qvsearch.published.address._LIMITS", {"client_max_retries": "0"})
    with pytest.raises(QvsearchError, match="the server does not answer"):
        send(new_library(tmp_path / "library", photos(0, 3)), read_address("s3://bucket/x"))


@pytest.mark.soak
def test_a_full_disk_loses_nothing(tmp_path):
    (folder := tmp_path / "full").mkdir()
    library = new_library(tmp_path / "library", photos(0, 500))
    command = [sys.executable, "-m", "support.full_table", str(folder), str(library.folder)]
    done = subprocess.run([*namespace(folder), *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said, counts = done.stdout.splitlines()
    before, sent, after = map(int, counts.split())
    assert said.startswith("cannot write to")
    assert "no space is left there" in said
    assert (before + sent, after) == (500, 500)
    assert 0 < before < 500
