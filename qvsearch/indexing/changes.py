"""Differences between a library and the folders it follows; nothing is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.files import is_below, is_within
from qvsearch.indexing.contents import Content, content_of
from qvsearch.indexing.scan import VENDORED, Leftovers, ignored, scan, total
from qvsearch.indexing.subtitle_files import subtitles_of
from qvsearch.library.aliases import aliases, is_there
from qvsearch.library.failures import Failure
from qvsearch.library.rules import ScanOptions, left_out
from qvsearch.media.kind_at import kinds_by
from qvsearch.types import READING, Item, Segment, Skipped

if TYPE_CHECKING:
    from qvsearch.library.library import Library

MAX_TRIES = 2  # of a file that fails and does not change
NOTHING_KNOWN: Mapping[bytes, Segment] = {}  # a segment of each location
FEW = 10  # known files; of fewer any number may be deleted at once


@dataclass(frozen=True, slots=True)
class Target:
    """A path to bring up to date, and the root that it is or lies below.

    `known` is whether the library has a root there, above or below.
    """

    path: bytes
    root: bytes
    exists: bool = True
    known: bool = True


@dataclass(slots=True)
class ScanResult:
    """The results of scanning all targets: items by location, each once.

    `left_aside` counts files of unsupported suffixes, `vendored` those of other people's code.
    """

    items: dict[bytes, Item] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    left_aside: dict[str, int] = field(default_factory=dict)
    vendored: int = 0


@dataclass(slots=True)
class Changes:
    """The scanned files, sorted by what they need; `skipped` failed too often as they are.

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
    """Return the failure of each file that could not be indexed, by path."""
    return {failure.path: failure for failure in library.load_failures()}


def resolve(roots: Sequence[bytes], paths: Sequence[bytes]) -> list[Target]:
    """Match absolute paths to the innermost root they lie in; any other path becomes a root.

    A path that leads into a root over a link or a bind mount is replaced by the path there, so that
    no file has two. Raises QvsearchError if no path exists and the library has none of them.
    """
    known = list(roots)
    targets: dict[bytes, Target] = {}
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
        targets.setdefault(path, Target(path, root, exists, is_known))
    if targets and not any(target.exists or target.known for target in targets.values()):
        raise QvsearchError(
            f"{os.fsdecode(next(iter(targets)))} does not exist, and the library has no such path"
        )
    return list(targets.values())


def _is_in(path: bytes, roots: Iterable[bytes]) -> bool:
    return any(is_below(path, root) for root in roots)


def scan_targets(
    targets: Iterable[Target],
    scans: Mapping[bytes, ScanOptions],
    stop: Callable[[], bool],
    roots: Iterable[bytes] = (),
    known: Mapping[bytes, Segment] = NOTHING_KNOWN,
) -> ScanResult:
    """Scan every target that exists, with the options that `scans` has for its root.

    Files that are as the segments of `known` have them, by location, are not opened for their kind.
    When `stop` returns True, the results so far are returned. A file that another of the `roots`
    has, by name or by a link, becomes that root's item, unless that root's rules leave it out.
    """
    kind = kinds_by(known)

    def found() -> Iterator[Item | Skipped | Leftovers | None]:
        for target in targets:
            options = scans[target.root]
            inner = _inner_roots(target, roots, scans)
            for one in scan(target.path, target.root, options, kind) if target.exists else ():
                if stop():
                    break
                yield _through(inner, one)

    return collected(found())


def collected(found: Iterable[Item | Skipped | Leftovers | None]) -> ScanResult:
    """Return the results of scans, each place once; None is left out."""
    files = ScanResult()
    skipped: dict[bytes, Skipped] = {}
    leftovers: dict[bytes, Leftovers] = {}
    for one in found:
        match one:
            case Item() as item:
                files.items.setdefault(item.location, item)
            case Skipped() as skip:
                skipped.setdefault(skip.path, skip)
            case Leftovers() as rest:
                leftovers.setdefault(rest.path, rest)
    files.skipped = list(skipped.values())
    files.left_aside = total(leftovers.values())
    files.vendored = files.left_aside.pop(VENDORED, 0)
    return files


@dataclass(frozen=True, slots=True)
class _Inner:
    """A root inside a target, by name or link: its place in the target, the root, its rules."""

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
    """Return a result of the scan as that of the innermost root that has it, if any.

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
    files: ScanResult,
    known: Mapping[bytes, Segment],
    failures: Mapping[bytes, Failure],
    force: bool,
    retry_failed: bool,
) -> Changes:
    """Sort files by their status alone; `known` has a segment of each location in the library."""
    changes = Changes()
    for location, item in files.items.items():
        segment, failure = known.get(location), failures.get(location)
        # a TIFF of several pages was an image for earlier versions
        is_kind = segment is not None and segment.item.kind is item.kind
        looks_same = segment is not None and is_kind and same_state(segment.item, item)
        failed = failure is not None and same_failure(failure, item) and not retry_failed
        if force:
            changes.to_do.append(item)
        elif segment is not None and looks_same and same_identity(segment.item, item):
            # after too many failures to read it anew its old rows stay
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
    """Return whether a file has the size and the time of before."""
    return (before.size, before.mtime_ns) == (now.size, now.mtime_ns)


def same_failure(before: Failure, now: Item) -> bool:
    """Return whether this version has tried the file as it is."""
    return same_state(before, now) and before.reading >= READING[now.kind]


def same_identity(before: Item, now: Item) -> bool:
    """Return whether ctime and inode are those of before; an unknown one is never different."""
    pairs = ((before.ctime_ns, now.ctime_ns), (before.inode, now.inode))
    return all(one == other or one is None or other is None for one, other in pairs)


def unreachable(targets: Iterable[Target], prune: bool) -> tuple[bytes, ...]:
    """Return the paths that are not there, below which nothing is removed."""
    away = [target for target in targets if not target.exists]
    return tuple(target.path for target in away if not (prune and target.known))


@dataclass(frozen=True, slots=True)
class KeptFiles:
    """Files below `path` that are not there and yet stay in the library, and why."""

    path: bytes
    files: int
    reason: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Locations whose rows are to be removed, and what stays although it is not there.

    `left_out` is how many files stay that are clutter now or that include and exclude leave out.
    """

    gone: list[bytes]
    kept: list[KeptFiles]
    left_out: int = 0


