"""The libraries that this process has opened, by what decides their vectors.

A model server is compared with vectors of the library that it is used for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from qvsearch.library.library import Library
    from qvsearch.types import Fingerprint

_FOLDERS: dict[Fingerprint, Path] = {}


def remember(library: Library) -> None:
    """Take note of a library; the last one of several with comparable vectors counts."""
    _FOLDERS[library.fingerprint.space] = library.folder


def folder_of(fingerprint: Fingerprint) -> Path | None:
    """Return the folder of an opened library whose vectors are comparable; None without one."""
    return _FOLDERS.get(fingerprint.space)
