"""Results as cards: a picture of each file, and what is written below it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from qvsearch.display import part_text
from qvsearch.times import date_text, time_taken
from qvsearch.types import shown_lines

if TYPE_CHECKING:
    from qvsearch.duplicates.groups import Group, Member
    from qvsearch.retrieval.similar import Similar
    from qvsearch.tasks.grouping.cluster import Cluster
    from qvsearch.tasks.grouping.outliers import Outlier
    from qvsearch.types import Hit, Item, Moment, Segment, Snippet

CENTRAL = 30  # files of a group in a gallery, the most central ones


@dataclass(frozen=True, slots=True)
class Card:
    """A file, the page of its segment, or a moment `[start, end)` of a video in seconds.

    `label` is its rank or its part in a group. `relevance`, 0 to 1, is drawn as a bar. `facts` are
    short texts. `moments` are other moments of the file, `copies` near-duplicates. `gone` is true
    if the file is missing now. `lines` are those with a query's words.
    """

    segment: Segment
    label: str = ""
    relevance: float | None = None
    facts: tuple[str, ...] = ()
    start: float | None = None
    end: float | None = None
    moments: tuple[Moment, ...] = ()
    copies: tuple[bytes, ...] = ()
    gone: bool = False
    lines: Snippet | None = None

    @property
    def snippet(self) -> Snippet | None:
        """The lines that are shown of the passage."""
        return shown_lines(self.segment, self.lines)


@dataclass(frozen=True, slots=True)
class Section:
    """Cards below a heading; both texts may be empty."""

    heading: str
    note: str
    cards: tuple[Card, ...]


@dataclass(frozen=True, slots=True)
class Gallery:
    """A page: its title, its sections, and names and values for its foot."""

    title: str
    sections: tuple[Section, ...]
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def cards(self) -> list[Card]:
        """The cards of all sections, in order."""
        return [card for section in self.sections for card in section.cards]


def hit_sections(hits: Sequence[Hit], *, by_kind: bool = False) -> tuple[Section, ...]:
    """Return the hits of a search as one section, or as one for each kind."""
    several = len({hit.library for hit in hits}) > 1
    if not by_kind:
        return (Section("", "", tuple(_hit_card(hit, several) for hit in hits)),)
    return tuple(
        Section(f"{kind}s".capitalize(), "", tuple(_hit_card(hit, several) for hit in block))
        for kind, block in groupby(hits, key=lambda hit: hit.segment.item.kind)
    )


def file_sections(segments: Sequence[Segment]) -> tuple[Section, ...]:
    """Return files as one section, each by a segment of it."""
    return (Section("", "", tuple(_grouped_card(each, ()) for each in segments)),)


def similar_sections(results: Sequence[Similar]) -> tuple[Section, ...]:
    """Return similar files as one section; their bar is the cosine."""
    cards = (
        Card(
            each.segment,
            str(each.rank),
            facts=tuple(filter(None, [f"{each.score:.3f}", each.reason, _size(each.segment)])),
            start=each.segment.start,
            end=each.segment.end,
            gone=_is_gone(each.segment),
        )
        for each in results
    )
    return (Section("", "", tuple(cards)),)


def group_sections(groups: Sequence[Group]) -> tuple[Section, ...]:
    """Return groups of near-duplicates, each as a section; the best file is first."""
    return tuple(
        Section(
            f"Group {number}",
            f"{each.reclaimable / 1e6:,.1f} MB beside the best",
            tuple(map(_member_card, each.items)),
        )
        for number, each in enumerate(groups, start=1)
    )


def cluster_sections(clusters: Sequence[Cluster]) -> tuple[Section, ...]:
    """Return groups of a library, each as a section with its CENTRAL most central files."""
    sections = []
    for each in clusters:
        name = f"Group {each.id}" if each.name is None else each.name.text
        shown = each.items[:CENTRAL]
        note = f"{each.files:,} files"
        if len(shown) < each.files:
            note += f", the {len(shown)} most central shown"
        cards = tuple(_grouped_card(item.segment, item.duplicates) for item in shown)
        sections.append(Section(name if each.id >= 0 else "In no group", note, cards))
    return tuple(sections)


def outlier_sections(outliers: Sequence[Outlier]) -> tuple[Section, ...]:
    """Return the files that belong nowhere as one section."""
    cards = (
        _grouped_card(each.segment, each.duplicates, str(each.rank), f"factor {each.factor:.2f}")
        for each in outliers
    )
    return (Section("", "", tuple(cards)),)


def _hit_card(hit: Hit, several: bool) -> Card:
    reranked = "" if hit.rerank_score is None else f"reranked {hit.rerank_score:.2f}"
    library = hit.library.name if several and hit.library is not None else ""
    facts = (
        reranked,
        part_text(hit.segment, hit.start, hit.end),
        date_text(time_taken(hit.segment))[:10],
        library,
    )
    return Card(
        hit.segment,
        str(hit.rank),
        None if math.isnan(hit.relevance) else hit.relevance,
        tuple(filter(None, facts)),
        hit.start,
        hit.end,
        hit.moments,
        tuple(each.location for each in hit.duplicates),
        hit.gone,
        hit.snippet,
    )


def _member_card(member: Member) -> Card:
    segment = member.segment
    facts = (
        _size(segment),
        f"{segment.item.size / 1e6:,.1f} MB",
        date_text(time_taken(segment))[:10],
    )
    return Card(
        segment,
        member.reason or "best",
        facts=tuple(filter(None, facts)),
        copies=member.also,
        gone=member.gone,
    )


def _grouped_card(
    segment: Segment, duplicates: Sequence[Item], label: str = "", fact: str = ""
) -> Card:
    return Card(
        segment,
        label,
        facts=tuple(filter(None, [fact, _size(segment)])),
        start=segment.start,
        end=segment.end,
        copies=tuple(each.location for each in duplicates),
        gone=_is_gone(segment),
    )


def _size(segment: Segment) -> str:
    return part_text(segment, segment.start, segment.end)


def _is_gone(segment: Segment) -> bool:
    return not os.path.lexists(segment.item.location)
