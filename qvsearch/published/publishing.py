"""Publishes a library: brings its rows in a shared table up to date, commit by commit."""

from __future__ import annotations

import platform
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from shlex import quote
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.library.library import Library
from qvsearch.library.lock import PublisherLock
from qvsearch.library.manifest import read_committed
from qvsearch.library.names import default_folder
from qvsearch.library.publication import read_publication, write_publication
from qvsearch.published.differences import (
    Differences,
    differences,
    keep_marks,
    marks_in,
    read_marks,
)
from qvsearch.published.engine import Table
from qvsearch.published.local_rows import (
    LocalRows,
    batches,
    local_rows,
    rows_to_publish,
    rows_without_vectors,
)
from qvsearch.published.mapped_roots import keep_own_roots
from qvsearch.published.publishers import Ledger, Publisher, check_name, list_publishers
from qvsearch.published.schema import FORM, About, arrow_rows, later_columns
from qvsearch.published.sql import lists_of, quoted
from qvsearch.published.thumbnails import Pictures, drop_thumbnails, publish_thumbnails
from qvsearch.published.upkeep import clean_up, keep_up

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from qvsearch.library.publication import Publication
    from qvsearch.published.address import Address

ROWS_AT_ONCE = 8192  # of a commit: a killed run repeats at most so many
RACES = 20  # commits of `index` during an opening


