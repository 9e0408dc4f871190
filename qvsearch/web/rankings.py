"""Ranked lists of hits that grow while a person scrolls, and are computed once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qvsearch.runtime.several import Lost
    from qvsearch.types import Hit

KEPT_LISTS = 16
KEPT_HITS = 50_000  # in all lists: about 3 KB each
KEPT_STATES = 3  # of the libraries; a list that is not complete keeps those of its time open


class Ranking:
    """The hits of one search, computed as far as they were asked for; each keeps its place.

    Only one thread may use it at a time.
    """

    def __init__(
        self, hits: Iterator[Hit], lost: Sequence[Lost] = (), *, is_relevant: bool = True
    ) -> None:
        """Take hits in order, and the libraries that turn out to be unreadable meanwhile."""
        self._rest: Iterator[Hit] | None = hits
        self.hits: list[Hit] = []
        self.lost = lost
        self.is_relevant = is_relevant

    def page(self, offset: int, limit: int) -> tuple[list[Hit], bool]:
        """Return `limit` hits from `offset` on, and whether there are more."""
        missing = offset + limit + 1 - len(self.hits)
        if missing > 0 and self._rest is not None:
            more = list(islice(self._rest, missing))
            self.hits += more
            if len(more) < missing:
                self._rest = None  # and with it the library of that time
        return self.hits[offset : offset + limit], len(self.hits) > offset + limit


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
            or self._states() > KEPT_STATES
        ):
            self._lists.popitem(last=False)

    def _states(self) -> int:
        """Return of how many different states the lists are."""
        states: list[object] = []  # they cannot be hashed
        for state, _ in self._lists.values():
            if state not in states:
                states.append(state)
        return len(states)
