"""A ZIP of files, written while it is sent: it is never in memory, however large."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Callable, Generator, Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING

from qvsearch.display import safe_text
from qvsearch.errors import system_reason
from qvsearch.library.identity import Gone
from qvsearch.web.names import download_name

if TYPE_CHECKING:
    from io import FileIO

    from qvsearch.types import Segment

PIECE = 1024 * 1024  # bytes in memory
MISSING = "NOT INCLUDED.txt"
LONGEST = 200  # bytes of a name; file systems take 255
FIRST_YEAR, LAST_YEAR = 1980, 2107  # that a ZIP can hold


class _Pieces:
    """A file that cannot go back, whose bytes are taken away as they come."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing; zipfile calls it."""

    def close(self) -> None:
        """Do nothing; the pieces that are left can still be taken."""

    def take(self) -> bytes:
        """Return what was written since the last call."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def zip_of(segments: Iterable[Segment], opened: Callable[[Segment], FileIO]) -> Generator[bytes]:
    """Yield the pieces of a ZIP of the files of items, uncompressed, each with a name of its own.

    `opened` opens a file, or raises Gone; the archive ends with a list of those that are missing.
    """
    target = _Pieces()
    names: dict[str, int] = {}
    missing: list[str] = []
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for segment in segments:
            name = unused_name(download_name(segment.item.location), names)
            try:
                file = opened(segment)
            except Gone as error:
                missing.append(f"{name}: {safe_text(str(error))}")
                continue
            with file, archive.open(_entry(name, file), "w", force_zip64=True) as entry:
                while data := _read(file, missing, name):
                    entry.write(data)
                    yield target.take()
        if missing:
            archive.writestr(unused_name(MISSING, names), "\n".join(missing) + "\n")
    yield target.take()


def _read(file: FileIO, missing: list[str], name: str) -> bytes:
    """Return the next piece; an error ends the file there, and is in the list."""
    try:
        return file.read(PIECE) or b""
    except OSError as error:
        missing.append(f"{name}: only a part of it: {system_reason(error)}")
        return b""


def unused_name(name: str, names: dict[str, int]) -> str:
    """Return the name, or one with a number if it is used, whatever the case; it is then used.

    `names` has the used ones, each with the last number that it was given.
    """
    pure = PurePath(name)
    suffix = pure.suffix if len(pure.suffix.encode()) < LONGEST // 2 else ""
    stem = name.removesuffix(suffix).encode()[: LONGEST - len(suffix.encode())]
    whole = stem.decode(errors="ignore")
    first = chosen = f"{whole}{suffix}"
    number = names.get(first.casefold(), 1)
    while chosen.casefold() in names:
        number += 1
        chosen = f"{whole} ({number}){suffix}"
    names[first.casefold()] = number
    names.setdefault(chosen.casefold(), 1)
    return chosen


def _entry(name: str, file: FileIO) -> zipfile.ZipInfo:
    changed = time.localtime(os.fstat(file.fileno()).st_mtime)[:6]
    changed = min(max(changed, (FIRST_YEAR, 1, 1, 0, 0, 0)), (LAST_YEAR, 12, 31, 23, 59, 58))
    entry = zipfile.ZipInfo(name, changed)
    entry.external_attr = 0o644 << 16
    return entry
