"""Rows that answer, as hits: one per file, with its moments joined and near-duplicates folded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from qvsearch.choices import Sort
from qvsearch.duplicates.groups import fold
from qvsearch.duplicates.shots import behind
from qvsearch.library.aliases import is_there
from qvsearch.retrieval.calibration import ANSWERED, evidence_of, relevance_of
from qvsearch.times import time_taken
from qvsearch.types import Hit, Item, Moment, Segment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.library import Library
    from qvsearch.retrieval.options import SearchOptions
    from qvsearch.retrieval.scoring import Ranking

MOMENTS = 5  # other moments or passages of a file that a hit has
FOLDED = 1024  # rows compared at once if most are copies: the cost is quadratic
COPIES = 64  # rows read past the last hit: its copies may be a little less relevant
AT_ONCE = 256  # rows that are folded at once if the list has no end
FIRST_ROWS = 1024  # sorted at first; one long video rarely has more relevant rows
SHOWN = evidence_of(ANSWERED)  # a segment above this is an answer by itself
GAP = 1.0  # seconds between two stretches of a video that a person still sees as one event
Shown = TypeVar("Shown", Hit, Moment)


def best_hits(
    library: Library,
    ranking: Ranking,
    mask: NDArray[np.bool_],
    count: int,
    *,
    least: float,
    dedupe: bool,
) -> list[Hit]:
    """Return the first `count` hits, best first: files with a row in the mask of `least` evidence.

    `dedupe` folds near-duplicates into one hit.
    """
    rows = best_rows(library, ranking, mask, least)
    groups = _folded(library, rows, count) if dedupe else [[row] for row in islice(rows, count)]
    return [_hit(library, ranking, mask, group, rank) for rank, group in enumerate(groups, start=1)]


def best_rows(
    library: Library, ranking: Ranking, mask: NDArray[np.bool_], least: float
) -> Iterator[int]:
    """Yield the best row of each file, best first, ties by row number."""
    evidence, items = ranking.evidence, library.columns.items
    rows = np.flatnonzero(mask & (evidence >= least) & (evidence > -np.inf))
    seen: set[int] = set()
    count = FIRST_ROWS
    while True:
        first = rows
        if count < len(rows):
            first = np.sort(rows[np.argpartition(-evidence[rows], count)[:count]])
        for row in first[np.argsort(-evidence[first], kind="stable")].tolist():
            if items[row] not in seen:
                seen.add(items[row])
                yield row
        if count >= len(rows):
            return
        count *= 4


def hits_in_turn(
    library: Library,
    ranking: Ranking,
    mask: NDArray[np.bool_],
    *,
    least: float,
    dedupe: bool,
) -> Iterator[Hit]:
    """Yield the hits of `best_hits` without an end, each computed when it is reached.

    Near-duplicates are folded only within each AT_ONCE rows, and all ranks are 0.
    """
    rows = best_rows(library, ranking, mask, least)
    while batch := list(islice(rows, AT_ONCE)):
        leaders = list(range(len(batch)))
        if dedupe:
            leaders = fold([library.segments[row] for row in batch], library.vectors(batch))
        groups: dict[int, list[int]] = {}
        for row, leader in zip(batch, leaders, strict=True):
            groups.setdefault(leader, []).append(row)
        for group in groups.values():
            yield _hit(library, ranking, mask, group, 0)


def _folded(library: Library, rows: Iterator[int], count: int) -> list[list[int]]:
    """Return `count` groups of near-duplicates, the best row of each first."""
    groups: dict[int, list[int]] = {}  # by their first rows, which are no duplicates of each other
    size, before = count, 0
    while before < count and (more := list(islice(rows, size))):
        before = len(groups)
        taken = [*groups, *more]
        leaders = fold([library.segments[row] for row in taken], library.vectors(taken))
        for row, leader in zip(more, leaders[before:], strict=True):
            groups.setdefault(taken[leader], []).append(row)
        size = COPIES if len(groups) >= count else max(count, min(2 * size, FOLDED))
    return list(groups.values())[:count]


def _hit(
    library: Library, ranking: Ranking, mask: NDArray[np.bool_], group: list[int], rank: int
) -> Hit:
    """Return the hit of a group of near-duplicates: one file, with the others as its duplicates.

    Relevance and score are those of the first row, the best of the group. The moments are the best
    others of the file in the mask, whether relevant or not.
    """
    segments = library.segments
    ordered, gone = _shown_first(library, group)
    first, *others = _moments(library, ranking, mask, group[0])
    best = first
    if ordered[0] != group[0]:
        best, *others = _moments(library, ranking, mask, ordered[0])
    return Hit(
        rank,
        first.relevance,
        first.score,
        best.segment,
        best.start,
        best.end,
        moments=tuple(others[:MOMENTS]),
        duplicates=tuple(segments[row].item for row in ordered[1:]),
        gone=gone,
        library=library.folder,
    )


def _shown_first(library: Library, group: list[int]) -> tuple[list[int], bool]:
    """Return the rows of copies in the order they are shown, and whether the first file is gone.

    Existing files come first, then pictures before the raw files and films of the same shot, then
    those with more pixels, then those of more evidence.
    """
    items = {row: library.segments[row].item for row in group}
    gone = {row for row, item in items.items() if not is_there(item.location)}
    later = behind(items.values())

    def place(row: int) -> tuple[bool, bool, int]:
        segment = library.segments[row]
        return row in gone, items[row] in later, -(segment.width or 0) * (segment.height or 0)

    ordered = sorted(group, key=place)
    return ordered, ordered[0] in gone


def _moments(library: Library, ranking: Ranking, mask: NDArray[np.bool_], row: int) -> list[Moment]:
    """Return the moments of a row's file that are in the mask, best first."""
    items = library.columns.items
    rows = np.flatnonzero((items == items[row]) & mask)
    evidence, scores = (each.tolist() for each in ranking.of_rows(library, rows))
    segments = [library.segments[each] for each in rows.tolist()]
    return moments(map(Scored, evidence, scores, segments))


