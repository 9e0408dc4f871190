"""Files that a camera made of one shot: a raw file and its picture, a still and its short film.

They are no copies: `dupes` offers none of them because of another. A search folds them into one
hit. Only names, kinds and times decide, so this holds for libraries of every age.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from itertools import combinations

from qvsearch.duplicates.rule import BURST_SECONDS, CLOCKS, clock
from qvsearch.kinds import RAW
from qvsearch.types import Item, Kind, Segment

# the pictures that cameras write beside raw files, and with which films of Live Photos go
PICTURES = frozenset({".jpg", ".jpeg", ".jpe", ".heic", ".heif", ".hif", ".jxl"})
FILMS = frozenset({".mov", ".mp4"})
LONGEST_FILM = 4.0  # seconds; a Live Photo has about 3
# Pixel phones: PXL_1.RAW-01.COVER.jpg, PXL_1.RAW-01.MP.COVER.jpg and PXL_1.RAW-02.ORIGINAL.dng
_PIXEL = re.compile(r"\.raw-\d\d(?:\.mp)?\.(?:cover|original)\Z")


def is_raw(item: Item) -> bool:
    """Return whether a file is a camera's raw file."""
    return _suffix(item) in RAW


def pairs_of_shots(segments: Sequence[Segment]) -> list[tuple[int, int]]:
    """Return the pairs (i, j), i < j, of rows whose files are of one shot, ordered."""
    named: dict[tuple[bytes, str], list[int]] = {}
    for place, segment in enumerate(segments):
        if _may_pair(segment):
            named.setdefault(_key(segment.item), []).append(place)
    pairs = (
        (i, j)
        for places in named.values()
        if len(places) > 1
        for i, j in combinations(places, 2)
        if _is_pair(segments[i], segments[j])
    )
    return sorted(pairs)


def is_one_shot(one: Segment, other: Segment) -> bool:
    """Return whether two rows are of different files of one shot."""
    return bool(pairs_of_shots([one, other]))


def names_in_shot(path: bytes) -> list[bytes]:
    """Return the paths that other files of one shot have, with suffixes in one case."""
    stem, suffix = os.path.splitext(path)
    if os.fsdecode(suffix).lower() not in RAW | PICTURES | FILMS:
        return []
    others = sorted(RAW | PICTURES | FILMS)
    return [stem + os.fsencode(each) for other in others for each in (other, other.upper())]


def behind(items: Iterable[Item]) -> set[Item]:
    """Return the raw files of which the items have a picture of the same shot, and its films."""
    items = list(items)
    pictured = {_key(item) for item in items if _suffix(item) in PICTURES}
    return {item for item in items if _suffix(item) not in PICTURES and _key(item) in pictured}


def _may_pair(segment: Segment) -> bool:
    suffix = _suffix(segment.item)
    if segment.item.kind is Kind.VIDEO:
        duration = segment.metadata.duration
        return suffix in FILMS and duration is not None and duration <= LONGEST_FILM
    return suffix in PICTURES or suffix in RAW


def _is_pair(one: Segment, other: Segment) -> bool:
    """Return whether two files of one name are of one shot."""
    groups = [
        next(place for place, each in enumerate((RAW, PICTURES, FILMS)) if suffix in each)
        for suffix in (_suffix(one.item), _suffix(other.item))
    ]
    if groups[0] == groups[1]:
        return False
    if FILMS & {_suffix(one.item), _suffix(other.item)}:
        return True  # the date of a film may have another zone
    taken = [
        clock(each.metadata.taken) if each.metadata.taken_from in CLOCKS else None
        for each in (one, other)
    ]
    return None in taken or abs((taken[0] or 0.0) - (taken[1] or 0.0)) <= BURST_SECONDS


def _key(item: Item) -> tuple[bytes, str]:
    """Return the folder and the stem of a file, in lower case."""
    folder, name = os.path.split(item.location)
    stem = os.path.splitext(os.fsdecode(name))[0].lower()
    return folder, _PIXEL.sub("", stem)


def _suffix(item: Item) -> str:
    return os.path.splitext(os.fsdecode(item.location))[1].lower()
