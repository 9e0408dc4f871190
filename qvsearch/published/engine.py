"""Tables of LanceDB, on a disk or in object storage; beside `side_table.py` nothing else calls it.

A table at an address is a folder of LanceDB tables: the rows, and small side tables. Every
write is one commit, which readers see whole or not at all.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.published.address import Address, check_parent, storage_options
from qvsearch.published.reasons import is_conflict, reason_of
from qvsearch.published.schema import STORED, About, lacking_columns, read_about, table_schema
from qvsearch.published.side_table import SideTable
from qvsearch.published.sql import lists_of, quoted

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from qvsearch.types import Vectors

T = TypeVar("T")
ROWS, OWNERS, PUBLISHERS, THUMBNAILS = "rows", "owners", "publishers", "thumbnails"
ATTEMPTS = 12  # of a commit that others' commits get in the way of
LONGEST_PAUSE = 2.0  # seconds between two attempts
PROBES = 200  # partitions that a query looks into; all of a table of 40,000 rows
REFINE = 20  # candidates for each row of an answer, whose cosines are computed exactly
VECTOR, TOKENS = "vector", "tokens"
FEW_VALUES = ("publisher", "kind")
_CHANGES = ("lower_case", "stem", "remove_stop_words", "ascii_folding")  # of tokens, by the engine
SCALARS = ("row", "item", "lot", "time", "content_hash", *FEW_VALUES)  # have an index, too


@dataclass(frozen=True, slots=True)
class Nearest:
    """Rows that a search found, best first: their keys, files and cosines; all are (n,)."""

    rows: list[str]
    items: list[int]
    cosines: list[float]


@dataclass(frozen=True, slots=True)
class Shape:
    """How rows are stored: in so many files, with these indexed columns.

    `loose` rows are not in one of the indices yet: a search compares each of them.
    """

    rows: int
    files: int
    indexed: frozenset[str]
    loose: int


class NoTable(QvsearchError):
    """There is no table at an address; it may be created."""


class Table:
    """An open table, as it was at its last commit when it was opened or refreshed."""

    def __init__(self, address: Address, *, create: About | None = None) -> None:
        """Open the table at an address; with `create`, make it if it is not there.

        Raises QvsearchError if there is none, or if it cannot be read.
        """
        self.address = address
        self._options = storage_options(address)
        if create is not None and not address.is_remote:
            check_parent(Path(address.uri))
        elif create is None and not address.is_remote and not Path(address.uri).is_dir():
            raise self._absent()
        self._tables: dict[str, Any] = {}
        with self._errors("open"):
            self._db = _lancedb().connect(
                address.uri,
                storage_options=self._options,
                read_consistency_interval=timedelta(days=365),  # `refresh` decides
            )
        self._rows = self._open(ROWS, None if create is None else table_schema(create))
        self.about = read_about(self._rows.schema.metadata, str(address))
        if create is not None and self.lacking.names:
            self._commit(lambda: self._rows.add_columns(self.lacking))

    @property
    def lacking(self) -> pa.Schema:
        """The columns that a table of an older version lacks."""
        return lacking_columns(self._rows.schema)

    def refresh(self) -> None:
        """See what others committed since."""
        self.__dict__.pop("indices", None)
        with self._errors("read"):
            for each in self._tables.values():
                each.checkout_latest()

    @property
    def version(self) -> int:
        """The number of the commit that is seen; another one if any row changed."""
        with self._errors("read"):
            return int(self._rows.version)

    # ---------------------------------------------------------------- reading

    def count(self, where: str | None = None) -> int:
        """Return how many rows pass an SQL filter."""
        with self._errors("read"):
            return int(self._rows.count_rows(where))

    def nearest(
        self,
        query: Vectors,
        count: int,
        where: str | None = None,
        *,
        exact: bool = False,
        refine: int = REFINE,
    ) -> Nearest:
        """Return the `count` rows of the highest cosine with a unit query (dim,) that pass.

        Cosines are those of the stored vectors. `exact` compares all rows; otherwise the index
        chooses `refine` candidates for each row.
        """
        search = self._rows.search(query, vector_column_name=VECTOR).distance_type("cosine")
        search = search.limit(count).select(["row", "item", "_distance"])
        if where is not None:
            search = search.where(where, prefilter=True)
        if exact:
            search = search.bypass_vector_index()
        elif self.is_indexed:
            search = search.nprobes(PROBES).refine_factor(refine)
        with self._errors("search"):
            found = search.to_arrow()
        cosines = [1.0 - distance for distance in found.column("_distance").to_pylist()]
        return Nearest(found.column("row").to_pylist(), found.column("item").to_pylist(), cosines)

    def having(
        self,
        words: Sequence[str],
        columns: Sequence[str] = (),
        where: str | None = None,
        *,
        is_phrase: bool = False,
        most: int | None = None,
    ) -> pa.Table:
        """Return rows that have any of these tokens, or all as a phrase, the best first.

        Beside the columns, which cost more than the search, they have their numbers in this version
        as `_rowid` and the engine's BM25 as `_score`. Rows that are not in the index of tokens yet
        are compared one by one. With `most`, at most so many.
        """
        from lancedb.query import MatchQuery, PhraseQuery

        query: Any = PhraseQuery if is_phrase else MatchQuery  # whose defaults mypy does not see
        with self._errors("search"):
            search = self._rows.search(query(" ".join(words), TOKENS), query_type="fts")
            search = search.select([*columns, "_score"]).with_row_id(True)
            search = search if where is None else search.where(where, prefilter=True)
            count = self._rows.count_rows() if most is None else most
            return search.limit(max(1, count)).to_arrow()

    def by_ids(self, ids: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """Return columns of rows by their numbers in this version, in order."""
        if not len(ids):
            return self.scan(columns, "false")
        with self._errors("read"):
            return self._rows.take_row_ids(ids.tolist()).select(list(columns)).to_arrow()

    def scan(
        self, columns: Sequence[str], where: str | None = None, *, limit: int | None = None
    ) -> pa.Table:
        """Return columns of the rows that pass an SQL filter, in no order."""
        with self._errors("read"):
            return self._query(columns, where, limit).to_arrow()

    def batches(self, columns: Sequence[str], where: str | None = None) -> Iterator[pa.RecordBatch]:
        """Yield what `scan` returns, in parts."""
        with self._errors("read"):
            yield from self._query(columns, where, None).to_batches()

    def _query(self, columns: Sequence[str], where: str | None, limit: int | None) -> Any:  # noqa: ANN401 - LanceDB's builders have no types
        query = self._rows.search().select(list(columns))
        query = query if where is None else query.where(where)
        return query if limit is None else query.limit(limit)

    def by_items(self, items: Iterable[int], columns: Sequence[str] = STORED) -> pa.Table:
        """Return columns of all rows of some files."""
        return self._in("item", [str(int(item)) for item in items], columns)

    def by_rows(self, rows: Iterable[str], columns: Sequence[str] = STORED) -> pa.Table:
        """Return columns of rows by their keys, in no order."""
        return self._in("row", map(quoted, rows), columns)

    def _in(self, column: str, values: Iterable[str], columns: Sequence[str]) -> pa.Table:
        import pyarrow as pa

        parts = [self.scan(columns, where) for where in lists_of(column, values)]
        return pa.concat_tables(parts) if parts else self.scan(columns, "false")

    def sample(self, kind: int, most: int) -> pa.Table:
        """Return about `most` rows of a kind, the same ones for every reader of a version.

        They have the columns STORED and `lot`. If the kind has at most so many rows, these are all.
        They are those with the smallest lots.
        """
        columns = (*STORED, "lot")
        where = f"kind = {kind}"
        if (rows := self.count(where)) > most:
            where += f" AND lot < {(most << 32) // rows}"
        return self.scan(columns, where)

    @property
    def is_indexed(self) -> bool:
        """Whether there is an index of the vectors."""
        return self.has_index(VECTOR)

    def has_index(self, column: str) -> bool:
        """Return whether there is an index of a column."""
        return any(column in each.columns for each in self.indices)

    @cached_property
    def indices(self) -> list[Any]:
        """LanceDB's records of the indices."""
        with self._errors("read"):
            return list(self._rows.list_indices())

    # ---------------------------------------------------------------- writing

    def append(self, rows: pa.Table) -> None:
        """Add rows whose keys are not in the table, in one commit."""
        self._commit(lambda: self._rows.add(rows))

    def replace(self, rows: pa.Table, items: Sequence[int]) -> None:
        """Put rows in the place of all rows of the same files, in one commit.

        `items` are the files that had more rows before. Only for these is the whole column of keys
        read; otherwise the index of keys finds the old rows.
        """

        def merge() -> None:
            merging = self._rows.merge_insert("row").when_matched_update_all()
            merging = merging.when_not_matched_insert_all()
            if items:
                listed = ", ".join(map(str, items))
                merging = merging.when_not_matched_by_source_delete(f"item IN ({listed})")
            merging.execute(rows)

        self._commit(merge)

    def complete(self, columns: pa.Table) -> None:
        """Put some columns in the place of those of the rows with the same keys, in one commit."""
        self._commit(
            lambda: self._rows.merge_insert("row").when_matched_update_all().execute(columns)
        )

    def delete(self, where: str) -> None:
        """Delete the rows that pass an SQL filter, in one commit."""
        self._commit(lambda: self._rows.delete(where))

    # ---------------------------------------------------------------- upkeep

    @property
    def shape(self) -> Shape:
        """How the rows are stored now."""
        with self._errors("read"):
            stats = self._rows.stats()
            indices = self._rows.list_indices()
        fragments = int(stats["fragment_stats"]["num_fragments"])
        loose = max((int(each.num_unindexed_rows or 0) for each in indices), default=0)
        indexed = frozenset(column for each in indices for column in each.columns)
        return Shape(int(stats["num_rows"]), fragments, indexed, loose)

    def index(self, column: str) -> None:
        """Build the index of a column, or build it anew."""
        from lancedb.index import FTS, Bitmap, BTree, IvfRq

        config: IvfRq | FTS | Bitmap | BTree = Bitmap() if column in FEW_VALUES else BTree()
        if column == VECTOR:
            config = IvfRq(distance_type="cosine")
        elif column == TOKENS:  # which are divided and folded already
            left: dict[str, Any] = dict.fromkeys(_CHANGES, False)
            config = FTS(
                with_position=True, base_tokenizer="whitespace", max_token_length=None, **left
            )
        self._keep_up(lambda: self._rows.create_index(column, config=config))
        self.__dict__.pop("indices", None)

    def compact(self, kept: timedelta) -> None:
        """Merge small files, add new rows to the indices, and delete versions older than `kept`."""
        self._keep_up(lambda: self._rows.optimize(cleanup_older_than=kept))
        for name, side in self._tables.items():
            if name != OWNERS and side is not self._rows:  # the order of owners' rows counts
                self._keep_up(partial(side.optimize, cleanup_older_than=kept))

    def _keep_up(self, work: Callable[[], object]) -> None:
        """Do work that takes long, once: if another's upkeep got in the way, that is as good."""
        with self._errors("write to"):
            try:
                work()
            except (OSError, RuntimeError, ValueError) as error:
                if not is_conflict(error):
                    raise
                self._rows.checkout_latest()

    def side(self, name: str, schema: pa.Schema) -> SideTable:
        """Return a side table; it is created if it is not there."""
        return SideTable(self._open(name, schema), self._errors, self._commit)

    def find_side(self, name: str) -> SideTable | None:
        """Return a side table, if it is there."""
        with self._errors("read"):
            if name not in self._db.list_tables().tables:
                return None
        return SideTable(self._open(name, None), self._errors, self._commit)

    def _open(self, name: str, schema: pa.Schema | None) -> Any:  # noqa: ANN401 - as above
        """Open a table, or create it with a schema; two that create it at once get the same."""
        if name not in self._tables:
            with self._errors("open"):
                self._tables[name] = self._opened(name, schema)
        return self._tables[name]

    def _opened(self, name: str, schema: pa.Schema | None) -> Any:  # noqa: ANN401 - as above
        try:
            return self._db.open_table(name)
        except ValueError as error:
            if "not found" not in str(error):
                raise
            if schema is None:
                raise self._absent() from error
        try:
            return self._db.create_table(name, schema=schema)
        except ValueError as error:
            if "already exists" not in str(error):
                raise
            return self._db.open_table(name)

    def _commit(self, write: Callable[[], object]) -> None:
        """Do a write; if others' commits are in its way, do it again on top of theirs."""
        for attempt in range(ATTEMPTS):
            with self._errors("write to"):
                try:
                    write()
                    return
                except (OSError, RuntimeError, ValueError) as error:
                    if not is_conflict(error) or attempt + 1 == ATTEMPTS:
                        raise
                # Random pauses, so that publishers do not meet again and again.
                time.sleep(random.uniform(0, min(LONGEST_PAUSE, 0.05 * 2**attempt)))  # noqa: S311
                for each in self._tables.values():
                    each.checkout_latest()

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Raise LanceDB's errors as one sentence."""
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            raise QvsearchError(
                f"cannot {what} {self.address}: {reason_of(error, str(self.address))}"
            ) from error

    def _absent(self) -> NoTable:
        return NoTable(
            f"there is no table at {self.address}; create it with:"
            f" qvsearch publish {quote(str(self.address))}"
        )


def _lancedb() -> Any:  # noqa: ANN401 - a module
    # Its warnings, e.g. of empty partitions, are about nothing that a user can change.
    os.environ.setdefault("LANCE_LOG", "error")
    os.environ.setdefault("LANCEDB_LOG", "error")
    try:
        import lancedb
    except ImportError as error:
        raise QvsearchError('shared tables need LanceDB: pip install "qvsearch[lance]"') from error
    return lancedb
