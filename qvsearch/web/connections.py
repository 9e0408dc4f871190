"""Connections of the server: none of them, however slow, takes the place of another."""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0  # for the head of a request; a client that trickles is cut off
MOST = 256  # connections; beyond them, the one that has been idle for longest is closed


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
        if len(others) >= MOST:
            idle = [each for each in others if each.is_idle]
            min(idle or [self], key=lambda each: each._since).close()

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

    def close(self) -> None:
        """End the connection at once."""
        if not self.transport.is_closing():
            self.transport.abort()

    def _give_up(self) -> None:
        self._head_timer = None
        if self.is_idle:
            self.close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
