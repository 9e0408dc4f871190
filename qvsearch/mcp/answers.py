"""The types of the tools' answers, from which their output schemas follow.

Fields are those of `--json`, described in `qvsearch.records.library`; `library` is a name here.
"""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from pydantic import WithJsonSchema
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

# without `anyOf`, which some clients refuse
PAGE = {
    "type": ["integer", "boolean"],
    "description": "Page of a document, from 1; of an image, true for a screenshot or a scan.",
}


class PathFields(TypedDict):
    """A path, in base64 if its bytes are not UTF-8."""

    path: NotRequired[str]
    path_b64: NotRequired[str]


class PartFields(TypedDict):
    """A moment of a video in seconds, or the place in a text."""

    start: NotRequired[float]
    end: NotRequired[float]
    lines: NotRequired[list[int]]
    section: NotRequired[str]


class MomentFields(PartFields):
    """A moment of a video, a passage of a text, or a page of a document."""

    page: NotRequired[int]


class MomentAnswer(MomentFields):
    """Another moment, passage or page of a hit."""

    relevance: float
    score: NotRequired[float]


class HitAnswer(PathFields, PartFields):
    """A hit of `search`."""

    rank: int
    id: str
    kind: str
    library: str
    root: NotRequired[str]
    mtime: NotRequired[str]
    relevance: NotRequired[float]
    score: NotRequired[float]
    gone: NotRequired[bool]
    clip: NotRequired[bool]
    path_marks: NotRequired[list[list[int]]]
    snippet: NotRequired[str]
    marks: NotRequired[list[list[int]]]
    width: NotRequired[int]
    height: NotRequired[int]
    taken: NotRequired[str]
    taken_from: NotRequired[str]
    camera: NotRequired[str]
    latitude: NotRequired[float]
    longitude: NotRequired[float]
    duration: NotRequired[float]
    damaged: NotRequired[str]
    page: NotRequired[Annotated[int | bool, WithJsonSchema(PAGE)]]
    several: NotRequired[bool]
    title: NotRequired[str]
    author: NotRequired[str]
    keywords: NotRequired[list[str]]
    rating: NotRequired[int]
    language: NotRequired[str]
    pages: NotRequired[int]
    pictures: NotRequired[int]
    partial: NotRequired[str]
    rerank_score: NotRequired[float]
    moments: NotRequired[list[MomentAnswer]]
    duplicates: NotRequired[list[PathFields]]


class Notes(TypedDict):
    """What every answer about files has."""

    note: str
    hints: NotRequired[list[str]]


class SearchAnswer(Notes):
    """The answer of `search`; the hits are only the nearest files if none is relevant."""

    relevant: bool
    hits: list[HitAnswer]


class SimilarFile(PathFields, MomentFields):
    """A file of `similar`."""

    rank: int
    relevance: NotRequired[float]
    score: float
    id: str
    kind: str
    library: str
    root: NotRequired[str]
    reason: NotRequired[str]
    width: NotRequired[int]
    height: NotRequired[int]


class SimilarAnswer(Notes):
    """The answer of `similar`."""

    files: list[SimilarFile]


class TermAnswer(TypedDict):
    """How a segment scores for one part of the query."""

    term: str
    weight: float
    relevance: float
    score: NotRequired[float]
    best: NotRequired[float]
    median: NotRequired[float]
    spread: NotRequired[float]
    baseline: NotRequired[float]
    baseline_spread: NotRequired[float]


class SegmentAnswer(MomentFields):
    """One of the best segments of an explained file."""

    clip: NotRequired[bool]
    relevance: float
    score: NotRequired[float]
    terms: list[TermAnswer]
    words: NotRequired[list[str]]
    words_relevance: NotRequired[float]


class ExplainAnswer(PathFields, Notes):
    """The answer of `explain`; `reason` is why the file is not a hit, absent if it is one."""

    library: str
    reason: NotRequired[str]
    relevance: NotRequired[float]
    cut: NotRequired[float]
    rank: NotRequired[int]
    items: NotRequired[int]
    hidden_by: NotRequired[list[str]]
    folded_into: NotRequired[str]
    folded_into_b64: NotRequired[str]
    segments: NotRequired[list[SegmentAnswer]]


class FieldAnswer(TypedDict):
    """What search can filter by: the most frequent values, or the range."""

    options: list[str]
    files: int
    values: NotRequired[dict[str, int]]
    least: NotRequired[Any]
    most: NotRequired[Any]


class LibraryAnswer(TypedDict):
    """A library of `status`; `problem` alone if it cannot be read."""

    library: str
    problem: NotRequired[str]
    model: NotRequired[dict[str, Any]]
    store: NotRequired[str]
    bytes: NotRequired[int]
    kinds: NotRequired[dict[str, dict[str, int]]]
    roots: NotRequired[list[dict[str, Any]]]
    changed: NotRequired[list[PathFields]]
    gone: NotRequired[list[PathFields]]
    failed: NotRequired[list[dict[str, Any]]]
    touched: NotRequired[int]
    older: NotRequired[int]
    older_segments: NotRequired[int]
    without_words: NotRequired[int]
    left_aside: NotRequired[dict[str, int]]
    vendored: NotRequired[int]
    left_out: NotRequired[list[dict[str, Any]]]
    not_indexed: NotRequired[int]
    damaged: NotRequired[list[dict[str, Any]]]
    pictures: NotRequired[int]
    partial: NotRequired[list[dict[str, Any]]]
    ocr: NotRequired[dict[str, Any]]
    warm: NotRequired[list[dict[str, Any]]]
    fields: NotRequired[dict[str, FieldAnswer]]
    more: NotRequired[dict[str, int]]


class StatusAnswer(TypedDict):
    """The answer of `status`; `more` counts files that a list leaves out."""

    libraries: list[LibraryAnswer]
