"""An open library: its rows in memory, and the commits that write changes to disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.files import make_folder
from qvsearch.library.baseline import new_baseline
from qvsearch.library.columns import Columns
from qvsearch.library.creation import check_place
from qvsearch.library.failures import Failure, read_failures, write_failures
from qvsearch.library.lock import WriterLock
from qvsearch.library.manifest import (
    SEGMENTS,
    Damaged,
    Manifest,
    check_way,
    highest_name,
    is_committed,
    read_committed,
    unreadable,
    write_manifest,
)
from qvsearch.library.names import exists
from qvsearch.library.names import library_folder as library_folder
from qvsearch.library.pending import Pending, read_pending, write_pending
from qvsearch.library.rows import Arrays, Rows, Sample
from qvsearch.library.rules import NO_RULES, Rules
from qvsearch.library.sweeping import sweep
from qvsearch.types import Stored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qvsearch.library.baseline import Baseline
    from qvsearch.library.lazy_segments import Catalogue
    from qvsearch.library.shards import Shard
    from qvsearch.library.words import Words
    from qvsearch.types import Fingerprint, Segment, Vectors
    from qvsearch.vectors.store import FaissStore

RACES = 20  # commits during an opening after which it fails


class Library:
    """An open library: the state of the last commit, and the changes made here since.

    `segments` are the live rows by number, in order. Row numbers stay the same while this object
    lives, also over its own commits. They change only if `lock` loads a commit of another process.
    """

    _manifest: Manifest  # the last commit
    _roots: list[bytes | None]
    _rules: dict[bytes, Rules]
    _rows: Rows
    _columns: tuple[Arrays, Columns] | None

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self._lock = WriterLock(folder)
        self._load(manifest)

    @classmethod
    def create(
        cls, folder: str | Path, fingerprint: Fingerprint, store: Stored = Stored.FLOAT16
    ) -> Library:
        """Create an empty library; raises QvsearchError if the folder holds anything else."""
        folder = library_folder(folder)
        check_way(folder)
        make_folder(folder)
        with WriterLock(folder).held():
            check_place(folder)
            write_manifest(folder, Manifest(fingerprint, store=store))
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | Path) -> Library:
        """Open a library as it was last committed; nothing is changed or locked.

        A text is resolved as `--library` is: "main" is the default library. Raises QvsearchError
        if there is none, or if it is damaged or of a newer format.
        """
        folder = library_folder(folder)
        manifest = read_committed(folder)
        for _ in range(RACES):
            try:
                return cls(folder, manifest)
            except (FileNotFoundError, Damaged) as error:
                before, manifest = manifest, read_committed(folder)
                if before == manifest and isinstance(error, OSError):
                    raise unreadable(folder, error) from error
                if before == manifest:
                    raise
            except OSError as error:
                raise unreadable(folder, error) from error
        raise QvsearchError(f"{folder} changes too fast to be opened; try again")

    def make_anew(self, fingerprint: Fingerprint) -> None:
        """Replace the fingerprint; raises QvsearchError if anything was ever committed."""
        with self.lock():
            if self.generation:
                raise QvsearchError(
                    f"the fingerprint of {self.folder} is fixed by its first commit"
                )
            self._manifest = Manifest(fingerprint, store=self.store)
            write_manifest(self.folder, self._manifest)

    @staticmethod
    def exists(folder: str | Path) -> bool:
        """Return whether a library is there, damaged or not."""
        return exists(library_folder(folder))

    def __len__(self) -> int:
        """Return the number of live rows."""
        return len(self.segments)

    @property
    def fingerprint(self) -> Fingerprint:
        """Everything that determined the vectors."""
        return self._manifest.fingerprint

    @property
    def store(self) -> Stored:
        """The storage type of all vectors."""
        return self._manifest.store

    @property
    def segments(self) -> Catalogue:
        """The live rows by number, in order, each read on first access; do not mutate.

        Raises Damaged if a row's line is not that which was written.
        """
        return self._rows.segments

    @property
    def roots(self) -> list[bytes]:
        """The files and folders that the user indexed, in the order of adding."""
        return [root for root in self._roots if root is not None]

    @property
    def generation(self) -> int:
        """The number of commits up to the present state."""
        return self._manifest.generation

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the writers' lock, which every change needs; entering it again is free.

        Loads what other processes committed since the opening, and deletes what dead ones left
        behind. Raises LibraryLocked if another process holds it.
        """
        if self._lock.is_held:
            yield
            return
        with self._lock.held():
            manifest = read_committed(self.folder)
            if manifest != self._manifest:
                if self._changed:
                    raise QvsearchError(
                        f"another process changed the library {self.folder} in the meantime,"
                        " and nothing was written; run the command again"
                    )
                try:
                    self._load(manifest)
                except OSError as error:
                    raise unreadable(self.folder, error) from error
            # Taking the lock has synced the folder, so this manifest is on disk for good, and
            # files that only older ones refer to may go.
            sweep(self.folder, self._manifest)
            yield

    def add_root(self, root: bytes) -> None:
        """Add an absolute folder or file that rows will be below."""
        if root not in self._roots:
            self._roots.append(root)
            self._changed = True

    @property
    def rules(self) -> dict[bytes, Rules]:
        """The rules of each root that has any."""
        rules = {root: self._rules.get(root, NO_RULES) for root in self.roots}
        return {root: each for root, each in rules.items() if each != NO_RULES}

    def set_rules(self, root: bytes, rules: Rules) -> None:
        """Store the rules of a present or future root; its rows do not change."""
        before = self.rules
        self._rules[root] = rules
        self._changed = self._changed or self.rules != before

    def remove_roots(self, roots: Iterable[bytes]) -> None:
        """Remove roots and all their rows."""
        gone = set(roots)
        self.remove([row for row, each in self.segments.items() if each.item.root in gone])
        self._roots = [None if root in gone else root for root in self._roots]
        self._rules = {root: rules for root, rules in self._rules.items() if root not in gone}

    def by_location(self) -> dict[bytes, list[int]]:
        """Return the live rows of each absolute path."""
        places: dict[bytes, list[int]] = {}
        for row, segment in self.segments.items():
            places.setdefault(segment.item.location, []).append(row)
        return places

    def add(
        self, segments: Sequence[Segment], vectors: Vectors, copied: Sequence[int] = ()
    ) -> None:
        """Append a row for each segment, its vector in the same row of `vectors` (n, dim).

        With `copied` they have the words of these live rows, in order; otherwise their own. They
        can be searched at once, and are on disk after the next commit. Raises QvsearchError, and
        adds nothing, if a vector is not finite and of length 1, or a root is unknown.
        """
        for root in {segment.item.root for segment in segments} - set(self.roots):
            raise QvsearchError(f"{os.fsdecode(root)} is not a root of the library {self.folder}")
        self._rows.add(segments, vectors, copied)
        self._changed = True

    def add_words(self, texts: Mapping[int, str], reader: str) -> None:
        """Add text to committed rows, by number, all of which a reader has looked at.

        `reader` is its name, e.g. "ocr"; an empty text says that there was none. The next commit
        writes all words of the shards of these rows again. Rows that are not live are left out.
        """
        self._rows.add_words(texts, reader)
        self._changed = True

    def without_words(self) -> list[NDArray[np.int64]]:
        """Return the live rows of each shard whose files were not read for their words."""
        return self._rows.without_words()

    @property
    def has_older_words(self) -> bool:
        """Whether a commit divides the words of some rows anew."""
        return self._rows.has_older_words

    def remove(self, rows: Iterable[int]) -> None:
        """Remove rows; on disk they are dead after the next commit."""
        self._rows.remove(rows)
        self._changed = True

    @property
    def size(self) -> int:
        """The highest live row number + 1: the length of the arrays below."""
        return len(self.kinds)

    def scores(self, query: Vectors) -> Vectors:
        """Return the cosine (size,) of each row with one unit query (dim,), -inf for dead rows.

        Raises Damaged for a stored vector whose score is not a cosine.
        """
        return self._rows.scores(query)

    def guesses(self, query: Vectors) -> Vectors:
        """Return estimates of `scores`, much faster in a large library; 0 for dead rows."""
        return self._rows.guesses(query)

    @property
    def has_signs(self) -> bool:
        """Whether `guesses` are estimates for some rows; otherwise they are exact scores."""
        return self._rows.has_signs

    def pick(self, rows: NDArray[np.int64]) -> FaissStore:
        """Return a store of the vectors of live rows, in order."""
        return self._rows.pick(rows)

    @property
    def sample(self) -> Sample:
        """Some rows of each kind, with their vectors, that represent all."""
        return self._rows.sample

    @property
    def kinds(self) -> NDArray[np.uint8]:
        """The code of each row's kind (size,), NO_ROW for dead rows; do not mutate."""
        return self._rows.arrays.kinds

    @property
    def by_kind(self) -> list[NDArray[np.int64]]:
        """The live rows of each kind, ascending; do not mutate."""
        return self._rows.arrays.by_kind

    @property
    def columns(self) -> Columns:
        """The metadata of the rows as arrays (size,), for filters; do not mutate."""
        arrays = self._rows.arrays  # another object after each change of rows
        if self._columns is None or self._columns[0] is not arrays:
            self._columns = (arrays, Columns(self._rows.sources(), self.size))
        return self._columns[1]

    @property
    def words(self) -> Words:
        """The words of the rows."""
        return self._rows.words

    @property
    def backgrounds(self) -> Vectors:
        """Mean and standard deviation (size, 2) of each row's cosines with the baseline, or NaN."""
        return self._rows.arrays.backgrounds

    @property
    def baseline(self) -> Vectors | None:
        """The vectors (m, dim) of the generic queries, if the library has them."""
        return None if self._rows.baseline is None else self._rows.baseline.vectors

    def set_baseline(self, vectors: Vectors) -> None:
        """Compare all present and later rows with generic queries (m, dim), at most 64.

        The baseline is on disk after the next commit. Raises QvsearchError for an invalid baseline.
        """
        baseline = new_baseline(vectors, self.fingerprint.dim)
        if self._rows.baseline is None or self._rows.baseline.sha256 != baseline.sha256:
            self._rows.set_baseline(baseline)
            self._changed = True

    def vectors(self, rows: Iterable[int]) -> Vectors:
        """Return the stored vectors of live rows (len(rows), dim), float32."""
        return self._rows.vectors(rows)

    def commit(self) -> None:
        """Write all changes to disk, in one step.

        The cost is that of the added rows; now and then small shards are merged and dead rows
        dropped. If it raises QvsearchError the last commit stays. If only the last sync failed,
        the new commit is there but may not survive a power cut.
        """
        if not self._changed and not self.has_older_words:
            return
        with self.lock():
            manifest = None
            try:
                make_folder(self.folder / SEGMENTS)
                shards, baseline = self._rows.write(self._roots, self._manifest.next)
                manifest = self._following(shards, baseline)
                write_manifest(self.folder, manifest)
            except BaseException as error:
                if manifest is not None and is_committed(self.folder, manifest):
                    # It may not last: no later commit may use its names again, and the files of
                    # the one before stay.
                    self._rows.settle(shards, baseline)
                    self._manifest = manifest
                else:
                    sweep(self.folder, self._manifest)
                if isinstance(error, OSError):
                    raise unreadable(self.folder, error) from error
                raise
            self._rows.settle(shards, baseline)
            self._manifest, self._changed = manifest, False
            sweep(self.folder, manifest)

    def load_failures(self) -> list[Failure]:
        """Return the list of files that could not be indexed."""
        return read_failures(self.folder)

    def save_failures(self, failures: Iterable[Failure]) -> None:
        """Replace the list of files that could not be indexed, at once."""
        with self.lock():
            write_failures(self.folder, failures)

    def load_pending(self) -> list[Pending]:
        """Return the unfinished indexing runs that are on disk now."""
        return read_pending(self.folder)

    def save_pending(self, runs: Iterable[Pending]) -> None:
        """Replace the list of unfinished indexing runs."""
        with self.lock():
            write_pending(self.folder, runs)

    def _load(self, manifest: Manifest) -> None:
        """Load the state of a manifest; OSErrors pass through."""
        self._rows = Rows.open(self.folder, manifest)
        self._manifest, self._roots = manifest, list(manifest.roots)
        self._rules = dict(manifest.rules)
        self._columns = None
        self._changed = False

    def _following(self, shards: Iterable[Shard], baseline: Baseline | None) -> Manifest:
        """Return the manifest of the next commit."""
        files = tuple(
            replace(each.file, dead=each.dead) for each in shards if each.file is not None
        )
        baseline_file = None if baseline is None else baseline.file
        return Manifest(
            self.fingerprint,
            tuple(self._roots),
            files,
            max(self._manifest.next, highest_name(files, baseline_file) + 1),
            self._manifest.generation + 1,
            baseline_file,
            self.store,
            self.rules,
        )
