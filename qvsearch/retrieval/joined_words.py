"""The rows of libraries that have the words of a query: of one, or of several as if of one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.library.words import Words
from qvsearch.published.opening import is_large_table, is_published
from qvsearch.retrieval.lexical import matches
from qvsearch.types import Segment

if TYPE_CHECKING:
    from pathlib import Path

    from qvsearch.library.library import Library
    from qvsearch.library.words import Counts, Rows
    from qvsearch.published.library import PublishedLibrary
    from qvsearch.retrieval.asked_words import AskedWords
    from qvsearch.retrieval.table_words import TableWords
    from qvsearch.retrieval.word_evidence import Matches


def has_words(library: Library, asked: AskedWords) -> bool:
    """Return whether rows are found by words; false for a shared table of an older version.

    Raises QvsearchError for such a table if the query depends on them.
    """
    if not is_published(library) or library.has_words:
        return True
    if asked.quotes or asked.lacking or asked.alone:
        raise QvsearchError(
            f"the shared table {library.folder} has no index of words yet; publish a library into"
            " it once more, or leave out quotes, --without and --words-only"
        )
    return False


def matches_in(library: Library, asked: AskedWords) -> Matches:
    """Return the rows of a library that have some of the words."""
    words = library.words.with_forms(asked.forms)
    return matches(words, library.columns.items, library.segments, asked)


class JoinedWords:
    """The words of libraries that are searched together, for one thread.

    The rows of a large shared table, which its engine finds, are counted among its own. Its best
    row by words lessens the evidence by meaning of all rows, too. The first library that is asked
    for looks up the words of all; those of the last query are cached.
    """

    def __init__(self, libraries: Iterable[Library]) -> None:
        self._libraries = list(libraries)
        self._last: tuple[AskedWords, _Found] | None = None

    def leave_out(self, folder: Path) -> None:
        """Stop counting the rows of a library that cannot be searched."""
        self._libraries = [each for each in self._libraries if each.folder != folder]
        self._last = None

    def matches_in(self, library: Library, asked: AskedWords) -> Matches:
        """Return the rows of a library that have some of the words, as they stand among all.

        Raises QvsearchError if its words cannot be read.
        """
        found = self._find(asked).rows.get(library)
        return matches_in(library, asked) if found is None else found

    def in_table(self, table: PublishedLibrary, asked: AskedWords) -> TableWords:
        """Return the rows of a large table that have some of the words.

        Raises QvsearchError if the table cannot be read.
        """
        found = self._find(asked).tables.get(table)
        return _in_table(table, asked) if found is None else found

    def _find(self, asked: AskedWords) -> _Found:
        if self._last is None or self._last[0] != asked:
            try:
                found = _found(self._libraries, asked)
            except QvsearchError:  # a library that cannot be read raises it again in its own turn
                self._libraries = [each for each in self._libraries if _is_readable(each, asked)]
                found = _found(self._libraries, asked)
            self._last = asked, found
        return self._last[1]


@dataclass(frozen=True, slots=True)
class _Found:
    """The rows that have some words: of each library, and of each large table."""

    rows: dict[Library, Matches]
    tables: dict[Library, TableWords]


def _found(libraries: Iterable[Library], asked: AskedWords) -> _Found:
    """Return the rows that have some of the words; raises QvsearchError if one cannot be read."""
    some = [each for each in libraries if has_words(each, asked)]
    tables = {each: _in_table(each, asked) for each in some if is_large_table(each)}
    rows = _matches([each for each in some if each not in tables], asked)
    everything = [*rows.values(), *(each.matches for each in tables.values())]
    best = max((each.best for each in everything), default=-np.inf)
    is_number = any(each.is_number for each in everything if len(each.rows))

    def beside(found: Matches) -> Matches:
        return replace(found, elsewhere=best, is_number=is_number)

    def table_beside(found: TableWords) -> TableWords:
        # `has_all` tells whether a number was found
        corpus = replace(found.corpus, best=best, has_all=is_number)
        return replace(found, matches=beside(found.matches), corpus=corpus)

    return _Found(
        {library: beside(each) for library, each in rows.items()},
        {table: table_beside(each) for table, each in tables.items()},
    )


def _in_table(table: PublishedLibrary, asked: AskedWords) -> TableWords:
    from qvsearch.retrieval.table_words import words_in_table  # not needed by libraries

    return words_in_table(table, asked)


def _is_readable(library: Library, asked: AskedWords) -> bool:
    try:
        _found([library], asked)
    except QvsearchError:
        return False
    return True


def _matches(libraries: Sequence[Library], asked: AskedWords) -> dict[Library, Matches]:
    """Return the rows of each library that have some of the words, as they stand among all."""
    bounds = [0, *accumulate(each.size for each in libraries)]
    sources = [_Shifted(each.words, start) for each, start in zip(libraries, bounds, strict=False)]
    files = np.concatenate([np.empty(0, np.int64), *(each.columns.items for each in libraries)])
    words = Words(sources, np.ones(bounds[-1], np.bool_), asked.forms)
    found = matches(words, files, _Segments(libraries, bounds), asked)
    parts = {}
    for library, start in zip(libraries, bounds, strict=False):
        some = slice(*np.searchsorted(found.rows, [start, start + library.size]))
        parts[library] = replace(
            found,
            rows=found.rows[some] - start,
            bm25=found.bm25[some],
            coverage=found.coverage[some],
            equal=found.equal[some],
            are_whole=found.are_whole[some],
        )
    return parts


@dataclass(frozen=True)
class _Shifted:
    """The words of a library whose rows are numbered from `start` on."""

    words: Words
    start: int

    def postings(self, token: str) -> tuple[Rows, Counts]:
        rows, counts = self.words.postings(token)
        return rows + self.start, counts

    def at_least(self, token: str) -> int:
        return self.words.at_least(token)

    def phrase(self, words: Sequence[str]) -> Rows:
        return self.words.phrase(words) + self.start

    def lengths(self) -> tuple[Rows, Counts]:
        return self._lengths

    @cached_property
    def _lengths(self) -> tuple[Rows, Counts]:
        rows, counts = self.words.lengths()
        return rows + self.start, counts

    def text(self, row: int) -> str | None:
        return self.words.text(row - self.start)

    def read_by(self, reader: str) -> Rows:
        return self.words.read_by(reader) + self.start


class _Segments(dict[int, Segment]):
    """The segments of libraries whose rows are numbered from `bounds` on, as they are needed."""

    def __init__(self, libraries: Sequence[Library], bounds: Sequence[int]) -> None:
        super().__init__()
        self._libraries, self._bounds = libraries, bounds

    def __missing__(self, row: int) -> Segment:
        place = bisect_right(self._bounds, row) - 1
        return self._libraries[place].segments[row - self._bounds[place]]
