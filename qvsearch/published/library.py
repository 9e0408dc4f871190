"""A shared table as a library that is only read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.files import MIB, is_below
from qvsearch.library.aliases import aliases, is_there
from qvsearch.library.library import Library
from qvsearch.library.manifest import Manifest
from qvsearch.library.sidecar import decode_segment
from qvsearch.published.address import read_address
from qvsearch.published.engine import TOKENS, Table
from qvsearch.published.mapped_roots import mapped_roots
from qvsearch.published.part import Part
from qvsearch.published.publishers import list_publishers, outdated_publishers
from qvsearch.published.sample import TableSample, sample_of
from qvsearch.published.schema import READ, STORED, check_below, item_of, vectors_of
from qvsearch.published.sql import quoted
from qvsearch.published.word_counts import WordCounts, word_counts
from qvsearch.types import KIND_CODES, Kind

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from qvsearch.library.failures import Failure
    from qvsearch.library.pending import Pending
    from qvsearch.library.rows import Rows
    from qvsearch.library.words import Words
    from qvsearch.types import Item, Segment, Vectors

WHOLE = 12_288  # rows up to which a search reads the whole table: as many as the samples have
LARGEST = 2048 * MIB  # of vectors in memory, for commands that read all rows


class PublishedLibrary(Library):
    """A shared table as a library, as it was at one commit; it cannot be changed.

    A search reads the rows that it needs. What else of `Library` is used reads all rows once, and
    raises QvsearchError if they do not fit into memory. A root that this computer does not reach is
    its name, a relative path.
    """

    def __init__(self, folder: Path, table: Table, places: Mapping[str, bytes]) -> None:
        """Take an open table, and the folders of its roots on this computer by name."""
        self.table = table
        self.places = places
        super().__init__(folder, Manifest(table.about.fingerprint))

    @classmethod
    def at(cls, folder: Path) -> PublishedLibrary:
        """Open the table of an address; raises QvsearchError if there is none."""
        table = Table(read_address(str(folder)))
        mapped = mapped_roots(table.address)
        return cls(folder, table, {name: path for name, path in mapped.items() if is_there(path)})

    def _load(self, manifest: Manifest) -> None:
        """Take the fingerprint of a manifest; there are no files."""
        self._manifest = manifest
        self._rules = {}
        self._columns = None
        self._changed = False

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._count

    @cached_property
    def _count(self) -> int:
        return self.table.count()

    @cached_property
    def names(self) -> list[str]:
        """The names of the roots in the table."""
        return sorted({name for each in list_publishers(self.table) for name in each.roots})

    def place(self, name: str) -> bytes:
        """Return the folder of a root here; its name if it is not mapped."""
        return self.places.get(name, os.fsencode(name))

    def numbers_of(self, item: Item) -> list[int]:
        """Return the numbers that a file of this library has in the table.

        There are several if the roots of several publishers are mapped to one folder.
        """
        names = [name for name, place in self.places.items() if place == item.root]
        return [item_of(name, item.path) for name in names or [os.fsdecode(item.root)]]

    @property
    def roots(self) -> list[bytes]:
        """The folders of the roots on this computer, or their names."""
        return [self.place(name) for name in self.names]

    @property
    def generation(self) -> int:
        """The number of the table's version."""
        return self.table.version

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Raise QvsearchError: only `qvsearch publish` changes a table."""
        raise QvsearchError(f"{self.folder} is a shared table, which only `publish` changes")
        yield

    def load_failures(self) -> list[Failure]:
        """Return nothing: failures stay with their publishers."""
        return []

    def load_pending(self) -> list[Pending]:
        """Return nothing: a table has no unfinished runs."""
        return []

    @cached_property
    def table_sample(self) -> TableSample:
        """Some rows of each kind that represent all (see `sample_of`)."""
        return sample_of(self.table)

    @cached_property
    def word_counts(self) -> WordCounts:
        """How many words all rows have."""
        return word_counts(self.table)

    @property
    def is_small(self) -> bool:
        """Whether a search reads all rows."""
        return len(self) <= WHOLE

    @cached_property
    def _part(self) -> Part:
        """All rows, read on first access."""
        self._check_size()
        return self.gathered(self.table.scan(STORED), self.table.scan)

    @property
    def _rows(self) -> Rows:
        return self._part._rows

    @_rows.setter
    def _rows(self, _: Rows) -> None:
        raise AttributeError("the rows of a table are not replaced")

    @property
    def words(self) -> Words:
        """The words of all rows."""
        return self._part.words

    def without_words(self) -> list[NDArray[np.int64]]:
        """Return the rows that were published without words."""
        return self._part.without_words()

    @cached_property
    def has_words(self) -> bool:
        """Whether a search finds rows by their words: they have any, and an index of them."""
        if self.is_small:
            return TOKENS not in self.table.lacking.names and bool(
                len(self.table.scan(["length"], "length IS NOT NULL", limit=1))
            )
        return self.table.has_index(TOKENS)

    @cached_property
    def outdated(self) -> list[str]:
        """The publishers with rows that an older version published: without words and regions."""
        return outdated_publishers(self.table)

    @cached_property
    def lacks_word_index(self) -> bool:
        """Whether rows have words that no search finds, since their index was not built yet."""
        if self.has_words or TOKENS in self.table.lacking.names:
            return False
        return bool(len(self.table.scan(["length"], "length IS NOT NULL", limit=1)))

    def _check_size(self) -> None:
        """Raise QvsearchError if the vectors of all rows do not fit into memory."""
        size = len(self) * self.fingerprint.dim * 2
        if size > LARGEST:
            raise QvsearchError(
                f"{self.folder} has {len(self):,} rows, whose vectors take {size // MIB:,} MiB;"
                f" this command needs all of them in memory, and at most {LARGEST // MIB:,} MiB"
                " are allowed; run it on the library of a publisher"
            )

    def numbers_at(self, path: bytes) -> list[int]:
        """Return the numbers that the file of an absolute path may have in the table."""
        names = aliases(path, self.roots)
        return [
            item_of(root, os.path.relpath(name, place) if name != place else b"")
            for root, place in ((root, self.place(root)) for root in self.names)
            for name in names
            if is_below(name, place)
        ]

    def thumbnail(self, segment: Segment, start: float | None) -> bytes | None:
        """Return the published thumbnail of a file as WebP, of a film near a second."""
        from qvsearch.published.thumbnails import read_thumbnail  # makers of them are heavy

        if start is not None or segment.item.kind is Kind.VIDEO:
            own = self.file(segment.item).segments.values()
            moments = [each for each in own if each.start is not None] or [segment]
            segment = min(moments, key=lambda each: abs((each.start or 0.0) - (start or 0.0)))
        return read_thumbnail(self.table, segment)

    def nearest(self, vector: Vectors, count: int, beside: Item) -> Library:
        """Return a library in memory of the rows most like a vector, and of all rows of a file."""
        keys = self.table.nearest(vector, count).rows
        own = self.table.by_items(self.numbers_of(beside))
        return self.gathered(joined([own, self.table.by_rows(keys)]))

    def counts(self) -> dict[Kind, tuple[int, int]]:
        """Return the numbers of files and of rows of each kind that there is."""
        stored = self.table.scan(["item", "kind"])
        items, kinds = stored["item"].to_numpy(), stored["kind"].to_numpy()
        of_kind = {kind: items[kinds == code] for kind, code in KIND_CODES.items()}
        return {
            kind: (len(np.unique(each)), len(each)) for kind, each in of_kind.items() if len(each)
        }

    def files(self) -> Iterator[Segment]:
        """Yield a segment of each file; no vector is read."""
        for batch in self.table.batches(READ, "ordinal = 0"):
            yield from self.segments_of(batch)

    def file(self, item: Item) -> Library:
        """Return a library in memory of the rows of one file."""
        return self.gathered(self.table.by_items(self.numbers_of(item)))

    def with_content(self, content_hash: str) -> Library:
        """Return a library in memory of the rows of all files of this content."""
        where = f"content_hash = {quoted(content_hash)}"
        return self.gathered(self.table.scan(STORED, where))

    def gathered(self, rows: pa.Table, read: Callable[[list[str]], pa.Table] | None = None) -> Part:
        """Return a library in memory of some rows, by file and in its order.

        `rows` have the columns STORED, and may have those of words. `read` returns other columns of
        at least these rows; by default they are found by their keys.
        """
        from qvsearch.library.baseline import new_baseline

        names = rows["row"].to_pylist()
        keys = list(map(_order, names))
        order = sorted(range(len(keys)), key=keys.__getitem__)
        rows = rows.take(np.array(order, np.int64))
        read = read or partial(self.table.by_rows, names)
        library = Part(self.folder, self.fingerprint, rows, read)
        for root in {self.place(name) for name in rows["root"].unique().to_pylist()}:
            library.add_root(root)
        if (vectors := self.table.about.baseline) is not None:
            library._rows.set_baseline(new_baseline(vectors, self.fingerprint.dim))
        library.add(self.segments_of(rows), vectors_of(rows))
        return library

    def segments_of(self, rows: pa.Table | pa.RecordBatch) -> list[Segment]:
        """Return the segments of rows that were read, below the folders of this computer.

        Raises QvsearchError if a row is not one that was published.
        """
        fields = (rows[name].to_pylist() for name in ("line", "root", "path"))
        segments = []
        try:
            for line, root, path in zip(*fields, strict=True):
                check_below(root, path)
                segments.append(decode_segment(line, self.place(root), path))
        except ValueError as error:
            raise QvsearchError(f"a row of {self.folder} is damaged: {error}") from error
        return segments


def joined(parts: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of several tables, each once."""
    import pyarrow as pa

    rows = pa.concat_tables([each.select(parts[0].column_names) for each in parts])
    keys = np.array(rows["row"].to_pylist(), "S")
    return rows.take(np.unique(keys, return_index=True)[1])


def _order(row: str) -> tuple[str, int]:
    """Return what orders the keys of rows: the file, and the place in it."""
    item, _, ordinal = row.partition("-")
    return item, int(ordinal)
