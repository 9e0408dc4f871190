"""The paths that a run without a path brings up to date."""

from __future__ import annotations

from pathlib import Path

from qvsearch.errors import QvsearchError
from qvsearch.files import is_below
from qvsearch.library.manifest import read_committed
from qvsearch.library.names import option
from qvsearch.library.pending import read_pending


def known_paths(folder: Path) -> list[bytes]:
    """Return the roots of a library, and the paths of unfinished runs that lie in none of them.

    Only the manifest is read. Raises QvsearchError if there is no library, or no such path.
    """
    roots = [root for root in read_committed(folder).roots if root is not None]
    waiting = [path for run in read_pending(folder) for path in run.paths]
    paths = dict.fromkeys(roots)
    paths |= dict.fromkeys(
        path for path in waiting if not any(is_below(path, root) for root in roots)
    )
    if not paths:
        raise QvsearchError(
            f"the library {folder} has no folders yet; add one with:"
            f" qvsearch index FOLDER{option(folder)}"
        )
    return list(paths)
