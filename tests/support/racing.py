"""Files that change while they are indexed: what is done to one, and at which step, is its name.

`walk-deleted-0.txt` is deleted after the walk has met it and before it is hashed; `racing_decode`
is what a decode process calls, and does the steps that are its own. Every new process imports this,
so it imports little.
"""

import os
from pathlib import Path

from qvsearch import media

HOOKS = ("walk", "hash", "decode", "open", "read")  # each the step that has just been done


def other(path):
    """The file whose content takes this one's place."""
    return path.parent.parent / "other" / path.name


def deleted(path):
    path.unlink()


def truncated(path):
    os.truncate(path, path.stat().st_size // 2)


def grown(path):
    with open(path, "ab") as file:
        file.write(b" and more")


def linked(path):
    path.unlink()
    path.symlink_to(other(path))


def piped(path):
    path.unlink()
    os.mkfifo(path)


def replaced(path):
    os.replace(other(path), path)


def like_before(act):
    """The same with the size and the time that the file had."""

    def acting(path):
        times = path.stat()
        os.utime(other(path), ns=(times.st_atime_ns, times.st_mtime_ns))
        act(path)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    return acting


def overwritten(path):
    path.write_bytes(other(path).read_bytes())


ACTS = {
    "deleted": deleted,
    "truncated": truncated,
    "grown": grown,
    "linked": linked,
    "replaced": replaced,
    "overwritten": overwritten,
    "piped": piped,
    "slyly linked": like_before(linked),
    "slyly replaced": like_before(replaced),
    "slyly overwritten": like_before(overwritten),
}


def at(hook, location):
    """Do to a file what its name says, once, if it says that it is done now."""
    path = Path(os.fsdecode(location))
    named = path.name.split("-")
    if named[0] != hook:
        return
    mark = path.parent.parent / "done" / path.name
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return
    ACTS[named[1]](path)


class Racing:
    """An `os` for a module that opens files and looks at them: files change meanwhile."""

    def __init__(self, before_open, after_open, at_second_look=None):
        self.before_open, self.after_open = before_open, after_open
        self.at_second_look = at_second_look
        self.location, self.looks = b"", 0

    def __getattr__(self, name):
        return getattr(os, name)

    def open(self, location, flags, *arguments):
        at(self.before_open, location)
        descriptor = os.open(location, flags, *arguments)
        at(self.after_open, location)
        self.location, self.looks = location, 0
        return descriptor

    def fstat(self, descriptor):
        self.looks += 1
        if self.looks == 2 and self.at_second_look:
            at(self.at_second_look, self.location)
        return os.fstat(descriptor)


def racing_decode(*job):
    """Decode as always; runs in the worker process."""
    media.os = Racing("decode", "open", "read")
    return media.decode(*job)
