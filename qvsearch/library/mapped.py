"""Reads a file of a library so that it stays readable after a commit deletes it."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.files import MIB, open_file
from qvsearch.library.manifest import check_size

if TYPE_CHECKING:
    from qvsearch.files import Seal

READ_WHOLE = MIB  # larger files are mapped, which keeps a descriptor open: macOS allows 256


def map_file(path: Path, seal: Seal) -> memoryview:
    """Return a file's bytes, which stay if a commit deletes the file; large ones are read later.

    Raises Damaged if the size is not that which was written.
    """
    with open_file(path) as source:
        size = os.fstat(source.fileno()).st_size
        check_size(path, seal, size)
        if size <= READ_WHOLE:
            return memoryview(source.readall())
        return memoryview(mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ))
