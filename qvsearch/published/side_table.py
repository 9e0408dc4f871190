"""The small tables beside the rows of a shared table: who publishes, and thumbnails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from qvsearch.published.engine import Table


class SideTable:
    """One of the small tables beside the rows."""

    def __init__(self, table: Table, side: Any) -> None:  # noqa: ANN401 - as above
        self._table = table
        self._side = side

    def scan(self, columns: Sequence[str], where: str | None = None) -> pa.Table:
        """Return columns of the rows that pass, those committed first at the beginning."""
        query = self._side.search().select([*columns, "_rowid"])
        with self._table.errors("read"):
            found = (query if where is None else query.where(where)).to_arrow()
        return found.sort_by("_rowid").drop_columns(["_rowid"])

    def refresh(self) -> None:
        """See what others committed since."""
        with self._table.errors("read"):
            self._side.checkout_latest()

    def append(self, rows: pa.Table) -> None:
        """Add rows, in one commit."""
        self._table.commit(lambda: self._side.add(rows))

    def replace(self, key: str, rows: pa.Table) -> None:
        """Put rows in the place of those with the same keys, in one commit."""

        def merge() -> None:
            merging = self._side.merge_insert(key).when_matched_update_all()
            merging.when_not_matched_insert_all().execute(rows)

        self._table.commit(merge)

    def delete(self, where: str) -> None:
        """Delete the rows that pass, in one commit."""
        self._table.commit(lambda: self._side.delete(where))
