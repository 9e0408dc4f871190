"""The contents of files, by hash: a file whose content is known needs no model."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.errors import system_reason
from qvsearch.files import content_hash, read_start
from qvsearch.indexing.batching import Embedded
from qvsearch.media import subtitles
from qvsearch.media.companion import companions
from qvsearch.types import Item, Kind, Segment, Skipped

if TYPE_CHECKING:
    from qvsearch.library.library import Library

HASH_THREADS = 4  # enough to keep a disk busy
_VIEWS = re.compile(rb'"imageViews"\s*:\s*"\d*"')  # Takeout counts them anew for each album
HASHED_AHEAD = 32  # files; reading them hides behind decoding

Content = tuple[Kind, str]  # the kind and the hash: each kind decodes the same bytes differently


def content_of(segment: Segment) -> Content:
    """Return the content of a segment's file, which its copies elsewhere have too."""
    return segment.item.kind, segment.content_hash


def hashed(items: Iterable[Item], threads: Executor) -> Iterator[tuple[Item, str | Skipped]]:
    """Yield each item with its content hash, in order, reading a few files ahead."""
    ahead: deque[tuple[Item, Future[str | Skipped]]] = deque()
    for item in items:
        ahead.append((item, threads.submit(_hash, item)))
        if len(ahead) > HASHED_AHEAD:
            first, future = ahead.popleft()
            yield first, future.result()
    for first, future in ahead:
        yield first, future.result()


def _hash(item: Item) -> str | Skipped:
    """Return the hash, if the file has not changed since the scan, nor while it was read."""
    try:
        digest = content_hash(item.location, item.size)
        status = Path(os.fsdecode(item.location)).stat()
    except FileNotFoundError:
        return Skipped(item.location, "no longer there")
    except OSError as error:
        return Skipped(item.location, system_reason(error))
    if (status.st_size, status.st_mtime_ns) != (item.size, item.mtime_ns):
        return Skipped(item.location, "changed while it was read")
    return digest


def said_beside(item: Item) -> str:
    """Return a hash of the files beside a file that complete it; empty without any."""
    if item.kind is Kind.TEXT:
        return ""
    contents = [_VIEWS.sub(b"", each) for each in companions(item.location)]
    if item.kind is Kind.VIDEO:
        for path in subtitles.files_beside(item.location):
            with suppress(OSError):  # the decoder passes over it, too
                contents.append(read_start(path, subtitles.MOST_BYTES))
    digests = [hashlib.sha256(each).digest() for each in filter(None, contents)]
    return hashlib.sha256(b"".join(digests)).hexdigest() if digests else ""


def copies(items: Sequence[Item], known: Iterable[Segment]) -> dict[bytes, Content]:
    """Return, by location, the content of items that is known or comes earlier among them.

    Only files that have the size of another are read.
    """
    if not items:
        return {}
    contents = {content_of(segment): segment.item.size for segment in known}
    sizes = Counter((kind, size) for (kind, _), size in contents.items())
    sizes.update((item.kind, item.size) for item in items)
    alike = [item for item in items if sizes[item.kind, item.size] > 1]
    copied: dict[bytes, Content] = {}
    with ThreadPoolExecutor(HASH_THREADS) as threads:
        for item, digest in hashed(alike, threads):
            if isinstance(digest, Skipped):
                continue
            content = (item.kind, digest)
            if content in contents:
                copied[item.location] = content
            contents[content] = item.size
    return copied


@dataclass(slots=True)
class Underway:
    """A file that is being decoded or embedded; `twins` are others that have its content."""

    item: Item
    content: tuple[Content, str]  # and what the files beside it say
    twins: list[Item] = field(default_factory=list)


class ContentIndex:
    """The rows of a library by content, and the contents that a run is embedding."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._rows: dict[Content, list[list[int]]] = {}  # of each file that has the content
        self._outdated: set[Content] = set()
        self._by_location: dict[bytes, Underway] = {}
        self._by_content: dict[tuple[Content, str], Underway] = {}

    def add(self, rows: list[int]) -> None:
        """Add the rows of a file."""
        content = content_of(self._library.segments[rows[0]])
        self._rows.setdefault(content, []).append(rows)

    def outdate(self, content: Content) -> None:
        """Stop copying rows of this content that an older version read."""
        self._outdated.add(content)

    def has(self, content: Content) -> bool:
        """Return whether there ever were rows of this content."""
        return bool(self._rows.get(content))

    def find(self, item: Item, content: Content) -> Embedded | None:
        """Return segments and vectors of a file's content, from the last added file that has it.

        None if that file is there, but the files beside the two say different things.
        """
        segments = self._library.segments
        sources = self._rows.get(content, [])
        while sources and (
            sources[-1][0] not in segments
            or (content in self._outdated and segments[sources[-1][0]].is_older)
        ):
            sources.pop()
        if not sources:
            return None
        rows = sources[-1]
        source = segments[rows[0]].item
        if os.path.lexists(source.location) and said_beside(source) != said_beside(item):
            return None
        copied = tuple(segments[row] for row in rows)
        return Embedded(source, copied, self._library.vectors(rows), tuple(rows))

    def start(self, item: Item, content: Content) -> bool:
        """Return whether to embed a file; if its content is being embedded, it becomes a twin."""
        whole = content, said_beside(item)
        if whole in self._by_content:
            self._by_content[whole].twins.append(item)
            return False
        self._by_location[item.location] = self._by_content[whole] = Underway(item, whole)
        return True

    def finish(self, location: bytes) -> Underway:
        """Return a file that was started, with its twins; it is no longer under way."""
        underway = self._by_location.pop(location)
        del self._by_content[underway.content]
        return underway
