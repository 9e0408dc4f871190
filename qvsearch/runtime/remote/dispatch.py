"""Feeds several servers from one queue, and gives the work of one that fails to the others.

Each server has threads with a connection each. A thread takes work, encodes its pixels, sends it,
and reads the answer; work that waits for a server is thus encoded while others are computed.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Generic, Protocol, TypeVar

from qvsearch.errors import ServersFailed
from qvsearch.runtime.remote.http import (
    Away,
    Busy,
    Connection,
    Failed,
    Failure,
    Refused,
    Server,
    Unusable,
)
from qvsearch.runtime.remote.protocol import BadAnswer

Source = TypeVar("Source")
Result = TypeVar("Result")

MOST_TOKENS = 4096  # of a request: 12 MB of pixels, and 5 large photos or 10 passages
TRIES = 4  # of a request whose servers answer that they fail, before its inputs are the reason
USUAL = 4.0  # times the usual duration, after which a server counts as slow


class Capacity(Protocol):
    """What a server takes: inputs of a request, and requests at once."""

    @property
    def most_inputs(self) -> int:
        """The most inputs of a request."""

    @property
    def connections(self) -> int:
        """The requests that keep the server busy."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An input without a result, and why."""

    reason: str


@dataclass(eq=False)
class Batch(Generic[Source, Result]):
    """Inputs that belong together, with their results so far."""

    compute: Callable[[Connection, Sequence[Source]], Sequence[Result | Refusal]]
    count: int
    future: Future[list[Result | Refusal]] = field(default_factory=Future)
    results: dict[int, Result | Refusal] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)

    def take(self, rows: Sequence[int], results: Sequence[Result | Refusal]) -> None:
        """Set the results of some inputs, unless they have one; callers hold the pool's lock."""
        for row, result in zip(rows, results, strict=True):
            self.results.setdefault(row, result)
        if len(self.results) == self.count and not self.future.done():
            self.future.set_result([self.results[row] for row in range(self.count)])

    def fail(self, error: Exception) -> None:
        """End without results; callers hold the pool's lock."""
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(eq=False, slots=True)
class Work:
    """A request: some inputs of a batch, by their rows."""

    batch: Batch[Any, Any]
    rows: Sequence[int]
    sources: Sequence[Any]
    tokens: Sequence[int]
    tries: int = 0
    since: float = 0.0  # when it was sent
    sent_to: set[Server] = field(default_factory=set)

    @property
    def is_done(self) -> bool:
        """Whether nobody waits for it any longer."""
        return self.batch.future.done() or all(row in self.batch.results for row in self.rows)

    def halves(self) -> tuple[Work, Work]:
        """Return two works, one after the other; callers must not halve a single input."""
        cut = len(self.rows) // 2
        return self._part(slice(cut)), self._part(slice(cut, None))

    def _part(self, part: slice) -> Work:
        return Work(self.batch, self.rows[part], self.sources[part], self.tokens[part])


