"""Connections of the server: none of them, however slow, takes the place of another."""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0  # for the head of a request; a client that trickles is cut off
ENOUGH = 200  # connections; beyond them, the oldest one that nobody waits for is closed
MOST = 2 * ENOUGH  # with their files, they fit the 1,024 that a process may usually open


class Connection(H11Protocol):
    """One connection, which is closed if no request arrives in time, or if its place is needed."""

    _head_timer: asyncio.TimerHandle | None = None
    _since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room if there are too many, and wait for the first request."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)
        others = cast("set[Connection]", self.connections) - {self}
        if len(others) >= ENOUGH:
            dispensable = [each for each in others if each.is_dispensable]
            if dispensable:
                min(dispensable, key=lambda each: each._since).close()
            elif len(others) >= MOST:
                self.close()

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        was_idle = self.is_idle
        super().data_received(data)
        if not self.is_idle:
            self._stop_timer()
            self._since = self.loop.time()
        elif was_idle and self._head_timer is None:  # the first part of another head
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        super().connection_lost(exc)

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_dispensable(self) -> bool:
        """Whether nobody waits for it: it is idle, has ended, or its client does not read.

        A paused video is one of the latter; its player asks again.
        """
        return self.is_idle or self.transport.is_closing() or self.flow.write_paused

    def close(self) -> None:
        """End the connection at once, whatever is still to be sent."""
        self.transport.abort()

    def _give_up(self) -> None:
        self._head_timer = None
        if self.is_idle:
            self.close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
