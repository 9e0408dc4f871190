"""Folders in S3, for which moto stands in."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from support.commands import write_files
from support.nodes import Nodes
from support.ray_nodes import free_port

from qvsearch.distributed.buckets import fetched, scan_bucket
from qvsearch.distributed.driver import Order, index
from qvsearch.errors import QvsearchError
from qvsearch.indexing.scan import Leftovers
from qvsearch.indexing.session import IngestOptions
from qvsearch.library.rules import ScanOptions
from qvsearch.published.address import read_address
from qvsearch.published.engine import Table
from qvsearch.runtime.choice import Choice
from qvsearch.types import Item, Kind, Skipped

ROOT = b"s3://media/photos"
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def endpoint():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def bucket(endpoint, monkeypatch):
    """An empty bucket, and a function that puts a file into it."""
    for name, value in (KEYS | {"AWS_ENDPOINT_URL": endpoint}).items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="media")
    yield lambda key, data: client.put_object(Bucket="media", Key=key, Body=data)
    for each in client.list_objects_v2(Bucket="media").get("Contents", []):
        client.delete_object(Bucket="media", Key=each["Key"])
    client.delete_bucket(Bucket="media")
    client.close()


def scanned(**options):
    return list(scan_bucket(ROOT, ScanOptions(**options), lambda: False))


def test_a_bucket_is_listed_by_the_rules_of_folders(bucket):
    for key in ("a.jpg", "b/c d.png", "b/.hidden.png", "@eaDir/a.jpg", "film.mp4", "x.doc"):
        bucket(f"photos/{key}", b"12345")
    bucket("photos-of-others/d.jpg", b"1")
    items = [each for each in scanned() if isinstance(each, Item)]
    assert [(each.path, each.kind, each.size) for each in items] == [
        (b"a.jpg", Kind.IMAGE, 5),
        (b"b/c d.png", Kind.IMAGE, 5),
        (b"film.mp4", Kind.VIDEO, 5),
    ]
    assert items[1].location == b"s3://media/photos/b/c d.png"
    assert [each for each in scanned() if isinstance(each, Leftovers)] == [
        Leftovers(ROOT, {".doc": 1})
    ]
    chosen = scanned(kinds=frozenset([Kind.IMAGE]), exclude=("a*",), hidden=True)
    assert [each.path for each in chosen if isinstance(each, Item)] == [
        b"b/.hidden.png",
        b"b/c d.png",
    ]


def test_a_bucket_that_cannot_be_listed_is_an_error(bucket, monkeypatch):
    with pytest.raises(QvsearchError, match="cannot list s3://media/photos"):
        scanned()  # no such prefix: nobody knows whether all files are gone
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(QvsearchError, match="cannot list s3://media/photos"):
        scanned()


def test_a_file_that_cannot_be_fetched_is_skipped_by_its_own_name(bucket):
    bucket("photos/a.txt", b"text")
    [item] = scanned()
    gone = Item(ROOT, b"gone.txt", Kind.TEXT, 1, 1)
    unread = []
    with ThreadPoolExecutor(2) as threads, fetched([gone, item], threads, unread) as (local, back):
        [copy] = local
        assert Path(os.fsdecode(copy.location)).read_bytes() == b"text"
        assert os.path.basename(copy.location) == b"a.txt"
        assert back(Skipped(copy.location, "why")) == Skipped(item.location, "why")
    assert not os.path.exists(copy.location)
    assert [each.path for each in unread] == [gone.location]


def test_a_bucket_is_indexed_like_a_folder(bucket, tmp_path):
    write_files(tmp_path)
    for path in tmp_path.iterdir():
        bucket(f"photos/{path.name}", path.read_bytes())
    bucket("photos/broken.jpg", b"no picture")
    order = Order(ROOT, read_address("s3://media/table"), "photos", Choice(model="demo"))
    nodes = Nodes()

    def run():
        return index(order, nodes, IngestOptions(), lambda _: None, lambda: False)

    summary = run()
    assert (summary.embedded, [each.path for each in summary.failures]) == (
        5,
        [b"s3://media/photos/broken.jpg"],
    )
    table = Table(order.address)
    assert table.count("root = 'photos/photos'") == 5
    assert set(table.scan(["path"]).column("path").to_pylist()) >= {b"note.txt", b"red.png"}
    summary = run()
    assert (summary.embedded, summary.unchanged, summary.removed) == (0, 5, 0)
