"""Which changed paths below a root concern its library, and what to index for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from qvsearch.files import is_below
from qvsearch.indexing.scan import IGNORE_FILE, ignored
from qvsearch.library.rules import Rules, ScanOptions, left_out
from qvsearch.types import kind_of

MOST_PATHS = 1000  # more are found faster by scanning their root


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to index: files and folders that are there, and roots to scan as a whole.

    `gone` are paths that are not there; the library may know files at or below them.
    """

    paths: tuple[bytes, ...] = ()
    roots: tuple[bytes, ...] = ()
    gone: tuple[bytes, ...] = ()


def concerns(root: bytes, rules: Rules, library: bytes) -> Callable[[bytes], bool]:
    """Return a test, by name and kind of file, whether a changed path may concern a library.

    `library` is its own folder, which may lie in the root.
    """
    leaves_out_file = left_out(root, ScanOptions(None, rules.include, rules.exclude))
    leaves_out_folder = left_out(
        root, ScanOptions(None, (), rules.exclude)
    )  # --include is of files

    def test(path: bytes) -> bool:
        relative = _relative(root, path)
        if is_below(path, library) or (not rules.hidden and _is_hidden(relative)):
            return False
        place = Path(os.fsdecode(path))
        if place.is_symlink() and not rules.follow_symlinks:
            return False
        kind = kind_of(path)
        if place.is_dir() or (kind is None and not os.path.lexists(path)):  # perhaps a folder
            return not relative or leaves_out_folder(relative) is None
        if os.path.basename(path) == IGNORE_FILE:
            return True
        if kind is None or (rules.kinds and kind not in rules.kinds):
            return False
        return leaves_out_file(relative) is None

    return test


def wanted(root: bytes, paths: Mapping[bytes, bool]) -> Wanted:
    """Return what to index for changed paths of a root, each with whether it is there."""
    is_ignored = ignored(root)
    there: list[bytes] = []
    for path in (path for path, exists in paths.items() if exists):
        relative = _relative(root, path)
        if path == root or os.path.basename(path) == IGNORE_FILE or len(there) >= MOST_PATHS:
            return Wanted(roots=(root,))
        if not is_ignored(relative):
            there.append(path)
    gone = [path for path, exists in paths.items() if not exists]
    if any(os.path.basename(path) == IGNORE_FILE for path in gone):
        return Wanted(roots=(root,))
    return Wanted(tuple(there), (), tuple(gone))


def _relative(root: bytes, path: bytes) -> bytes:
    return path[len(root.rstrip(b"/")) + 1 :]


def _is_hidden(relative: bytes) -> bool:
    """Return whether a relative path, which may be empty, has a hidden folder or name."""
    *folders, name = relative.split(b"/")
    names = folders if name == IGNORE_FILE else [*folders, name]
    return any(each.startswith(b".") for each in names)
