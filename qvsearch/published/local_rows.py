"""The rows of a library as they are published."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import orjson

from qvsearch.formats import read_path
from qvsearch.library.manifest import SEGMENTS, Damaged
from qvsearch.library.tokens import tokens
from qvsearch.library.words import searchable
from qvsearch.published.differences import RowMarks, later_mark
from qvsearch.published.schema import FORM, Row, item_of, text_hash

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.library import Library
    from qvsearch.types import Vectors

NO_VECTOR = np.empty(0, np.float32)


@dataclass(frozen=True, slots=True)
class LocalRows:
    """The live rows of a library: their numbers (n,) ascending, their marks, and their roots.

    `lengths` (n,) are numbers of tokens, -1 without stored words. `roots` (n,) are indices of
    `names`, the names of roots in the table.
    """

    rows: NDArray[np.int64]
    marks: RowMarks
    lengths: NDArray[np.int64]
    roots: NDArray[np.int32]
    names: Sequence[str]

    def files_of_roots(self) -> dict[str, int]:
        """Return the number of files below each root that has any."""
        first = np.unique(self.marks.items, return_index=True)[1]
        counts = np.bincount(self.roots[first], minlength=len(self.names)).tolist()
        return {name: each for name, each in zip(self.names, counts, strict=True) if each}


def local_rows(library: Library, names: Mapping[int, str]) -> LocalRows:
    """Return the rows of a library that was opened just now; `names` are those of its roots.

    Raises Damaged for a line that cannot be read.
    """
    numbers, items, ordinals, digests, roots = [], [], [], [], []
    labels = list(names.values())
    places = {number: place for place, number in enumerate(names)}
    seen: dict[int, int] = {}  # rows of each file so far
    for row, line in library.segments.lines():
        try:
            record = orjson.loads(line)
            root, path = places[record["root"]], read_path(record)
        except (KeyError, TypeError, ValueError) as error:
            raise Damaged(library.folder / SEGMENTS, f"row {row} cannot be read") from error
        item = item_of(labels[root], path)
        ordinal = seen.get(item, 0)
        seen[item] = ordinal + 1
        numbers.append(row)
        items.append(item)
        ordinals.append(ordinal)
        digests.append(_digest(line))
        roots.append(root)
    rows = np.array(numbers, np.int64)
    lengths, words = _lengths(library, rows), library.words
    texts = np.array([text_hash(words.text(row)) for row in numbers], np.int64)
    marks = RowMarks(
        np.array(items, np.int64),
        np.array(ordinals, np.int32),
        np.array(digests, np.int64),
        later_mark(FORM, lengths, texts),
    )
    return LocalRows(rows, marks, lengths, np.array(roots, np.int32), labels)


def _lengths(library: Library, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of tokens (n,) of live rows, -1 for those without stored words."""
    worded, counts = library.words.lengths()
    lengths = np.full(int(rows.max(initial=-1)) + 1, -1, np.int64)
    lengths[worded] = counts
    return lengths[rows]


def batches(local: LocalRows, items: NDArray[np.int64], most: int) -> Iterator[NDArray[np.int64]]:
    """Yield the places of all rows of some files, about `most` at a time; no file is divided.

    Files are in the order of the library, so that its vectors are read in one direction.
    """
    places = np.flatnonzero(np.isin(local.marks.items, items))
    if not len(places):
        return
    _, first, inverse = np.unique(local.marks.items[places], return_index=True, return_inverse=True)
    order = np.lexsort((local.marks.ordinals[places], first[inverse]))
    places = places[order]
    starts = np.flatnonzero(np.diff(local.marks.items[places], prepend=-1))
    begin = 0
    for end in [*starts[1:].tolist(), len(places)]:
        if end - begin >= most:
            yield places[begin:end]
            begin = end
    if begin < len(places):
        yield places[begin:]


def rows_to_publish(
    library: Library,
    local: LocalRows,
    places: NDArray[np.int64],
    publisher: str,
    baseline: Vectors | None,
) -> list[Row]:
    """Return rows with all that the table stores; their backgrounds are of its baseline.

    Raises Damaged for a row that is not that which was written.
    """
    numbers = local.rows[places]
    vectors = library.vectors(numbers)
    means, spreads = _backgrounds(library, numbers, vectors, baseline)
    return [
        replace(row, vector=vector, background=(float(mean), float(spread)))
        for row, vector, mean, spread in zip(
            rows_without_vectors(library, local, places, publisher),
            vectors,
            means,
            spreads,
            strict=True,
        )
    ]


def rows_without_vectors(
    library: Library, local: LocalRows, places: NDArray[np.int64], publisher: str
) -> Iterator[Row]:
    """Yield rows as `rows_to_publish` returns them, without vectors and backgrounds.

    They are found by the names that their roots have in the table, wherever these lie now.
    """
    numbers = local.rows[places].tolist()
    words = library.words
    segments = [
        replace(segment, words=words.text(row))
        for row, segment in zip(numbers, library.segments.stream(numbers), strict=True)
    ]
    roots = [local.names[local.roots[place]] for place in places.tolist()]
    named = (
        replace(segment, item=replace(segment.item, root=os.fsencode(root)))
        for segment, root in zip(segments, roots, strict=True)
    )
    found = zip(places.tolist(), roots, segments, searchable(named), strict=True)
    for place, root, segment, searched in found:
        length = int(local.lengths[place])
        yield Row(
            publisher=publisher,
            root=root,
            segment=segment,
            ordinal=int(local.marks.ordinals[place]),
            digest=int(local.marks.digests[place]),
            vector=NO_VECTOR,
            background=(math.nan, math.nan),
            tokens=None if length < 0 else " ".join(tokens(searched)),
            length=None if length < 0 else length,
        )


def _backgrounds(
    library: Library, numbers: NDArray[np.int64], vectors: Vectors, baseline: Vectors | None
) -> tuple[Vectors, Vectors]:
    own = library.baseline
    if baseline is None:
        absent = np.full(len(numbers), np.nan, np.float32)
        return absent, absent
    if own is not None and np.array_equal(own, baseline):
        return library.backgrounds[numbers, 0], library.backgrounds[numbers, 1]
    scores = vectors @ baseline.T
    return scores.mean(axis=1), scores.std(axis=1)


def _digest(line: bytes) -> int:
    """Return 64 bits of a sidecar's line, whose checksum covers the vector, too."""
    return int.from_bytes(hashlib.blake2b(line, digest_size=8).digest(), "little", signed=True)
