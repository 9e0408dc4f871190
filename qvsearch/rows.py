"""The rows of a library in memory: segments by number, and their vectors in open segment files.

It knows what is live now; what is committed, and when, is the library's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.durable import MIB
from qvsearch.errors import QvsearchError
from qvsearch.manifest import Damaged, Manifest, SegmentFile, faiss_path
from qvsearch.segments import (
    Part,
    merge_plan,
    needs_writing,
    open_part,
    read_rows,
    waiting,
    write_part,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.types import Segment, Vectors

MANY_BYTES = 32 * MIB  # of vectors: with more, threads are worth their start
LARGEST_SCORE = 1.01  # a cosine of rounded unit vectors is below this


class Rows:
    """All rows, numbered in order; `segments` are the live ones by number.

    Numbers hold while the object lives, also when `write` moves rows to other files.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder = folder
        self.dim = dim
        self.segments: dict[int, Segment] = {}
        self._next = 0
        self._parts: list[Part] = []
        self._waiting = waiting(dim)

    @classmethod
    def open(cls, folder: Path, manifest: Manifest) -> Rows:
        """Return the rows of a commit; raises Damaged, or OSError for files that cannot be read."""
        rows = cls(folder, manifest.fingerprint.dim)
        starts = list(accumulate((file.rows for file in manifest.files), initial=0))
        rows._next = starts.pop()
        rows._parts = _open_parts(folder, manifest, starts)
        for part, file in zip(rows._parts, manifest.files, strict=True):
            segments = read_rows(folder, file, manifest.roots)
            alive = part.store.alive.tolist()
            numbered = zip(part.numbers.tolist(), segments, alive, strict=True)
            rows.segments.update((number, segment) for number, segment, lives in numbered if lives)
        return rows

    def add(self, segments: Sequence[Segment], vectors: Vectors) -> None:
        """Append a row for each segment; raises QvsearchError, and adds none, for a bad vector."""
        if len(segments) != len(vectors):
            raise QvsearchError(f"{len(segments)} segments come with {len(vectors)} vectors")
        self._waiting.store.add(vectors)
        numbers = np.arange(self._next, self._next + len(segments))
        self._waiting = replace(
            self._waiting, numbers=np.concatenate([self._waiting.numbers, numbers])
        )
        self.segments.update(zip(numbers.tolist(), segments, strict=True))
        self._next += len(segments)

    def remove(self, rows: Iterable[int]) -> None:
        """Forget live rows."""
        gone = np.unique(np.fromiter(rows, dtype=np.int64))
        for part, positions, _ in self._located(gone):
            part.store.remove(positions.tolist())
        for row in gone.tolist():
            del self.segments[row]

    def search(
        self, query: Vectors, k: int, allowed: NDArray[np.bool_] | None = None
    ) -> list[tuple[int, float]]:
        """Return up to k (row, cosine) for one unit query (dim,), best first, ties by row.

        Only rows whose `allowed` is true are answers; rows beyond its end are not.
        """
        hits: list[tuple[int, float]] = []
        for part in [*self._parts, self._waiting]:
            mask = None
            if allowed is not None:
                mask = np.zeros(len(part.store), dtype=np.bool_)
                within = part.numbers < len(allowed)
                mask[within] = allowed[part.numbers[within]]
            for position, score in part.store.search(query, k, mask):
                if not abs(score) < LARGEST_SCORE and part.file is not None:
                    path = faiss_path(self.folder, part.file.name)
                    raise Damaged(path, f"vector {position} scores {score}")
                hits.append((int(part.numbers[position]), score))
        return sorted(hits, key=lambda hit: (-hit[1], hit[0]))[:k]

    def vectors(self, rows: Iterable[int]) -> Vectors:
        """Return the stored vectors of live rows (len(rows), dim), float32."""
        wanted = np.fromiter(rows, dtype=np.int64)
        found = np.empty((len(wanted), self.dim), dtype=np.float32)
        for part, positions, where in self._located(wanted):
            found[where] = part.store.fetch(positions.tolist())
        return found

    def write(self, roots: Sequence[bytes | None], following: int) -> list[Part]:
        """Write the files that the live rows need, the first named `following`; return them all.

        The rows here are changed only by `settle`, once the files are committed.
        """
        numbers = {root: number for number, root in enumerate(roots) if root is not None}
        parts: list[Part] = []
        for group in merge_plan([*self._parts, self._waiting], self.dim):
            if needs_writing(group):
                name = f"{following:06d}"
                parts.append(write_part(self.folder, name, group, self.segments, numbers))
                following += 1
            else:
                parts += group
        return parts

    def settle(self, parts: list[Part]) -> None:
        """Go on with the files that `write` returned."""
        self._parts = parts
        self._waiting = waiting(self.dim)

    def _located(
        self, rows: NDArray[np.int64]
    ) -> Iterator[tuple[Part, NDArray[np.int64], NDArray[np.int64]]]:
        """Yield each part that has any of the rows, with positions in it and in `rows`."""
        for row in rows.tolist():
            if row not in self.segments:
                raise QvsearchError(f"row {row} is not in the library {self.folder}")
        for part in [*self._parts, self._waiting]:
            if len(part.numbers):
                first, last = part.numbers[0], part.numbers[-1]
                where = np.flatnonzero((rows >= first) & (rows <= last))
                if len(where):
                    yield part, np.searchsorted(part.numbers, rows[where]), where


def _open_parts(folder: Path, manifest: Manifest, starts: Sequence[int]) -> list[Part]:
    """Open all segment files, each numbered from its start."""

    def opened(file: SegmentFile, start: int) -> Part:
        return open_part(folder, file, manifest.fingerprint.dim, start)

    if sum(file.faiss.size for file in manifest.files) < MANY_BYTES:
        return list(map(opened, manifest.files, starts))
    # Checksums release the interpreter, so that several files are verified at once.
    with ThreadPoolExecutor() as pool:
        return list(pool.map(opened, manifest.files, starts))
