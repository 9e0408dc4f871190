"""Threads for work that blocks, by its sort, so that one sort never waits for another."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from qvsearch.web.problems import Problem

Result = TypeVar("Result")


class Lane:
    """Runs functions in at most `threads` threads; refuses more than `waiting` that wait."""

    def __init__(self, what: str, threads: int, waiting: int) -> None:
        self._what = what
        self._limiter = CapacityLimiter(threads)
        self._most = threads + waiting
        self._here = 0

    async def run(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Return the result of a function; raises Problem if too many wait."""
        if self._here >= self._most:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE, f"too many {self._what} at once; try again"
            )
        self._here += 1
        try:
            return await to_thread.run_sync(function, *arguments, limiter=self._limiter)
        finally:
            self._here -= 1


class Lanes:
    """The lanes of a server."""

    def __init__(self, decoders: int, clips: int) -> None:
        self.queries = Lane("queries", 1, 64)
        self.lookups = Lane("requests", 4, 512)
        self.pictures = Lane("pictures", 2 * decoders, 512)
        self.clips = Lane("clips", clips, 32)
        self.reads = Lane("files", 8, 512)
