"""Finds the files of a library that are most like a file, in the library or not."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from qvsearch.duplicates.groups import repetition
from qvsearch.errors import QvsearchError
from qvsearch.library.aliases import aliases
from qvsearch.library.names import option
from qvsearch.media.workers import Decoders
from qvsearch.retrieval.query import PICTURES, read_item
from qvsearch.runtime.loading import Choice, load_embedder
from qvsearch.types import Item, Kind, Segment, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable

    from qvsearch.duplicates.rule import Reason
    from qvsearch.library.library import Library
    from qvsearch.types import Embedder, Vectors

T = TypeVar("T")
SOURCES = 32  # moments or passages that a video or a text file is compared by


@dataclass(frozen=True, slots=True)
class Similar:
    """A file of the library, with its segment that is most like one of the other file.

    `score` is the cosine; `reason` is why it is a near-duplicate, None if it is not.
    """

    rank: int
    score: float
    segment: Segment
    reason: Reason | None


def similar(
    library: Library,
    path: bytes | str | Path,
    embedder: Embedder | None = None,
    top: int = 10,
    kinds: Collection[Kind] | None = None,
) -> list[Similar]:
    """Return the `top` files that are most like a file, without the file itself.

    By default pictures and moments are compared with both, and texts with texts. If the library has
    the content, its stored vectors are used. Otherwise the file is decoded and embedded, by default
    with the library's own model. Raises QvsearchError for an empty library or a file that cannot be
    read.
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
    if not library.segments:
        raise QvsearchError(
            f"the library {library.folder} is empty; fill it with:"
            f" qvsearch index FOLDER{option(library.folder)}"
        )
    item, digest = read_item(location)
    if kinds is None:
        kinds = PICTURES if item.kind in PICTURES else {Kind.TEXT}
    sources, vectors = _stored(library, item, digest) or _embedded(library, item, digest, load)
    nearest = _nearest(library, location, vectors, kinds, top)
    rows_of = library.by_location()
    files = []
    for rank, (row, score) in enumerate(nearest, start=1):
        segment = library.segments[row]
        reason = repetition(library, rows_of[segment.item.location], sources, vectors)
        files.append(Similar(rank, score, segment, reason))
    return files


def _stored(library: Library, item: Item, digest: str) -> tuple[Sequence[Segment], Vectors] | None:
    """Return segments and vectors of a file of the library that has this content."""
    copies = [
        row
        for row, segment in library.segments.items()
        if segment.content_hash == digest and segment.item.kind is item.kind
    ]
    if not copies:
        return None
    first = library.segments[copies[0]].item
    rows = _picked([row for row in copies if library.segments[row].item == first])
    return [library.segments[row] for row in rows], library.vectors(rows)


def _embedded(
    library: Library, item: Item, digest: str, load: Callable[[], Embedder]
) -> tuple[Sequence[Segment], Vectors]:
    """Decode and embed a file as `index` would."""
    with Decoders() as decoders:
        (outcome,) = decoders.decode([(item, digest)], library.fingerprint.decode_options)
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
    library: Library, location: bytes, vectors: Vectors, kinds: Collection[Kind], top: int
) -> list[tuple[int, float]]:
    """Return the best row of each of the `top` files, and its best cosine with the vectors."""
    scores = np.max([library.scores(vector) for vector in vectors], axis=0)
    wanted = np.isin(library.kinds, [code for code, kind in enumerate(Kind) if kind in kinds])
    itself = aliases(location, library.roots)
    best: dict[bytes, tuple[int, float]] = {}
    for row in np.argsort(-scores, kind="stable").tolist():
        if len(best) == top or scores[row] == -np.inf:
            break
        place = library.segments[row].item.location
        if wanted[row] and place not in itself:
            best.setdefault(place, (row, float(scores[row])))
    return list(best.values())
