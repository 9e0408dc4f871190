"""Which words of a library no search finds yet, and the command that adds them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.library.aliases import is_there
from qvsearch.library.names import option
from qvsearch.library.words_file import has_full_text
from qvsearch.published.opening import is_published

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.library import Library


@dataclass(frozen=True, slots=True)
class MissingWords:
    """Whether the words of all files are missing or those of some, and what adds them.

    `publishers` are those of a shared table who have to run `command`.
    """

    is_all: bool
    command: str
    publishers: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the rest of a sentence about the library."""
        if self.is_all:
            return (
                "has no index of words yet, and is searched by meaning alone;"
                f" `{self.command}` builds it"
            )
        by = f" by {', '.join(self.publishers)}" if self.publishers else ""
        return (
            f"has no words of some files, which are found by meaning; `{self.command}`{by} adds"
            " them without the model"
        )


def missing_words(library: Library, rows: NDArray[np.int64] | None = None) -> MissingWords | None:
    """Return which words of a library are not found; None if all are, or if no command adds them.

    `rows` are the result of `rows_without_words` (default: computed here). No command adds them
    while their roots are away, e.g. on a drive that is not plugged in. Raises QvsearchError if a
    table cannot be read.
    """
    if is_published(library):
        command = f"qvsearch publish {quote(str(library.folder))}"
        if library.lacks_word_index:
            return MissingWords(is_all=True, command=command)
        names = tuple(library.outdated)
        return MissingWords(is_all=False, command=command, publishers=names) if names else None
    rows = rows_without_words(library) if rows is None else rows
    if not (len(rows) and _have_files(library, rows)):
        return None
    return MissingWords(is_all=False, command=f"qvsearch index{option(library.folder)}")


def rows_without_words(library: Library) -> NDArray[np.int64]:
    """Return the rows (k,) that have no words; none of a shared table, which has publishers.

    It compares the numbers of all rows, so callers keep it for the state of a library.
    """
    rows = [] if is_published(library) or not has_full_text() else library.without_words()
    return np.concatenate([np.empty(0, np.int64), *rows])


def _have_files(library: Library, rows: NDArray[np.int64]) -> bool:
    """Return whether any of the rows is below a root that is there."""
    here = tuple(root for root in library.roots if _has_files(root))
    if not here or len(here) == len(library.roots):
        return bool(here)
    return bool(library.columns.below(here)[rows].any())


def _has_files(root: bytes) -> bool:
    """Return whether a root is there; an empty folder may be that of a drive that is away."""
    try:
        with os.scandir(root) as entries:
            return any(True for _ in entries)
    except NotADirectoryError:  # a root may be a file
        return is_there(root)
    except OSError:
        return False
