"""Writes the labels of files to sidecars and folders of links, file by file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from qvsearch.library.aliases import is_there
from qvsearch.tasks.labelling.classify import Labelled
from qvsearch.tasks.labelling.links import LinkFolders
from qvsearch.tasks.labelling.sidecars import Sidecar, add_keywords
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
