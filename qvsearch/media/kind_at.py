"""The kind of a file on the disk, which is opened if its suffix is not enough."""

from __future__ import annotations

from io import BufferedReader
from typing import BinaryIO

from qvsearch.files import open_file
from qvsearch.kinds import MAY_BE_CODE, Kind, kind_of, suffix_of

TIFFS = frozenset({".tif", ".tiff"})
TEXT_BYTES = 8000  # without a NUL are text, as in git; every packet of a film has some


def kind_at(path: bytes) -> Kind | None:
    """Return the kind of a file: TypeScript is a text, a TIFF of pages a document.

    It never waits: a FIFO has the kind of its name.
    """
    suffix = suffix_of(path)
    try:
        if suffix in MAY_BE_CODE:
            with BufferedReader(open_file(path)) as file:
                return Kind.VIDEO if b"\0" in file.read(TEXT_BYTES) else Kind.TEXT
        if suffix in TIFFS:
            with BufferedReader(open_file(path)) as file:
                return Kind.DOCUMENT if _has_pages(file) else Kind.IMAGE
    except OSError:
        pass  # the decoder reports it
    return kind_of(path)


def _has_pages(file: BinaryIO) -> bool:
    from qvsearch.media.tiff import count_pages  # not needed by other files

    return count_pages(file) > 1
