"""A library of photos that do not exist, for other benchmarks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.library.library import Library
from qvsearch.types import Item, Kind, Metadata, Segment

if TYPE_CHECKING:
    from pathlib import Path

    from qvsearch.types import Fingerprint, Vectors

PHOTO = Segment(  # a usual line of a sidecar
    Item(b"/home/someone/Pictures", b"2023/07/IMG_20230704_181530.jpg", Kind.IMAGE, 4_213_377, 0),
    "0" * 32,
    width=4000,
    height=3000,
    dhash=2**63,
    metadata=Metadata("2023-07-04T18:15:30", "Canon EOS R5", 59.913869, 10.752245, page=False),
)


def write_library(folder: Path, made: Fingerprint, rows: int) -> Library:
    """Write a library of this many photos, with random vectors and generic queries."""
    library = Library.create(folder, made)
    library.set_baseline(unit_rows(64, made.dim))
    library.add_root(PHOTO.item.root)
    library.add([_photo(number) for number in range(rows)], unit_rows(rows, made.dim))
    library.commit()
    return library


def unit_rows(count: int, dim: int) -> Vectors:
    """Return random unit rows (count, dim), float32; equal arguments give equal rows."""
    rows = np.random.default_rng(count).standard_normal((count, dim), np.float32)
    unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _photo(number: int) -> Segment:
    """Return a photo with its own name and content."""
    path = b"2023/07/IMG_%08d_181530.jpg" % number
    return replace(
        PHOTO,
        item=replace(PHOTO.item, path=path),
        content_hash=f"{number:032x}",
        dhash=2**63 + number,
    )