class Scored(NamedTuple):
    """A segment with its evidence (log-odds) and its cosine."""

    evidence: float
    score: float
    segment: Segment


def moments(scored: Iterable[Scored]) -> list[Moment]:
    """Return a file's moments, best first: stretches of a video, or the segments themselves.

    Relevant frames that follow one another are one stretch; without frames, so are clips. A clip
    beside frames is narrowed to the moment of its best frame.
    """
    ranked = sorted(scored, key=lambda each: -each.evidence)
    frames = [each for each in ranked if not each.segment.clip]
    clips = [each for each in ranked if each.segment.clip]
    parts = frames or clips
    joined = _stretches([each for each in parts if each.evidence >= SHOWN])
    joined += [
        _moment([each])
        for each in parts
        if each.evidence < SHOWN and not any(_within(each.segment, stretch) for stretch in joined)
    ]
    if frames:
        for clip in clips:
            if clip.evidence >= SHOWN:
                joined = _with_clip(joined, clip, frames)
    return sorted(joined, key=lambda moment: -moment.relevance)


def _stretches(parts: Sequence[Scored]) -> list[Moment]:
    """Join segments that lie side by side; pictures and passages have no times and stay apart."""
    joined: list[list[Scored]] = []
    end = float("-inf")
    timed = [part for part in parts if part.segment.start is not None]
    for part in sorted(timed, key=lambda part: part.segment.start or 0.0):
        if joined and (part.segment.start or 0.0) <= end + GAP:
            joined[-1].append(part)
        else:
            joined.append([part])
        end = max(end, part.segment.end or 0.0)
    apart = [[part] for part in parts if part.segment.start is None]
    return [_moment(group) for group in [*apart, *joined]]


def _moment(group: Sequence[Scored]) -> Moment:
    best = max(group, key=lambda each: each.evidence)
    starts = [each.segment.start for each in group if each.segment.start is not None]
    ends = [each.segment.end for each in group if each.segment.end is not None]
    return Moment(
        relevance_of(best.evidence),
        best.score,
        best.segment,
        min(starts, default=None),
        max(ends, default=None),
    )


