"""The words of rows that were read from a table, as a source of words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.library.words_file import PAGES
from qvsearch.paged_text import BREAK

if TYPE_CHECKING:
    import pyarrow as pa

    from qvsearch.library.words import Counts, Rows

COLUMNS = ("tokens", "words", "length")


class StoredWords:
    """The words of some rows, by their places; rows that were published without have none."""

    def __init__(self, rows: pa.Table) -> None:
        """Take rows with COLUMNS."""
        # two spaces between tokens, so that each has its own on both sides
        self._tokens = {
            row: f" {each.replace(' ', '  ')} "
            for row, each in enumerate(rows["tokens"].to_pylist())
            if each is not None
        }
        self._lengths = rows["length"].fill_null(0).to_numpy()
        self._texts = rows["words"].to_pylist()

    def postings(self, token: str) -> tuple[Rows, Counts]:
        """Return the rows (k,) that have a token, ascending, and how often each has it (k,)."""
        return self._counted([token])

    def at_least(self, token: str) -> int:
        """Return 0: counting takes as long as finding the rows."""
        return 0

    def phrase(self, words: Sequence[str]) -> Rows:
        """Return the rows (k,) in which these tokens follow one another, ascending."""
        return self._counted(words)[0]

    def lengths(self) -> tuple[Rows, Counts]:
        """Return the rows (n,) that have words, ascending, and their numbers of tokens (n,)."""
        rows = np.array(list(self._tokens), np.int64)
        return rows, self._lengths[rows].astype(np.int64)

    def text(self, row: int) -> str | None:
        """Return the text of a row as its file has it; None if it is not from here."""
        text: str | None = self._texts[row] if row in self._tokens else None
        return text

    def read_by(self, reader: str) -> Rows:
        """Return the rows with words of several pages; other readers are not known."""
        rows = (row for row, text in enumerate(self._texts) if text and BREAK in text)
        return np.fromiter(rows if reader == PAGES else (), np.int64)

    def _counted(self, words: Sequence[str]) -> tuple[Rows, Counts]:
        wanted = f" {'  '.join(words)} "
        counts = {row: each.count(wanted) for row, each in self._tokens.items() if words}
        found = {row: count for row, count in counts.items() if count}
        return np.array(list(found), np.int64), np.array(list(found.values()), np.int64)
