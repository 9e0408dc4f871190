"""Links to files in a folder for each of their labels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from qvsearch.errors import QvsearchError
from qvsearch.files import make_folder
from qvsearch.types import Skipped

MAX_NAME = 255  # bytes of a name on common file systems
MOST_NUMBERS = 10_000  # files of one name under one label
_UNSAFE = set('\\/:*?"<>|')  # on some file system


class LinkFolders:
    """Folders named like labels, below one folder.

    Labels that would have the same name on some file system get numbers. Nothing that exists is
    ever replaced.
    """

    def __init__(self, folder: Path, labels: list[str]) -> None:
        """Raise QvsearchError if there can be no such folder."""
        if os.path.lexists(folder) and not folder.is_dir():
            raise QvsearchError(f"{folder} is not a folder; give --link-to a folder, or a new name")
        self._folders: dict[str, Path] = {}
        taken: set[str] = set()
        for label in labels:
            name = next(each for each in _numbered(_safe(label)) if each.casefold() not in taken)
            taken.add(name.casefold())
            self._folders[label] = folder / name
        self._taken: set[Path] = set()  # by this run, if nothing is written

    def link(self, media: bytes, label: str, *, dry_run: bool) -> tuple[Path, bool] | Skipped:
        """Return the link to a file under a label, and whether it is new."""
        folder, target = self._folders[label], os.fsdecode(media)
        try:
            if not dry_run:
                make_folder(folder)
            for name in _numbered(os.path.basename(target)):
                path = folder / name
                if os.path.lexists(path):
                    if path.is_symlink() and str(path.readlink()) == target:
                        return path, False
                elif dry_run:
                    if path not in self._taken:
                        self._taken.add(path)
                        return path, True
                else:
                    path.symlink_to(target)
                    return path, True
        except OSError as error:
            return Skipped(os.fsencode(folder), (error.strerror or str(error)).lower())
        except QvsearchError as error:
            return Skipped(os.fsencode(folder), str(error))
        return Skipped(media, f"{folder} has {MOST_NUMBERS:,} files of its name")


def _numbered(name: str) -> Iterator[str]:
    """Yield a name, and it with a number before its suffix, each short enough."""
    stem, suffix = os.path.splitext(name)
    yield _cut(stem, suffix)
    for number in range(2, MOST_NUMBERS):
        yield _cut(stem, f"-{number}{suffix}")


def _cut(stem: str, end: str) -> str:
    if len(os.fsencode(stem + end)) <= MAX_NAME:
        return stem + end
    return os.fsencode(stem)[: MAX_NAME - len(os.fsencode(end))].decode(errors="ignore") + end


def _safe(label: str) -> str:
    """Return a label as the name of a folder."""
    name = "".join("_" if c in _UNSAFE or not c.isprintable() else c for c in label)
    name = name.rstrip(" .")
    return f"_{name[1:]}" if name.startswith(".") or not name else name