def missing(
    targets: Iterable[Target],
    files: ScanResult,
    known: Mapping[bytes, Segment],
    moved: Collection[Content],
    scans: Mapping[bytes, ScanOptions],
    prune: bool,
) -> Missing:
    """Return which known files are gone from the targets; `scans` has the options of each root.

    `known` has a segment of each location in the library; `moved` are the contents that this run
    has seen at a new place. A file is gone if its folder can be read and does not have it. It is
    also gone if a `.qvsearchignore` covers it, or if it holds the subtitles of a film. So existing
    files are never removed because of hidden names or links, and files of kinds that are not
    scanned stay. A file that is left out by its name is removed only with `prune`. If a target is
    missing, empty or mostly missing, only files that have moved are removed, unless `prune`.
    """
    is_left_out, vanished = _left_out_test(scans), _vanished_test()
    unread = {skipped.path for skipped in files.skipped}
    gone: dict[bytes, None] = {}
    by_name: dict[bytes, None] = {}
    kept = []
    for target in targets:
        if not (target.exists or prune) or target.path in files.items:
            continue  # it is away, or a file that is there
        kinds = scans[target.root].kinds
        below = {
            location: segment
            for location, segment in known.items()
            if is_below(location, target.path) and (kinds is None or segment.item.kind in kinds)
        }
        unseen = {place: each for place, each in below.items() if place not in files.items}
        for place in [place for place, each in unseen.items() if is_left_out(each.item)]:
            by_name[place] = None
            del below[place], unseen[place]
        lost = [place for place in unseen if vanished(place) and not is_within(place, unread)]
        unmoved = [place for place in lost if content_of(unseen[place]) not in moved]
        if not prune and lost and not any(is_below(place, target.path) for place in files.items):
            kept.append(KeptFiles(target.path, len(lost), "it is empty"))
            continue
        if not prune and len(below) >= FEW and 2 * len(unmoved) > len(below):
            kept.append(
                KeptFiles(target.path, len(unmoved), "most of its known files are not there")
            )
            stays = set(unmoved)
            lost = [place for place in lost if place not in stays]
        gone.update(dict.fromkeys(lost))
        gone.update(dict.fromkeys(_ignored(unseen)))
        gone.update(dict.fromkeys(subtitles_of(unseen, files.items)))
    if prune:
        return Missing(list(gone | by_name), kept)
    return Missing(list(gone), kept, len(by_name))


def _left_out_test(scans: Mapping[bytes, ScanOptions]) -> Callable[[Item], bool]:
    """Return a test whether a file of any root is left out by its name."""

    @cache
    def test_of(root: bytes) -> Callable[[bytes], str | None]:
        return left_out(root, scans.get(root, ScanOptions()))

    return lambda item: test_of(item.root)(item.path) is not None


def _ignored(segments: Mapping[bytes, Segment]) -> Iterator[bytes]:
    """Yield the locations that a `.qvsearchignore` of their root covers."""
    tests: dict[bytes, Callable[[bytes], bool]] = {}
    for location, segment in segments.items():
        item = segment.item
        if item.root not in tests:
            tests[item.root] = ignored(item.root)
        if item.path and tests[item.root](item.path):
            yield location


def _vanished_test() -> Callable[[bytes], bool]:
    """Return a test whether a file is not in its folder, which can be read or is gone.

    The folder is listed, since `stat` cannot tell IMG.jpg from img.jpg on every file system.
    """

    @lru_cache(maxsize=256)
    def names_in(folder: bytes) -> frozenset[bytes] | None:
        try:
            with os.scandir(folder) as entries:
                return frozenset(entry.name for entry in entries if not entry.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return None if _behind_broken_link(folder) else frozenset()
        except OSError:
            return None

    def vanished(location: bytes) -> bool:
        folder, name = os.path.split(location)
        names = names_in(folder)
        return names is not None and name not in names

    return vanished


def _behind_broken_link(path: bytes) -> bool:
    """Return whether a missing path leads over a broken link, e.g. to a disk that is away."""
    gone = Path(os.fsdecode(path))
    while not gone.parent.exists():
        gone = gone.parent
    return gone.is_symlink()
