"""How a file of a library stands among all others for a query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.library.aliases import aliases
from qvsearch.published.opening import is_large_table
from qvsearch.retrieval.calibration import evidence_of, relevance_of
from qvsearch.retrieval.first_pass import rank_all
from qvsearch.retrieval.hits import best_hits, best_rows
from qvsearch.retrieval.query import read_terms
from qvsearch.retrieval.scoring import embed_terms
from qvsearch.retrieval.selection import allowed_rows, check_filled, select
from qvsearch.retrieval.wanted_pages import allowed_in

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.published.library import PublishedLibrary
    from qvsearch.retrieval.joined_words import JoinedWords
    from qvsearch.retrieval.options import SearchOptions
    from qvsearch.retrieval.query import Query
    from qvsearch.retrieval.scoring import EmbeddedTerm, Ranking
    from qvsearch.types import Embedder, Hit

SAME = 1e-4  # evidence of one row, computed in two ways, differs by less


@dataclass(frozen=True, slots=True)
class Standing:
    """The rows of a file in `library`, those that pass the filters first, and how they rank.

    `passes` is true if any does. `rank` counts from 1 among the `files` that pass the filters; a
    file that does not has the rank that it would have. `first` is the relevance of the best one
    that passes, 0 if there is none. `hits` returns those of the search.
    """

    library: Library
    ranking: Ranking
    rows: list[int]
    passes: bool
    rank: int
    files: int
    first: float
    hits: Callable[[], Sequence[Hit]]


def standing(
    library: Library,
    path: bytes,
    query: Query,
    options: SearchOptions,
    load: Callable[[], Embedder],
    among: JoinedWords | None = None,
) -> Standing | None:
    """Return how the file of an absolute path stands; None if the library does not have it.

    `among` has the words of all libraries that are searched, None for one alone. Raises
    QvsearchError as a search does.
    """

    def embedded() -> list[EmbeddedTerm]:
        return embed_terms(read_terms(query, library.fingerprint.decode_options, among), load)

    if is_large_table(library):
        return _in_table(library, path, embedded, options)
    rows_of = library.by_location()
    named = (rows_of[name] for name in aliases(path, library.roots) if name in rows_of)
    rows = next(named, [])
    if not rows:
        return None
    terms = embedded()
    mask = allowed_rows(library, options.filters)
    allowed = allowed_in(library, mask, options.filters, terms[0].term)
    ranked = allowed.copy()
    ranked[rows] = True
    ranking = rank_all(library, terms, ranked)
    rows.sort(key=lambda row: (not allowed[row], -ranking.evidence[row]))
    others = list(best_rows(library, ranking, allowed, -np.inf))
    # of equal hits the first row comes first
    own = (-float(ranking.evidence[rows[0]]), rows[0])
    least, top = evidence_of(options.least), min(options.top, library.size)
    return Standing(
        library,
        ranking,
        rows,
        passes=bool(allowed[rows[0]]),
        rank=1 + sum((-float(ranking.evidence[row]), row) < own for row in others),
        files=len(others),
        first=relevance_of(float(ranking.evidence[others[0]])) if others else 0.0,
        hits=lambda: best_hits(library, ranking, allowed, top, least=least, dedupe=options.dedupe),
    )


def _in_table(
    library: PublishedLibrary,
    path: bytes,
    embedded: Callable[[], list[EmbeddedTerm]],
    options: SearchOptions,
) -> Standing | None:
    """Do what `standing` does for a large table, all of whose vectors are read."""
    from qvsearch.retrieval.table_candidates import asked_in
    from qvsearch.retrieval.table_files import score_files
    from qvsearch.retrieval.table_search import where_in

    check_filled(library)
    stored = library.table.by_items(library.numbers_at(path))
    if not len(stored):
        return None
    terms = embedded()
    where = where_in(library, options.filters)
    asked = asked_in(library, terms, options.filters, where, exact=False)
    working = asked.working(stored)
    evidence = working.ranking.evidence
    rows = sorted(working.library.segments, key=lambda row: (not working.mask[row], -evidence[row]))
    files = score_files(asked).evidence
    selection = select(library, options.filters)
    return Standing(
        working.library,
        working.ranking,
        rows,
        passes=bool(working.mask[rows[0]]),
        # its own evidence is computed in another order of additions
        rank=1 + int(np.count_nonzero(files > evidence[rows[0]] + SAME)),
        files=len(files),
        first=relevance_of(float(files.max(initial=-np.inf))),
        hits=lambda: selection.best(terms, options, reranks=False)[0],
    )


def relevances(
    library: Library,
    query: Query,
    options: SearchOptions,
    load: Callable[[], Embedder],
    among: JoinedWords | None = None,
) -> list[tuple[bytes, float]]:
    """Return the path and relevance of each file that passes the filters, in order.

    `among` is as for `standing`.
    """
    terms = embed_terms(read_terms(query, library.fingerprint.decode_options, among), load)
    if is_large_table(library):
        return _relevances_in_table(library, terms, options)
    mask = allowed_rows(library, options.filters)
    allowed = allowed_in(library, mask, options.filters, terms[0].term)
    ranking = rank_all(library, terms, allowed)
    rows = np.array(list(best_rows(library, ranking, allowed, -np.inf)), np.int64)
    locations = library.columns.locations(rows)
    found = map(relevance_of, ranking.evidence[rows].tolist())
    return list(zip(locations, found, strict=True))


def _relevances_in_table(
    library: PublishedLibrary, terms: Sequence[EmbeddedTerm], options: SearchOptions
) -> list[tuple[bytes, float]]:
    from qvsearch.retrieval.table_candidates import asked_in
    from qvsearch.retrieval.table_files import locations, score_files
    from qvsearch.retrieval.table_search import where_in

    check_filled(library)
    where = where_in(library, options.filters)
    scores = score_files(asked_in(library, terms, options.filters, where, exact=False))
    paths = locations(library, where)
    order = np.argsort(-scores.evidence, kind="stable")
    found = zip(scores.items[order].tolist(), scores.evidence[order].tolist(), strict=True)
    return [(paths[item], relevance_of(each)) for item, each in found if item in paths]
