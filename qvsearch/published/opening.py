"""Opens libraries and shared tables alike, and finds the rows of one file in either.

A large table does not have its rows in memory, as a library does. So a small library in memory with
the wanted rows takes its place.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from qvsearch.library.library import Library
from qvsearch.library.manifest import read_committed
from qvsearch.library.names import is_table, library_folder

if TYPE_CHECKING:
    from qvsearch.published.library import PublishedLibrary
    from qvsearch.types import Fingerprint, Item

ITEM_DIGITS = 16  # of an item's number, at the end of its identity


def open_at(folder: str | Path | None) -> Library:
    """Open the library or the shared table of a folder or name; raises QvsearchError."""
    place = library_folder(folder)
    if not is_table(place):
        return Library.open(place)
    from qvsearch.published.library import PublishedLibrary  # not needed by libraries

    return PublishedLibrary.at(place)


def fingerprint_at(folder: Path) -> Fingerprint:
    """Return the fingerprint of a library, of which only the manifest is read, or of a table."""
    return open_at(folder).fingerprint if is_table(folder) else read_committed(folder).fingerprint


def is_published(library: Library) -> TypeGuard[PublishedLibrary]:
    """Return whether this is a shared table."""
    if not is_table(library.folder):
        return False
    from qvsearch.published.library import PublishedLibrary  # not needed by libraries

    return isinstance(library, PublishedLibrary)


def is_large_table(library: Library) -> TypeGuard[PublishedLibrary]:
    """Return whether this is a table of which a search reads only some rows."""
    return is_published(library) and not library.is_small


def latest_version(folder: Path) -> int:
    """Return the version of a shared table as of now; raises QvsearchError if it is gone."""
    from qvsearch.published.address import read_address
    from qvsearch.published.engine import Table

    return Table(read_address(str(folder))).version


def with_file(library: Library, item: Item) -> Library:
    """Return a library that has all rows of a file: a part of a large table, else the same."""
    return library.file(item) if is_large_table(library) else library


def with_content(library: Library, content_hash: str) -> Library:
    """Return a library that has all rows of a content: a part of a large table, else the same."""
    return library.with_content(content_hash) if is_large_table(library) else library


def with_item(library: Library, item_id: str) -> Library:
    """Return a library that has an item by its identity, if there is such an item."""
    return with_content(library, item_id[:-ITEM_DIGITS])


def with_path(library: Library, path: bytes) -> Library:
    """Return a library that has the file of an absolute path, if there is one."""
    if not is_large_table(library):
        return library
    return library.gathered(library.table.by_items(library.numbers_at(path)))
