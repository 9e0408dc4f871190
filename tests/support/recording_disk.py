"""An `os` for qvsearch.files that notes each operation, and what a power cut may leave of them.

A disk owes nothing that it was not asked to sync: of a file that are the writes since the last
fsync of it, of a folder the names that came or went since the last fsync of that folder.
"""

import os
import shutil
from functools import partial
from pathlib import Path

SECTOR = 512  # bytes: what a disk writes whole or not at all
FOLDER = 0  # in place of a file's number, which is above or, of those there before, below


class RecordingDisk:
    """Notes what changes the disk below a folder; `leaves_out` are operations kept silent.

    A note is ("create", path, file), ("write", file, data), ("sync", file), ("sync folder", path),
    ("rename", old, new), ("unlink", path), ("mkdir", path), or what others add; a file is a number.
    """

    def __init__(self, folder, leaves_out=()):
        self.operations = []
        self._folder = folder
        self._leaves_out = leaves_out
        self._open = {}  # the folder, or the number of the file, by descriptor
        self._created = 0

    def note(self, *operation):
        if operation[0] not in self._leaves_out:
            self.operations.append(operation)

    def open(self, path, flags, mode=0o777):
        descriptor = os.open(path, flags, mode)
        self._open[descriptor] = None
        if self._is_below(path):
            self._open[descriptor] = path
            if flags & os.O_CREAT:
                self._created += 1
                self._open[descriptor] = self._created
                self.note("create", path, self._created)
        return descriptor

    def write(self, descriptor, data):
        written = os.write(descriptor, data)
        if (file := self._open[descriptor]) is not None:
            self.note("write", file, bytes(data[:written]))
        return written

    def fsync(self, descriptor):
        if (of := self._open[descriptor]) is not None:
            self.note("sync" if isinstance(of, int) else "sync folder", of)

    def replace(self, old, new):
        os.replace(old, new)
        if self._is_below(new):
            self.note("rename", old, new)

    def unlink(self, path):
        os.unlink(path)
        if self._is_below(path):
            self.note("unlink", path)

    def mkdir(self, path, mode=0o777):
        os.mkdir(path, mode)
        if self._is_below(path):
            self.note("mkdir", path)

    def _is_below(self, path):
        return isinstance(path, Path) and path.is_relative_to(self._folder)

    def __getattr__(self, name):
        return getattr(os, name)


def tree_of(folder):
    """Return the content of each file in a folder and below, None of folders, by path."""
    paths = [folder, *sorted(folder.rglob("*"))]
    return {path: path.read_bytes() if path.is_file() else None for path in paths}


def lay_out(tree):
    """Put a tree on the real disk, in place of what is there; it begins with its own folder."""
    top = next(iter(tree))
    shutil.rmtree(top)
    for path, content in tree.items():
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)


class Platter:
    """What is surely on the disk, and what only may be, after a tree and operations on it."""

    def __init__(self, tree):
        self._names = dict.fromkeys(tree, FOLDER)
        self._writes, self._synced = {}, {}  # of each file: all that was written, how much is sure
        for path, content in tree.items():
            if content is not None:
                file = self._names[path] = -1 - len(self._writes)
                self._writes[file], self._synced[file] = [content], 1
        self._pending = []  # what became of names and need not be on the disk, in order
        self._written = None  # the file that the last operation wrote to

    def apply(self, operation):
        self._written = None
        match operation:
            case ["create", _, file]:
                self._writes[file], self._synced[file] = [], 0
                self._pending.append(operation)
            case ["write", file, data]:
                self._writes[file].append(data)
                self._written = file
            case ["sync", file]:
                self._synced[file] = len(self._writes[file])
            case ["sync folder", folder]:
                sure = [each for each in self._pending if _folder(each) == folder]
                self._names = _renamed(self._names, sure)
                self._pending = [each for each in self._pending if _folder(each) != folder]
            case _:
                self._pending.append(operation)

    def states(self):
        """Yield what happened to all that was not synced, and the tree that this leaves."""
        pending = self._pending
        yield "dropped", self._tree([], self._sure)
        yield "kept", self._tree(pending, self._all)
        yield "names before data", self._tree(pending, self._sure)
        yield "zeros for data", self._tree(pending, self._zeros)
        yield "data before names", self._tree([], self._all)
        if self._written is not None:
            for end in range(0, len(self._writes[self._written][-1]), SECTOR):
                torn = partial(self._torn, end)
                yield f"torn after {end} bytes", self._tree(pending, torn)
        if len(pending) > 1:
            for place, each in enumerate(pending):
                others = pending[:place] + pending[place + 1 :]
                yield f"all but {each[0]}", self._tree(others, self._all)
                yield f"only {each[0]}", self._tree([each], self._sure)

    def _sure(self, file):
        return b"".join(self._writes[file][: self._synced[file]])

    def _all(self, file):
        return b"".join(self._writes[file])

    def _zeros(self, file):
        return self._sure(file).ljust(len(self._all(file)), b"\0")

    def _torn(self, end, file):
        *before, last = self._writes[file]
        return b"".join([*before, last[:end]]) if file == self._written else self._all(file)

    def _tree(self, pending, content):
        names = _renamed(self._names, pending)
        found = {}
        for path, file in sorted(names.items()):  # the top comes first, a folder before its files
            if not found or path.parent in found:
                found[path] = None if file == FOLDER else content(file)
        return found


def _folder(operation):
    """Return the folder whose fsync makes it last; a rename is one step, sure at its new place."""
    return operation[2 if operation[0] == "rename" else 1].parent


def _renamed(names, operations):
    found = dict(names)
    for operation in operations:
        match operation:
            case ["create", path, file]:
                found[path] = file
            case ["mkdir", path]:
                found[path] = FOLDER
            case ["unlink", path]:
                found.pop(path, None)
            case ["rename", old, new] if old in found:
                found[new] = found.pop(old)
    return found
