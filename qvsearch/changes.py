"""What differs between a library and the folders it follows: it reads both and changes neither."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.durable import content_hash
from qvsearch.errors import QvsearchError
from qvsearch.failures import Failure
from qvsearch.scan import ScanOptions, is_below, scan
from qvsearch.types import Item, Kind, Segment, Skipped, VideoMode

if TYPE_CHECKING:
    from qvsearch.library import Library

HASH_THREADS = 4  # enough to keep a disk busy
HASHED_AHEAD = 32  # files; reading them hides behind decoding
MAX_TRIES = 2  # of a file that fails and does not change
# for guesses: a moment of a video, ten seconds from the web and one or two from a phone, and a
# passage of a text, each with the most that the decoders take
MOMENT_BYTES, MOMENTS = 2_000_000, 381
FINE_MOMENT_BYTES = 400_000
# the same where a film's length is known: moments end where scenes do, and after ten seconds
MOMENT_SECONDS, FINE_MOMENT_SECONDS = 5.0, 1.15
PASSAGE_BYTES, TEXT_BYTES = 1_600, 10 * 2**20

Content = tuple[Kind, str]  # one content is decoded differently as another kind


@dataclass(frozen=True, slots=True)
class Target:
    """A path to bring up to date, and the root that it is or lies below."""

    path: bytes
    root: bytes
    exists: bool = True


@dataclass(slots=True)
class Found:
    """What a scan of all targets found; items by location, each once."""

    items: dict[bytes, Item] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)


@dataclass(slots=True)
class Changes:
    """The files found, sorted by what they need; `skipped` failed too often as they are."""

    unchanged: list[Item] = field(default_factory=list)
    to_do: list[Item] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def known_files(library: Library, rows: Mapping[bytes, Sequence[int]]) -> dict[bytes, Segment]:
    """Return one segment of each file, given the rows of each."""
    return {place: library.segments[numbers[0]] for place, numbers in rows.items()}


def known_failures(library: Library) -> dict[bytes, Failure]:
    """Return what is known of each file that could not be indexed."""
    return {failure.path: failure for failure in library.load_failures()}


def resolve(roots: Sequence[bytes], paths: Sequence[bytes]) -> list[Target]:
    """Match absolute paths to the innermost root they lie in; a path in none becomes a root.

    Raises QvsearchError for a path that does not exist, unless the library knows it.
    """
    known = list(roots)
    targets = []
    for path in sorted({os.path.abspath(path) for path in paths}, key=len):
        exists = _exists(path)
        holders = [root for root in known if is_below(path, root)]
        if not (exists or holders or any(is_below(root, path) for root in known)):
            raise QvsearchError(
                f"{os.fsdecode(path)} does not exist, and the library knows no such path"
            )
        root = max(holders, key=len, default=path)
        if not holders:
            known.append(root)
        targets.append(Target(path, root, exists))
    return targets


def find(targets: Iterable[Target], options: ScanOptions, stop: Callable[[], bool]) -> Found:
    """Scan every target that exists; when `stop` says so, what was found until then is returned."""
    found = Found()
    skipped: dict[bytes, Skipped] = {}
    for target in targets:
        for one in scan(target.path, target.root, options) if target.exists else ():
            if stop():
                break
            if isinstance(one, Item):
                found.items.setdefault(one.location, one)
            else:
                skipped.setdefault(one.path, one)
    found.skipped = list(skipped.values())
    return found


def compare(
    found: Found,
    known: Mapping[bytes, Segment],
    failures: Mapping[bytes, Failure],
    force: bool,
    retry_failed: bool,
) -> Changes:
    """Sort what was found by size and time alone; `known` has a segment of each known location."""
    changes = Changes()
    for location, item in found.items.items():
        segment, failure = known.get(location), failures.get(location)
        if force:
            changes.to_do.append(item)
        elif segment is not None and same_state(segment.item, item):
            changes.unchanged.append(item)
        elif (
            failure is not None
            and failure.tries >= MAX_TRIES
            and same_state(failure, item)
            and not retry_failed
        ):
            reason = f"failed before: {failure.reason}; --retry-failed tries again"
            changes.skipped.append(Skipped(location, reason))
        else:
            changes.to_do.append(item)
    return changes


def same_state(before: Item | Failure, now: Item) -> bool:
    """Tell whether a file looks untouched."""
    return (before.size, before.mtime_ns) == (now.size, now.mtime_ns)


def estimated_segments(item: Item, video_mode: VideoMode, seconds: float | None = None) -> int:
    """Guess the segments of a file from its size, or a film's from its length; nothing is read."""
    if item.kind is Kind.IMAGE:
        return 1
    if item.kind is Kind.TEXT:
        return max(1, min(item.size, TEXT_BYTES) // PASSAGE_BYTES)
    whole, fine = item.size / MOMENT_BYTES, item.size / FINE_MOMENT_BYTES
    if seconds is not None:
        whole, fine = seconds / MOMENT_SECONDS, seconds / FINE_MOMENT_SECONDS
    moments = max(1, min(MOMENTS, round(whole)))
    if video_mode is not VideoMode.BOTH:
        return moments
    return moments + max(1, min(MOMENTS, round(fine)))


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
    """Return the hash, if the file was as the scan found it before and afterwards."""
    try:
        digest = content_hash(item.location, item.size)
        status = Path(os.fsdecode(item.location)).stat()
    except FileNotFoundError:
        return Skipped(item.location, "no longer there")
    except OSError as error:
        return Skipped(item.location, (error.strerror or str(error)).lower())
    if (status.st_size, status.st_mtime_ns) != (item.size, item.mtime_ns):
        return Skipped(item.location, "changed while it was read")
    return digest


def copies(items: Sequence[Item], known: Iterable[Segment]) -> dict[bytes, Content]:
    """Return, by location, the content of items that is known or comes earlier among them.

    Only files whose size another has are read.
    """
    if not items:
        return {}
    contents = {content_of(segment): segment.item.size for segment in known}
    sizes = Counter((kind, size) for (kind, _), size in contents.items())
    sizes.update((item.kind, item.size) for item in items)
    alike = [item for item in items if sizes[item.kind, item.size] > 1]
    found: dict[bytes, Content] = {}
    with ThreadPoolExecutor(HASH_THREADS) as threads:
        for item, digest in hashed(alike, threads):
            if isinstance(digest, Skipped):
                continue
            content = (item.kind, digest)
            if content in contents:
                found[item.location] = content
            contents[content] = item.size
    return found


def content_of(segment: Segment) -> Content:
    """Return what a copy elsewhere has in common with a segment's file."""
    return segment.item.kind, segment.content_hash


def _exists(path: bytes) -> bool:
    """Tell whether there is anything; a path that may not be looked at is there."""
    try:
        Path(os.fsdecode(path)).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def unreachable(targets: Iterable[Target], prune: bool) -> tuple[bytes, ...]:
    """Return the paths that are not there, of which nothing is removed."""
    return tuple(target.path for target in targets if not (target.exists or prune))
