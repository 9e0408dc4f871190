"""Decode processes that are kept from one test to the next: to start one takes 0.3 seconds."""

import pickle
from collections import defaultdict
from contextlib import contextmanager

import pytest

from qvsearch.errors import MediaError
from qvsearch.media.sandbox import MOST_BYTES, ConfinedProcess

IDLE = defaultdict(list)  # by what they do
KEEPING = []  # an entry for each context in which processes are kept


class KeptProcess:
    """A `ConfinedProcess`, perhaps of an earlier test; at its end it is kept for a later one.

    It is not kept if it has died, or is killed while it works.
    """

    def __init__(self, work, most_bytes=MOST_BYTES):
        self._idle = IDLE[pickle.dumps((work, most_bytes))]
        self._is_new, self._is_busy, self._is_killed = True, False, False
        self._inner = None
        while self._inner is None and self._idle:
            if (kept := self._idle.pop()).is_usable():
                self._inner, self._is_new = kept, False
            else:
                kept.end()
        self._inner = self._inner or ConfinedProcess(work, most_bytes)

    @property
    def process(self):
        return self

    def wait_until_ready(self):
        if self._is_new:
            self._inner.wait_until_ready()

    def is_usable(self):
        return self._inner.is_usable()

    def run(self, *job):
        self._is_busy = True
        try:
            answers = self._inner.run(*job)
        except MediaError:  # it has sent the reason, or is no longer usable
            self._is_busy = False
            raise
        self._is_busy = False  # after any other error it may be in the middle of a job
        return answers

    def kill(self):
        if self._is_busy:
            self._is_killed = True  # though its job may end meanwhile
            self._inner.process.kill()

    def end(self):
        if KEEPING and not self._is_busy and not self._is_killed and self.is_usable():
            self._idle.append(self._inner)
        else:
            self._inner.end()


def end_all():
    for idle in IDLE.values():
        while idle:
            idle.pop().end()


@contextmanager
def kept_workers():
    """Let all decoders, clip folders and players share processes, which go on at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qvsearch.media.sandbox.ConfinedProcess", KeptProcess)
        KEEPING.append(True)
        try:
            yield
        finally:
            KEEPING.pop()
