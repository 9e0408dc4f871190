"""Tell files that are gone from disks that are away; it reads folders and changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from qvsearch.files import is_below
from qvsearch.indexing.changes import Content, Found, Target, content_of
from qvsearch.indexing.scan import ignored
from qvsearch.library.rules import ScanOptions, left_out
from qvsearch.types import Item, Segment

FEW = 10  # known files; of fewer any number may be deleted at once


@dataclass(frozen=True, slots=True)
class Kept:
    """Files below `path` that were not found and yet stay in the library, and why."""

    path: bytes
    files: int
    reason: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Locations whose rows are to go, and what stays although it was not found.

    `left_out` is how many files stay that are clutter now or that include and exclude leave out.
    """

    gone: list[bytes]
    kept: list[Kept]
    left_out: int = 0


def missing(
    targets: Iterable[Target],
    found: Found,
    known: Mapping[bytes, Segment],
    moved: Collection[Content],
    scans: Mapping[bytes, ScanOptions],
    prune: bool,
) -> Missing:
    """Tell which known files are gone from the targets; `scans` says what each root leaves out.

    `known` has a segment of each location in the library; `moved` are the contents that this run
    found at a new place. A file is gone when the scan was not kept from its folder and that has it
    not, or when a `.qvsearchignore` covers it; so nothing that still exists goes because of hidden
    names or links, and what is of other kinds is not looked at. What is left out by its name goes
    only with `prune`. Where a target is missing, empty or mostly missing, nothing goes that has not
    moved, unless `prune`.
    """
    is_left_out = _left_out_test(scans)
    vanished = _vanished_test()
    unread = {skipped.path for skipped in found.skipped}
    gone: dict[bytes, None] = {}
    by_name: dict[bytes, None] = {}
    kept = []
    for target in targets:
        if not (target.exists or prune):
            continue
        kinds = scans[target.root].kinds
        below = {
            location: segment
            for location, segment in known.items()
            if is_below(location, target.path) and (kinds is None or segment.item.kind in kinds)
        }
        unseen = {place: each for place, each in below.items() if place not in found.items}
        for place in [place for place, each in unseen.items() if is_left_out(each.item)]:
            by_name[place] = None
            del below[place], unseen[place]
        lost = [place for place in unseen if vanished(place) and not _within(place, unread)]
        unmoved = [place for place in lost if content_of(unseen[place]) not in moved]
        if not prune and lost and not any(is_below(place, target.path) for place in found.items):
            kept.append(Kept(target.path, len(lost), "there is nothing in it"))
            continue
        if not prune and len(below) >= FEW and 2 * len(unmoved) > len(below):
            kept.append(Kept(target.path, len(unmoved), "most of what is known is not there"))
            stays = set(unmoved)
            lost = [place for place in lost if place not in stays]
        gone.update(dict.fromkeys(lost))
        gone.update(dict.fromkeys(_ignored(unseen)))
    if prune:
        return Missing(list(gone | by_name), kept)
    return Missing(list(gone), kept, len(by_name))


def _left_out_test(scans: Mapping[bytes, ScanOptions]) -> Callable[[Item], bool]:
    """Return the test whether a file of any root is left out by its name."""

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


def _within(place: bytes, paths: Collection[bytes]) -> bool:
    """Tell whether one of the paths is the place or a folder above it."""
    while place not in paths:
        above = os.path.dirname(place)
        if above == place:
            return False
        place = above
    return True


def _vanished_test() -> Callable[[bytes], bool]:
    """Return the test whether a file's folder can be read, or is gone, and so has it not.

    A listing, not `stat`, says so: it tells IMG.jpg from img.jpg on every file system.
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
    """Tell whether a missing path leads over a link to nothing, such as a disk that is away."""
    missing = Path(os.fsdecode(path))
    while not missing.parent.exists():
        missing = missing.parent
    return missing.is_symlink()
