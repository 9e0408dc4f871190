"""The file of a shard's words: an SQLite database with a full-text index and the texts of rows.

It has no more than this: the table `words` (FTS5), whose row numbers are positions in the shard;
`texts`, compressed, BLOCK rows in each; `lengths`, the number of tokens of each row; `readers`,
with a bit for each row whose words a reader has looked for, by the reader's name; `frequent`, the
number of rows that have a token, if these are FREQUENT at least; and TOKENS as the user version.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.library.tokens import divided

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = "file"  # the reader of what a file itself has as text
PAGES = "pages"  # the reader of the pages of a long document that have no row
BLOCK = 64  # rows: smaller blocks compress worse, larger ones take longer for one row
LONGEST = 1 << 18  # characters of a row's text that are kept; a passage has a thousandth
LARGEST_BLOCK = BLOCK * (4 * LONGEST + 1)  # bytes
PAGE_SIZE = 4096  # bytes; with larger ones the file of a few rows is several times as large
LEVEL = 1  # of zlib: higher ones take thrice the time for a tenth of the size
FREQUENT = 4096  # rows: all of them are read in a few milliseconds
TOKENS = 3  # raised if a text gets other tokens; 0 before it was written
HASH_SIZE = 64 << 20  # bytes of postings that SQLite collects before it writes them
# Letters, digits and non-ASCII bytes are characters of words for this tokenizer: the same as for
# `tokens`, which has already divided and folded any text that is not ASCII.
_WORDS = "CREATE VIRTUAL TABLE words USING fts5(text, content='', columnsize=0, tokenize='ascii')"
_TABLES = {
    "words": _WORDS,
    "texts": "CREATE TABLE texts (block INTEGER PRIMARY KEY, data BLOB)",
    "lengths": "CREATE TABLE lengths (data BLOB)",
    "readers": "CREATE TABLE readers (name TEXT, data BLOB)",
    "frequent": "CREATE TABLE frequent (token TEXT PRIMARY KEY, rows INTEGER) WITHOUT ROWID",
}
_OWN_TABLE = "CREATE TABLE 'words_"  # so begin the tables of FTS5 itself
_LETTERS = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_IN_WORDS = bytes(each > 127 or each in _LETTERS for each in range(256))  # 1 for those bytes


@dataclass(frozen=True, slots=True)
class RowWords:
    """The text of a row as its file has it, and which readers have looked for it."""

    text: str = ""
    readers: frozenset[str] = frozenset()

    def added(self, text: str, reader: str) -> RowWords:
        """Return these words and those that another reader has seen."""
        whole = "\n".join(filter(None, (self.text, text)))
        return RowWords(whole, self.readers | {reader})


@cache
def has_full_text() -> bool:
    """Return whether this Python's SQLite has FTS5 and can write a database to memory."""
    try:
        database = sqlite3.connect(":memory:")
        database.execute(_WORDS)
        return bool(database.serialize())
    except (AttributeError, sqlite3.Error):
        return False


def words_file(rows: Sequence[RowWords], searchable: Iterable[str]) -> bytes:
    """Return a database of rows, in order, and all that a search shall find of each."""
    database = sqlite3.connect(":memory:", isolation_level=None)
    try:
        database.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        database.execute(f"PRAGMA user_version = {TOKENS}")
        for table in _TABLES.values():
            database.execute(table)
        database.execute("INSERT INTO words (words, rank) VALUES ('hashsize', ?)", (HASH_SIZE,))
        database.execute("BEGIN")
        lengths = list(_insert(database, searchable))
        database.execute("INSERT INTO words (words) VALUES ('optimize')")
        database.execute("CREATE VIRTUAL TABLE temp.counts USING fts5vocab(main, words, row)")
        database.execute(
            "INSERT INTO frequent SELECT term, doc FROM temp.counts WHERE doc >= ?", (FREQUENT,)
        )
        texts = (_packed(rows[start : start + BLOCK]) for start in range(0, len(rows), BLOCK))
        database.executemany("INSERT INTO texts VALUES (?, ?)", enumerate(texts))
        whole = np.concatenate([np.empty(0, "<i4"), *lengths]).astype("<i4")
        database.execute("INSERT INTO lengths VALUES (?)", (whole.tobytes(),))
        for name in sorted({name for row in rows for name in row.readers}):
            bits = np.packbits([name in row.readers for row in rows])
            database.execute("INSERT INTO readers VALUES (?, ?)", (name, bits.tobytes()))
        database.execute("COMMIT")
        return database.serialize()
    finally:
        database.close()


