"""Libraries that are published, and what a table must have of them."""

import numpy as np
import pytest

from qvsearch.library.library import Library
from qvsearch.published.address import read_address
from qvsearch.published.engine import Table
from qvsearch.published.publishing import publish
from qvsearch.published.schema import published
from qvsearch.types import Item, Kind, Segment
from support.rows import FINGERPRINT, ROOT


def passages(number, count, root=ROOT):
    """The segments of a text; the hash tells how many there are."""
    item = Item(root, b"notes/%d.txt" % number, Kind.TEXT, count, 1000 + number)
    return [
        Segment(item, f"text-{number}-{count}", lines=(each, each), snippet=f"é {each}")
        for each in range(1, count + 1)
    ]


def units(count, seed, dim=FINGERPRINT.dim):
    rows = np.random.default_rng(seed).standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def add(library, segments, seed=0):
    """Add segments with vectors of their own, and commit."""
    library.add(segments, units(len(segments), [seed, len(library)], library.fingerprint.dim))
    library.commit()


def new_library(folder, segments=(), *, root=ROOT, fingerprint=FINGERPRINT, **how):
    library = Library.create(folder, fingerprint, **how)
    library.add_root(root)
    library.set_baseline(units(8, 99, fingerprint.dim))
    add(library, list(segments))
    return library


def remove_files(library, paths):
    library.remove([row for row, each in library.segments.items() if each.item.path in paths])
    library.commit()


@pytest.fixture
def place(tmp_path):
    """The address of a table that is not there yet."""
    return read_address(str(tmp_path / "shared.lance"))


def send(library, place, name="anna", **how):
    return publish(library.folder, place, name, **how)


def rows_of(table, where=None):
    """All rows of a table that pass, by key."""
    names = ("row", "publisher", "root", "path", "line", "mean", "spread", "vector")
    return {each.row: each for each in published(table.scan(names, where), "the table")}


def in_table(place, where=None):
    """What a table has: segments without their roots, vectors and backgrounds, as comparable."""
    found = rows_of(Table(place), where).values()
    return sorted(_comparable(each.segment, each.vector, each.background) for each in found)


def in_library(library):
    """The same of a library."""
    library = Library.open(library.folder)
    rows = list(library.segments)
    vectors, backgrounds = library.vectors(rows), library.backgrounds
    return sorted(
        _comparable(library.segments[row], vectors[at], backgrounds[row].tolist())
        for at, row in enumerate(rows)
    )


def _comparable(segment, vector, background):
    item = segment.item
    place = (item.path, str(item.kind), item.size, item.mtime_ns, item.inode)
    numbers = np.asarray(vector, np.float32).astype(np.float16)
    rest = (segment.content_hash, segment.start, segment.lines, segment.snippet, segment.dhash)
    return repr((place, rest, segment.metadata, np.round(background, 4).tolist(), numbers.tolist()))


def torn_files(table):
    """The files of which a table has rows of two versions, or not all rows of one.

    The hash of a text tells how many passages it has.
    """
    by_file = {}
    for each in rows_of(table).values():
        item = each.segment.item
        by_file.setdefault((item.root, item.path), []).append(each.segment.content_hash)
    return [
        file
        for file, hashes in by_file.items()
        if len(set(hashes)) != 1
        or (hashes[0].startswith("text") and len(hashes) != int(hashes[0].split("-")[-1]))
    ]
