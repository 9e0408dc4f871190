"""The process that indexes for the watcher: a request a line in, records a line out.

It ends when its input does, and with it all memory that a model takes.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress

import orjson

from qvsearch.freshness.messages import Ended, Inbox, Line

LAST = frozenset({"summary", "error"})  # states of the last record of a request


class Worker:
    """A running process; its lines, and its end, go to the inbox."""

    def __init__(self, command: Sequence[str], inbox: Inbox) -> None:
        """Start it, away from the terminal, whose Ctrl-C the watcher passes on."""
        self._inbox = inbox
        self._process = subprocess.Popen(  # noqa: S603 - this Python, this package
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdin is not None  # noqa: S101 - a pipe, as the types cannot tell
        assert self._process.stdout is not None  # noqa: S101
        self._input, self._output = self._process.stdin, self._process.stdout
        self.pid = self._process.pid
        threading.Thread(target=self._read, name="worker", daemon=True).start()

    def send(self, request: Mapping[str, object]) -> None:
        """Send a request; one that cannot be sent is answered by the process's end."""
        try:
            self._input.write(orjson.dumps(request, option=orjson.OPT_APPEND_NEWLINE))
            self._input.flush()
        except (OSError, ValueError):  # it has ended
            self.kill()

    def close(self) -> None:
        """Let it end once it has done its requests."""
        try:
            self._input.close()
        except OSError:
            self.kill()

    def interrupt(self) -> None:
        """Let it end after the present batch, whose files are committed."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once; earlier commits stay whole."""
        self._process.kill()

    def _read(self) -> None:
        with self._output:
            for line in self._output:
                with suppress(ValueError):  # the last line of a killed process
                    self._inbox.put(Line(self.pid, orjson.loads(line)))
        code = self._process.wait()
        with suppress(OSError):
            self._input.close()
        self._inbox.put(Ended(self.pid, code))
