"""The rows of a library by content: what a file that is known already need not be embedded for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qvsearch.indexing.batching import Embedded
from qvsearch.indexing.changes import Content, content_of

if TYPE_CHECKING:
    from qvsearch.library.library import Library


class Sources:
    """The rows of each file that has a content; the last one that lives is copied from."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._rows: dict[Content, list[list[int]]] = {}
        self._outdated: set[Content] = set()

    def add(self, rows: list[int]) -> None:
        """Take the rows of a file."""
        content = content_of(self._library.segments[rows[0]])
        self._rows.setdefault(content, []).append(rows)

    def outdate(self, content: Content) -> None:
        """Copy no rows of this content that an older version read."""
        self._outdated.add(content)

    def has(self, content: Content) -> bool:
        """Whether there ever were rows of this content."""
        return bool(self._rows.get(content))

    def find(self, content: Content) -> Embedded | None:
        """Return segments and vectors of this content from any file that has it."""
        segments = self._library.segments
        sources = self._rows.get(content, [])
        while sources and (
            sources[-1][0] not in segments
            or (content in self._outdated and segments[sources[-1][0]].is_older)
        ):
            sources.pop()
        if not sources:
            return None
        rows = sources[-1]
        item = segments[rows[0]].item
        return Embedded(item, tuple(segments[row] for row in rows), self._library.vectors(rows))
