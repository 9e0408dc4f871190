"""Thumbnails beside the rows of a table, for computers that cannot reach the files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.media.thumbnails import SIDE, Thumbnails
from qvsearch.published.engine import THUMBNAILS, Table
from qvsearch.published.side_table import SideTable
from qvsearch.published.sql import lists_of, quoted
from qvsearch.types import KIND_CODES, Kind, Skipped

if TYPE_CHECKING:
    import pyarrow as pa

    from qvsearch.library.library import Library
    from qvsearch.types import Segment

LARGEST = 64 * 1024  # bytes; 320 pixels of noise take more, and get half as many
AT_ONCE = 256  # of a commit: about 3 MB


@dataclass(frozen=True, slots=True)
class Pictures:
    """Numbers of thumbnails that were sent, and files that none could be made of."""

    sent: int
    skipped: tuple[Skipped, ...] = ()


def thumbnail_key(segment: Segment) -> str | None:
    """Return the key of a segment's thumbnail; None for a text. Equal content has one key."""
    if segment.item.kind is Kind.TEXT:
        return None
    if segment.item.kind is Kind.IMAGE and segment.start is None:
        return segment.content_hash
    if segment.page is not None:
        return f"{segment.content_hash}-page-{segment.page}"
    return f"{segment.content_hash}-{segment.start}-{segment.end}"


def read_thumbnail(table: Table, segment: Segment) -> bytes | None:
    """Return the published thumbnail of a segment as WebP, if there is one."""
    key, side = thumbnail_key(segment), table.find_side(THUMBNAILS)
    if key is None or side is None:
        return None
    found = side.scan(["webp"], f"key = {quoted(key)}").column("webp").to_pylist()
    return found[0] if found else None


def publish_thumbnails(
    library: Library,
    table: Table,
    publisher: str,
    report: Callable[[int, int], None] = lambda _done, _of: None,
    stop: Callable[[], bool] = lambda: False,
) -> Pictures:
    """Make a table have the thumbnails of a library's pictures, pages and moments, each once.

    `report` gets the thumbnails that are committed, and all to commit.
    """
    side = table.side(THUMBNAILS, _schema())
    known = _known(side, publisher)
    needed = _needed(library)
    missing = [segment for key, segment in needed.items() if key not in known]
    sent, skipped = 0, []
    with Thumbnails() as maker:
        waiting: list[tuple[str, bytes]] = []
        for segment, made in _made(maker, missing, stop):
            if isinstance(made, Skipped):
                skipped.append(made)
            else:
                waiting.append((thumbnail_key(segment) or "", made))
            if len(waiting) >= AT_ONCE:
                sent += _send(side, publisher, waiting)
                report(sent, len(missing))
                waiting = []
        sent += _send(side, publisher, waiting)
    _delete(side, publisher, known - needed.keys())
    return Pictures(sent, tuple(skipped))


def drop_thumbnails(library: Library | None, table: Table, publisher: str) -> None:
    """Delete the thumbnails that a library does not need any more; without one, all."""
    side = table.find_side(THUMBNAILS)
    if side is None:
        return
    if library is None:
        side.delete(f"publisher = {quoted(publisher)}")
    elif known := _known(side, publisher):
        _delete(side, publisher, known - _needed(library).keys())


def _made(
    maker: Thumbnails, segments: list[Segment], stop: Callable[[], bool]
) -> Iterator[tuple[Segment, bytes | Skipped]]:
    """Yield the thumbnail of each segment, none above LARGEST, until `stop`."""
    making = maker.in_order((segment, None, None) for segment in segments)
    for segment, made in zip(segments, making, strict=True):
        if stop():
            making.close()
            return
        if isinstance(made, bytes) and len(made) > LARGEST:
            yield segment, maker.webp(segment, SIDE // 2)
        else:
            yield segment, made


def _needed(library: Library) -> dict[str, Segment]:
    """Return a segment for each thumbnail of a library, by its key."""
    pictures = np.flatnonzero(
        np.isin(library.kinds, [code for kind, code in KIND_CODES.items() if kind is not Kind.TEXT])
    )
    needed: dict[str, Segment] = {}
    for segment in library.segments.stream(pictures.tolist()):
        needed.setdefault(thumbnail_key(segment) or "", segment)
    return needed


def _known(side: SideTable, publisher: str) -> set[str]:
    return set(side.scan(["key"], f"publisher = {quoted(publisher)}").column("key").to_pylist())


def _send(side: SideTable, publisher: str, pictures: list[tuple[str, bytes]]) -> int:
    import pyarrow as pa

    if pictures:
        keys, webps = zip(*pictures, strict=True)
        columns = [[publisher] * len(keys), list(keys), list(webps)]
        side.append(pa.table(columns, schema=_schema()))
    return len(pictures)


def _delete(side: SideTable, publisher: str, keys: set[str]) -> None:
    for where in lists_of("key", map(quoted, sorted(keys))):
        side.delete(f"publisher = {quoted(publisher)} AND {where}")


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([("publisher", pa.string()), ("key", pa.string()), ("webp", pa.binary())])
