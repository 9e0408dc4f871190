"""Results that are worked out once for each commit of a library."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from qvsearch.retrieval.shelf import Opened

Result = TypeVar("Result")


class PerCommit(Generic[Result]):
    """The results of a function, each kept as long as its library is open; safe for threads."""

    def __init__(self, work: Callable[[Opened], Result]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._results: WeakKeyDictionary[Opened, Result] = WeakKeyDictionary()

    def of(self, opened: Opened) -> Result:
        """Return the result for a library; raises what the function raises."""
        with self._lock:
            if opened not in self._results:
                self._results[opened] = self._work(opened)
            return self._results[opened]
