"""Ctrl-C during work: the current batch is finished first, or all of it is cancelled."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

from qvsearch.cli.output import alert


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Give a function that returns whether Ctrl-C, or a request to end, has arrived.

    A second Ctrl-C ends the process at once; earlier commits stay whole.
    """
    stopping = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        # not Python's own handler: that would wait for the end of a matrix product
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        alert("finishing this batch; Ctrl-C again leaves at once")

    with handled(stop, signal.SIGINT, signal.SIGTERM):
        yield lambda: stopping


def cancelling() -> AbstractContextManager[None]:
    """Treat a request to end as Ctrl-C: what is half written is deleted, and nothing is kept."""
    return handled(signal.default_int_handler, signal.SIGTERM)


@contextmanager
def handled(
    handler: Callable[[int, FrameType | None], object], *signals: signal.Signals
) -> Iterator[None]:
    """Have a function called for signals, which then get their former handlers back."""
    before = {each: signal.signal(each, handler) for each in signals}
    try:
        yield
    finally:
        for each, former in before.items():
            signal.signal(each, former)
