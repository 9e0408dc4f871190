"""Explains why a file is or is not a hit, from its score to the filter that hides it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.files import is_below
from qvsearch.library.aliases import aliases
from qvsearch.library.filtering import FILTERS, hidden_by
from qvsearch.library.names import option
from qvsearch.library.rules import left_out, scans_of
from qvsearch.media.kind_at import kind_at
from qvsearch.published.opening import is_published
from qvsearch.retrieval.calibration import relevance_of
from qvsearch.retrieval.hits import files_of
from qvsearch.retrieval.joined_words import JoinedWords
from qvsearch.retrieval.options import SearchOptions
from qvsearch.retrieval.query import Query, parse_query
from qvsearch.retrieval.several import Searched, answer_all, for_each
from qvsearch.retrieval.standing import relevances, standing
from qvsearch.retrieval.word_ranking import hidden_by_words, words_in
from qvsearch.runtime.loading import own_embedder
from qvsearch.runtime.several import refuse
from qvsearch.types import kind_of

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.retrieval.calibration import Level
    from qvsearch.retrieval.scoring import Ranking
    from qvsearch.retrieval.standing import Standing
    from qvsearch.runtime.several import Lost
    from qvsearch.types import Embedder, Hit, Segment


@dataclass(frozen=True, slots=True)
class Weighed:
    """A segment's relevance and cosine for one term; the weight of an unwanted term is negative.

    `level` is how all rows of the segment's kind score for the term; None without a vector.
    """

    text: str
    weight: float
    relevance: float
    score: float
    level: Level | None


@dataclass(frozen=True, slots=True)
class Explained:
    """A segment's cosine and relevance for a query: over all terms, and for each of them.

    `words` are the words of the query that it has, and `by_words` is its relevance by these alone.
    """

    segment: Segment
    score: float
    relevance: float
    terms: tuple[Weighed, ...]
    words: tuple[str, ...] = ()
    by_words: float | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one file is or is not a hit of a search.

    `reason` is why it is not a hit, None if it is one. `rank` counts from 1 among the `items` that
    pass the filters, None without any of the words alone that are looked for; a file that a filter
    hides has the rank that it would have without. `cut` is
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
    among: JoinedWords | None = None,
) -> Explanation:
    """Do what `explain` does, loading the model only when it is needed; `path` is absolute.

    `among` has the words of all libraries that are searched, None for one alone.
    """
    found = standing(library, path, query, options, load, among)
    if found is None:
        return Explanation(path, _why_absent(library, path))
    segments, ranking = found.library.segments, found.ranking
    best = found.rows[0]
    location = segments[best].item.location
    relevance = relevance_of(float(ranking.evidence[best]))
    hidden = () if found.passes else _hidden_by(found, options)
    leader = None
    if not hidden and found.first >= options.least_best:
        leader = _leader(found.hits(), location)
    is_hit = leader == location
    both = (relevance, found.first)
    reason = None if is_hit else _why_hidden(hidden, leader, both, found.rank, options)
    has_rank = ranking.evidence[best] != -math.inf  # as files without any of the words alone
    if reason is not None and not hidden and not has_rank:
        reason = "it has none of these words"
    return Explanation(
        path=path,
        reason=reason,
        segments=tuple(_explained(found.library, ranking, row) for row in found.rows),
        relevance=relevance,
        rank=found.rank if has_rank else None,
        items=found.files,
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
    if len(searched) == 1:
        return explained(searched[0].library, query, path, options, searched[0].load)
    words = JoinedWords(each.library for each in searched)
    missing: set[Path] = set()

    def leave_out(each: Lost) -> None:
        missing.add(each.folder)
        lost(each)

    found = for_each(
        searched,
        lambda each: explained(each.library, query, path, options, each.load, words),
        leave_out,
    )
    known = [part for part in found if part[1].relevance is not None]
    if not known:
        near = [part for part in found if _has_root_above(part[0].library, path)]
        return (near or found)[0][1]
    chosen, own = max(known, key=lambda part: (not part[1].hidden_by, part[1].relevance or 0.0))
    place = own.segments[0].segment.item.location
    relevance = own.relevance or 0.0
    everything = for_each(
        [each for each, _ in found],
        lambda each: relevances(each.library, query, options, each.load, words),
        leave_out,
    )
    if missing:  # their words were counted
        left = [each for each in searched if each.library.folder not in missing]
        return explained_in(left, query, path, options, lost)
    files = _best_first(file for _, some in everything for file in some)
    ahead = [other > relevance for other in files.values()]
    rank = 1 + (list(files).index(place) if place in files else sum(ahead))
    first = max(files.values(), default=0.0)
    hits = answer_all(searched, query, options, lost=lost)
    shown = (hit for hit in hits if place in {item.location for item in files_of(hit)})
    leader = next((hit.segment.item.location for hit in shown), None)
    is_hit = leader == place
    why = own.reason
    if own.rank is not None:
        why = _why_hidden(own.hidden_by, leader, (relevance, first), rank, options)
    return replace(
        own,
        reason=None if is_hit else why,
        rank=None if own.rank is None else rank,
        items=len(files),
        folded_into=None if is_hit else leader,
        library=chosen.library.folder,
    )


def _hidden_by(found: Standing, options: SearchOptions) -> tuple[str, ...]:
    """Return why no row of a file passes."""
    segments, asked = found.library.segments, found.ranking.terms[0].term.asked
    # a document may have other pages that come nearer to passing a filter
    filters = min((hidden_by(segments[row], options.filters) for row in found.rows), key=len)
    why = (*filters, *hidden_by_words(found.library, asked, found.rows))
    if why or options.filters.pages is None:
        return why
    return (f"--page {FILTERS['pages'].value(options.filters.pages)}: its words are on others",)


def _best_first(files: Iterable[tuple[bytes, float]]) -> dict[bytes, float]:
    """Return the paths of files with their highest relevance, best first."""
    best: dict[bytes, float] = {}
    for location, relevance in sorted(files, key=lambda file: -file[1]):
        best.setdefault(location, relevance)
    return best


def _has_root_above(library: Library, path: bytes) -> bool:
    names = aliases(path, library.roots)
    return any(is_below(name, root) for root in library.roots for name in names)


def _why_absent(library: Library, path: bytes) -> str:
    """Return the likely reason why the library does not have a file."""
    if is_published(library):
        return (
            "the shared table does not have it: it is not below a root of"
            f" `qvsearch roots{option(library.folder)}`, or its publisher has not indexed it"
        )
    failed = [each for each in library.load_failures() if each.path == path]
    if failed:
        return f"it could not be indexed: {failed[0].reason}"
    if not os.path.lexists(path):
        return "there is no such file, neither on the disk nor in the library"
    if Path(os.fsdecode(path)).is_dir():
        return "it is a folder; name a file"
    if kind_of(path) is None:
        return "its suffix is not supported"
    if library.fingerprint.kinds and kind_at(path) not in library.fingerprint.kinds:
        return f"the library's model, {library.fingerprint.model}, embeds no {kind_at(path)} files"
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


def _leader(hits: Sequence[Hit], location: bytes) -> bytes | None:
    """Return the path of the hit that shows a file: its own or that of a near-duplicate."""
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
    matches = ranking.terms[0].matches
    by_words = None if matches is None else matches.evidence_of(row)
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
                each.levels.get(int(library.kinds[row])),
            )
            for each in ranking.terms
        ),
        () if matches is None else words_in(library, matches, row),
        None if by_words is None else relevance_of(by_words),
    )
