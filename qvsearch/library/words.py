"""The words of a library's rows: which rows have a token or a phrase, and how often."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from qvsearch.library.places import place_table
from qvsearch.library.tokens import tokens
from qvsearch.library.words_file import FILE, PAGES, RowWords
from qvsearch.paged_text import DOCUMENT_PAGES, without_numbers
from qvsearch.timed_lines import without_times
from qvsearch.types import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.types import Segment

    Rows = NDArray[np.int64]
    Counts = NDArray[np.int64]
    Forms = Mapping[tuple[str, ...], Sequence[tuple[str, ...]]]


MOST_PLACES = 1 << 14  # that are held: 8 MB


class WordSource(Protocol):
    """The words of some rows, of which some may be dead. Rows are numbers of the library."""

    def postings(self, token: str) -> tuple[Rows, Counts]:
        """Return the rows (k,) that have a token, ascending, and how often each has it (k,)."""
        ...

    def at_least(self, token: str) -> int:
        """Return a number of rows that surely have a token, dead ones too; none of them is read."""
        ...

    def phrase(self, words: Sequence[str]) -> Rows:
        """Return the rows (k,) in which these tokens follow one another, ascending."""
        ...

    def lengths(self) -> tuple[Rows, Counts]:
        """Return all rows (n,) that have words, ascending, and the number of tokens of each."""
        ...

    def text(self, row: int) -> str | None:
        """Return the text of a row as its file has it; None if it is not from here."""
        ...

    def read_by(self, reader: str) -> Rows:
        """Return the rows (k,) whose words a reader has looked for, ascending."""
        ...


class Words:
    """The words of a library's live rows, from all its sources; do not mutate the arrays.

    A row with one of the other `forms` of a phrase, or of a token, is one that has it.
    """

    def __init__(
        self, sources: Sequence[WordSource], live: NDArray[np.bool_], forms: Forms | None = None
    ) -> None:
        self._sources, self._live, self._forms = sources, live, forms or {}

    def with_forms(self, forms: Forms) -> Words:
        """Return the same words, with other forms of some phrases."""
        return Words(self._sources, self._live, forms)

    def ways(self, words: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Return a phrase and its other forms."""
        return (words, *self._forms.get(words, ()))

    def postings(self, token: str) -> tuple[Rows, Counts]:
        """Return the live rows (k,) that have a token, and how often each has it (k,)."""
        rows, counts = self._joined([each.postings(token) for each in self._sources])
        more = self._in_other_forms((token,), rows)
        return np.append(rows, more), np.append(counts, np.ones_like(more))

    def at_least(self, token: str) -> int:
        """Return a number of live rows that surely have a token, at once; for rare ones it is 0."""
        known = sum(each.at_least(token) for each in self._sources)
        if known:
            rows = [each.lengths()[0] for each in self._sources]
            known -= sum(int((~self._live[each]).sum()) for each in rows)
        return max(0, known)

    def phrase(self, words: Sequence[str]) -> Rows:
        """Return the live rows (k,) in which these tokens follow one another."""
        rows = self._following(words)
        return np.append(rows, self._in_other_forms(tuple(words), rows))

    def lengths(self) -> tuple[Rows, Counts]:
        """Return all live rows (n,) that have words, and the number of tokens of each (n,)."""
        return self._joined([each.lengths() for each in self._sources])

    def text(self, row: int) -> str | None:
        """Return the text of a live row as its file has it; None if its words were not stored."""
        texts = (each.text(row) for each in self._sources)
        return next((each for each in texts if each is not None), None)

    def read_by(self, reader: str) -> Rows:
        """Return the live rows (k,) whose words a reader has looked for, with or without success.

        Readers are `file`, for the text that the file itself has, and those of `Library.add_words`.
        """
        rows = [each.read_by(reader) for each in self._sources]
        return self._joined([(each, each) for each in rows])[0]

    def _in_other_forms(self, words: tuple[str, ...], rows: Rows) -> Rows:
        """Return the live rows (k,) with another form of a phrase, without `rows`."""
        found = [self._following(each) for each in self._forms.get(words, ())]
        few = np.unique(np.concatenate([rows[:0], *found]))
        return few[~np.isin(few, rows)]  # `np.setdiff1d` sorts `rows`, which may be many

    def _following(self, words: Sequence[str]) -> Rows:
        rows = [each.phrase(words) for each in self._sources]
        return self._joined([(each, each) for each in rows])[0]

    def _joined(self, parts: Sequence[tuple[Rows, Counts]]) -> tuple[Rows, Counts]:
        rows = np.concatenate([np.empty(0, np.int64), *(rows for rows, _ in parts)])
        counts = np.concatenate([np.empty(0, np.int64), *(counts for _, counts in parts)])
        live = self._live[rows]
        return rows[live], counts[live]


