"""The words of a shard: reads the file of words, and rewrites it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.files import MIB, write_file
from qvsearch.library.manifest import Damaged, ShardFiles, WordsFile, check_sum, words_path
from qvsearch.library.mapped import READ_WHOLE, map_file
from qvsearch.library.words import searchable, with_texts
from qvsearch.library.words_file import (
    BLOCK,
    FILE,
    TOKENS,
    RowWords,
    has_full_text,
    open_database,
    unpacked,
    words_file,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.lazy_segments import Catalogue
    from qvsearch.library.words import Counts, Rows

VERIFY_WORDS = 64 * MIB  # files of at most this size are verified whenever they are opened
NOTHING = np.empty(0, np.int64)


class ShardWords:
    """The words of the rows of a shard; several threads may read them.

    Methods raise Damaged for a file that is not what was written.
    """

    def __init__(self, path: Path, source: Path | memoryview, numbers: NDArray[np.int64]) -> None:
        self._path, self._numbers = path, numbers
        self._lock = threading.Lock()
        self._block: tuple[int, list[str]] | None = None  # the one read last
        self._readers: dict[str, NDArray[np.bool_]] | None = None
        try:
            self._database = open_database(source)
        except (ValueError, sqlite3.Error) as error:
            raise Damaged(path, str(error)) from error

    def __del__(self) -> None:
        """Close the file."""
        if hasattr(self, "_database"):
            self._database.close()

    def postings(self, token: str) -> tuple[Rows, Counts]:
        """Return the rows (k,) that have a token, ascending, and how often each has it (k,)."""
        places = self._positions("SELECT group_concat(doc) FROM temp.places WHERE term = ?", token)
        positions, counts = np.unique(places, return_counts=True)
        return self._numbers[positions], counts

    def at_least(self, token: str) -> int:
        """Return the number of rows, dead ones too, that have a token; for rare ones it is 0."""
        count = self._value("SELECT rows FROM frequent WHERE token = ?", token)
        if count is None:
            return 0
        if not isinstance(count, int) or not 0 < count <= len(self._numbers):
            raise Damaged(self._path, "the number of rows of a word is not possible")
        return count

    def phrase(self, words: Sequence[str]) -> Rows:
        """Return the rows (k,) in which these tokens follow one another, ascending."""
        if not words:
            return NOTHING
        places = self._positions(
            "SELECT group_concat(rowid) FROM (SELECT rowid FROM words WHERE words MATCH ?)",
            f'"{" ".join(words)}"',
        )
        return self._numbers[np.sort(places)]

    def lengths(self) -> tuple[Rows, Counts]:
        """Return all rows (n,) of the shard, ascending, and the number of tokens of each (n,)."""
        data = self._bytes("SELECT data FROM lengths")
        lengths = np.frombuffer(data, "<i4") if len(data) % 4 == 0 else NOTHING
        if len(lengths) != len(self._numbers) or (lengths < 0).any():
            raise Damaged(self._path, "the numbers of tokens are not those of its rows")
        return self._numbers, lengths.astype(np.int64)

    def text(self, row: int) -> str | None:
        """Return the text of a row; None if it is not from here."""
        position = self._position(row)
        return None if position is None else self._text(position)

    def of(self, row: int) -> RowWords:
        """Return the text and the readers of a row of the shard."""
        position = self._position(row)
        if position is None:
            raise KeyError(row)
        names = (name for name, rows in self.readers.items() if rows[position])
        return RowWords(self._text(position), frozenset(names))

    @property
    def is_older(self) -> bool:
        """Whether another version divided the texts into tokens."""
        return self._value("PRAGMA user_version") != TOKENS

    def read_by(self, reader: str) -> Rows:
        """Return the rows (k,) whose words a reader has looked for, ascending."""
        rows = self.readers.get(reader)
        return NOTHING if rows is None else self._numbers[rows]

    @property
    def readers(self) -> dict[str, NDArray[np.bool_]]:
        """Which positions (n,) each reader has looked at, by its name; do not mutate."""
        if self._readers is None:
            size, readers = -(-len(self._numbers) // 8), {}
            for name, data in self._all("SELECT name, data FROM readers"):
                if not (isinstance(name, str) and isinstance(data, bytes) and len(data) == size):
                    raise Damaged(self._path, "the readers are not those of its rows")
                bits = np.unpackbits(np.frombuffer(data, np.uint8), count=len(self._numbers))
                readers[name] = bits.astype(np.bool_)
            self._readers = readers
        return self._readers

    def check(self) -> None:
        """Read everything; raises Damaged."""
        if self._value("PRAGMA quick_check") != "ok":
            raise Damaged(self._path, "the database is damaged")
        self.lengths()
        for position in range(0, len(self._numbers), BLOCK):
            self._text(position)
        self.read_by(FILE)

    def _position(self, row: int) -> int | None:
        position = int(np.searchsorted(self._numbers, row))
        found = position < len(self._numbers) and self._numbers[position] == row
        return position if found else None

    def _text(self, position: int) -> str:
        number, place = divmod(position, BLOCK)
        block = self._block
        if block is None or block[0] != number:
            data = self._bytes("SELECT data FROM texts WHERE block = ?", number)
            rows = min(BLOCK, len(self._numbers) - number * BLOCK)
            try:
                block = self._block = number, unpacked(data, rows)
            except ValueError as error:
                raise Damaged(self._path, str(error)) from error
        return block[1][place]

    def _positions(self, query: str, value: str) -> NDArray[np.int64]:
        """Return the positions that a query gives as one text with commas."""
        text = self._value(query, value)
        if text is None:
            return NOTHING
        positions = np.fromstring(str(text), np.int64, sep=",")
        if not 0 <= positions.min(initial=0) <= positions.max(initial=0) < len(self._numbers):
            raise Damaged(self._path, "it has words of a row that is not there")
        return positions

    def _value(self, query: str, *values: str | int) -> object:
        """Return the value that a query gives; None if there is none."""
        return next((row[0] for row in self._all(query, *values)), None)

    def _bytes(self, query: str, *values: int) -> bytes:
        data = self._value(query, *values)
        if not isinstance(data, bytes):
            raise Damaged(self._path, "a value is missing or of another type")
        return data

    def _all(self, query: str, *values: str | int) -> list[tuple[object, ...]]:
        try:
            with self._lock:
                return self._database.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise Damaged(self._path, str(error)) from error


def open_words(folder: Path, file: ShardFiles, numbers: NDArray[np.int64]) -> ShardWords | None:
    """Return the words of a shard whose rows have these numbers.

    None if there are none, or if this Python's SQLite cannot read them. Raises Damaged if the file
    is not that which was written, OSError if it cannot be read.
    """
    if file.words is None or not has_full_text():
        return None
    path, seal = words_path(folder, file.words.name), file.words.seal
    data = map_file(path, seal)
    if seal.size <= VERIFY_WORDS:
        check_sum(path, seal, data)
    return _opened(path, data, numbers)


def _opened(path: Path, data: memoryview, numbers: NDArray[np.int64]) -> ShardWords:
    return ShardWords(path, data if len(data) <= READ_WHOLE else path, numbers)


def verify_words(folder: Path, file: ShardFiles) -> None:
    """Read all words of a shard; raises as `open_words` does."""
    if file.words is None:
        return
    path, seal = words_path(folder, file.words.name), file.words.seal
    data = map_file(path, seal)
    check_sum(path, seal, data)
    if has_full_text():
        _opened(path, data, np.arange(file.rows)).check()


def write_words(
    folder: Path,
    name: str,
    numbers: NDArray[np.int64],
    segments: Catalogue,
    words: Callable[[int], RowWords],
) -> WordsFile | None:
    """Write the words of a shard's rows, given their numbers; dead rows have none.

    Returns None, and writes nothing, if this Python's SQLite has no full-text index.
    """
    if not has_full_text():
        return None
    live = [row for row in numbers.tolist() if row in segments]
    found = {row: words(row) for row in live}
    every = iter(searchable(with_texts(segments.stream(live), found.values())))
    texts = (next(every) if row in found else "" for row in numbers.tolist())
    rows = [found.get(row, RowWords()) for row in numbers.tolist()]
    return WordsFile(name, write_file(words_path(folder, name), words_file(rows, texts)))
