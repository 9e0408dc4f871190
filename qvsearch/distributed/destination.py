"""The published table of a run: the rows that it has of a folder, and those that it gets."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.library.sidecar import encode_segment
from qvsearch.library.tokens import tokens
from qvsearch.library.words import searchable
from qvsearch.published.differences import doubled_items, marks_in
from qvsearch.published.engine import Table
from qvsearch.published.publishers import Ledger, Publisher
from qvsearch.published.schema import READ, Row, arrow_rows, item_of, published
from qvsearch.published.sql import lists_of, quoted
from qvsearch.published.upkeep import clean_up, keep_up
from qvsearch.types import Skipped
from qvsearch.vectors.store import check_unit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qvsearch.indexing.batching import Embedded
    from qvsearch.types import Fingerprint, Item, Segment, Vectors

UPKEEP_COMMITS = 64


class Destination:
    """The rows of one publisher in a table, whose only root is a folder or a bucket.

    Raises QvsearchError if the name is another publisher's.
    """

    def __init__(self, table: Table, name: str, root: bytes) -> None:
        self._table, self.root = table, root
        self._label = f"{name}/{label_of(root)}"
        self._ledger = Ledger(table)
        # whoever indexes the same folder, from any node, goes on with what is there
        owner = f"ray-{hashlib.blake2b(root, digest_size=16).hexdigest()}"
        self._ledger.claim(name, owner)
        before = self._ledger.find(name) or Publisher(name, owner)
        # readers need the name of the root before the first run is finished
        roots = {self._label: 0, **before.roots}
        self._state = replace(before, run=secrets.token_hex(8), token="", roots=roots)
        self._ledger.write(self._state)
        self._counts: Counter[int] = Counter()  # rows of each file in the table
        self._new: list[Row] = []
        self._changed: list[Row] = []
        self._commits = 0

    @property
    def fingerprint(self) -> Fingerprint:
        """What decides the vectors of the table."""
        return self._table.about.fingerprint

    @property
    def waiting(self) -> int:
        """The number of rows that wait for the next commit."""
        return len(self._new) + len(self._changed)

    def known(self) -> dict[bytes, Segment]:
        """Return a segment of each file of this publisher, by its location here.

        Files with a row that is there twice are deleted first, and so are not known: a server that
        answered too late may have committed twice.
        """
        where = f"publisher = {quoted(self._state.name)} AND root = {quoted(self._label)}"
        marks = marks_in(self._table, where)
        doubled = doubled_items(marks)
        self._delete(doubled.tolist())
        self._counts = Counter(marks.items[~np.isin(marks.items, doubled)].tolist())
        first = self._table.scan(READ, f"{where} AND ordinal = 0")
        segments = (row.segment for row in published(first, str(self._table.address)))
        here = (replace(each, item=replace(each.item, root=self.root)) for each in segments)
        return {each.item.location: each for each in here}

    def add(self, file: Embedded) -> Embedded | Skipped:
        """Have the next commit put rows in the place of those that the file had; return the file.

        Its vectors must be unit vectors: Skipped otherwise.
        """
        about = self._table.about
        try:
            vectors = check_unit(file.vectors, about.fingerprint.dim)
        except QvsearchError as error:
            return Skipped(file.item.location, str(error))
        backgrounds = np.full((len(vectors), 2), np.nan)
        if about.baseline is not None:
            scores = vectors @ about.baseline.T
            backgrounds = np.stack([scores.mean(axis=1), scores.std(axis=1)], axis=1)
        found = [tokens(each) for each in searchable(file.segments)]
        is_known = item_of(self._label, file.item.path) in self._counts
        rows = self._changed if is_known else self._new
        rows += [
            Row(
                publisher=self._state.name,
                root=self._label,
                segment=segment,
                ordinal=ordinal,
                digest=_digest(segment, vector),
                vector=vector,
                background=(float(mean), float(spread)),
                tokens=" ".join(words),
                length=len(words),
            )
            for ordinal, (segment, vector, (mean, spread), words) in enumerate(
                zip(file.segments, vectors, backgrounds.tolist(), found, strict=True)
            )
        ]
        return file

    def commit(self) -> int:
        """Write the waiting rows; return the number of their files."""
        files = 0
        for rows, is_new in ((self._new, True), (self._changed, False)):
            if not rows:
                continue
            now = Counter(item_of(self._label, row.segment.item.path) for row in rows)
            shrunk = [item for item, count in now.items() if count < self._counts[item]]
            data = arrow_rows(rows, self.fingerprint.dim)
            self._check_run()
            if is_new:
                self._table.append(data)
            else:
                self._table.replace(data, shrunk)
            dict.update(self._counts, now)
            files += len(now)
            rows.clear()
        if files:
            self._commits += 1
            if self._commits % UPKEEP_COMMITS == 0:  # a run of days leaves no thousand small files
                keep_up(self._table, self._ledger)
        return files

    def remove(self, items: Iterable[Item]) -> None:
        """Delete the rows of files."""
        gone = [item_of(self._label, item.path) for item in items]
        self._delete(gone)
        for item in gone:
            del self._counts[item]

    def _delete(self, items: list[int]) -> None:
        for where in lists_of("item", map(str, items)):
            self._check_run()
            self._table.delete(f"publisher = {quoted(self._state.name)} AND {where}")
            self._commits += 1

    def finish(self, *, whole: bool) -> None:
        """Record what the publisher has now, and do the upkeep that is due.

        `whole` is false if the run was stopped before its end.
        """
        done = replace(
            self._state,
            token=secrets.token_hex(8) if whole else "",
            files=len(self._counts),
            rows=self._counts.total(),
            published=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            roots={self._label: len(self._counts)},
        )
        self._check_run()
        self._ledger.write(done)
        if self._commits:
            keep_up(self._table, self._ledger)
        clean_up(self._table, self._ledger)

    def _check_run(self) -> None:
        """Raise QvsearchError if another run writes under this name now."""
        if not self._ledger.is_running(self._state):
            raise QvsearchError(
                f"another run indexes {os.fsdecode(self.root)} as {self._state.name} now;"
                " what this one has committed stays"
            )


def label_of(root: bytes) -> str:
    """Return the name of a root in the table; a part that is not UTF-8 is replaced."""
    return os.path.basename(root.rstrip(b"/")).decode("utf-8", "replace") or "root"


def _digest(segment: Segment, vector: Vectors) -> int:
    """Return 64 bits that change with anything of a row."""
    data = encode_segment(segment) + vector.astype("<f2").tobytes()
    digest = hashlib.blake2b(data, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
