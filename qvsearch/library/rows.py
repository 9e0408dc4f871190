"""The rows of a library in memory: segments by number, and the vectors of open shards."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.files import MIB
from qvsearch.library.baseline import Baseline, measure, open_baseline, write_baseline
from qvsearch.library.columns import Source, source_of
from qvsearch.library.lazy_segments import Catalogue
from qvsearch.library.manifest import Damaged, Manifest, ShardFiles, faiss_path
from qvsearch.library.merge_plan import merge_plan, needs_writing
from qvsearch.library.shard_columns import NO_ROW
from qvsearch.library.shards import (
    Shard,
    compared,
    completed,
    merged,
    open_shard,
    waiting,
    with_words,
)
from qvsearch.library.words import WaitingWords, Words, own_words
from qvsearch.library.words_file import RowWords
from qvsearch.types import KIND_CODES
from qvsearch.vectors.encoding import Form
from qvsearch.vectors.store import FaissStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.types import Segment, Vectors
    from qvsearch.vectors.sign_bits import Signs

MANY_BYTES = 32 * MIB  # of vectors: with more, threads are faster, and memory is given back
PIECE = 1 << 17  # rows that one thread guesses at once
SAMPLE = 4096  # rows of a kind: they give a spread within a hundredth
LARGEST_SCORE = 1.01  # a cosine of rounded unit vectors is below this


@dataclass(frozen=True)
class Arrays:
    """Kinds and backgrounds by row number: `kinds` (size,) uint8, `backgrounds` (size, 2).

    A kind is one of KIND_CODES, or NO_ROW for a dead row; `size` is the last live row's number + 1.
    """

    kinds: NDArray[np.uint8]
    backgrounds: Vectors

    @cached_property
    def by_kind(self) -> list[NDArray[np.int64]]:
        """The rows of each kind, ascending."""
        return [np.flatnonzero(self.kinds == code) for code in KIND_CODES.values()]


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows (n,) that represent all rows of their kinds, each `weights` (n,) of them.

    `store` holds their vectors, so that their exact scores cost little.
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
        self._shards: list[Shard] = []
        self._baseline: Baseline | None = None
        self._waiting = waiting(form, None)
        self._waiting_words = WaitingWords()
        self._added: dict[int, RowWords] = {}  # to rows of shards, by the next commit
        self._arrays: Arrays | None = None  # None after rows are added or removed
        self._sample: tuple[Arrays, Sample] | None = None  # with the arrays that it is of

    @classmethod
    def open(cls, folder: Path, manifest: Manifest) -> Rows:
        """Return the rows of a commit; raises Damaged, or OSError for an unreadable file."""
        rows = cls(folder, form_of(manifest))
        if manifest.baseline is not None:
            rows._baseline = open_baseline(folder, manifest.baseline, rows.form.dim)
            rows._waiting = waiting(rows.form, rows._baseline)
        starts = list(accumulate((file.rows for file in manifest.files), initial=0))
        rows._next = starts.pop()
        for shard in _open_shards(folder, manifest, starts):
            if shard.lines is not None:
                rows.segments.add_shard(shard.store.alive, shard.lines)
            rows._shards.append(
                shard if rows._baseline is None else compared(shard, rows._baseline)
            )
        return rows

    @property
    def baseline(self) -> Baseline | None:
        """The generic queries that rows are compared with, if there are any."""
        return self._baseline

    def set_baseline(self, baseline: Baseline) -> None:
        """Compare all present and later rows with this baseline."""
        self._baseline = baseline
        self._shards = [compared(shard, baseline) for shard in self._shards]
        self._waiting = compared(self._waiting, baseline)
        self._arrays = None

    @property
    def arrays(self) -> Arrays:
        """Kinds and backgrounds by row number; do not mutate."""
        if self._arrays is None:
            self._arrays = self._gathered()
        return self._arrays

    def add(self, segments: Sequence[Segment], vectors: Vectors, copied: Sequence[int]) -> None:
        """Append a row for each segment, with the words of the rows that they are `copied` from.

        Raises QvsearchError, and adds none, for a bad vector.
        """
        if len(segments) != len(vectors):
            raise QvsearchError(f"{len(segments)} segments have {len(vectors)} vectors")
        self._waiting.store.add(vectors)
        numbers = np.arange(self._next, self._next + len(segments))
        kinds = np.array([KIND_CODES[each.item.kind] for each in segments], np.uint8)
        before = self._waiting
        added = measure(before.store, self._baseline, len(before.numbers))
        self._waiting = replace(
            before,
            numbers=np.concatenate([before.numbers, numbers]),
            kinds=np.concatenate([before.kinds, kinds]),
            backgrounds=np.concatenate([before.backgrounds, added]),
        )
        self._arrays = None
        words = list(map(self._words_of, copied)) if copied else list(map(own_words, segments))
        self._waiting_words.add(self._next, segments, words)
        self.segments.add([replace(each, words=None) for each in segments])
        self._next += len(segments)

    def add_words(self, texts: Mapping[int, str], reader: str) -> None:
        """Add text to live rows, all of which a reader has looked at, with the next commit."""
        for row, text in texts.items():
            if row in self.segments:
                self._added[row] = self._words_of(row).added(text, reader)

    def _words_of(self, row: int) -> RowWords:
        """Return the words of a live row as the next commit writes them."""
        if row in self._added:
            return self._added[row]
        if len(self._waiting.numbers) and row >= self._waiting.numbers[0]:
            return self._waiting_words.of(row)
        place = bisect_right(self._shards, row, key=lambda shard: shard.numbers[0])
        words = self._shards[place - 1].words
        return RowWords() if words is None else words.of(row)

    def remove(self, rows: Iterable[int]) -> None:
        """Remove live rows."""
        gone = np.unique(np.fromiter(rows, dtype=np.int64))
        for shard, positions, _ in self._located(gone):
            shard.store.remove(positions.tolist())
        self._arrays = None
        self.segments.remove(gone)

    def scores(self, query: Vectors) -> Vectors:
        """Return the cosine (size,) of each row with one unit query, -inf for dead rows.

        Raises Damaged for a stored vector whose score is not a cosine.
        """
        cosines = np.full(self._next, -np.inf, dtype=np.float32)
        is_large = sum(shard.store.codes.nbytes for shard in self._shards) > MANY_BYTES
        for shard in [*self._shards, self._waiting]:
            scores = shard.store.scores(query)
            if is_large and len(self._shards) > 1:
                shard.store.release()  # all files together may not fit into memory
            # NaN counts as bad, and so would removed rows, whose score is -inf.
            bad = ~(np.abs(scores) < LARGEST_SCORE) & shard.store.alive
            for position in np.flatnonzero(bad)[:1].tolist():
                self._refuse(shard, position, float(scores[position]))
            cosines[places(shard.numbers)] = scores
        return cosines[: len(self.arrays.kinds)]

    def guesses(self, query: Vectors) -> Vectors:
        """Return estimates of `scores` (size,), much faster in large shards; 0 for dead rows."""
        estimates = np.full(self._next, -np.inf, dtype=np.float32)

        def guess(shard: Shard, signs: Signs, start: int, end: int) -> None:
            estimates[places(shard.numbers[start:end])] = signs.part(start, end).guess(query)

        pieces = []
        for shard in [*self._shards, self._waiting]:
            if shard.signs is None:
                estimates[places(shard.numbers)] = shard.store.scores(query)
            else:
                edges = [*range(0, len(shard.numbers), PIECE), len(shard.numbers)]
                pieces += [(shard, shard.signs, *piece) for piece in pairwise(edges)]
        with ThreadPoolExecutor(min(len(pieces), os.cpu_count() or 1) or 1) as pool:
            for done in [pool.submit(guess, *piece) for piece in pieces]:
                done.result()
        estimates[~self.segments.live] = 0
        return estimates[: len(self.arrays.kinds)]

    @property
    def has_signs(self) -> bool:
        """Whether `guesses` are estimates for some rows; otherwise they are exact scores."""
        return any(shard.signs is not None for shard in self._shards)

    def pick(self, rows: NDArray[np.int64]) -> FaissStore:
        """Return a store of the vectors of live rows, in order."""
        codes = np.empty((len(rows), self.form.dim), self.form.code)
        norms = np.ones(len(rows), np.float32)
        for shard, positions, at in self._located(rows):
            codes[at] = shard.store.codes[positions]
            if self.form.scaled:
                norms[at] = shard.store.norms[positions]
            shard.store.release()
        picked = FaissStore.of_codes(codes, self.form)
        picked.set_norms(norms)
        return picked

    @property
    def sample(self) -> Sample:
        """Evenly taken rows of each kind that represent all; do not mutate."""
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
        vectors = np.empty((len(wanted), self.form.dim), dtype=np.float32)
        for shard, positions, at in self._located(wanted):
            vectors[at] = shard.store.fetch(positions.tolist())
        return vectors

    def write(
        self, roots: Sequence[bytes | None], following: int
    ) -> tuple[list[Shard], Baseline | None]:
        """Write the shards that the next commit needs, the first named `following`.

        Returns all shards of the commit. Callers must pass them to `settle` once the commit is
        done; before that nothing here changes.
        """
        baseline = self._baseline
        if baseline is not None and baseline.file is None:
            baseline = write_baseline(self.folder, f"{following:06d}", baseline)
            following += 1
        shards: list[Shard] = []
        for group in merge_plan([*self._shards, self._waiting]):
            name = f"{following:06d}"
            if needs_writing(group):
                shards.append(
                    merged(self.folder, name, group, self.segments, roots, self._words_of)
                )
                following += 1
            else:
                shard = completed(self.folder, group[0], roots)
                if shard.has_older_words or np.isin(shard.numbers, list(self._added)).any():
                    shard = with_words(self.folder, name, shard, self.segments, self._words_of)
                    following += 1
                shards.append(shard)
        return shards, baseline

    def settle(self, shards: list[Shard], baseline: Baseline | None) -> None:
        """Replace all shards by those that `write` returned."""
        self._shards, self._baseline = shards, baseline
        self._waiting = waiting(self.form, baseline)
        self._waiting_words = WaitingWords()
        self._added = {}

    def with_words_anew(self, roots: Sequence[int], following: int) -> tuple[ShardFiles, ...]:
        """Write the words of committed shards that have rows below roots, given by number, again.

        Returns the files of all shards; new ones are named from `following` on.
        """
        files = []
        for shard in self._shards:
            if shard.columns is not None and np.isin(shard.columns.root_of_row, roots).any():
                shard = with_words(
                    self.folder, f"{following:06d}", shard, self.segments, self._words_of
                )
                following += 1
            files += [] if shard.file is None else [shard.file]
        return tuple(files)

    def _refuse(self, shard: Shard, position: int, score: float) -> None:
        """Raise Damaged for a score that no vector of a shard can have."""
        if shard.file is not None:
            path = faiss_path(self.folder, shard.file.name)
            raise Damaged(path, f"the score of vector {position} is {score}")

    def _gathered(self) -> Arrays:
        kinds = np.full(self._next, NO_ROW, dtype=np.uint8)
        backgrounds = np.full((self._next, 2), np.nan, dtype=np.float32)
        for shard in [*self._shards, self._waiting]:
            kinds[places(shard.numbers)] = shard.kinds
            backgrounds[places(shard.numbers)] = shard.backgrounds
        dead = ~self.segments.live
        kinds[dead], backgrounds[dead] = NO_ROW, np.nan
        live = np.flatnonzero(self.segments.live)
        size = int(live[-1]) + 1 if len(live) else 0
        return Arrays(kinds[:size], backgrounds[:size])

    @property
    def words(self) -> Words:
        """The words of all live rows."""
        stored = [shard.words for shard in self._shards if shard.words is not None]
        return Words([*stored, self._waiting_words], self.segments.live)

    @property
    def has_older_words(self) -> bool:
        """Whether `write` divides the words of some shards into tokens again."""
        return any(each.has_older_words for each in self._shards)

    def without_words(self) -> list[NDArray[np.int64]]:
        """Return the live rows of each shard whose files were not read for their words."""
        rows = (each.without_words for each in self._shards)
        return [each for each in rows if len(each)]

    def sources(self) -> list[Source]:
        """Return the columns of all live rows."""
        return [self._source(shard) for shard in [*self._shards, self._waiting] if shard.live]

    def _source(self, shard: Shard) -> Source:
        alive = shard.store.alive
        numbers = shard.numbers[alive]
        if shard.columns is None or shard.lines is None:
            return source_of(places(numbers), [self.segments[row] for row in numbers.tolist()])
        positions = slice(None) if alive.all() else np.flatnonzero(alive)
        return Source(places(numbers), positions, shard.columns, shard.lines.roots)

    def _located(
        self, rows: NDArray[np.int64]
    ) -> Iterator[tuple[Shard, NDArray[np.int64], NDArray[np.int64]]]:
        """Yield each shard that has any of the rows, with positions in it and in `rows`."""
        live = self.segments.live
        within = (rows >= 0) & (rows < len(live))
        gone = ~within | ~live[np.where(within, rows, 0)] if len(live) else ~within
        for row in rows[gone].tolist():
            raise QvsearchError(f"row {row} is not in the library {self.folder}")
        for shard in [*self._shards, self._waiting]:
            if len(shard.numbers):
                first, last = shard.numbers[0], shard.numbers[-1]
                at = np.flatnonzero((rows >= first) & (rows <= last))
                if len(at):
                    yield shard, np.searchsorted(shard.numbers, rows[at]), at


def form_of(manifest: Manifest) -> Form:
    """Return the form in which the vectors of a library are stored."""
    return Form(manifest.fingerprint.dim, manifest.store)


def places(numbers: NDArray[np.int64]) -> NDArray[np.int64] | slice:
    """Return an index of rows with these ascending numbers: a slice if there is no gap."""
    if len(numbers) and numbers[-1] - numbers[0] == len(numbers) - 1:
        return slice(int(numbers[0]), int(numbers[-1]) + 1)
    return numbers


def _open_shards(folder: Path, manifest: Manifest, starts: Sequence[int]) -> list[Shard]:
    """Return all shards, each numbered from its start."""
    form = form_of(manifest)

    def opened(file: ShardFiles, start: int) -> Shard:
        return open_shard(folder, file, form, start, manifest.roots)

    if sum(file.faiss.size for file in manifest.files) < MANY_BYTES:
        return list(map(opened, manifest.files, starts))
    # Checksums release the interpreter, so that several shards are verified at once.
    with ThreadPoolExecutor() as pool:
        return list(pool.map(opened, manifest.files, starts))
