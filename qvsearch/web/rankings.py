"""Ranked lists of hits that grow while a person scrolls, and are computed once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qvsearch.types import Hit

    Answer = Callable[[int], list[Hit]]

FIRST = 240  # hits of the first computation: a screen appears without waiting for the rest
GROWTH = 5  # times as many with each further one: few repeat the beginning
KEPT_LISTS = 16
KEPT_HITS = 50_000  # in all lists: about 3 KB each


class Ranking:
    """The hits of one search, computed as far as they were asked for.

    A hit never changes its place: a longer list keeps those that were shown, and adds others. Only
    one thread may use it at a time.
    """

    def __init__(self, answer: Answer, *, is_relevant: bool = True) -> None:
        """Take a function that returns the best N hits; all there are if they are fewer."""
        self._answer = answer
        self._next = FIRST
        self.hits: list[Hit] = []
        self.is_relevant = is_relevant
        self.is_whole = False

    def page(self, offset: int, limit: int) -> tuple[list[Hit], bool]:
        """Return `limit` hits from `offset` on, and whether there are more."""
        while not self.is_whole and len(self.hits) <= offset + limit:
            self._extend()
        return self.hits[offset : offset + limit], len(self.hits) > offset + limit

    def _extend(self) -> None:
        hits = self._answer(self._next)
        self.is_whole = len(hits) < self._next
        self._next *= GROWTH
        shown = {hit.segment.item for hit in self.hits}
        shown.update(*(hit.duplicates for hit in self.hits))
        for hit in hits:
            if hit.segment.item not in shown:
                shown.add(hit.segment.item)
                self.hits.append(replace(hit, rank=len(self.hits) + 1))


class Rankings:
    """The last ranked lists, by the search and the state of the libraries."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lists: OrderedDict[object, tuple[object, Ranking]] = OrderedDict()

    def get(self, search: object, state: object, *, is_first: bool) -> Ranking | None:
        """Return the list of a search; a page behind the first may be of an earlier state."""
        with self._lock:
            kept = self._lists.get(search)
            if kept is None or (is_first and kept[0] != state):
                return None
            self._lists.move_to_end(search)
            self._drop()  # they grow between two calls
            return kept[1]

    def keep(self, search: object, state: object, ranking: Ranking) -> None:
        """Keep a new list as the last one."""
        with self._lock:
            self._lists[search] = (state, ranking)
            self._lists.move_to_end(search)
            self._drop()

    def _drop(self) -> None:
        """Drop the oldest lists beyond the limits."""
        while len(self._lists) > 1 and (
            len(self._lists) > KEPT_LISTS
            or sum(len(each.hits) for _, each in self._lists.values()) > KEPT_HITS
        ):
            self._lists.popitem(last=False)
