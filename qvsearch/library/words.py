"""The words of a library's rows: which rows have a token or a phrase, and how often."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from qvsearch.library.tokens import tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.types import Segment

    Rows = NDArray[np.int64]
    Counts = NDArray[np.int64]


class WordSource(Protocol):
    """The words of some rows, of which some may be dead. Rows are numbers of the library."""

    def postings(self, token: str) -> tuple[Rows, Counts]:
        """Return the rows (k,) that have a token, ascending, and how often each has it (k,)."""
        ...

    def phrase(self, words: Sequence[str]) -> Rows:
        """Return the rows (k,) in which these tokens follow one another, ascending."""
        ...

    def lengths(self) -> tuple[Rows, Counts]:
        """Return all rows (n,) that have words, ascending, and the number of tokens of each."""
        ...

    def text(self, row: int) -> str | None:
        """Return the text of a row as its file has it; None if it is not from here or has none."""
        ...


class Words:
    """The words of a library's live rows, from all its sources; do not mutate the arrays."""

    def __init__(
        self,
        sources: Sequence[WordSource],
        live: NDArray[np.bool_],
        added: dict[int, str],
    ) -> None:
        self._sources, self._live, self._added = sources, live, added

    def read_by(self, reader: str) -> Rows:
        """Return the live rows (k,) whose words a reader has looked for."""
        rows = np.array(sorted(self._added), np.int64)
        return rows[self._live[rows]]

    def postings(self, token: str) -> tuple[Rows, Counts]:
        """Return the live rows (k,) that have a token, and how often each has it (k,)."""
        return self._joined([each.postings(token) for each in self._sources])

    def phrase(self, words: Sequence[str]) -> Rows:
        """Return the live rows (k,) in which these tokens follow one another."""
        rows = [each.phrase(words) for each in self._sources]
        return self._joined([(each, each) for each in rows])[0]

    def lengths(self) -> tuple[Rows, Counts]:
        """Return all live rows (n,) that have words, and the number of tokens of each (n,)."""
        return self._joined([each.lengths() for each in self._sources])

    def text(self, row: int) -> str | None:
        """Return the text of a live row as its file has it; None for a row without words."""
        texts = (each.text(row) for each in self._sources)
        own = next((each for each in texts if each is not None), None)
        return "\n".join(filter(None, (own, self._added.get(row)))) or None

    def _joined(self, parts: Sequence[tuple[Rows, Counts]]) -> tuple[Rows, Counts]:
        rows = np.concatenate([np.empty(0, np.int64), *(rows for rows, _ in parts)])
        counts = np.concatenate([np.empty(0, np.int64), *(counts for _, counts in parts)])
        live = self._live[rows]
        return rows[live], counts[live]


def about(segment: Segment) -> str:
    """Return what a search by words also finds of a file: its names, title, keywords and the like.

    The first row of each file has it beside its own words.
    """
    item, metadata = segment.item, segment.metadata
    path = os.path.join(os.path.basename(item.root), item.path)
    fields = (metadata.title, metadata.author, *(metadata.keywords or ()), metadata.camera)
    return "\n".join([os.fsdecode(path).replace("_", " "), *(each for each in fields if each)])


def searchable(segments: Iterable[Segment]) -> Iterable[str]:
    """Yield all words of each row, given its segment; the rows of a file follow one another."""
    before = None
    for segment in segments:
        is_first, before = segment.item is not before, segment.item
        parts = [segment.words or "", about(segment) if is_first else ""]
        yield "\n".join(filter(None, parts))


class WaitingWords:
    """The words of rows that wait for a commit."""

    def __init__(self) -> None:
        self._tokens: dict[int, list[str]] = {}
        self._texts: dict[int, str | None] = {}

    def add(self, start: int, segments: Sequence[Segment]) -> None:
        """Add rows from a number on."""
        for row, (segment, text) in enumerate(
            zip(segments, searchable(segments), strict=True), start
        ):
            self._tokens[row], self._texts[row] = tokens(text), segment.words

    def postings(self, token: str) -> tuple[Rows, Counts]:
        """Return the rows (k,) that have a token, and how often each has it (k,)."""
        counts = {row: Counter(each)[token] for row, each in self._tokens.items() if token in each}
        return np.array(list(counts), np.int64), np.array(list(counts.values()), np.int64)

    def phrase(self, words: Sequence[str]) -> Rows:
        """Return the rows (k,) in which these tokens follow one another."""
        wanted, size = list(words), len(words)
        rows = [
            row
            for row, each in self._tokens.items()
            if any(each[at : at + size] == wanted for at in range(len(each) - size + 1))
        ]
        return np.array(rows, np.int64)

    def lengths(self) -> tuple[Rows, Counts]:
        """Return all rows (n,) and the number of tokens of each (n,)."""
        counts = [len(each) for each in self._tokens.values()]
        return np.array(list(self._tokens), np.int64), np.array(counts, np.int64)

    def text(self, row: int) -> str | None:
        """Return the text of a row as its file has it."""
        return self._texts.get(row)
