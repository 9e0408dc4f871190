"""The reader of each suffix."""

from __future__ import annotations

from importlib import import_module
from typing import BinaryIO, Protocol, cast

from qvsearch.media.office.contents import Contents

READERS = {
    f".{suffix}": module
    for module, suffixes in {
        "word": "docx docm dotx",
        "slides": "pptx pptm ppsx",
        "sheets": "xlsx xlsm",
        "opendocument": "odt ods odp",
        "epub": "epub",
        "html": "html htm xhtml",
        "mail": "eml mhtml mht",
        "rtf": "rtf",
        "notebook": "ipynb",
    }.items()
    for suffix in suffixes.split()
}


class Reader(Protocol):
    """A module that reads one sort of document."""

    def read(self, file: BinaryIO) -> Contents:
        """Return the contents of an open file; raises MediaError."""
        ...


def reader_of(suffix: str) -> Reader | None:
    """Return the reader of files with a suffix, None if they are plain text."""
    name = READERS.get(suffix)
    if name is None:
        return None
    return cast("Reader", import_module(f"qvsearch.media.office.{name}"))
