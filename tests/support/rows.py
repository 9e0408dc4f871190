"""Rows of a library, and changes to its manifest."""

import numpy as np
import orjson
import pytest

from qvsearch.library.library import Library
from qvsearch.types import Detail, Fingerprint, Item, Kind, Segment, Stored

DIM = 16


ROOT = b"/photos"


FINGERPRINT = Fingerprint("some/model", "abc123", DIM, Detail.LOW, "Represent.", 1, 1)


def rounded(vectors, stored=Stored.FLOAT16):
    if stored is Stored.FLOAT16:
        return vectors.astype(np.float16).astype(np.float32)
    steps = np.rint(vectors * (127 / np.abs(vectors).max(axis=1, keepdims=True)))
    lengths = np.linalg.norm(steps.astype(np.float64), axis=1, keepdims=True)
    return (steps + 0) / lengths.astype(np.float32)  # and no -0


def photo(number, root=ROOT):
    path = b"%d/photo %d.jpg" % (number % 3, number)
    item = Item(root, path, Kind.IMAGE, 1000 + number, 1_700_000_000_000_000_000 + number)
    return Segment(item, f"hash{number}", width=4000, height=3000)


def photos(start, end):
    return [photo(number) for number in range(start, end)]


@pytest.fixture
def library(tmp_path):
    made = Library.create(tmp_path / "library", FINGERPRINT)
    made.add_root(ROOT)
    return made


def rewrite_manifest(library, change):
    """Change the manifest as a program that knows the checksum would."""
    from qvsearch.library.manifest import _checksum

    path = library.folder / "manifest.json"
    record = orjson.loads(path.read_bytes())
    del record["sha256"]
    change(record)
    path.write_bytes(orjson.dumps(record | {"sha256": _checksum(record)}))
