"""Takes files out of a library; the files themselves are not touched."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.files import is_below
from qvsearch.indexing.changes import known_failures
from qvsearch.library.aliases import aliases
from qvsearch.library.names import option
from qvsearch.library.pending import without

if TYPE_CHECKING:
    from qvsearch.library.library import Library


def forget(library: Library, paths: Sequence[bytes]) -> int:
    """Remove what is at or below absolute paths from the library; return the number of files.

    A path that the library does not have may be another name of one that it has. Raises
    QvsearchError, with nothing removed, if the library has nothing at a path.
    """
    with library.lock():
        rows, failures = library.by_location(), known_failures(library)
        pending = library.load_pending()
        waiting = [path for run in pending for path in run.paths]
        places = (*library.roots, *rows, *failures, *waiting)
        folders = [_known_name(library, path, places) for path in paths]

        def named(place: bytes) -> bool:
            return any(is_below(place, folder) for folder in folders)

        gone = [place for place in rows if named(place)]
        roots = [root for root in library.roots if named(root)]
        if gone or roots:
            library.remove([row for place in gone for row in rows[place]])
            library.remove_roots(roots)
            library.commit()
        library.save_failures(each for place, each in failures.items() if not named(place))
        library.save_pending(without(pending, named))
    return len(gone)


def _known_name(library: Library, path: bytes, places: Collection[bytes]) -> bytes:
    """Return the name that the library has for a path."""
    for name in aliases(path, library.roots):
        if any(is_below(place, name) for place in places):
            return name
    raise QvsearchError(
        f"the library {library.folder} holds nothing at {os.fsdecode(path)};"
        f" `qvsearch roots{option(library.folder)}` lists its roots"
    )
