"""Where a library can be created."""

from __future__ import annotations

import os
from pathlib import Path

from qvsearch.errors import QvsearchError
from qvsearch.files import TEMPORARY
from qvsearch.library.failures import FAILURES
from qvsearch.library.lock import LOCK_FILES
from qvsearch.library.manifest import COPY, SEGMENTS, check_way
from qvsearch.library.names import PUBLICATION, exists
from qvsearch.library.pending import PENDING
from qvsearch.library.searches import SEARCHES

FILES = {*LOCK_FILES, COPY, SEGMENTS, FAILURES, PENDING, PUBLICATION, SEARCHES}


def check_place(folder: Path) -> None:
    """Raise QvsearchError if no library can be created here; nothing is written."""
    if exists(folder):
        raise QvsearchError(f"{folder} is already a library")
    check_way(folder)
    nearest = next(each for each in (folder, *folder.parents) if each.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise QvsearchError(f"cannot create {folder}: no permission to write to {nearest}")
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        if entry.name not in FILES and not entry.name.endswith(TEMPORARY):
            raise QvsearchError(
                f"{folder} is not a library and holds {entry.name};"
                " give --library another name, or a new or empty folder"
            )
