"""An `os` for qvsearch.files that records each of its operations and can fail or stop at one."""

import os

STEPS = ("open", "write", "close", "replace", "unlink", "mkdir")
FAILED = "operations on the disk that failed"  # what the tests that make them fail count


class FaultyDisk:
    """Before the operation number `at`, from 1, `act` is called; it raises or never returns."""

    def __init__(self, at=0, act=None):
        self.at = at
        self.act = act
        self.steps = []
        self.acted = False

    def fsync(self, descriptor):
        """Do not wait for the disk: no test here cuts the power."""
        self._count("fsync", (descriptor,))

    def __getattr__(self, name):
        real = getattr(os, name)
        if name not in STEPS:
            return real

        def step(*arguments):
            if name == "open" and isinstance(arguments[0], bytes):
                return real(*arguments)  # to read media, which lie on other disks
            if name == "close":
                real(*arguments)  # a close that reports an error has closed all the same
                return self._count(name, arguments)
            self._count(name, arguments)
            return real(*arguments)

        return step

    def _count(self, name, arguments):
        self.steps.append((name, arguments))
        if len(self.steps) == self.at:
            self.acted = True
            self.act()

    @property
    def names(self):
        return [name for name, _ in self.steps]


class FullDisk(FaultyDisk):
    """Takes no byte and no folder from the operation number `at` on."""

    def _count(self, name, arguments):
        self.steps.append((name, arguments))
        if len(self.steps) >= self.at and name in ("write", "mkdir"):
            self.acted = True
            self.act()


def failing(number):
    """Return an `act` that fails as the operating system does."""

    def act():
        raise OSError(number, os.strerror(number))

    return act