def _with_clip(joined: Sequence[Moment], clip: Scored, frames: Sequence[Scored]) -> list[Moment]:
    """Return moments in which a clip raises the relevance of the one that has its best frame.

    `frames` are sorted, the best first. A clip without frames is a moment by itself.
    """
    within = [each for each in frames if _overlap(each.segment, clip.segment)]
    if not within:
        return [*joined, _moment([clip])]
    frame, relevance = within[0].segment, relevance_of(clip.evidence)
    place = next(place for place, moment in enumerate(joined) if _within(frame, moment))
    shown, raised = joined[place], list(joined)
    if relevance > shown.relevance:
        raised[place] = Moment(relevance, clip.score, clip.segment, shown.start, shown.end)
    return raised


def _within(one: Segment, other: Moment) -> bool:
    if one.start is None or other.start is None:
        return False
    return other.start <= one.start and (one.end or 0.0) <= (other.end or 0.0)


def _overlap(one: Segment, other: Segment) -> bool:
    return (one.start or 0.0) < (other.end or 0.0) and (other.start or 0.0) < (one.end or 0.0)


def listed(library: Library, mask: NDArray[np.bool_], count: int, sort: Sort) -> list[Hit]:
    """Return the first `count` files with a row in the mask (size,), newest first or by path.

    This is browsing, without a query: relevance and score are NaN, and no vector is read.
    """
    rows = _listed_rows(library, mask, count, sort)
    return [_listed(library, row, rank) for rank, row in enumerate(rows, start=1)]


def listed_in_turn(library: Library, mask: NDArray[np.bool_], sort: Sort) -> Iterator[Hit]:
    """Yield the files of `listed` without an end, each read when it is reached; ranks are 0."""
    for row in _listed_rows(library, mask, library.size, sort):
        yield _listed(library, row, 0)


def _listed_rows(library: Library, mask: NDArray[np.bool_], count: int, sort: Sort) -> list[int]:
    """Return the first row of each of the first `count` files."""
    rows = np.flatnonzero(mask)
    rows = rows[np.unique(library.columns.items[rows], return_index=True)[1]]
    rows.sort()
    if sort is Sort.PATH:
        paths = library.columns.locations(rows)
        places = sorted(range(len(rows)), key=paths.__getitem__)[:count]
        rows = rows[np.array(places, np.int64)]
    else:
        rows = library.columns.newest(rows, count)
    numbers: list[int] = rows.tolist()
    return numbers


def _listed(library: Library, row: int, rank: int) -> Hit:
    segment = library.segments[row]
    gone = not is_there(segment.item.location)
    return Hit(rank, math.nan, math.nan, segment, gone=gone, library=library.folder)


def files_of(hit: Hit) -> tuple[Item, ...]:
    """Return the files that a hit stands for: its own and its near-duplicates."""
    return (hit.segment.item, *hit.duplicates)


def relevant_hits(hits: Iterable[Hit], options: SearchOptions) -> list[Hit]:
    """Return the relevant hits of a list, ranked from 1, each with its relevant moments."""

    def relevant(places: Iterable[Shown]) -> list[Shown]:
        return [each for each in places if each.relevance >= options.least]

    ordered = _sorted(relevant(hits), options.sort or Sort.RELEVANCE)
    return [
        replace(hit, rank=rank, moments=tuple(relevant(hit.moments)))
        for rank, hit in enumerate(ordered[: options.top], start=1)
    ]


def nearest_hits(hits: Iterable[Hit], count: int) -> list[Hit]:
    """Return the most relevant hits of all lists, without other moments."""
    best = sorted(hits, key=lambda hit: -hit.relevance)[:count]
    return [replace(hit, rank=rank, moments=()) for rank, hit in enumerate(best, start=1)]


def _sorted(hits: list[Hit], sort: Sort) -> list[Hit]:
    """Return hits in an order; hits with equal dates or paths keep theirs."""
    if sort is Sort.DATE:
        return sorted(hits, key=lambda hit: -time_taken(hit.segment))
    if sort is Sort.PATH:
        return sorted(hits, key=lambda hit: hit.segment.item.location)
    return hits
