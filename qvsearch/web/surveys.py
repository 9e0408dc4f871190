"""Results that are kept: of minutes of work in the background, or of one commit."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar, cast
from weakref import WeakKeyDictionary

from qvsearch.errors import QvsearchError

if TYPE_CHECKING:
    from qvsearch.retrieval.shelf import Opened

Result = TypeVar("Result")

REST = 20  # times as long as a survey took, before the next one: it may read a slow drive


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Result]):
    """A result or an error, of a state of the libraries.

    `at` is by the monotonic clock, `took` the seconds of the work.
    """

    state: object
    result: Result | None
    error: QvsearchError | None
    at: float
    took: float


class Surveys:
    """The last outcome of each question; safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outcomes: dict[object, Outcome[object]] = {}
        self._waiting: set[object] = set()
        self._tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()
        # it must not delay the end of the process
        threading.Thread(target=self._work, name="surveys", daemon=True).start()

    def outcome(
        self,
        question: object,
        state: object,
        answer: Callable[[], Result],
        seconds: float | None = None,
    ) -> Outcome[Result] | None:
        """Return the last outcome, None before the first; a new one is started if it is outdated.

        It is outdated if it is of another state, and after `seconds` (default: never), or later if
        the work takes long. `answer`
        runs in the background; what it raises, if a QvsearchError, is the outcome.
        """
        with self._lock:
            last = cast("Outcome[Result] | None", self._outcomes.get(question))
            is_current = last is not None and last.state == state
            if last is not None and seconds is not None:
                is_current = is_current and time.monotonic() < last.at + max(
                    seconds, REST * last.took
                )
            if not is_current and question not in self._waiting:
                self._waiting.add(question)
                self._tasks.put(lambda: self._answer(question, state, answer))
        return last

    def _answer(self, question: object, state: object, answer: Callable[[], object]) -> None:
        result, error, started = None, None, time.monotonic()
        try:
            result = answer()
        except QvsearchError as failure:
            error = failure
        finally:
            with self._lock:
                self._waiting.discard(question)
                if result is not None or error is not None:
                    now = time.monotonic()
                    self._outcomes[question] = Outcome(state, result, error, now, now - started)

    def _work(self) -> None:
        while True:
            task = self._tasks.get()
            try:
                task()
            except Exception:  # noqa: BLE001 - a defect of ours: other questions are answered
                traceback.print_exc(file=sys.stderr)


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
