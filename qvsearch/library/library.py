"""A library: segments on disk under one manifest, searched from memory, changed by commits.

It knows rows, vectors and files of its own; how vectors are made and where media lie is for others.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.files import TEMPORARY, make_folder
from qvsearch.library.baseline import new_bank
from qvsearch.library.columns import Columns
from qvsearch.library.failures import FAILURES, Failure, read_failures, write_failures
from qvsearch.library.lock import HOLDER, LOCK, WriterLock
from qvsearch.library.manifest import (
    COPY,
    SEGMENTS,
    Manifest,
    check_way,
    exists,
    read_committed,
    sweep,
    unreadable,
    write_manifest,
)
from qvsearch.library.names import default_folder, home
from qvsearch.library.pending import PENDING, Pending, read_pending, write_pending
from qvsearch.library.rows import Arrays, Rows, Sample
from qvsearch.library.rules import NO_RULES, Rules
from qvsearch.types import Stored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qvsearch.library.baseline import Bank
    from qvsearch.library.lazy_segments import Catalogue
    from qvsearch.library.shards import Shard
    from qvsearch.types import Fingerprint, Segment, Vectors
    from qvsearch.vectors.store import FaissStore

RACES = 20  # commits that may overtake an opening before it gives up
OURS = {LOCK, HOLDER, COPY, SEGMENTS, FAILURES, PENDING}


def library_folder(name: str | None) -> Path:
    """Return the folder of a library that is named, or of $QVSEARCH_LIBRARY, or of the default.

    A bare name is one in the user's data folder, or else a folder of that name that exists here.
    Raises QvsearchError for an empty name.
    """
    if name == "":
        raise QvsearchError("the name of the library is empty; give -l NAME, or leave it out")
    name = name or os.environ.get("QVSEARCH_LIBRARY")
    if not name:
        return default_folder()
    here = _absolute(name)
    separators = [os.sep, os.altsep or os.sep]
    named = any(separator in name for separator in separators) or name.startswith("~")
    if named or (here.is_dir() and not Library.exists(home() / name)):
        return here
    return home() / name


def check_place(folder: Path) -> None:
    """Raise QvsearchError where no new library can be made; nothing is written."""
    if exists(folder):
        raise QvsearchError(f"{folder} is a library already")
    check_way(folder)
    nearest = next(each for each in (folder, *folder.parents) if each.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise QvsearchError(f"cannot make the library {folder}: {nearest} may not be written to")
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        if entry.name not in OURS and not entry.name.endswith(TEMPORARY):
            raise QvsearchError(
                f"{folder} is no library and holds {entry.name}; give --library another name,"
                " or a new or empty folder"
            )


class Library:
    """An open library: what was committed when it was opened, and what was changed here since.

    `segments` are the live rows by number, in order. Numbers hold while this object lives, over
    its own commits too; only where `lock` finds that another process has committed, they are new.
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
        """Make an empty library; raises QvsearchError if the folder holds anything else.

        A bare name is read as `--library` reads it.
        """
        folder = _place(folder)
        check_way(folder)
        make_folder(folder)
        with WriterLock(folder).held():
            check_place(folder)
            write_manifest(folder, Manifest(fingerprint, store=store))
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | Path) -> Library:
        """Open a library as it was last committed, without changing or locking anything.

        A bare name is read as `--library` reads it: "main" is the default library. Raises
        QvsearchError if there is none, or if it is damaged or of a newer format.
        """
        folder = _place(folder)
        manifest = read_committed(folder)
        for _ in range(RACES):
            try:
                return cls(folder, manifest)
            except FileNotFoundError as error:
                before, manifest = manifest, read_committed(folder)
                if before == manifest:
                    raise unreadable(folder, error) from error
            except OSError as error:
                raise unreadable(folder, error) from error
        raise QvsearchError(f"{folder} changes faster than it can be opened; try again")

    def make_anew(self, fingerprint: Fingerprint) -> None:
        """Take another fingerprint; raises QvsearchError where anything was ever committed."""
        with self.lock():
            if self.generation:
                raise QvsearchError(f"{self.folder} keeps the fingerprint that its rows have")
            self._manifest = Manifest(fingerprint, store=self.store)
            write_manifest(self.folder, self._manifest)

    @staticmethod
    def exists(folder: str | Path) -> bool:
        """Whether a library is there, damaged or not."""
        return exists(_place(folder))

    def __len__(self) -> int:
        """Return the number of live rows."""
        return len(self.segments)

    @property
    def fingerprint(self) -> Fingerprint:
        """How all vectors were made."""
        return self._manifest.fingerprint

    @property
    def store(self) -> Stored:
        """What the numbers of all vectors are here."""
        return self._manifest.store

    @property
    def segments(self) -> Catalogue:
        """The live rows by number, in order; not to be changed. Each is read when it is asked for.

        Raises Damaged where a row's line is not what was written.
        """
        return self._rows.segments

    @property
    def roots(self) -> list[bytes]:
        """What the user indexed, in the order of adding."""
        return [root for root in self._roots if root is not None]

    @property
    def generation(self) -> int:
        """How many commits led to the state that was opened or committed last."""
        return self._manifest.generation

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other writers out; needed for changes, and free where it is held already.

        What others committed since the opening is loaded first, what those that died left behind
        is deleted. Raises LibraryLocked.
        """
        if self._lock.is_held:
            yield
            return
        with self._lock.held():
            manifest = read_committed(self.folder)
            if manifest != self._manifest:
                if self._changed:
                    raise QvsearchError(
                        f"the library {self.folder} was changed by another process since it was"
                        " opened; nothing of this one was written, run it again"
                    )
                try:
                    self._load(manifest)
                except OSError as error:
                    raise unreadable(self.folder, error) from error
            # Taking the lock has synced the folder, so that the manifest lasts that needs no other.
            sweep(self.folder, self._manifest)
            yield

    def add_root(self, root: bytes) -> None:
        """Take in a folder or file, absolute, that rows will be below."""
        if root not in self._roots:
            self._roots.append(root)
            self._changed = True

    @property
    def rules(self) -> dict[bytes, Rules]:
        """Which files are wanted of each root that has any rules."""
        found = {root: self._rules.get(root, NO_RULES) for root in self.roots}
        return {root: rules for root, rules in found.items() if rules != NO_RULES}

    @property
    def waiting_rules(self) -> dict[bytes, Rules]:
        """Which files an unfinished run wants of folders that are no roots yet."""
        found = {root: rules for run in self.load_pending() for root, rules in run.rules.items()}
        return {root: rules for root, rules in found.items() if root not in self._roots}

    def set_rules(self, root: bytes, rules: Rules) -> None:
        """Remember which files of a root are wanted, from when it is one; rows stay as they are."""
        before = self.rules
        self._rules[root] = rules
        self._changed = self._changed or self.rules != before

    def remove_roots(self, roots: Iterable[bytes]) -> None:
        """Forget roots and all their rows."""
        gone = set(roots)
        self.remove([row for row, found in self.segments.items() if found.item.root in gone])
        self._roots = [None if root in gone else root for root in self._roots]
        self._rules = {root: rules for root, rules in self._rules.items() if root not in gone}
        self._changed = True

    def by_location(self) -> dict[bytes, list[int]]:
        """Return the live rows of each absolute path."""
        places: dict[bytes, list[int]] = {}
        for row, segment in self.segments.items():
            places.setdefault(segment.item.location, []).append(row)
        return places

    def add(self, segments: Sequence[Segment], vectors: Vectors) -> None:
        """Append a row for each segment, its vector in the same row of `vectors` (n, dim).

        They can be found at once and are on the disk after the next commit. Raises QvsearchError,
        and adds nothing, where a vector is not finite and of length 1 or a root is not known.
        """
        for root in {segment.item.root for segment in segments} - set(self.roots):
            raise QvsearchError(f"{os.fsdecode(root)} is no root of the library {self.folder}")
        self._rows.add(segments, vectors)
        self._changed = True

    def remove(self, rows: Iterable[int]) -> None:
        """Forget rows; on the disk they are dead after the next commit."""
        self._rows.remove(rows)
        self._changed = True

    @property
    def size(self) -> int:
        """The highest live row number + 1: the length of the arrays below."""
        return len(self.kinds)

    def scores(self, query: Vectors) -> Vectors:
        """Return the cosine (size,) of each row with one unit query (dim,), -inf where none lives.

        Raises Damaged where a stored vector gives what is no cosine.
        """
        return self._rows.scores(query)

    def guesses(self, query: Vectors) -> Vectors:
        """Return about what `scores` does, much faster in a large library; 0 where no row lives."""
        return self._rows.guesses(query)

    @property
    def has_signs(self) -> bool:
        """Whether `guesses` differ from `scores`, for some rows at least."""
        return self._rows.has_signs

    def pick(self, rows: NDArray[np.int64]) -> FaissStore:
        """Return a store of the vectors of live rows, in order."""
        return self._rows.pick(rows)

    @property
    def sample(self) -> Sample:
        """Some rows of each kind, with their vectors, that stand for all of it."""
        return self._rows.sample

    @property
    def kinds(self) -> NDArray[np.uint8]:
        """Each row's place in `Kind` (size,), NO_ROW where none lives; not to be changed."""
        return self._rows.arrays.kinds

    @property
    def by_kind(self) -> list[NDArray[np.int64]]:
        """The live rows of each kind, ascending; not to be changed."""
        return self._rows.arrays.by_kind

    @property
    def columns(self) -> Columns:
        """What the rows say of themselves, arrays (size,) for filters; not to be changed."""
        arrays = self._rows.arrays  # made anew whenever rows come or go
        if self._columns is None or self._columns[0] is not arrays:
            self._columns = (arrays, Columns(self._rows.sources(), self.size))
        return self._columns[1]

    @property
    def backgrounds(self) -> Vectors:
        """Mean and standard deviation of each row's cosines with the bank (size, 2), float32.

        NaN where there was no bank; not to be changed.
        """
        return self._rows.arrays.backgrounds

    @property
    def bank(self) -> Vectors | None:
        """The vectors (m, dim) of the generic queries, where the library has them."""
        return None if self._rows.bank is None else self._rows.bank.vectors

    def set_bank(self, vectors: Vectors) -> None:
        """Compare all rows, and those to come, with generic queries (m, dim), at most 64.

        It is on the disk after the next commit. Raises QvsearchError for what is no bank.
        """
        bank = new_bank(vectors, self.fingerprint.dim)
        if self._rows.bank is None or self._rows.bank.sha256 != bank.sha256:
            self._rows.set_bank(bank)
            self._changed = True

    def vectors(self, rows: Iterable[int]) -> Vectors:
        """Return the stored vectors of live rows (len(rows), dim), float32."""
        return self._rows.vectors(rows)

    def commit(self) -> None:
        """Put all changes on the disk, in one step.

        Costs what was added: now and then small segment files are merged and dead rows dropped.
        Raises QvsearchError, and the last commit stays, where it cannot be written; where only the
        last sync failed the new one is there, and may not last.
        """
        if not self._changed:
            return
        with self.lock():
            manifest = None
            try:
                make_folder(self.folder / SEGMENTS)
                shards, bank = self._rows.write(self._roots, self._manifest.next)
                manifest = self._following(shards, bank)
                write_manifest(self.folder, manifest)
            except BaseException as error:
                if manifest is not None and self._is_on_disk(manifest):
                    # Only whether it lasts is open: no later commit may take its names again, and
                    # the files of the one before stay.
                    self._rows.settle(shards, bank)
                    self._manifest = manifest
                else:
                    sweep(self.folder, self._manifest)
                if isinstance(error, OSError):
                    raise unreadable(self.folder, error) from error
                raise
            self._rows.settle(shards, bank)
            self._manifest, self._changed = manifest, False
            sweep(self.folder, manifest)

    def _is_on_disk(self, manifest: Manifest) -> bool:
        try:
            return read_committed(self.folder) == manifest
        except QvsearchError:
            return False

    def load_failures(self) -> list[Failure]:
        """Return the files that could not be indexed."""
        return read_failures(self.folder)

    def save_failures(self, failures: Iterable[Failure]) -> None:
        """Replace the list of files that could not be indexed, at once."""
        with self.lock():
            write_failures(self.folder, failures)

    def load_pending(self) -> list[Pending]:
        """Return the indexing runs that are not finished, as they are on the disk now."""
        return read_pending(self.folder)

    def save_pending(self, runs: Iterable[Pending]) -> None:
        """Replace the list of indexing runs that are not finished."""
        with self.lock():
            write_pending(self.folder, runs)

    def _load(self, manifest: Manifest) -> None:
        """Take the state of a manifest; OSErrors pass through."""
        self._rows = Rows.open(self.folder, manifest)
        self._manifest, self._roots = manifest, list(manifest.roots)
        self._rules = dict(manifest.rules)
        self._columns = None
        self._changed = False

    def _following(self, shards: Iterable[Shard], bank: Bank | None) -> Manifest:
        """Return the manifest of the next commit."""
        files = tuple(
            replace(each.file, dead=each.dead) for each in shards if each.file is not None
        )
        bank_file = None if bank is None else bank.file
        names = [file.name for file in (*files, bank_file) if file is not None]
        return Manifest(
            self.fingerprint,
            tuple(self._roots),
            files,
            max([self._manifest.next, *(int(name) + 1 for name in names)]),
            self._manifest.generation + 1,
            bank_file,
            self.store,
            self.rules,
        )


def _place(folder: str | Path) -> Path:
    """Return the folder of a library, which text names as `--library` does."""
    return library_folder(folder) if isinstance(folder, str) else _absolute(folder)


def _absolute(folder: str | Path) -> Path:
    return Path(folder).expanduser().absolute()