@dataclass(frozen=True, slots=True)
class Progress:
    """What a run committed so far, and what it has to commit in all: rows, then thumbnails.

    `upkeep` is true if it builds an index or merges files now.
    """

    rows: int
    of: int
    files: int
    version: int
    pictures: int = 0
    of_pictures: int = 0
    upkeep: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did: numbers of files, and rows.

    `files` of the library are `added`, `changed`, `unchanged` or, if it was `interrupted`, `left`.
    Files with other words are `changed`, though their vectors are not sent.
    `pictures` are None unless thumbnails were asked for.
    """

    name: str
    files: int
    added: int
    changed: int
    unchanged: int
    left: int
    removed: int
    rows: int
    seconds: float
    interrupted: bool = False
    pictures: Pictures | None = None


def publish(
    folder: Path,
    address: Address,
    name: str | None,
    report: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    *,
    thumbnails: bool = False,
) -> Outcome:
    """Make a table have exactly the rows of a library under its name.

    The table is created if it is not there. Each commit has whole files, in the order: new ones,
    changed ones, those with other words, removed ones. Raises QvsearchError, e.g. for a table of
    another model; commits before that stay, and the next run goes on from there.
    """
    started = time.monotonic()
    with PublisherLock(folder).held():
        library, roots = _opened(folder)
        publication = read_publication(folder).with_roots(roots)
        if name is None:
            name = publication.names.get(str(address)) or default_name(folder)
        name = check_name(name)
        table = Table(address, create=About(library.fingerprint, library.baseline))
        check_space(library, table)
        ledger = Ledger(table)
        publication = _remembered(folder, publication, address, name, ledger)
        names = {number: f"{name}/{label}" for number, label in publication.roots.items()}
        publisher = Publisher(name, publication.owner, run=secrets.token_hex(8))
        done = _Run(library, names, table, ledger, publisher, report, stop).run()
        keep_own_roots(
            address, {names[n]: root for n, root in enumerate(roots) if root is not None}
        )
        if thumbnails and not done.interrupted:
            done = _with_thumbnails(library, table, done, report, stop)
        elif done.changed or done.removed:
            drop_thumbnails(library, table, name)
        if not done.interrupted:
            progress = Progress(done.rows, done.rows, done.added + done.changed, table.version)
            keep_up(table, ledger, lambda: report(replace(progress, upkeep=True)))
            clean_up(table, ledger)
        return replace(done, seconds=time.monotonic() - started)


def published_name(folder: Path, address: Address, name: str | None) -> str:
    """Return the given name of a publisher, else that of a library in a table.

    Raises QvsearchError for an invalid name, and if the library was not published there.
    """
    if name is not None:
        return check_name(name)
    name = read_publication(folder).names.get(str(address))
    if name is None:
        raise QvsearchError(
            f"{folder} was not published to {address}; name the publisher with --as NAME"
        )
    return name


def unpublish(address: Address, name: str) -> Outcome:
    """Delete all rows of a publisher, in one commit.

    Raises QvsearchError if there is no such publisher.
    """
    started = time.monotonic()
    table = Table(address)
    ledger = Ledger(table)
    where = f"publisher = {quoted(name)}"
    rows, before = table.count(where), ledger.find(name)
    if rows:
        table.delete(where)
    drop_thumbnails(None, table, name)
    if not ledger.release(name) and not rows:
        there = ", ".join(each.name for each in list_publishers(table)) or "none"
        raise QvsearchError(f"{address} has no publisher {name}; there are: {there}")
    files = before.files if before is not None else 0
    return Outcome(name, 0, 0, 0, 0, 0, files, rows, time.monotonic() - started)


def default_name(folder: Path) -> str:
    """Return the name of the computer, with that of the library if it is not the default one."""
    host = platform.node().split(".")[0] or "computer"
    name = host if folder == default_folder() else f"{host}-{folder.name}"
    return re.sub(r"[^\w.-]", "-", name).strip("-.") or "computer"


def check_space(library: Library, table: Table) -> None:
    """Raise QvsearchError unless the vectors of a library and of a table can be compared."""
    own, other = library.fingerprint.space, table.about.fingerprint.space
    for part in ("model", "revision", "dim", "precision", "instruction", "prompt_layout"):
        mine, theirs = getattr(own, part), getattr(other, part)
        if mine != theirs:
            raise QvsearchError(
                f"the {part.replace('_', ' ')} of the library is {mine}, and of {table.address}"
                f" {theirs}; publish to another table, or index with the table's model"
            )
    if own != other:
        raise QvsearchError(
            f"the library was indexed by another version of qvsearch than {table.address};"
            " publish to another table"
        )


def _opened(folder: Path) -> tuple[Library, tuple[bytes | None, ...]]:
    """Return a library and its roots by number, as of one commit."""
    for _ in range(RACES):
        library, manifest = Library.open(folder), read_committed(folder)
        if library.generation == manifest.generation:
            return library, manifest.roots
    raise QvsearchError(f"{folder} changes too fast to be published; try again")


def _remembered(
    folder: Path, publication: Publication, address: Address, name: str, ledger: Ledger
) -> Publication:
    """Claim a name and store it with the library; raises QvsearchError if it has another one."""
    before = publication.names.get(str(address))
    if before not in (None, name) and ledger.find(before) is not None:
        raise QvsearchError(
            f"this library is published to {address} as {before}; remove its rows first with:"
            f" qvsearch publish {quote(str(address))} --remove --as {quote(before)}"
        )
    # The owner is stored first: a claim by an owner that nobody knows could not be taken back.
    write_publication(folder, publication)
    ledger.claim(name, publication.owner)
    publication = replace(publication, names={**publication.names, str(address): name})
    write_publication(folder, publication)
    return publication


def _with_thumbnails(
    library: Library,
    table: Table,
    done: Outcome,
    report: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> Outcome:
    """Publish thumbnails, and return the outcome of the run with them."""
    progress = Progress(done.rows, done.rows, done.added + done.changed, table.version)

    def sent(count: int, of: int) -> None:
        report(replace(progress, pictures=count, of_pictures=of))

    pictures = publish_thumbnails(library, table, done.name, sent, stop)
    return replace(done, pictures=pictures, interrupted=stop())


class _Run:
    """One run of `publish`, with what its steps share."""

    def __init__(
        self,
        library: Library,
        names: Mapping[int, str],
        table: Table,
        ledger: Ledger,
        publisher: Publisher,
        report: Callable[[Progress], None],
        stop: Callable[[], bool],
    ) -> None:
        """`names` are those of roots, by number."""
        self._library, self._names = library, names
        self._table, self._ledger, self._state = table, ledger, publisher
        self._report, self._stop = report, stop
        self._rows = self._files = self._of = 0

    def run(self) -> Outcome:
        """Compare, and publish what differs."""
        name = self._state.name
        before = self._ledger.find(name)
        token = before.token if before is not None and self._is_whole(before) else ""
        if before is not None and token and self._is_published(before):
            return Outcome(name, before.files, 0, 0, before.files, 0, 0, 0, 0.0)
        if before is not None:
            self._state = replace(before, owner=self._state.owner, run=self._state.run, token="")
        local = local_rows(self._library, self._names)
        # Readers need the names of roots before the first run is finished.
        roots = {**dict.fromkeys(local.files_of_roots(), 0), **self._state.roots}
        self._state = replace(self._state, roots=roots)
        # Until the run is acknowledged, only the table itself tells what it has.
        self._ledger.write(self._state)
        there = read_marks(token) or marks_in(self._table, self._own)
        differ = differences(local.marks, there)
        sent = [*differ.added, *differ.changed, *differ.reworded]
        self._of = int(np.isin(local.marks.items, sent).sum())
        added, changed, removed = self._write(local, differ)
        left = len(sent) - added - changed
        whole = not left and removed == len(differ.removed)
        files = len(np.unique(local.marks.items))
        if whole:
            if self._count() != len(local.rows):
                # A server that answered too late may have committed twice, or rows were changed
                # by another program. What the table really has decides.
                self._write(local, differences(local.marks, marks_in(self._table, self._own)))
            self._finish(local, files)
        return Outcome(
            name, files, added, changed, differ.unchanged, left, removed, self._rows, 0.0, not whole
        )

    def _is_published(self, before: Publisher) -> bool:
        return before.generation == self._library.generation and before.owner == self._state.owner

    def _is_whole(self, before: Publisher) -> bool:
        """Return whether the table has what was acknowledged, in the present form."""
        present = f"{self._own} AND form = {FORM}"
        return before.rows == self._count() == self._table.count(present)

    @property
    def _own(self) -> str:
        """The SQL condition of this publisher's rows."""
        return f"publisher = {quoted(self._state.name)}"

    def _count(self) -> int:
        """Return how many rows the table has of this publisher."""
        return self._table.count(self._own)

    def _write(self, local: LocalRows, differ: Differences) -> tuple[int, int, int]:
        """Commit all differences; return the files added, changed and removed."""
        if len(differ.doubled):
            self._delete(differ.doubled)
        added = changed = 0
        for places in batches(local, differ.added, ROWS_AT_ONCE):
            if self._stop():
                return added, changed, 0
            added += self._commit(local, places, None)
        for places in batches(local, differ.changed, ROWS_AT_ONCE):
            if self._stop():
                return added, changed, 0
            changed += self._commit(local, places, differ.shrunk)
        for places in batches(local, differ.reworded, ROWS_AT_ONCE):
            if self._stop():
                return added, changed, 0
            changed += self._reword(local, places)
        if self._stop():
            return added, changed, 0
        self._delete(differ.removed)
        return added, changed, len(differ.removed)

    def _commit(
        self, local: LocalRows, places: NDArray[np.int64], shrunk: NDArray[np.int64] | None
    ) -> int:
        """Commit whole files; return how many."""
        about = self._table.about
        rows = rows_to_publish(self._library, local, places, self._state.name, about.baseline)
        data = arrow_rows(rows, about.fingerprint.dim)
        self._check_run()
        items = np.unique(local.marks.items[places])
        if shrunk is None:
            self._table.append(data)
        else:
            self._table.replace(data, items[np.isin(items, shrunk)].tolist())
        return self._committed(len(rows), len(items))

    def _reword(self, local: LocalRows, places: NDArray[np.int64]) -> int:
        """Commit the words of whole files, and all that older versions lack; return how many."""
        rows = list(rows_without_vectors(self._library, local, places, self._state.name))
        data = later_columns(rows)
        self._check_run()
        self._table.complete(data)
        return self._committed(len(rows), len(np.unique(local.marks.items[places])))

    def _committed(self, rows: int, files: int) -> int:
        """Report a commit; return its number of files."""
        self._rows += rows
        self._files += files
        self._report(Progress(self._rows, self._of, self._files, self._table.version))
        return files

    def _delete(self, items: NDArray[np.int64]) -> None:
        for where in lists_of("item", map(str, items.tolist())):
            self._check_run()
            self._table.delete(f"{self._own} AND {where}")

    def _check_run(self) -> None:
        """Raise QvsearchError if another run publishes under this name now."""
        if not self._ledger.is_running(self._state):
            raise QvsearchError(
                f"a copy of this library is being published as {self._state.name} now;"
                " publish one of them with another name: --as NAME"
            )

    def _finish(self, local: LocalRows, files: int) -> None:
        """Acknowledge that the table has exactly the rows of the library."""
        done = replace(
            self._state,
            token=secrets.token_hex(8),
            generation=self._library.generation,
            files=files,
            rows=len(local.rows),
            published=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            roots=local.files_of_roots(),
        )
        keep_marks(done.token, local.marks)
        self._check_run()
        self._ledger.write(done)
