"""What Ctrl-C means to work that should not lose anything."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from qvsearch.cli.output import alert


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Give what tells whether Ctrl-C, or a request to end, has come.

    A second Ctrl-C ends the process at once; what was committed before stays whole.
    """
    asked = False

    def ask(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        # not Python's own handler: that would wait for a matrix product to end
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        alert("finishing this batch; Ctrl-C again leaves at once")

    before = {each: signal.signal(each, ask) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
