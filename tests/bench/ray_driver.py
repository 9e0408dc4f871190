"""What the driver of `index --ray` can take: python tests/bench/ray_driver.py --files 100000

Blocks of made-up photos, as nodes send them, are read, committed and compared again. No Ray is
needed. Printed are the files a second of a node's message and of the driver, the bytes of the
table for each row, and the driver's memory for each listed file.
"""

import argparse
import os
import tempfile
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np

from qvsearch.distributed.destination import Destination
from qvsearch.distributed.driver import BLOCK_FILES, MOST_ROWS
from qvsearch.distributed.messages import outcome_block, outcomes_of
from qvsearch.indexing.batching import Embedded
from qvsearch.published.address import read_address
from qvsearch.published.engine import Table
from qvsearch.published.schema import About
from qvsearch.types import Detail, Fingerprint, Item, Kind, Metadata, Segment

ROOT = b"/mnt/archive"
TAKEN = Metadata("2019-07-01T12:00:00+02:00", "Canon EOS 5D", 48.2, 16.37)
# the mean colours of 64 patches, and the hash, as an image has them
PATCHES = "A" * 256
PHOTO = Segment(Item(ROOT, b"", Kind.IMAGE, 1, 1), "", dhash=2**63, metadata=TAKEN, patches=PATCHES)


def photos(first, vectors):
    """Return embedded photos with names and hashes of their own."""
    for number, vector in enumerate(vectors, first):
        path = b"%04d/%02d/IMG_%08d.jpg" % (1990 + number % 30, number % 12, number)
        item = Item(ROOT, path, Kind.IMAGE, 4_000_000 + number, 10**18 + number)
        segment = replace(PHOTO, item=item, content_hash=f"{number:032x}", width=4000, height=3000)
        yield Embedded(item, (segment,), vector[None])


def unit(rows, dim, seed):
    vectors = np.random.default_rng(seed).standard_normal((rows, dim), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def fill(table, files, dim):
    """Send, read and commit the rows of so many photos; print the speed of each step."""
    seconds = dict.fromkeys(("message", "read", "commit"), 0.0)
    destination = Destination(table, "archive", ROOT)

    def timed(step, call):
        started = time.perf_counter()
        result = call()
        seconds[step] += time.perf_counter() - started
        return result

    for first in range(0, files, BLOCK_FILES):
        block = list(photos(first, unit(min(BLOCK_FILES, files - first), dim, first)))
        message = timed("message", lambda block=block: outcome_block(block))
        read = timed("read", lambda message=message: list(outcomes_of(message, dim)))
        timed("read", lambda read=read: [destination.add(each) for each in read])
        if destination.waiting >= MOST_ROWS:
            timed("commit", destination.commit)
    timed("commit", destination.commit)
    timed("commit", lambda: destination.finish(whole=True))
    for step, spent in seconds.items():
        print(f"{step}: {files / spent:,.0f} files/s")
    print(f"driver: {files / (seconds['read'] + seconds['commit']):,.0f} files/s in all")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=2048)
    asked = parser.parse_args()
    about = About(
        Fingerprint("some/model", "abc", asked.dim, Detail.MEDIUM, "Represent.", 1, 2),
        unit(64, asked.dim, 1),
    )
    with tempfile.TemporaryDirectory() as folder:
        table = Table(read_address(os.path.join(folder, "t.lance")), create=about)
        fill(table, asked.files, asked.dim)
        stored = sum(each.stat().st_size for each in Path(folder).rglob("*") if each.is_file())
        print(f"table: {stored / asked.files:,.0f} bytes/row")
        tracemalloc.start()
        listed = {each.item.location: each.item for each in photos(0, np.zeros((asked.files, 1)))}
        held, _ = tracemalloc.get_traced_memory()
        print(f"listed files: {held / asked.files:,.0f} bytes/file in the driver's memory")
        del listed
        tracemalloc.clear_traces()
        started = time.perf_counter()
        known = Destination(table, "archive", ROOT).known()
        held, _ = tracemalloc.get_traced_memory()
        speed = len(known) / (time.perf_counter() - started)
        tracemalloc.stop()
        print(
            f"known files: {speed:,.0f} files/s while traced, {held / len(known):,.0f} bytes/file"
        )


if __name__ == "__main__":
    main()