def _insert(database: sqlite3.Connection, texts: Iterable[str]) -> Iterator[NDArray[np.int64]]:
    """Insert the words of rows, and yield the number of tokens of each, by blocks."""
    left, start = iter(texts), 0
    while block := list(islice(left, BLOCK)):
        # together, which takes a third of the time
        plain = divided("\0".join(text.replace("\0", " ") for text in block))
        numbered = enumerate(plain.split("\0"), start)
        database.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", numbered)
        start += len(block)
        yield _lengths(plain)


def _lengths(texts: str) -> NDArray[np.int64]:
    """Return the number of tokens (n,) of each of divided texts with zeros between them."""
    data = f" {texts}\0".encode()
    inside = np.frombuffer(data.translate(_IN_WORDS), np.bool_)
    starts = np.flatnonzero(inside[1:] > inside[:-1])
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 0)
    return np.diff(np.searchsorted(starts, ends), prepend=0)


def stored_text(text: str) -> str:
    """Return a text as it is kept: at most LONGEST characters that UTF-8 has, without NUL."""
    return text[:LONGEST].replace("\0", " ").encode("utf-8", "replace").decode()


def _packed(rows: Iterable[RowWords]) -> bytes:
    texts = (stored_text(row.text) for row in rows)
    return zlib.compress("\0".join(texts).encode(), LEVEL)


def unpacked(data: bytes, rows: int) -> list[str]:
    """Return the texts of a block; raises ValueError for anything that is not so many texts."""
    decoder = zlib.decompressobj()
    try:
        whole = decoder.decompress(data, LARGEST_BLOCK)
    except zlib.error as error:
        raise ValueError("a block of texts cannot be read") from error
    texts = whole.decode().split("\0")
    if not decoder.eof or len(texts) != rows:
        raise ValueError("a block of texts is not of its rows")
    return texts


def open_database(source: Path | memoryview) -> sqlite3.Connection:
    """Open a file of words, or its bytes, for reading only and by several threads in turn.

    Raises ValueError for a database that has other tables, and sqlite3.Error for none.
    """
    if not isinstance(source, Path) and not source:
        raise ValueError("it is empty")
    if isinstance(source, Path):
        address = f"{source.as_uri()}?mode=ro&immutable=1"
        database = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
    else:
        database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        if not isinstance(source, Path):
            database.deserialize(source)
        for setting in ("trusted_schema = OFF", "cell_size_check = ON", "temp_store = MEMORY"):
            database.execute(f"PRAGMA {setting}")
        _check_tables(dict(database.execute("SELECT name, sql FROM sqlite_master")))
        database.execute("CREATE VIRTUAL TABLE temp.places USING fts5vocab(main, words, instance)")
        database.execute("PRAGMA query_only = ON")
    except BaseException:
        database.close()
        raise
    return database


def _check_tables(found: Mapping[str, str | None]) -> None:
    """Raise ValueError for tables, views or triggers that `words_file` does not make."""
    others = {name: sql for name, sql in found.items() if _TABLES.get(name) != sql}
    if not found.keys() >= _TABLES.keys() or not all(
        sql is not None and sql.startswith(_OWN_TABLE) for sql in others.values()
    ):
        raise ValueError("it is not a database of words")
