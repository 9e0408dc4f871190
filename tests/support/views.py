"""What a reader finds in a library; one that equals another in all that is read is not read again.

A tree has the content of each file in a folder and below, None of folders, by path.
"""

import os
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from qvsearch.files import is_temporary
from qvsearch.library.lock import HOLDER
from support.recording_disk import tree_of

READING = {"file": ("open", "stat", "lstat"), "names": ("listdir", "scandir")}


@contextmanager
def noting(folder):
    """Yield a set that gets what is read of a folder: ("file", path) and ("names", path)."""
    read = set()

    def noted(what, function):
        def noting(path, *arguments, **options):
            if isinstance(path, Path) and path.is_relative_to(folder):
                read.add((what, path))
            return function(path, *arguments, **options)

        return noting

    functions = {name: noted(what, getattr(os, name)) for what in READING for name in READING[what]}
    with patch.multiple(os, **functions):
        yield read


def what_is_left(library):
    """Return what the next writer finds, but not who held the lock and what is half written."""
    return frozenset(map(_left, tree_of(library).items()))


def _left(entry):
    path, content = entry
    if is_temporary(path):
        return path.with_name(Path(path.stem).stem), "some of it"  # without the random part
    return path, "somebody" if path.name == HOLDER else content


def read_of(tree, read):
    """Return what a reader gets of a tree by reading that."""
    return {
        (what, path): tree.get(path, "absent")
        if what == "file"
        else {each for each in tree if each.parent == path}
        for what, path in read
    }


class Views:
    """What `look` returns of folders, each at the same place."""

    def __init__(self, folder, look):
        self._folder, self._look = folder, look
        self._known = []  # what was read, and what was found

    def now(self):
        """Return what is found in the folder as it is."""
        return self.of(tree_of(self._folder), lambda _: None)

    def of(self, tree, lay_out):
        """Return what is found in a tree, which is laid out unless that is known."""
        for read, found in self._known:
            if read_of(tree, read) == read:
                return found
        lay_out(tree)
        with noting(self._folder) as paths:
            found = self._look()
        self._known.append((read_of(tree, paths), found))
        return found
