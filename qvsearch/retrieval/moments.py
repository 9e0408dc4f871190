"""Segments of one item that answer, joined to moments; it knows no library and no model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from qvsearch.retrieval.combine import ANSWERED, evidence_of, relevance_of
from qvsearch.types import Moment, Segment

SHOWN = evidence_of(ANSWERED)  # of log-odds: what is above is an answer of its own
GAP = 1.0  # seconds; a person sees one event where less lies between two stretches of it


class Scored(NamedTuple):
    """A segment with its evidence (log-odds) and its cosine."""

    evidence: float
    score: float
    segment: Segment


def moments(scored: Iterable[Scored]) -> list[Moment]:
    """Return an item's moments, best first: stretches of a video, or the segments themselves.

    Relevant frames that follow one another are one stretch, and so are clips where there are no
    frames. Where there are, a clip is narrowed to the moment of its best frame.
    """
    ranked = sorted(scored, key=lambda each: -each.evidence)
    frames = [each for each in ranked if not each.segment.clip]
    clips = [each for each in ranked if each.segment.clip]
    parts = frames or clips
    found = _stretches([each for each in parts if each.evidence >= SHOWN])
    found += [
        _moment([each])
        for each in parts
        if each.evidence < SHOWN and not any(_within(each.segment, stretch) for stretch in found)
    ]
    if frames:
        for clip in clips:
            if clip.evidence >= SHOWN:
                _take_clip(found, clip, frames)
    return sorted(found, key=lambda moment: -moment.relevance)


def _stretches(parts: Sequence[Scored]) -> list[Moment]:
    """Join what lies side by side; passages of texts have no times and stay apart."""
    if any(part.segment.start is None for part in parts):
        return [_moment([part]) for part in parts]
    joined: list[list[Scored]] = []
    end = float("-inf")
    for part in sorted(parts, key=lambda part: part.segment.start or 0.0):
        if joined and (part.segment.start or 0.0) <= end + GAP:
            joined[-1].append(part)
        else:
            joined.append([part])
        end = max(end, part.segment.end or 0.0)
    return [_moment(group) for group in joined]


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


def _take_clip(found: list[Moment], clip: Scored, frames: Sequence[Scored]) -> None:
    """Let a clip raise the moment that it shows, which its best frame tells."""
    within = [each for each in frames if _overlap(each.segment, clip.segment)]
    if not within:
        found.append(_moment([clip]))
        return
    frame = within[0].segment
    place, shown = next(
        (place, moment) for place, moment in enumerate(found) if _within(frame, moment)
    )
    relevance = relevance_of(clip.evidence)
    if relevance > shown.relevance:
        found[place] = Moment(relevance, clip.score, clip.segment, shown.start, shown.end)


def _within(one: Segment, other: Moment) -> bool:
    if one.start is None or other.start is None:
        return False
    return other.start <= one.start and (one.end or 0.0) <= (other.end or 0.0)


def _overlap(one: Segment, other: Segment) -> bool:
    return (one.start or 0.0) < (other.end or 0.0) and (other.start or 0.0) < (one.end or 0.0)
