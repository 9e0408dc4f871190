"""The rows of a library in memory: segments by number, and their vectors in open segment files.

It knows what is live now; what is committed, and when, is the library's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.files import MIB
from qvsearch.library.baseline import Bank, as_array, measure, open_bank, write_bank
from qvsearch.library.columns import Source, source_of
from qvsearch.library.lazy_segments import Catalogue
from qvsearch.library.manifest import Damaged, Manifest, SegmentFile, faiss_path
from qvsearch.library.shard_columns import NO_ROW
from qvsearch.library.shards import (
    Part,
    compared,
    lacks_facts,
    merge_plan,
    needs_writing,
    open_part,
    read_rows,
    waiting,
    with_backgrounds,
    with_facts,
    write_facts,
    write_part,
)
from qvsearch.types import KIND_CODES
from qvsearch.vectors.encoding import Form
from qvsearch.vectors.store import FaissStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.types import Segment, Vectors
    from qvsearch.vectors.sign_bits import Signs

MANY_BYTES = 32 * MIB  # of vectors: with more, threads are worth their start
PIECE = 1 << 17  # rows that one thread guesses at once
SAMPLE = 4096  # rows of a kind: they tell a spread within a hundredth
LARGEST_SCORE = 1.01  # a cosine of rounded unit vectors is below this


@dataclass(frozen=True)
class Arrays:
    """What is known of each row, by number: `kinds` (size,) uint8, `backgrounds` (size, 2).

    A kind is its place in `Kind`, or NO_ROW where no row lives; `size` is the last live one's + 1.
    """

    kinds: NDArray[np.uint8]
    backgrounds: Vectors

    @cached_property
    def by_kind(self) -> list[NDArray[np.int64]]:
        """The rows of each kind, ascending."""
        return [np.flatnonzero(self.kinds == code) for code in KIND_CODES.values()]


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows (n,) that stand for all rows of their kinds, each for `weights` (n,) of them.

    `store` has their vectors, so that their scores are exact and cost little.
    """

    rows: NDArray[np.int64]
    weights: Vectors
    store: FaissStore