class Pool:
    """Servers that share a queue. `close` ends its threads; those that wait for an answer later."""

    def __init__(self, servers: Mapping[Server, Capacity]) -> None:
        self._capacity = servers
        self._servers = list(servers)
        self._queue: deque[Work] = deque()
        self._sent: set[Work] = set()
        self._threads = dict.fromkeys(servers, 0)
        self._most_tokens = dict.fromkeys(servers, MOST_TOKENS)
        self._reasons: dict[Server, str] = {}
        self._change = threading.Condition()
        self._usual = 0.0  # seconds of a request, a running mean
        self._last_good = 0.0
        self._closed = False

    def submit(
        self,
        compute: Callable[[Connection, Sequence[Source]], Sequence[Result | Refusal]],
        sources: Sequence[Source],
        tokens: Sequence[int],
        alone: Sequence[bool] = (),
    ) -> Future[list[Result | Refusal]]:
        """Queue inputs of so many tokens; the result has a Result or a Refusal for each, in order.

        `compute` sends some of them over a connection, and may raise Failure or BadAnswer. Inputs
        that are `alone` share no request. The future raises ServersFailed if no server is left.
        """
        batch = Batch(compute, len(sources))
        with self._change:
            batch.take((), ())
            self._queue += self._works(batch, sources, tokens, alone)
            if not self._servers or self._closed:
                self._give_up()
            self._start_threads()
            self._change.notify_all()
        return batch.future

    def close(self) -> None:
        """End all threads that have no answer to wait for."""
        with self._change:
            self._closed = True
            self._give_up()
            self._change.notify_all()

    def _works(
        self,
        batch: Batch[Any, Any],
        sources: Sequence[Any],
        tokens: Sequence[int],
        alone: Sequence[bool],
    ) -> Iterator[Work]:
        """Yield requests of neighbours, of MOST_TOKENS together or one input."""
        most = max((each.most_inputs for each in self._capacity.values()), default=1)
        start = total = 0
        for row, own in enumerate(tokens):
            ends = row - start >= most or total + own > MOST_TOKENS
            ends = ends or any(alone[max(start, row - 1) : row + 1])
            if start < row and ends:
                yield Work(batch, range(start, row), sources[start:row], tokens[start:row])
                start, total = row, 0
            total += own
        if sources:
            end = len(sources)
            yield Work(batch, range(start, end), sources[start:], tokens[start:])

    def _start_threads(self) -> None:
        """Start as many threads as there is work for, up to what each server takes."""
        work = len(self._queue) + len(self._sent)  # threads that wait for an answer take no other
        for server in self._servers:
            wanted = min(work, self._capacity[server].connections)
            while self._threads[server] < wanted:
                self._threads[server] += 1
                # a thread that waits for an answer does not keep the process
                threading.Thread(target=self._serve, args=(server,), daemon=True).start()

    def _serve(self, server: Server) -> None:
        """Send one work after the other to a server, until the pool or the server ends."""
        with server.connection() as connection:
            while (work := self._next(server)) is not None:
                self._do(work, connection)
                del work  # its batch keeps the embedder, which must not live while this waits

    def _next(self, server: Server) -> Work | None:
        """Wait for work that a server can take; None at the end."""
        with self._change:
            while not self._closed and server in self._servers:
                if (pause := server.resting()) > 0:
                    self._change.wait(pause)
                    continue
                if (work := self._fitting(server)) is not None:
                    work.since = time.monotonic()
                    work.sent_to.add(server)
                    self._sent.add(work)
                    return work
                self._change.wait(self._patience() if self._sent else None)
            self._threads[server] -= 1
        return None

    def _fitting(self, server: Server) -> Work | None:
        """Return the next work, as large as a server takes, or the work of a slow server."""
        while self._queue:
            work = self._queue.popleft()
            if work.is_done:
                continue
            large = sum(work.tokens) > self._most_tokens[server]
            many = len(work.rows) > self._capacity[server].most_inputs
            if len(work.rows) > 1 and (large or many):
                self._queue.extendleft(reversed(work.halves()))
                continue
            return work
        late = time.monotonic() - self._patience()
        for work in self._sent:
            fits = len(work.rows) <= self._capacity[server].most_inputs
            if work.since < late and server not in work.sent_to and fits and not work.is_done:
                return work
        return None

    def _patience(self) -> float:
        """Return the seconds after which a server counts as slow."""
        hedge = self._servers[0].limits.hedge if self._servers else 0.0
        return max(hedge, USUAL * self._usual)

    def _do(self, work: Work, connection: Connection) -> None:
        """Send a work, and take its results or handle its failure."""
        server, begun = connection.server, time.monotonic()
        try:
            results = work.batch.compute(connection, work.sources)
        except Failure as failure:
            with self._change:
                self._sent.discard(work)
                if not work.is_done:
                    self._handle(work, server, failure)
                self._change.notify_all()
        except BadAnswer as bad:
            with self._change:
                self._sent.discard(work)
                self._queue.appendleft(work)
                self._drop(server, str(bad))
                self._change.notify_all()
        except Exception as error:  # noqa: BLE001 - a defect must reach the caller, not end a thread
            with self._change:
                self._sent.discard(work)
                work.batch.fail(error)
        else:
            server.succeed()
            with self._change:
                self._last_good = time.monotonic()
                seconds = self._last_good - begun
                self._usual = seconds if not self._usual else 0.8 * self._usual + 0.2 * seconds
                self._sent.discard(work)
                work.batch.take(work.rows, results)
                self._change.notify_all()

    def _handle(self, work: Work, server: Server, failure: Failure) -> None:
        """Split a refused work, put others back, and let a failing server rest."""
        if isinstance(failure, Unusable):
            self._queue.appendleft(work)
            self._drop(server, str(failure))
            return
        if isinstance(failure, Refused):
            if failure.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and len(work.rows) > 1:
                self._most_tokens[server] = sum(work.tokens) // 2
            self._split(work, _refused_text(failure))
            return
        self._reasons[server] = str(failure)
        server.rest(failure.seconds if isinstance(failure, Busy) else None)
        work.tries += isinstance(failure, Failed)
        # a server that is away fails on all inputs; it is the input's fault if it computes others
        is_away = isinstance(failure, Away) and self._last_good < work.batch.begun
        if work.tries >= TRIES and not (is_away and len(work.rows) == 1):
            self._split(work, f"the server cannot compute it: {failure}")
        elif self._is_overdue(work, server):
            self._queue.appendleft(work)
            self._give_up()
        else:
            work.sent_to.clear()
            self._queue.appendleft(work)
            self._start_threads()

    def _split(self, work: Work, reason: str) -> None:
        """Queue the halves of a work, or give up the one input that it has."""
        if len(work.rows) == 1:
            work.batch.take(work.rows, [Refusal(reason)])
            return
        self._queue.extendleft(reversed(work.halves()))
        self._start_threads()

    def _is_overdue(self, work: Work, server: Server) -> bool:
        """Return whether no server has computed for long, and none is about to."""
        since = max(work.batch.begun, self._last_good)
        is_late = time.monotonic() - since > server.limits.deadline
        return is_late and not any(each.is_well for sent in self._sent for each in sent.sent_to)

    def _drop(self, server: Server, reason: str) -> None:
        """Use a server no longer."""
        self._reasons[server] = reason
        if server in self._servers:
            self._servers.remove(server)
        if self._servers:
            self._start_threads()
        else:
            self._give_up()

    def _give_up(self) -> None:
        """Fail all batches."""
        lines = [f"the server {each.url}: {text}" for each, text in self._reasons.items()]
        error = ServersFailed("; ".join(lines) or "the servers are no longer used")
        for work in (*self._queue, *self._sent):
            work.batch.fail(error)
        self._queue.clear()


def _refused_text(failure: Refused) -> str:
    if failure.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return (
            f"the server takes no request of this size ({failure}); raise the limit of the proxy"
            " before it, or give --wire jpeg95"
        )
    return f"the server refuses it: {failure}"
