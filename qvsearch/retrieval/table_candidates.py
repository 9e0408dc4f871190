"""The rows of a shared table that may be hits of a query, in memory as a small library.

Within a kind rows are ordered by their cosine, so the engine's order is ours for one term. For
several terms the best rows of each, and of all together, are scored by all terms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.library.filtering import passing_rows
from qvsearch.published.engine import quoted
from qvsearch.published.schema import READ
from qvsearch.retrieval.calibration import evidence_by_kind
from qvsearch.retrieval.scoring import (
    Ranking,
    ScoredTerm,
    all_scores,
    combine_terms,
    combined_evidence,
)
from qvsearch.retrieval.table_levels import Found, best_of_kind

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from qvsearch.library.filters import Filters
    from qvsearch.library.library import Library
    from qvsearch.published.library import PublishedLibrary
    from qvsearch.retrieval.table_levels import LeveledTerm
    from qvsearch.types import Vectors

COPIES = 256  # rows of the query's own file, or of the same content, that are looked at


@dataclass(frozen=True, slots=True)
class Candidates:
    """Keys of rows, and the highest evidence of any other row of each kind, -inf without one."""

    keys: frozenset[str]
    bounds: dict[int, float]


@dataclass(frozen=True, slots=True)
class Working:
    """Some rows of a table as a library in memory: those of the mask (size,) pass the filters."""

    rows: pa.Table
    library: Library
    mask: NDArray[np.bool_]
    ranking: Ranking


@dataclass(frozen=True, slots=True)
class Asked:
    """A query's terms with their levels, and the rows that it may find: as SQL and as filters."""

    library: PublishedLibrary
    terms: Sequence[LeveledTerm]
    filters: Filters
    where: str | None
    exact: bool

    def candidates(self, count: int, codes: Iterable[int]) -> Candidates:
        """Return about `count` rows of the highest evidence, all of these kinds."""
        wanted = [each for each in self.terms if each.embedded.term.weight > 0]
        lists = {
            code: [self._best(each, code, count) for each in wanted]
            for code in codes
            if code in self.terms[0].levels
        }
        bounds = {code: self._bound(code, wanted, found) for code, found in lists.items()}
        if len(self.terms) == 1:
            return _first(
                self.terms[0], {code: found for code, (found,) in lists.items()}, bounds, count
            )
        keys = {key for found in lists.values() for each in found for key in each.keys.tolist()}
        for code in lists:
            keys.update(self._together(wanted, code, count))
        return Candidates(frozenset(map(bytes.decode, keys)), bounds)

    def _best(self, term: LeveledTerm, code: int, count: int) -> Found:
        """Return at least `count` of a kind's best rows for a term, if there are so many."""
        best = term.best[code]
        if self.where is None and (count <= len(best.keys) or best.bound == -np.inf):
            return best
        vectors = term.embedded.vectors
        return best_of_kind(self.library.table, vectors, code, count, self.where, exact=self.exact)

    def _bound(self, code: int, wanted: Sequence[LeveledTerm], found: Sequence[Found]) -> float:
        """Return the highest evidence of a row of a kind that no wanted term has found."""
        if any(each.bound == -np.inf for each in found):
            return -np.inf  # a term has found all rows
        evidence = [
            (term.embedded.term, _evidence(term, code, each.bound))
            for term, each in zip(wanted, found, strict=True)
        ]
        unwanted = [
            (each.embedded.term, np.full(1, -np.inf, np.float32))
            for each in self.terms
            if each.embedded.term.weight < 0
        ]
        return float(combined_evidence([*evidence, *unwanted])[0])

    def _together(self, wanted: Sequence[LeveledTerm], code: int, count: int) -> list[bytes]:
        """Return the rows of a kind that are nearest to a mean of the wanted terms."""
        mean = np.zeros(self.library.fingerprint.dim, np.float32)
        for each in wanted:
            weight = each.embedded.term.weight / each.levels[code].reach
            mean += np.float32(weight) * each.embedded.vectors.mean(axis=0)
        length = float(np.linalg.norm(mean))
        if not length:
            return []
        query = (mean / np.float32(length))[None]
        found = best_of_kind(self.library.table, query, code, count, self.where, exact=self.exact)
        keys: list[bytes] = found.keys.tolist()
        return keys

    def copies(self) -> pa.Table:
        """Return rows that have the path or the content of one of the query's files."""
        segments = [each for term in self.terms for each in term.embedded.term.segments]
        items = {
            number for each in segments for number in self.library.numbers_at(each.item.location)
        }
        parts = [
            f"content_hash IN ({', '.join(quoted(each.content_hash) for each in segments)})",
            f"item IN ({', '.join(map(str, items))})" if items else "false",
        ]
        columns = (*READ, "item", "vector")
        return self.library.table.scan(columns, " OR ".join(parts), limit=COPIES)

    def working(self, rows: pa.Table) -> Working:
        """Return rows as a library, ranked by all terms."""
        library = self.library.gathered(rows)
        scored = [_scored(library, each) for each in self.terms]
        ranking = combine_terms(scored)
        if any(each.term.segments for each in scored):
            from qvsearch.retrieval.copies import with_copies  # not needed by words

            ranking = with_copies(library, ranking)
        return Working(rows, library, passing_rows(library.columns, self.filters), ranking)


def _first(
    term: LeveledTerm, found: dict[int, Found], bounds: dict[int, float], count: int
) -> Candidates:
    """Return the `count` rows of the highest evidence of all kinds for a single term."""
    codes = [code for code, each in found.items() if len(each.keys)]
    if not codes:
        return Candidates(frozenset(), bounds)
    keys = np.concatenate([found[code].keys for code in codes])
    kinds = np.concatenate([np.full(len(found[code].keys), code) for code in codes])
    evidence = np.concatenate([term.levels[code].evidence(found[code].scores) for code in codes])
    order = np.argsort(-evidence, kind="stable")
    bounds = dict(bounds)
    for place in order[count:][::-1].tolist():
        code = int(kinds[place])
        bounds[code] = max(bounds[code], float(evidence[place]))
    chosen = frozenset(key.decode() for key in keys[order[:count]].tolist())
    return Candidates(chosen, bounds)


def _scored(library: Library, leveled: LeveledTerm) -> ScoredTerm:
    """Score the rows of a working library by a term whose levels are those of the table."""
    term, vectors = leveled.embedded.term, leveled.embedded.vectors
    scores = all_scores(library, vectors)
    rows_of = dict(enumerate(library.by_kind))
    evidence = evidence_by_kind(scores, rows_of, leveled.levels)
    return ScoredTerm(term, vectors, scores, evidence, leveled.levels)


def _evidence(term: LeveledTerm, code: int, score: float) -> Vectors:
    return term.levels[code].evidence(np.full(1, score, np.float32))
