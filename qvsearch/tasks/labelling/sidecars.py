"""Keywords in `.xmp` files beside pictures and videos, which themselves are never written."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from qvsearch.errors import QvsearchError, system_reason
from qvsearch.files import read_start, write_file
from qvsearch.indexing.scan import UNREAD_RAW
from qvsearch.tasks.labelling.xmp import EMPTY, with_keywords
from qvsearch.types import Kind, Skipped, kind_of

LARGEST = 2**24  # bytes of a sidecar; those with masks of edits have some MB
MAX_FOLDERS = 2  # whose names are held: results come folder by folder


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The sidecar of a file, and the keywords that it lacked; `is_new` if there was none."""

    path: bytes
    added: tuple[str, ...]
    is_new: bool


def add_keywords(media: bytes, keywords: Sequence[str], *, dry_run: bool) -> Sidecar | Skipped:
    """Add keywords to the sidecar of a picture or video, by its absolute path.

    An existing sidecar keeps everything else and its mode, and is replaced in one step. One that is
    damaged, a link, or being changed by another program is Skipped and stays as it is, as is a
    folder that cannot be written. A sidecar with all keywords is not written.
    """
    folder, name = os.path.split(media)
    try:
        own, is_new = _sidecar(folder, name)
    except OSError as error:
        return Skipped(media, system_reason(error))
    path = Path(os.fsdecode(os.path.join(folder, own)))
    try:
        before = None if is_new else path.lstat()
        document, added = with_keywords(EMPTY if before is None else _read(path), keywords)
        if added and not dry_run:
            _replace(path, document, before)
    except OSError as error:
        return Skipped(os.fsencode(path), system_reason(error))
    except QvsearchError as error:
        return Skipped(os.fsencode(path), str(error))
    return Sidecar(os.fsencode(path), added, is_new)


def _sidecar(folder: bytes, name: bytes) -> tuple[bytes, bool]:
    """Return the name of a file's sidecar, and whether there is none yet.

    `a.jpg.xmp` belongs to a.jpg alone (darktable, digiKam). `a.xmp` (Lightroom) does so if no other
    picture or video has that stem; of a.jpg and a.cr2 it is the raw file's, so that a.jpg gets
    a.jpg.xmp.
    """
    own = name + b".xmp"
    if os.path.lexists(os.path.join(folder, own)):
        return own, False
    listing = _listing(folder, Path(os.fsdecode(folder)).stat().st_mtime_ns)
    if (existing := listing.names.get(own.lower())) is not None:
        return existing, False
    stem = os.path.splitext(name)[0].lower()
    shared = listing.names.get(stem + b".xmp")
    if shared is not None and set(listing.media.get(stem, ())) <= {name}:
        return shared, False
    return own, True


@dataclass(frozen=True, slots=True)
class _Listing:
    """The names in a folder by their lower case, and those of pictures and videos by stem."""

    names: dict[bytes, bytes]
    media: dict[bytes, list[bytes]]


@lru_cache(MAX_FOLDERS)
def _listing(folder: bytes, changed_ns: int) -> _Listing:
    """Return the names in a folder; a change of the folder is another key."""
    with os.scandir(folder) as entries:
        names = sorted(each.name for each in entries)
    media: dict[bytes, list[bytes]] = {}
    for name in names:
        stem, suffix = os.path.splitext(name)
        if kind_of(name) not in (Kind.TEXT, None) or os.fsdecode(suffix).lower() in UNREAD_RAW:
            media.setdefault(stem.lower(), []).append(name)
    return _Listing({name.lower(): name for name in names}, media)


def _read(path: Path) -> bytes:
    if path.is_symlink():
        raise QvsearchError("it is a link; only a file beside the picture is written")
    data = read_start(path, LARGEST + 1)
    if len(data) > LARGEST:
        raise QvsearchError(f"it is larger than {LARGEST // 2**20} MB")
    return data


def _replace(path: Path, document: bytes, before: os.stat_result | None) -> None:
    """Write a sidecar if it is still as it was read; it keeps its mode."""
    now = path.lstat() if os.path.lexists(path) else None
    if _state(now) != _state(before):
        raise QvsearchError("another program is changing it; run the command again")
    write_file(path, document)
    if before is not None and before.st_mode != path.stat().st_mode:
        path.chmod(stat.S_IMODE(before.st_mode))


def _state(status: os.stat_result | None) -> tuple[int, int, int] | None:
    return None if status is None else (status.st_size, status.st_mtime_ns, status.st_ino)
