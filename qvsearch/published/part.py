"""Some rows of a shared table as a library in memory."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.library.library import Library
from qvsearch.library.manifest import Manifest
from qvsearch.library.words import Words
from qvsearch.published.stored_words import COLUMNS, StoredWords

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from qvsearch.types import Fingerprint


class Part(Library):
    """Rows of a table, by file and in its order; it is not changed once it is filled.

    `items` (size,) are the numbers of their files in the table.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: Fingerprint,
        rows: pa.Table,
        read: Callable[[list[str]], pa.Table],
    ) -> None:
        """Take ordered rows; `read` returns their keys and other columns, in any order."""
        super().__init__(folder, Manifest(fingerprint))
        self.items: NDArray[np.int64] = rows["item"].to_numpy()
        self._keys: list[str] = rows["row"].to_pylist()
        self._read = read
        if set(COLUMNS) <= {*rows.column_names}:
            self._words = StoredWords(rows)

    @property
    def words(self) -> Words:
        """The words of the rows."""
        return Words([self._words], self.segments.live)

    @cached_property
    def _words(self) -> StoredWords:
        """The words as they were published, read on first access."""
        stored = self._read(["row", *COLUMNS])
        places = {key: place for place, key in enumerate(stored["row"].to_pylist())}
        return StoredWords(stored.take(np.array([places[key] for key in self._keys], np.int64)))

    def without_words(self) -> list[NDArray[np.int64]]:
        """Return the rows that were published without words."""
        rows = np.array(list(self.segments), np.int64)
        lacking = rows[~np.isin(rows, self._words.lengths()[0])]
        return [lacking] if len(lacking) else []
