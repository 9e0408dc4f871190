"""Links to files in a folder for each of their labels."""

from __future__ import annotations

import os
from pathlib import Path

from qvsearch.errors import QvsearchError
from qvsearch.files import make_folder
from qvsearch.tasks.taking.names import MOST_NUMBERS, numbered, portable
from qvsearch.types import Skipped


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
            name = next(each for each in numbered(_safe(label)) if each.casefold() not in taken)
            taken.add(name.casefold())
            self._folders[label] = folder / name
        self._taken: set[Path] = set()  # by this run, if nothing is written

    def link(self, media: bytes, label: str, *, dry_run: bool) -> tuple[Path, bool] | Skipped:
        """Return the link to a file under a label, and whether it is new."""
        folder, target = self._folders[label], os.fsdecode(media)
        try:
            if not dry_run:
                make_folder(folder)
            for name in numbered(os.path.basename(target)):
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


def _safe(label: str) -> str:
    """Return a label as the name of a folder."""
    name = portable(label)
    return f"_{name[1:]}" if name.startswith(".") else name
