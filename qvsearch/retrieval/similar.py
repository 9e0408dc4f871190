"""Finds the files of a library that are most like a file, in the library or not."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from qvsearch.duplicates.groups import repetition
from qvsearch.duplicates.rule import Reason
from qvsearch.duplicates.shots import is_one_shot
from qvsearch.errors import QvsearchError
from qvsearch.library.aliases import aliases
from qvsearch.media.spread import decode
from qvsearch.media.workers import Decoders
from qvsearch.published.opening import is_large_table, with_content
from qvsearch.retrieval.calibration import calibrate, evidence_by_kind, relevance_of
from qvsearch.retrieval.query import PICTURES, Term, read_item
from qvsearch.retrieval.scoring import EmbeddedTerm, all_scores, baselines
from qvsearch.retrieval.selection import check_filled
from qvsearch.retrieval.several import Searched, for_each
from qvsearch.runtime.loading import Choice, load_embedder
from qvsearch.runtime.several import refuse
from qvsearch.types import Item, Kind, Segment, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable

    from qvsearch.library.library import Library
    from qvsearch.retrieval.calibration import Level
    from qvsearch.runtime.several import Lost
    from qvsearch.types import Embedder, Fingerprint, Vectors

    Sources = tuple[Sequence[Segment], Vectors]  # of a file, and a vector for each

T = TypeVar("T")
ITSELF = 8  # more files of a table are looked at: the file itself, and the same under other names
SOURCES = 32  # moments, pages or passages that a file is compared by


@dataclass(frozen=True, slots=True)
class Similar:
    """A file of the library, with its segment that is most like one of the other file.

    `score` is the cosine; `reason` is why it is a near-duplicate, None if it is not. `library` is
    the folder of the library. `relevance` is the probability that a search by the other file means
    this one: it orders files of different models, and is None if all are of one.
    """

    rank: int
    score: float
    segment: Segment
    reason: Reason | None
    library: Path | None = None
    relevance: float | None = None


def similar(
    library: Library,
    path: bytes | str | Path,
    embedder: Embedder | None = None,
    top: int = 10,
    kinds: Collection[Kind] | None = None,
) -> list[Similar]:
    """Return the `top` files that are most like a file, without the file itself.

    By default pictures, moments and pages are compared with all three, and texts with texts. If
    the library has the content, its stored vectors are used. Otherwise the file is decoded and
    embedded, by default with the library's own model. Raises QvsearchError for an empty library or
    a file that cannot be read.
    """

    def load() -> Embedder:
        return embedder or load_embedder(library.fingerprint, Choice())

    return find_similar(library, os.path.abspath(os.fsencode(path)), load, top, kinds)


def find_similar(
    library: Library,
    location: bytes,
    load: Callable[[], Embedder],
    top: int,
    kinds: Collection[Kind] | None = None,
) -> list[Similar]:
    """Do what `similar` does for an absolute path, loading a model only if necessary."""
    return similar_in([Searched(library, load)], location, top, kinds)


def similar_in(
    searched: Sequence[Searched],
    location: bytes,
    top: int,
    kinds: Collection[Kind] | None = None,
    lost: Callable[[Lost], None] = refuse,
) -> list[Similar]:
    """Return the `top` files of all libraries that are most like a file, each file once.

    They are ordered by cosine or, since cosines of different models cannot be compared, by
    relevance. A library that cannot be read is given to `lost`. Raises QvsearchError as `similar`
    does, and if no library can be read.
    """
    item, digest = read_item(location)
    if kinds is None:
        kinds = PICTURES if item.kind in PICTURES else {Kind.TEXT}
    sources: dict[Fingerprint, Sources] = {}  # by what their vectors can be compared with
    for library in (each.library for each in searched):
        if (stored := _stored(library, item, digest)) is not None:
            sources.setdefault(library.fingerprint.space, stored)
    one_model = len({each.library.fingerprint.space for each in searched}) == 1

    def files(each: Searched) -> list[Similar]:
        library = each.library
        check_filled(library)
        space = library.fingerprint.space
        if space not in sources:
            sources[space] = _embedded(library, item, digest, each.load)
        return _files(library, location, sources[space], kinds, top, calibrated=not one_model)

    found = [each for _, some in for_each(searched, files, lost) for each in some]
    found.sort(key=lambda each: -(each.score if each.relevance is None else each.relevance))
    best: dict[bytes, Similar] = {}
    for each in found:
        best.setdefault(each.segment.item.location, each)
    first = list(best.values())[:top]
    return [replace(each, rank=rank) for rank, each in enumerate(first, start=1)]


def _files(
    library: Library,
    location: bytes,
    sources: Sources,
    kinds: Collection[Kind],
    top: int,
    *,
    calibrated: bool,
) -> list[Similar]:
    """Return the files of one library that are most like the sources, with ranks from 1."""
    segments, vectors = sources
    whole = EmbeddedTerm(Term("", (), 1.0, tuple(segments)), vectors)
    levels = levels_of(library, whole) if calibrated else {}
    if is_large_table(library):
        from qvsearch.retrieval.table_files import nearest_files  # not needed by libraries

        library = nearest_files(library, vectors, kinds, top + ITSELF)
    scores = all_scores(library, vectors)
    order = scores
    if calibrated:
        order = evidence_by_kind(scores, dict(enumerate(library.by_kind)), levels)
    rows_of = library.by_location()
    files = []
    for rank, row in enumerate(_nearest(library, location, order, kinds, top), start=1):
        segment = library.segments[row]
        reason = repetition(library, rows_of[segment.item.location], segments, vectors)
        if is_one_shot(segments[0], segment):
            reason = Reason.SHOT
        relevance = relevance_of(float(order[row])) if calibrated else None
        files.append(Similar(rank, float(scores[row]), segment, reason, library.folder, relevance))
    return files


def levels_of(library: Library, term: EmbeddedTerm) -> dict[int, Level]:
    """Return how all rows of a library score for a term, by kind."""
    if is_large_table(library):
        from qvsearch.retrieval.table_levels import leveled  # not needed by libraries

        return leveled(library, [term], exact=False)[0].levels
    scores, by_kind = all_scores(library, term.vectors), baselines(library, term.term)
    return calibrate(scores, library.kinds, by_kind, words=term.term.words).levels


def _stored(library: Library, item: Item, digest: str) -> Sources | None:
    """Return segments and vectors of a file of the library that has this content.

    A photo with a film within it is the photo alone.
    """
    library = with_content(library, digest)
    copies = [
        row
        for row, segment in library.segments.items()
        if segment.content_hash == digest
        and segment.item.kind is item.kind
        and (item.kind is not Kind.IMAGE or segment.start is None)
    ]
    if not copies:
        return None
    first = library.segments[copies[0]].item
    rows = _picked([row for row in copies if library.segments[row].item == first])
    return [library.segments[row] for row in rows], library.vectors(rows)


def _embedded(library: Library, item: Item, digest: str, load: Callable[[], Embedder]) -> Sources:
    """Decode and embed a file as `index` would, a photo without the film within it."""
    options = replace(library.fingerprint.decode_options, films=False)
    with Decoders(decode=partial(decode, most=SOURCES)) as decoders:
        (outcome,) = decoders.decode([(item, digest)], options)
    if isinstance(outcome, Skipped):
        raise QvsearchError(f"{os.fsdecode(item.location)} cannot be read: {outcome.reason}")
    if not outcome.segments:
        raise QvsearchError(f"{os.fsdecode(item.location)} is empty; there is nothing to compare")
    picked = _picked(outcome.segments)
    return [segment for segment, _ in picked], load().embed([source for _, source in picked])


def _picked(all_: Sequence[T]) -> list[T]:
    """Return at most SOURCES, spread evenly."""
    places = np.linspace(0, len(all_) - 1, min(SOURCES, len(all_)))
    return [all_[round(place)] for place in places.tolist()]


def _nearest(
    library: Library, location: bytes, scores: Vectors, kinds: Collection[Kind], top: int
) -> list[int]:
    """Return the best row of each of the `top` files by scores (size,), without the file itself."""
    wanted = np.isin(library.kinds, [code for code, kind in enumerate(Kind) if kind in kinds])
    itself = aliases(location, library.roots)
    best: dict[bytes, int] = {}
    for row in np.argsort(-scores, kind="stable").tolist():
        if len(best) == top or scores[row] == -np.inf:
            break
        place = library.segments[row].item.location
        if wanted[row] and place not in itself:
            best.setdefault(place, row)
    return list(best.values())