def about(segment: Segment) -> str:
    """Return what a search by words also finds of a file: its names, title, place and the like.

    The first row of each file has it beside its own words.
    """
    path = os.path.join(os.path.basename(segment.item.root), segment.item.path)
    return "\n".join([os.fsdecode(path), *described(segment)])


def described(segment: Segment) -> list[str]:
    """Return the title, author, keywords, camera and places of a file."""
    metadata = segment.metadata
    places: tuple[str, ...] = ()
    if metadata.latitude is not None and metadata.longitude is not None:
        places = _places_near(round(metadata.latitude, 3), round(metadata.longitude, 3))
    fields = (metadata.title, metadata.author, *(metadata.keywords or ()), metadata.camera, *places)
    return [each for each in fields if each]


@lru_cache(MOST_PLACES)
def _places_near(latitude: float, longitude: float) -> tuple[str, ...]:
    """Return the names of where a photo is, to 100 m; a folder has many photos of one place."""
    return place_table().names_near(latitude, longitude)


def searchable(segments: Iterable[Segment]) -> Iterable[str]:
    """Yield all words of each row, given its segment; the rows of a file follow one another."""
    before = None
    for segment in segments:
        is_first, before = segment.item != before, segment.item
        own = segment.words or ""
        if segment.item.kind is Kind.VIDEO:
            own = without_times(own)
        elif segment.item.kind is Kind.DOCUMENT:
            own = without_numbers(own)
        parts = [own, about(segment) if is_first else ""]
        yield "\n".join(filter(None, parts))


def own_words(segment: Segment) -> RowWords:
    """Return the words that a segment came with from the decoder; without any, none were read."""
    if segment.words is None:
        return RowWords()
    is_long = (segment.metadata.pages or 0) > DOCUMENT_PAGES
    return RowWords(segment.words, frozenset({FILE, PAGES} if is_long else {FILE}))


def with_texts(segments: Iterable[Segment], rows: Iterable[RowWords]) -> Iterator[Segment]:
    """Yield each row's segment with its text as `words`."""
    for segment, row in zip(segments, rows, strict=True):
        yield replace(segment, words=row.text)


class WaitingWords:
    """The words of rows that wait for a commit; they are divided when the first one is sought."""

    def __init__(self) -> None:
        self._rows: dict[int, RowWords] = {}
        self._divided: dict[int, list[str]] = {}
        self._whole: list[tuple[int, Sequence[Segment]]] = []  # not divided yet

    def add(self, start: int, segments: Sequence[Segment], rows: Sequence[RowWords]) -> None:
        """Add rows from a number on."""
        self._rows.update(enumerate(rows, start))
        self._whole.append((start, segments))

    @property
    def _tokens(self) -> dict[int, list[str]]:
        for start, segments in self._whole:
            rows = [self._rows[row] for row in range(start, start + len(segments))]
            texts = searchable(with_texts(segments, rows))
            self._divided.update(enumerate(map(tokens, texts), start))
        self._whole.clear()
        return self._divided

    def postings(self, token: str) -> tuple[Rows, Counts]:
        """Return the rows (k,) that have a token, and how often each has it (k,)."""
        counts = {row: each.count(token) for row, each in self._tokens.items() if token in each}
        return np.array(list(counts), np.int64), np.array(list(counts.values()), np.int64)

    def at_least(self, token: str) -> int:
        """Return 0: counting takes as long as finding the rows."""
        return 0

    def phrase(self, words: Sequence[str]) -> Rows:
        """Return the rows (k,) in which these tokens follow one another."""
        wanted, size = list(words), len(words)
        rows = [
            row
            for row, each in self._tokens.items()
            if size and any(each[at : at + size] == wanted for at in range(len(each) - size + 1))
        ]
        return np.array(rows, np.int64)

    def lengths(self) -> tuple[Rows, Counts]:
        """Return all rows (n,) and the number of tokens of each (n,)."""
        counts = [len(each) for each in self._tokens.values()]
        return np.array(list(self._tokens), np.int64), np.array(counts, np.int64)

    def text(self, row: int) -> str | None:
        """Return the text of a row as its file has it; None if it is not from here."""
        return self._rows[row].text if row in self._rows else None

    def of(self, row: int) -> RowWords:
        """Return the text and the readers of a row."""
        return self._rows[row]

    def read_by(self, reader: str) -> Rows:
        """Return the rows (k,) whose words a reader has looked for."""
        rows = [row for row, each in self._rows.items() if reader in each.readers]
        return np.array(rows, np.int64)
