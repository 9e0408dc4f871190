"""Group near-duplicates, as the rule defines them, in a ranked list or a library.

A group is a star: all members are the same as its leader, the best hit or the best original. If
they were only the same as some member, a chain of small changes would lead from any picture to any
other. Items are taken in order, best first; an item that follows no earlier leader leads itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.duplicates.candidates import Candidates, few
from qvsearch.duplicates.rule import Reason, clock, needed, reasons, traits
from qvsearch.duplicates.shots import is_one_shot, is_raw, pairs_of_shots
from qvsearch.library.aliases import file_identity
from qvsearch.types import Kind

if TYPE_CHECKING:
    from qvsearch.duplicates.rule import Floats, Numbers, Traits
    from qvsearch.library.library import Library
    from qvsearch.types import Segment, Vectors

    Fetch = Callable[[Numbers], Vectors]

FETCHED = 4096  # vectors in memory at once: 32 MB of 2048 numbers
MOST = 0.8  # of a video's seconds, or a text's passages, that must be in the other, and vice versa
AT_ONCE = 512  # items that are compared with all later ones at once
MANY_PAIRS = 1_000_000  # with more, fewer items are compared at once
EPOCH = 62_135_596_800  # seconds from the year 1, where `clock` begins, to 1970


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a group: one of its segments, and whether the file is gone from the disk.

    `reason` is None for the best original. `also` are other paths of the very same file: deleting
    it under one of them may delete it under all.
    """

    segment: Segment
    reason: Reason | None
    gone: bool
    also: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Files that repeat the first of them, the best original; `reason` is their weakest reason.

    `reclaimable` is the bytes of the others that are still there. No file is in a group twice, and
    files that changed since they were indexed are in none.
    """

    kind: Kind
    reason: Reason
    reclaimable: int
    items: tuple[Member, ...]


def same(one: Segment, other: Segment, cosine: float) -> bool:
    """Return whether the items of two rows are near-duplicates, or of one shot, by these rows."""
    if is_one_shot(one, other):
        return True
    least = needed(traits([one, other]), np.array([0]), np.array([1]))
    return cosine >= float(least[0])


def fold(segments: Sequence[Segment], vectors: Vectors) -> list[int]:
    """Return for each entry of a ranked list the earlier one that it repeats, or its own index.

    Files of one shot fold like near-duplicates. `segments` are the best ones of some hundred items,
    `vectors` (n, dim) theirs. A repeated entry repeats no other.
    """
    of = traits(segments)
    leaders = np.arange(len(segments))
    i, j = alike(of, *few(of), vectors.__getitem__)
    shots = np.array(pairs_of_shots(segments), np.int64).reshape(-1, 2)
    i, j = np.concatenate([i, shots[:, 0]]), np.concatenate([j, shots[:, 1]])
    order = np.argsort(i, kind="stable")
    gather(leaders, i[order], j[order])
    return leaders.tolist()


def alike(of: Traits, i: Numbers, j: Numbers, fetch: Fetch) -> tuple[Numbers, Numbers]:
    """Return the pairs (i[k], j[k]) that are the same; `fetch` returns the vectors of rows."""
    least = needed(of, i, j)
    open_ = np.isfinite(least)
    least[open_] -= _cosines(i[open_], j[open_], fetch)
    return i[least <= 0], j[least <= 0]


def gather(leaders: Numbers, i: Numbers, j: Numbers) -> None:
    """Assign leaders in place, given the pairs (i[k], j[k]) that are the same, i < j.

    `leaders[n]` is n for an entry without a leader. The pairs must be ordered by i.
    """
    led, starts = np.unique(i, return_index=True)
    bounds = pairwise([*starts.tolist(), len(j)])
    for leader, (first, end) in zip(led.tolist(), bounds, strict=True):
        if leaders[leader] == leader:
            followers = j[first:end]
            leaders[followers[leaders[followers] == followers]] = leader


def _cosines(i: Numbers, j: Numbers, fetch: Fetch) -> Floats:
    """Return the cosine of each pair of rows."""
    left, at = np.unique(i, return_inverse=True)
    right, to = np.unique(j, return_inverse=True)
    cosines = np.empty(len(i))
    for top in range(0, len(left), FETCHED):
        vectors = fetch(left[top : top + FETCHED])
        for first in range(0, len(right), FETCHED):
            block = vectors @ fetch(right[first : first + FETCHED]).T
            here = (at // FETCHED == top // FETCHED) & (to // FETCHED == first // FETCHED)
            cosines[here] = block[at[here] - top, to[here] - first]
    return cosines


def duplicate_groups(library: Library, kinds: Collection[Kind] | None = None) -> list[Group]:
    """Return the groups of near-duplicates in a library, ordered by their reclaimable bytes.

    A raw file is grouped only with raw files: neither it nor its picture replaces the other.
    The best original of a group is not damaged, then has most pixels, then most bytes, then is the
    oldest. Neither the library nor any file is changed.
    """
    segments = library.segments
    items = [
        rows
        for rows in library.by_location().values()
        if kinds is None or segments[rows[0]].item.kind in kinds
    ]
    items.sort(key=lambda rows: _worth(segments[rows[0]]))
    contents: dict[tuple[str, Kind], int] = {}
    exact = [
        contents.setdefault((each.content_hash, each.item.kind), place)
        for place, each in enumerate(segments[rows[0]] for rows in items)
    ]
    different = sorted(set(exact))
    stars = _library_stars(library, [items[place] for place in different])
    leaders = dict(zip(different, (different[star] for star in stars.tolist()), strict=True))
    groups: dict[int, list[int]] = {}
    for place, content in enumerate(exact):
        groups.setdefault(leaders[content], []).append(place)
    listed = [
        _group([segments[items[place][0]] for place in places])
        for places in groups.values()
        if len(places) > 1
    ]
    return sorted(filter(None, listed), key=lambda group: -group.reclaimable)


def _worth(segment: Segment) -> tuple[float, ...]:
    """Return a key that is least for the best original."""
    item = segment.item
    changed = item.mtime_ns / 10**9 + EPOCH
    taken = clock(segment.metadata.taken)
    pixels = (segment.width or 0) * (segment.height or 0)
    damaged = segment.metadata.damaged is not None
    return (damaged, -pixels, -item.size, changed if taken is None else taken, item.mtime_ns)


def _library_stars(library: Library, items: Sequence[Sequence[int]]) -> Numbers:
    """Return the leader of each item, given the rows of each; leaders lead themselves."""
    rows = np.array([row for item in items for row in item], np.int64)
    firsts = np.cumsum([0, *map(len, items)])
    item_of = np.repeat(np.arange(len(items)), np.diff(firsts))
    segments = [library.segments[row] for row in rows.tolist()]
    of = traits(segments)
    raw = np.array([is_raw(each.item) for each in segments], np.bool_)
    weights = _weights(of)
    candidates = Candidates(of)
    leaders = np.arange(len(items))
    first, size = 0, 1
    while first < len(items):
        free = (leaders == np.arange(len(items)))[item_of]
        block = np.arange(firsts[first], firsts[min(first + size, len(items))])
        i, j = candidates.after(block[free[block]], free)
        other = (item_of[i] != item_of[j]) & (raw[i] == raw[j])
        size, first = _next_size(size, len(i)), first + size
        i, j = alike(of, i[other], j[other], lambda some: library.vectors(rows[some].tolist()))
        gather(leaders, *_alike_items(i, j, item_of, weights))
    return leaders


def _next_size(size: int, pairs: int) -> int:
    """Return how many items to take next; if all are alike, the first few lead all others."""
    return max(1, size // 2) if pairs > MANY_PAIRS else min(AT_ONCE, 2 * size)


def _weights(of: Traits) -> Floats:
    """Return the weight of each row within its item, not normalized.

    It is the seconds of a video's moment, 0 for a flat one, since flat pictures look all alike.
    """
    seconds = np.where(of.hashed, np.fmax(of.end - of.start, 1e-3), 0.0)
    return np.where(np.isnan(of.start), 1.0, seconds)


def _alike_items(
    i: Numbers, j: Numbers, item_of: Numbers, weights: Floats
) -> tuple[Numbers, Numbers]:
    """Return the pairs of items, ordered, that mostly consist of rows that are alike."""
    count = int(item_of[-1]) + 1 if len(item_of) else 1
    whole = np.bincount(item_of, weights, count)
    pairs, which = np.unique(item_of[i] * count + item_of[j], return_inverse=True)
    shared = [np.zeros(len(pairs)), np.zeros(len(pairs))]
    for side, rows in zip(shared, (i, j), strict=True):
        once = np.unique(which * len(item_of) + rows)
        pair, row = np.divmod(once, len(item_of))
        np.add.at(side, pair, weights[row])
    a, b = np.divmod(pairs, count)
    enough = (shared[0] >= MOST * whole[a]) & (shared[1] >= MOST * whole[b])
    return a[enough], b[enough]


def repetition(
    library: Library, rows: Sequence[int], sources: Sequence[Segment], vectors: Vectors
) -> Reason | None:
    """Return why an item, given as its rows, repeats the item of some other segments.

    `vectors` (len(sources), dim) are those of the segments. None if too much of them is missing.
    """
    of = traits([*sources, *(library.segments[row] for row in rows)])
    i, j = np.divmod(np.arange(len(sources) * len(rows)), len(rows))
    both = np.concatenate([vectors, library.vectors(rows)])
    i, j = alike(of, i, j + len(sources), both.__getitem__)
    weights = _weights(of)
    if not len(i) or weights[np.unique(i)].sum() < MOST * weights[: len(sources)].sum():
        return None
    return reasons(of, i[:1], j[:1])[0]


def _group(segments: Sequence[Segment]) -> Group | None:
    """Return the group of some files, given best first, with the present ones before the others.

    None if all are one file under several paths.
    """
    present: dict[object, Segment] = {}
    also: dict[object, list[bytes]] = {}
    gone: list[Segment] = []
    for segment in segments:
        location = segment.item.location
        if not Path(
            os.fsdecode(location)
        ).is_absolute():  # of a root that this computer does not reach
            present[location], also[location] = segment, []
            continue
        try:
            status = Path(os.fsdecode(location)).stat()
        except OSError:
            gone.append(segment)
            continue
        if (status.st_size, status.st_mtime_ns) != (segment.item.size, segment.item.mtime_ns):
            continue  # it may no longer be a copy
        identity = file_identity(location) or os.path.realpath(location)
        if identity in present:
            also[identity].append(location)
        else:
            present[identity], also[identity] = segment, []
    ordered = [*present.values(), *gone]
    if len(ordered) < 2:
        return None
    others = np.arange(1, len(ordered))
    why = reasons(traits(ordered), np.zeros_like(others), others)
    names = [*map(tuple, also.values()), *(() for _ in gone)]
    items = tuple(
        Member(segment, reason, place >= len(present), other_names)
        for place, (segment, reason, other_names) in enumerate(
            zip(ordered, [None, *why], names, strict=True)
        )
    )
    reclaimable = sum(segment.item.size for segment in [*present.values()][1:])
    weakest = max(why, key=list(Reason).index)
    return Group(segments[0].item.kind, weakest, reclaimable, items)
