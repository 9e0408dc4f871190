"""The small tables beside the rows of a shared table: who publishes, and thumbnails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


class SideTable:
    """One of the small tables beside the rows."""

    def __init__(
        self,
        side: Any,  # noqa: ANN401 - LanceDB's tables have no types
        errors: Callable[[str], AbstractContextManager[None]],
        commit: Callable[[Callable[[], object]], None],
    ) -> None:
        """Take a table of LanceDB, and how the table beside it raises errors and commits."""
        self._side, self._errors, self._commit = side, errors, commit

    def scan(self, columns: Sequence[str], where: str | None = None) -> pa.Table:
        """Return columns of the rows that pass, those committed first at the beginning."""
        query = self._side.search().select([*columns, "_rowid"])
        with self._errors("read"):
            found = (query if where is None else query.where(where)).to_arrow()
        return found.sort_by("_rowid").drop_columns(["_rowid"])

    def refresh(self) -> None:
        """See what others committed since."""
        with self._errors("read"):
            self._side.checkout_latest()

    def append(self, rows: pa.Table) -> None:
        """Add rows, in one commit."""
        self._commit(lambda: self._side.add(rows))

    def replace(self, key: str, rows: pa.Table) -> None:
        """Put rows in the place of those with the same keys, in one commit."""

        def merge() -> None:
            merging = self._side.merge_insert(key).when_matched_update_all()
            merging.when_not_matched_insert_all().execute(rows)

        self._commit(merge)

    def delete(self, where: str) -> None:
        """Delete the rows that pass, in one commit."""
        self._commit(lambda: self._side.delete(where))
