"""Explains why a file is or is not a hit, from its score to the filter that hides it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.files import is_below
from qvsearch.library.aliases import aliases
from qvsearch.library.filtering import hidden_by
from qvsearch.library.rules import left_out, scans_of
from qvsearch.retrieval.calibration import evidence_of, relevance_of
from qvsearch.retrieval.first_pass import rank_all
from qvsearch.retrieval.hits import best_hits, best_rows, files_of
from qvsearch.retrieval.pipeline import SearchOptions, allowed_rows
from qvsearch.retrieval.query import Query, parse_query, read_terms
from qvsearch.retrieval.scoring import embed_terms
from qvsearch.retrieval.several import Searched, answer_all, for_each
from qvsearch.runtime.loading import own_embedder
from qvsearch.runtime.several import refuse
from qvsearch.types import kind_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.library import Library
    from qvsearch.retrieval.calibration import Level
    from qvsearch.retrieval.scoring import Ranking
    from qvsearch.runtime.several import Lost
    from qvsearch.types import Embedder, Segment


@dataclass(frozen=True, slots=True)
class Weighed:
    """A segment's relevance and cosine for one term; the weight of an unwanted term is negative.

    `level` is how all rows of the segment's kind score for the term.
    """

    text: str
    weight: float
    relevance: float
    score: float
    level: Level


@dataclass(frozen=True, slots=True)
class Explained:
    """A segment's cosine and relevance for a query: over all terms, and for each of them."""

    segment: Segment
    score: float
    relevance: float
    terms: tuple[Weighed, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one file is or is not a hit of a search.

    `reason` is why it is not a hit, None if it is one. `rank` counts from 1 among the `items` that
    pass the filters; a file that a filter hides has the rank that it would have without. `cut` is
    the least relevance that is shown. `library` is its folder, if there are several libraries.
    """

    path: bytes
    reason: str | None
    segments: tuple[Explained, ...] = ()
    relevance: float | None = None
    rank: int | None = None
    items: int | None = None
    cut: float | None = None
    hidden_by: tuple[str, ...] = ()
    folded_into: bytes | None = None
    library: Path | None = None


def explain(
    library: Library,
    query: Query | str,
    path: bytes | str | Path,
    embedder: Embedder | None = None,
    options: SearchOptions | None = None,
) -> Explanation:
    """Return why a file is or is not among the hits of a search, its segments best first.

    Without an embedder the library's own model is loaded. Raises QvsearchError as `search` does,
    but not for a file that the library does not have.
    """
    return explained(
        library,
        parse_query(query) if isinstance(query, str) else query,
        os.path.abspath(os.fsencode(path)),
        options or SearchOptions(),
        lambda: embedder or own_embedder(library),
    )


def explained(
    library: Library,
    query: Query,
    path: bytes,
    options: SearchOptions,
    load: Callable[[], Embedder],
) -> Explanation:
    """Do what `explain` does, loading the model only when it is needed; `path` is absolute."""
    allowed = allowed_rows(library, options.filters)
    rows = _rows_of(library, path)
    if not rows:
        return Explanation(path, _why_absent(library, path))
    terms = read_terms(query, library.fingerprint.decode_options)
    ranking = rank_all(library, embed_terms(terms, load()))
    rows.sort(key=lambda row: -ranking.evidence[row])
    best = rows[0]
    others = list(best_rows(library, ranking, allowed, -np.inf))
    ahead = (-float(ranking.evidence[best]), best)  # of equal hits the first row comes first
    rank = 1 + sum((-float(ranking.evidence[row]), row) < ahead for row in others)
    relevance = relevance_of(float(ranking.evidence[best]))
    hidden = tuple(hidden_by(library.segments[best], options.filters))
    first = relevance_of(float(ranking.evidence[others[0]])) if others else 0.0
    leader = None
    if not hidden and first >= options.least_best:
        leader = _leader(library, ranking, allowed, best, options)
    is_hit = leader == library.segments[best].item.location
    return Explanation(
        path=path,
        reason=None if is_hit else _why_hidden(hidden, leader, (relevance, first), rank, options),
        segments=tuple(_explained(library, ranking, row) for row in rows),
        relevance=relevance,
        rank=rank,
        items=len(others),
        cut=options.least,
        hidden_by=hidden,
        folded_into=None if is_hit else leader,
    )


def explained_in(
    searched: Sequence[Searched],
    query: Query,
    path: bytes,
    options: SearchOptions,
    lost: Callable[[Lost], None] = refuse,
) -> Explanation:
    """Return why a file is or is not a hit of several libraries; `path` is absolute.

    Its segments are those of the library in which it is most relevant. A library that cannot be
    read is given to `lost`. Raises QvsearchError if none can be.
    """
    found = for_each(
        searched, lambda each: explained(each.library, query, path, options, each.load), lost
    )
    if len(searched) == 1:
        return found[0][1]
    known = [part for part in found if part[1].relevance is not None]
    if not known:
        near = [part for part in found if _has_root_above(part[0].library, path)]
        return (near or found)[0][1]
    chosen, own = max(known, key=lambda part: (not part[1].hidden_by, part[1].relevance or 0.0))
    place = own.segments[0].segment.item.location
    relevance = own.relevance or 0.0
    files: dict[bytes, float] = {}  # best first, each with its highest relevance
    everything = [file for each, _ in found for file in _relevances(each, query, options)]
    for location, other in sorted(everything, key=lambda file: -file[1]):
        files.setdefault(location, other)
    ahead = [other > relevance for other in files.values()]
    rank = 1 + (list(files).index(place) if place in files else sum(ahead))
    first = max(files.values(), default=0.0)
    hits = answer_all([each for each, _ in found], query, options, lost=lost)
    shown = (hit for hit in hits if place in {item.location for item in files_of(hit)})
    leader = next((hit.segment.item.location for hit in shown), None)
    is_hit = leader == place
    why = None if is_hit else _why_hidden(own.hidden_by, leader, (relevance, first), rank, options)
    return replace(
        own,
        reason=why,
        rank=rank,
        items=len(files),
        folded_into=None if is_hit else leader,
        library=chosen.library.folder,
    )


def _has_root_above(library: Library, path: bytes) -> bool:
    names = aliases(path, library.roots)
    return any(is_below(name, root) for root in library.roots for name in names)


def _relevances(each: Searched, query: Query, options: SearchOptions) -> list[tuple[bytes, float]]:
    """Return the path and relevance of each file of a library that passes the filters, in order."""
    terms = read_terms(query, each.library.fingerprint.decode_options)
    ranking = rank_all(each.library, embed_terms(terms, each.load()))
    allowed = allowed_rows(each.library, options.filters)
    rows = np.array(list(best_rows(each.library, ranking, allowed, -np.inf)), np.int64)
    locations = each.library.columns.locations(rows)
    relevances = map(relevance_of, ranking.evidence[rows].tolist())
    return list(zip(locations, relevances, strict=True))


def _rows_of(library: Library, path: bytes) -> list[int]:
    rows_of = library.by_location()
    by_name = (rows_of[name] for name in aliases(path, library.roots) if name in rows_of)
    return list(next(by_name, []))


def _why_absent(library: Library, path: bytes) -> str:
    """Return the likely reason why the library does not have a file."""
    failed = [each for each in library.load_failures() if each.path == path]
    if failed:
        return f"it could not be indexed: {failed[0].reason}"
    if not os.path.lexists(path):
        return "there is no such file, neither on the disk nor in the library"
    if Path(os.fsdecode(path)).is_dir():
        return "it is a folder; name a file"
    if kind_of(path) is None:
        return "its suffix is not supported"
    if library.fingerprint.kinds and kind_of(path) not in library.fingerprint.kinds:
        return f"the library's model, {library.fingerprint.model}, embeds no {kind_of(path)} files"
    names = aliases(path, library.roots)
    places = [(root, name) for root in library.roots for name in names if is_below(name, root)]
    if not places:
        return "it lies in none of the library's folders; add it with: qvsearch index"
    scans = scans_of(library.rules, library.roots)
    for root, name in places:
        reason = left_out(root, scans[root])(os.path.relpath(name, root) if name != root else b"")
        if reason is not None:
            return f"`qvsearch index` leaves it out: {reason}"
    return (
        "it is not indexed: it is new since the last `qvsearch index`, or its options left it out"
    )


def _leader(
    library: Library,
    ranking: Ranking,
    allowed: NDArray[np.bool_],
    row: int,
    options: SearchOptions,
) -> bytes | None:
    """Return the path of the hit that shows a row's file: its own or that of a near-duplicate."""
    location = library.segments[row].item.location
    least = evidence_of(options.least)
    top = min(options.top, library.size)
    hits = best_hits(library, ranking, allowed, top, least=least, dedupe=options.dedupe)
    for hit in hits:
        if any(item.location == location for item in files_of(hit)):
            return hit.segment.item.location
    return None


def _why_hidden(
    hidden: Sequence[str],
    leader: bytes | None,
    relevances: tuple[float, float],
    rank: int,
    options: SearchOptions,
) -> str:
    """Return the first thing that keeps a file from being a hit."""
    if hidden:
        return "hidden by " + "; ".join(hidden)
    relevance, first = relevances
    if relevance < options.least:
        return f"its relevance is below the cut of {options.least:.2g}; see --min-relevance"
    if first < options.least_best:
        return f"no hit has a relevance of {options.least_best:.2g}; see --min-relevance"
    if leader is not None:
        return f"a near-duplicate of {os.fsdecode(leader)}, which is shown instead; see --no-dedupe"
    return f"it ranks {rank:,}, and {options.top:,} are shown; see --top"


def _explained(library: Library, ranking: Ranking, row: int) -> Explained:
    return Explained(
        library.segments[row],
        float(ranking.scores[row]),
        relevance_of(float(ranking.evidence[row])),
        tuple(
            Weighed(
                each.term.text,
                each.term.weight,
                relevance_of(float(each.evidence[row])),
                float(each.scores[row]),
                each.levels[int(library.kinds[row])],
            )
            for each in ranking.terms
        ),
    )
