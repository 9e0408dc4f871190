"""Writes the labels of files to sidecars and folders of links, file by file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from qvsearch.errors import QvsearchError, system_reason
from qvsearch.files import make_folder
from qvsearch.library.aliases import is_there
from qvsearch.tasks.labelling.classify import Labelled
from qvsearch.tasks.labelling.sidecars import Sidecar, add_keywords
from qvsearch.tasks.taking.names import MOST_NUMBERS, numbered, portable
from qvsearch.types import Kind, Skipped


@dataclass(slots=True)
class Written:
    """The sidecars and links of files, by their paths, and what could not be written.

    Each link comes with whether it is new. `texts` is the number of text files with a label, which
    have no sidecars. With `dry_run` nothing was written.
    """

    dry_run: bool
    sidecars: dict[bytes, Sidecar] = field(default_factory=dict)
    links: dict[bytes, list[tuple[Path, bool]]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    texts: int = 0


def write_labels(
    results: Iterable[Labelled],
    folders: LinkFolders | None,
    *,
    sidecars: bool,
    dry_run: bool,
    stop: Callable[[], bool],
) -> Written:
    """Write the labels of each file; what fails is Skipped and ends nothing else.

    When `stop` returns True, the others are left out.
    """
    written = Written(dry_run)
    for each in results:
        if stop():
            break
        if each.is_file and each.labels:
            if not is_there(each.name):
                written.skipped.append(Skipped(each.name, "it is no longer there"))
                continue
            if sidecars:
                _add_keywords(written, each)
            if folders is not None:
                _link(written, each, folders)
    return written


def _add_keywords(written: Written, result: Labelled) -> None:
    if result.kind is Kind.TEXT:
        written.texts += 1
        return
    match add_keywords(result.name, result.labels, dry_run=written.dry_run):
        case Sidecar() as sidecar:
            written.sidecars[result.name] = sidecar
        case Skipped() as skipped:
            written.skipped.append(skipped)


def _link(written: Written, result: Labelled, folders: LinkFolders) -> None:
    for label in result.labels:
        match folders.link(result.name, label, dry_run=written.dry_run):
            case Skipped() as skipped:
                written.skipped.append(skipped)
            case link:
                written.links.setdefault(result.name, []).append(link)


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
            return Skipped(os.fsencode(folder), system_reason(error))
        except QvsearchError as error:
            return Skipped(os.fsencode(folder), str(error))
        return Skipped(media, f"{folder} has {MOST_NUMBERS:,} files of its name")


def _safe(label: str) -> str:
    """Return a label as the name of a folder."""
    name = portable(label)
    return f"_{name[1:]}" if name.startswith(".") else name
