"""What differs between a library and the folders it follows: it reads both and changes neither."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.files import content_hash, is_below
from qvsearch.indexing.leftovers import Leftovers, total
from qvsearch.indexing.scan import scan
from qvsearch.library.aliases import aliases, is_there
from qvsearch.library.failures import Failure
from qvsearch.library.rules import ScanOptions, left_out
from qvsearch.types import READING, Item, Kind, Segment, Skipped, VideoMode

if TYPE_CHECKING:
    from qvsearch.library.library import Library

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
    """A path to bring up to date, and the root that it is or lies below.

    `known` says that the library has something there or above.
    """

    path: bytes
    root: bytes
    exists: bool = True
    known: bool = True


@dataclass(slots=True)
class Found:
    """What a scan of all targets found; items by location, each once.

    `left_aside` counts files of no kind that qvsearch takes, by suffix.
    """

    items: dict[bytes, Item] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    left_aside: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Changes:
    """The files found, sorted by what they need; `skipped` failed too often as they are.

    `touched` have the size and time of before, but another ctime or inode: their contents decide.
    `older` are unchanged files that an older version read.
    """

    unchanged: list[Item] = field(default_factory=list)
    touched: list[Item] = field(default_factory=list)
    older: list[Item] = field(default_factory=list)
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

    A path that leads into a root over a link or a bind mount is taken as the path there, so that no
    file has two. Raises QvsearchError if none of the paths exists and the library knows none.
    """
    known = list(roots)
    targets: list[Target] = []
    for path in sorted({os.path.abspath(path) for path in paths}, key=len):
        exists = is_there(path)
        holders = [root for root in known if is_below(path, root)]
        if exists and not holders:
            names = aliases(path, known)
            path = next((name for name in names if _is_in(name, known)), path)
            holders = [root for root in known if is_below(path, root)]
        is_known = any(is_below(path, root) or is_below(root, path) for root in roots)
        root = max(holders, key=len, default=path)
        if not holders:
            known.append(root)
        if path not in {target.path for target in targets}:
            targets.append(Target(path, root, exists, is_known))
    if targets and not any(target.exists or target.known for target in targets):
        raise QvsearchError(
            f"{os.fsdecode(targets[0].path)} does not exist, and the library knows no such path"
        )
    return targets


def _is_in(path: bytes, roots: Iterable[bytes]) -> bool:
    return any(is_below(path, root) for root in roots)


def find(
    targets: Iterable[Target],
    scans: Mapping[bytes, ScanOptions],
    stop: Callable[[], bool],
    roots: Iterable[bytes] = (),
) -> Found:
    """Scan every target that exists, as `scans` says of its root.

    When `stop` says so, what was found until then is returned. What another of the `roots` has,
    by name or by a link, is found as its item, unless the rules of that root leave it out.
    """
    found = Found()
    skipped: dict[bytes, Skipped] = {}
    leftovers: dict[bytes, Leftovers] = {}
    for target in targets:
        options = scans[target.root]
        inner = _inner_roots(target, roots, scans)
        for one in scan(target.path, target.root, options) if target.exists else ():
            if stop():
                break
            match _through(inner, one):
                case Item() as item:
                    found.items.setdefault(item.location, item)
                case Skipped() as skip:
                    skipped.setdefault(skip.path, skip)
                case Leftovers() as rest:
                    leftovers.setdefault(rest.path, rest)
    found.skipped = list(skipped.values())
    found.left_aside = total(leftovers.values())
    return found


@dataclass(frozen=True, slots=True)
class _Inner:
    """What of a target is a root already, by name or link: its place in it, itself, its rules."""

    place: bytes
    root: bytes
    left_out: Callable[[bytes], str | None]


def _inner_roots(
    target: Target, roots: Iterable[bytes], scans: Mapping[bytes, ScanOptions]
) -> list[_Inner]:
    real = os.path.realpath(target.path)
    inner = []
    for root in roots if target.exists else ():
        place = os.path.realpath(root)
        if root != target.path and is_below(root, target.path):
            there = root
        elif place != real and is_below(place, real):
            there = os.path.join(target.path, os.path.relpath(place, real))
        else:
            continue
        inner.append(_Inner(there, root, left_out(root, scans.get(root, ScanOptions()))))
    return sorted(inner, key=lambda each: len(each.place), reverse=True)  # the innermost decides


def _through(
    inner: Iterable[_Inner], one: Item | Skipped | Leftovers
) -> Item | Skipped | Leftovers | None:
    """Return what was found as that of the innermost root that has it, if any has.

    None if that root's rules leave it out.
    """
    path = one.location if isinstance(one, Item) else one.path
    for each in inner:
        if is_below(path, each.place):
            relative = path[len(each.place) + 1 :]
            if isinstance(one, Item):
                is_out = each.left_out(relative) is not None
                return None if is_out else replace(one, root=each.root, path=relative)
            return replace(one, path=os.path.join(each.root, relative) if relative else each.root)
    return one


def compare(
    found: Found,
    known: Mapping[bytes, Segment],
    failures: Mapping[bytes, Failure],
    force: bool,
    retry_failed: bool,
) -> Changes:
    """Sort what was found by its status alone; `known` has a segment of each known location."""
    changes = Changes()
    for location, item in found.items.items():
        segment, failure = known.get(location), failures.get(location)
        looks_same = segment is not None and same_state(segment.item, item)
        failed = failure is not None and same_failure(failure, item) and not retry_failed
        if force:
            changes.to_do.append(item)
        elif segment is not None and looks_same and same_identity(segment.item, item):
            # if reading it anew failed as often as that is tried, its old rows stay
            tired = failed and failure is not None and failure.tries >= MAX_TRIES
            (changes.older if segment.is_older and not tired else changes.unchanged).append(item)
        elif failure is not None and failed and failure.tries >= MAX_TRIES:
            reason = f"failed before: {failure.reason}; --retry-failed tries again"
            changes.skipped.append(Skipped(location, reason, known=True))
        elif looks_same:
            changes.touched.append(item)
        else:
            changes.to_do.append(item)
    return changes


def same_state(before: Item | Failure, now: Item) -> bool:
    """Tell whether a file has the size and the time of before."""
    return (before.size, before.mtime_ns) == (now.size, now.mtime_ns)


def same_failure(before: Failure, now: Item) -> bool:
    """Return whether this version has tried the file as it is."""
    return same_state(before, now) and before.reading >= READING[now.kind]


def same_identity(before: Item, now: Item) -> bool:
    """Tell whether ctime and inode are those of before, each as far as it is known of both."""
    pairs = ((before.ctime_ns, now.ctime_ns), (before.inode, now.inode))
    return all(one == other or one is None or other is None for one, other in pairs)


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


def unreachable(targets: Iterable[Target], prune: bool) -> tuple[bytes, ...]:
    """Return the paths that are not there, of which nothing is removed."""
    away = [target for target in targets if not target.exists]
    return tuple(target.path for target in away if not (prune and target.known))