class Rows:
    """All rows, numbered in order; `segments` are the live ones by number.

    Numbers hold while the object lives, also when `write` moves rows to other files.
    """

    def __init__(self, folder: Path, form: Form) -> None:
        self.folder = folder
        self.form = form
        self.segments = Catalogue()
        self._next = 0
        self._parts: list[Part] = []
        self._bank: Bank | None = None
        self._waiting = waiting(form, None)
        self._arrays: Arrays | None = None  # until rows come or go
        self._sample: tuple[Arrays, Sample] | None = None  # of these arrays

    @classmethod
    def open(cls, folder: Path, manifest: Manifest) -> Rows:
        """Return the rows of a commit; raises Damaged, or OSError for files that cannot be read."""
        rows = cls(folder, form_of(manifest))
        if manifest.bank is not None:
            rows._bank = open_bank(folder, manifest.bank, rows.form.dim)
            rows._waiting = waiting(rows.form, rows._bank)
        starts = list(accumulate((file.rows for file in manifest.files), initial=0))
        rows._next = starts.pop()
        for part in _open_parts(folder, manifest, starts):
            rows._take(part, manifest.roots)
        return rows

    def _take(self, part: Part, roots: Sequence[bytes | None]) -> None:
        """Append the rows of a file that is open."""
        alive = part.store.alive
        if part.lines is not None:
            self.segments.add_file(alive, part.lines)
            self._parts.append(with_backgrounds(part, part.backgrounds, self._bank))
        elif part.file is not None:
            segments, found = read_rows(self.folder, part.file, roots)
            self.segments.add_file(alive, segments)
            backgrounds = part.backgrounds
            backgrounds[alive] = as_array(found)
            self._parts.append(with_backgrounds(part, backgrounds, self._bank))

    @property
    def bank(self) -> Bank | None:
        """The generic queries that rows are compared with, where there are any."""
        return self._bank

    def set_bank(self, bank: Bank) -> None:
        """Compare all rows with this bank, those to come as well."""
        self._bank = bank
        self._parts = [compared(part, bank) for part in self._parts]
        self._waiting = compared(self._waiting, bank)
        self._arrays = None

    @property
    def arrays(self) -> Arrays:
        """What is known of each row, by number up to the last live one; not to be changed."""
        if self._arrays is None:
            self._arrays = self._gathered()
        return self._arrays

    def add(self, segments: Sequence[Segment], vectors: Vectors) -> None:
        """Append a row for each segment; raises QvsearchError, and adds none, for a bad vector."""
        if len(segments) != len(vectors):
            raise QvsearchError(f"{len(segments)} segments come with {len(vectors)} vectors")
        self._waiting.store.add(vectors)
        numbers = np.arange(self._next, self._next + len(segments))
        before = self._waiting
        added = measure(before.store, self._bank, len(before.numbers))
        self._waiting = replace(
            before,
            numbers=np.concatenate([before.numbers, numbers]),
            backgrounds=np.concatenate([before.backgrounds, added]),
        )
        self._arrays = None
        self.segments.add(segments)
        self._next += len(segments)

    def remove(self, rows: Iterable[int]) -> None:
        """Forget live rows."""
        gone = np.unique(np.fromiter(rows, dtype=np.int64))
        for part, positions, _ in self._located(gone):
            part.store.remove(positions.tolist())
        self._arrays = None
        self.segments.remove(gone)

    def scores(self, query: Vectors) -> Vectors:
        """Return the cosine (size,) of each row with one unit query, -inf where none is live."""
        found = np.full(self._next, -np.inf, dtype=np.float32)
        is_large = sum(part.signs is not None for part in self._parts) > 1
        for part in [*self._parts, self._waiting]:
            scores = part.store.scores(query)
            if is_large:
                part.store.release()  # all the files together may not fit
            # NaN is among the bad ones, and so would be removed rows, which are at -inf.
            bad = ~(np.abs(scores) < LARGEST_SCORE) & part.store.alive
            for position in np.flatnonzero(bad)[:1].tolist():
                self._refuse(part, position, float(scores[position]))
            found[places(part.numbers)] = scores
        return found[: len(self.arrays.kinds)]

    def guesses(self, query: Vectors) -> Vectors:
        """Return about what `scores` does, faster where files are large; 0 where none lives."""
        found = np.full(self._next, -np.inf, dtype=np.float32)

        def guess(part: Part, signs: Signs, start: int, end: int) -> None:
            found[places(part.numbers[start:end])] = signs.part(start, end).guess(query)

        pieces = []
        for part in [*self._parts, self._waiting]:
            if part.signs is None:
                found[places(part.numbers)] = part.store.scores(query)
            else:
                edges = [*range(0, len(part.numbers), PIECE), len(part.numbers)]
                pieces += [(part, part.signs, *piece) for piece in pairwise(edges)]
        with ThreadPoolExecutor(min(len(pieces), os.cpu_count() or 1) or 1) as pool:
            for done in [pool.submit(guess, *piece) for piece in pieces]:
                done.result()
        found[~self.segments.live] = 0
        return found[: len(self.arrays.kinds)]

    @property
    def has_signs(self) -> bool:
        """Whether `guesses` are guesses, of some rows at least."""
        return any(part.signs is not None for part in self._parts)

    def pick(self, rows: NDArray[np.int64]) -> FaissStore:
        """Return a store of the vectors of live rows, in order."""
        codes = np.empty((len(rows), self.form.dim), self.form.code)
        norms = np.ones(len(rows), np.float32)
        for part, positions, where in self._located(rows):
            codes[where] = part.store.codes[positions]
            if self.form.scaled:
                norms[where] = part.store.norms[positions]
            part.store.release()
        picked = FaissStore.of_codes(codes, self.form)
        picked.know_norms(norms)
        return picked

    @property
    def sample(self) -> Sample:
        """Some rows of each kind that stand for all, evenly taken; not to be changed."""
        if self._sample is None or self._sample[0] is not self.arrays:
            kinds = self.arrays.kinds
            taken = [np.empty(0, np.int64)]
            weights = np.zeros(len(kinds), np.float32)
            for rows in self.arrays.by_kind:
                if len(rows):
                    taken.append(rows[:: -(-len(rows) // SAMPLE)])
                    weights[taken[-1]] = len(rows) / len(taken[-1])
            numbers = np.sort(np.concatenate(taken))
            self._sample = self.arrays, Sample(numbers, weights[numbers], self.pick(numbers))
        return self._sample[1]

    def vectors(self, rows: Iterable[int]) -> Vectors:
        """Return the stored vectors of live rows (len(rows), dim), float32."""
        wanted = np.fromiter(rows, dtype=np.int64)
        found = np.empty((len(wanted), self.form.dim), dtype=np.float32)
        for part, positions, where in self._located(wanted):
            found[where] = part.store.fetch(positions.tolist())
        return found

    def write(
        self, roots: Sequence[bytes | None], following: int
    ) -> tuple[list[Part], Bank | None]:
        """Write the files that the live rows need, the first named `following`; return them all.

        The rows here are changed only by `settle`, once the files are committed.
        """
        bank = self._bank
        if bank is not None and bank.file is None:
            bank = write_bank(self.folder, f"{following:06d}", bank)
            following += 1
        parts: list[Part] = []
        for group in merge_plan([*self._parts, self._waiting]):
            if needs_writing(group):
                name = f"{following:06d}"
                parts.append(write_part(self.folder, name, group, self.segments, roots))
                following += 1
            else:
                parts += [self._with_facts(part, roots) for part in group]
        return parts, bank

    def _with_facts(self, part: Part, roots: Sequence[bytes | None]) -> Part:
        """Return a part of a file with the facts that one of an older version has not."""
        if part.file is None or not lacks_facts(part):
            return part
        file = write_facts(self.folder, part.file, self.form, roots)
        opened = with_facts(self.folder, replace(part, file=file), roots)
        return replace(part, file=file, facts=opened.facts, signs=opened.signs, lines=opened.lines)

    def settle(self, parts: list[Part], bank: Bank | None) -> None:
        """Go on with the files that `write` returned."""
        self._parts, self._bank = parts, bank
        self._waiting = waiting(self.form, bank)

    def _refuse(self, part: Part, position: int, score: float) -> None:
        """Raise Damaged for a score that no vector of a segment file can have."""
        if part.file is not None:
            path = faiss_path(self.folder, part.file.name)
            raise Damaged(path, f"vector {position} scores {score}")

    def _gathered(self) -> Arrays:
        kinds = np.full(self._next, NO_ROW, dtype=np.uint8)
        backgrounds = np.full((self._next, 2), np.nan, dtype=np.float32)
        for part in [*self._parts, self._waiting]:
            kinds[places(part.numbers)] = self._kinds(part)
            backgrounds[places(part.numbers)] = part.backgrounds
        dead = ~self.segments.live
        kinds[dead], backgrounds[dead] = NO_ROW, np.nan
        live = np.flatnonzero(self.segments.live)
        size = int(live[-1]) + 1 if len(live) else 0
        return Arrays(kinds[:size], backgrounds[:size])

    def _kinds(self, part: Part) -> NDArray[np.uint8]:
        if part.facts is not None:
            return part.facts.kinds
        kinds = np.full(len(part.numbers), NO_ROW, dtype=np.uint8)
        alive = part.store.alive
        segments = map(self.segments.__getitem__, part.numbers[alive].tolist())
        kinds[alive] = [KIND_CODES[segment.item.kind] for segment in segments]
        return kinds

    def sources(self) -> list[Source]:
        """Return the facts of all live rows; those of files without are made."""
        return [self._source(part) for part in [*self._parts, self._waiting] if part.live]

    def _source(self, part: Part) -> Source:
        alive = part.store.alive
        numbers = part.numbers[alive]
        if part.facts is None or part.lines is None:
            return source_of(places(numbers), [self.segments[row] for row in numbers.tolist()])
        positions = slice(None) if alive.all() else np.flatnonzero(alive)
        return Source(places(numbers), positions, part.facts, part.lines.roots)

    def _located(
        self, rows: NDArray[np.int64]
    ) -> Iterator[tuple[Part, NDArray[np.int64], NDArray[np.int64]]]:
        """Yield each part that has any of the rows, with positions in it and in `rows`."""
        live = self.segments.live
        within = (rows >= 0) & (rows < len(live))
        gone = ~within | ~live[np.where(within, rows, 0)] if len(live) else ~within
        for row in rows[gone].tolist():
            raise QvsearchError(f"row {row} is not in the library {self.folder}")
        for part in [*self._parts, self._waiting]:
            if len(part.numbers):
                first, last = part.numbers[0], part.numbers[-1]
                where = np.flatnonzero((rows >= first) & (rows <= last))
                if len(where):
                    yield part, np.searchsorted(part.numbers, rows[where]), where


def form_of(manifest: Manifest) -> Form:
    """Return how the vectors of a library are stored."""
    return Form(manifest.fingerprint.dim, manifest.store)


def places(numbers: NDArray[np.int64]) -> NDArray[np.int64] | slice:
    """Return where rows of these ascending numbers lie, as a slice where there is no gap."""
    if len(numbers) and numbers[-1] - numbers[0] == len(numbers) - 1:
        return slice(int(numbers[0]), int(numbers[-1]) + 1)
    return numbers


def _open_parts(folder: Path, manifest: Manifest, starts: Sequence[int]) -> list[Part]:
    """Open all segment files, each numbered from its start."""
    form = form_of(manifest)

    def opened(file: SegmentFile, start: int) -> Part:
        return open_part(folder, file, form, start, manifest.roots)

    if sum(file.faiss.size for file in manifest.files) < MANY_BYTES:
        return list(map(opened, manifest.files, starts))
    # Checksums release the interpreter, so that several files are verified at once.
    with ThreadPoolExecutor() as pool:
        return list(pool.map(opened, manifest.files, starts))
