"""What a table had of a library after its last run, in the user's cache."""

from __future__ import annotations

import numpy as np

from qvsearch import cache
from qvsearch.formats import pack_arrays, unpack_arrays
from qvsearch.published.differences import RowMarks
from qvsearch.published.schema import FORM

_CACHE = "published"  # the folder
_CACHE_FILES = 16
_MARKS = {"items": "<i8", "ordinals": "<i4", "digests": "<i8", "later": "<i8"}


def keep_marks(token: str, marks: RowMarks) -> None:
    """Cache what a table has under a token, so that the next run need not read it there."""
    folder = cache.cache_folder(_CACHE)
    arrays = {name: getattr(marks, name).astype(kind) for name, kind in _MARKS.items()}
    cache.keep(folder / cache.file_name(_CACHE, token, FORM), b"".join(pack_arrays(arrays)))
    cache.trim(folder, most_files=_CACHE_FILES)


def read_marks(token: str) -> RowMarks | None:
    """Return what a table has under a token, if it is cached."""
    data = cache.read(cache.cache_folder(_CACHE) / cache.file_name(_CACHE, token, FORM))
    if not token or data is None:
        return None
    types = {name: np.dtype(kind) for name, kind in _MARKS.items()}
    return RowMarks(**unpack_arrays(data, types))
