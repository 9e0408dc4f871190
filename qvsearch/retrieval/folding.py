"""Hits of several libraries as one list: merged by relevance, one hit for each file and its copies.

Each library has already folded its own near-duplicates. Vectors are compared only between libraries
of one model; between others only contents, hashes and colours decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.duplicates.candidates import few
from qvsearch.duplicates.groups import gather
from qvsearch.duplicates.rule import needed, same_pictures, traits
from qvsearch.library.aliases import is_there
from qvsearch.published.opening import with_file
from qvsearch.retrieval.hits import files_of

if TYPE_CHECKING:
    from qvsearch.duplicates.rule import Floats, Numbers
    from qvsearch.library.library import Library
    from qvsearch.types import Hit, Item, Vectors

    Pairs = Iterable[tuple[int, int]]


def merged(
    lists: Iterable[Sequence[Hit]], libraries: Mapping[Path | None, Library], *, dedupe: bool
) -> list[Hit]:
    """Return the hits of all lists by relevance, each file once; ranks are not renumbered.

    Hits of equal relevance keep the order of the lists. `dedupe` folds near-duplicates too.
    """
    hits = sorted((hit for each in lists for hit in each), key=lambda hit: -hit.relevance)
    hits = _joined(hits, _one_file(hits))
    if not dedupe:
        return hits
    hits = _joined(hits, _one_content(hits))
    return _joined(hits, _alike(hits, libraries))


def one_per_file(hits: Sequence[Hit]) -> list[Hit]:
    """Return the hits without those of a file that an earlier one shows."""
    first: dict[bytes, Hit] = {}
    for hit in hits:
        first.setdefault(hit.segment.item.location, hit)
    return list(first.values())


def _joined(hits: Sequence[Hit], pairs: Pairs) -> list[Hit]:
    """Return a hit for each star of a ranked list; `pairs` (i, j), i < j, are ordered by i."""
    leaders = np.arange(len(hits))
    found = np.array(list(pairs), np.int64).reshape(-1, 2)
    gather(leaders, found[:, 0], found[:, 1])
    groups: dict[int, list[Hit]] = {}
    for hit, leader in zip(hits, leaders.tolist(), strict=True):
        groups.setdefault(leader, []).append(hit)
    return [group[0] if len(group) == 1 else _one_hit(group) for group in groups.values()]


def _one_hit(group: Sequence[Hit]) -> Hit:
    """Return the hit of near-duplicates, the best first: the one with a file, or most pixels."""

    def place(hit: Hit) -> tuple[bool, int]:
        return hit.gone, -(hit.segment.width or 0) * (hit.segment.height or 0)

    ordered = sorted(group, key=place)
    shown = ordered[0]
    others: dict[bytes, Item] = {}
    for hit in ordered:
        for item in files_of(hit):
            if item.location != shown.segment.item.location:
                others.setdefault(item.location, item)
    duplicates = sorted(others.values(), key=lambda item: not is_there(item.location))
    return replace(
        shown,
        relevance=group[0].relevance,
        score=group[0].score,
        duplicates=tuple(duplicates),
    )


def _one_file(hits: Sequence[Hit]) -> Pairs:
    """Return the pairs of hits that have a file in common, also a folded one."""
    places: dict[bytes, int] = {}
    pairs = set()
    for number, hit in enumerate(hits):
        for item in files_of(hit):
            first = places.setdefault(item.location, number)
            if first != number:
                pairs.add((first, number))
    return sorted(pairs)


def _one_content(hits: Sequence[Hit]) -> Pairs:
    """Return the pairs of hits, the first one of each content with the others, of equal bytes."""
    contents: dict[tuple[str, str], int] = {}
    pairs = []
    for number, hit in enumerate(hits):
        first = contents.setdefault((hit.segment.content_hash, hit.segment.item.kind), number)
        if first != number:
            pairs.append((first, number))
    return sorted(pairs)


def _alike(hits: Sequence[Hit], libraries: Mapping[Path | None, Library]) -> Pairs:
    """Return the pairs of hits of different libraries that are near-duplicates by the rule."""
    of = traits([hit.segment for hit in hits])
    i, j = few(of)
    apart = np.array(
        [hits[a].library != hits[b].library for a, b in zip(i, j, strict=True)], np.bool_
    )
    i, j = i[apart], j[apart]
    least = needed(of, i, j)
    same = same_pictures(of, i, j) | (least == -np.inf)
    open_ = np.flatnonzero(~same & np.isfinite(least))
    same[open_] = _cosines(hits, libraries, i[open_], j[open_]) >= least[open_]
    return zip(i[same].tolist(), j[same].tolist(), strict=True)


def _cosines(
    hits: Sequence[Hit], libraries: Mapping[Path | None, Library], i: Numbers, j: Numbers
) -> Floats:
    """Return the cosine of each pair of hits, -inf if their libraries have different models."""
    vectors: dict[int, Vectors] = {}

    def vector(number: int) -> Vectors:
        if number not in vectors:
            vectors[number] = _vector(libraries[hits[number].library], hits[number])
        return vectors[number]

    cosines = np.full(len(i), -np.inf)
    for place, (a, b) in enumerate(zip(i.tolist(), j.tolist(), strict=True)):
        one, other = (libraries[hits[each].library].fingerprint.space for each in (a, b))
        if one == other:
            cosines[place] = float(vector(a) @ vector(b))
    return cosines


def _vector(library: Library, hit: Hit) -> Vectors:
    """Return the vector (dim,) of a hit's segment."""
    library = with_file(library, hit.segment.item)
    rows = np.flatnonzero(library.columns.items == hit.segment.item.number).tolist()
    row = next(row for row in rows if library.segments[row] == hit.segment)
    vector: Vectors = library.vectors([row])[0]
    return vector
