"""The kind of a file on the disk, which is opened if its suffix is not enough."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from io import BufferedReader
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from qvsearch.files import open_file
from qvsearch.kinds import MAY_BE_CODE, Kind, kind_of, suffix_of

if TYPE_CHECKING:
    from qvsearch.types import Segment

KindOf: TypeAlias = Callable[[bytes, os.stat_result], Kind | None]

TIFFS = frozenset({".tif", ".tiff"})
OPENED = TIFFS | MAY_BE_CODE
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


def kinds_by(known: Mapping[bytes, Segment]) -> KindOf:
    """Return a function that returns the kind of a file, and opens only new and changed ones.

    `known` has a segment of each indexed file by its absolute path.
    """

    def kind(path: bytes, status: os.stat_result) -> Kind | None:
        segment = known.get(path) if suffix_of(path) in OPENED else None
        # a TIFF of several pages was an image for earlier versions
        if segment is None or segment.is_older or segment.metadata.several:
            return kind_at(path)
        before = segment.item
        is_same = (before.size, before.mtime_ns) == (status.st_size, status.st_mtime_ns)
        return before.kind if is_same else kind_at(path)

    return kind


def _has_pages(file: BinaryIO) -> bool:
    from qvsearch.media.tiff import count_pages  # not needed by other files

    return count_pages(file) > 1
