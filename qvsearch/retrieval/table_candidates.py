"""The rows of a shared table that may be hits of a query, in memory as a small library.

Within a kind rows are ordered by their cosine, so the engine's order is ours for one term. For
several terms the best rows of each, and of all together, are scored by all terms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.duplicates.shots import names_in_shot
from qvsearch.library.filtering import passing_rows
from qvsearch.published.filters import where_of
from qvsearch.published.library import joined
from qvsearch.published.schema import STORED, item_of
from qvsearch.published.sql import quoted
from qvsearch.published.stored_words import COLUMNS
from qvsearch.retrieval.asked_words import AskedWords
from qvsearch.retrieval.calibration import evidence_by_kind
from qvsearch.retrieval.joined_words import has_words
from qvsearch.retrieval.scoring import (
    Ranking,
    ScoredTerm,
    all_scores,
    combine_terms,
    combined_evidence,
)
from qvsearch.retrieval.table_levels import Found, LeveledTerm, best_of_kind, leveled
from qvsearch.retrieval.table_words import Narrowed, narrowed, words_in_table
from qvsearch.retrieval.wanted_pages import on_pages
from qvsearch.retrieval.word_ranking import MOST, ranked_by, with_matches, written_rows
from qvsearch.types import Kind

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from qvsearch.library.filters import Filters
    from qvsearch.library.library import Library
    from qvsearch.published.library import PublishedLibrary
    from qvsearch.published.part import Part
    from qvsearch.retrieval.scoring import EmbeddedTerm
    from qvsearch.retrieval.table_words import TableWords
    from qvsearch.types import Vectors

COPIES = 256  # rows of the query's own file, or of the same content, that are looked at


@dataclass(frozen=True, slots=True)
class Candidates:
    """Rows of a table, and the highest evidence of any other row of each kind, -inf without one."""

    rows: pa.Table
    bounds: dict[int, float]


@dataclass(frozen=True, slots=True)
class Working:
    """Some rows of a table as a library in memory: those of the mask (size,) pass the filters."""

    rows: pa.Table
    library: Part
    mask: NDArray[np.bool_]
    ranking: Ranking


@dataclass(frozen=True, slots=True)
class Asked:
    """A query's terms with their levels, and the rows that it may find: as SQL and as filters.

    `words` are the rows that have its words, None if it has none; `files` those that have its
    phrases. `words_where` also passes rows of earlier pages than the wanted ones.
    """

    library: PublishedLibrary
    terms: Sequence[LeveledTerm]
    filters: Filters
    where: str | None
    words_where: str | None
    exact: bool
    words: TableWords | None
    files: Narrowed

    @property
    def is_by_words(self) -> bool:
        """Whether only words count."""
        return self.terms[0].embedded.term.asked.alone

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read of rows."""
        return STORED if self.words is None else (*STORED, *COLUMNS)

    def candidates(self, count: int, codes: Sequence[int]) -> Candidates:
        """Return about `count` rows of the highest evidence by meaning or by words, of kinds."""
        table = self.library.table
        ids, _, following = self.by_words(count, codes)
        rows = table.by_ids(ids, self.columns)
        if self.is_by_words:
            return Candidates(rows, dict.fromkeys(codes, following))
        keys, bounds = self._by_meaning(count, codes)
        return Candidates(joined([rows, table.by_rows(keys, self.columns)]), bounds)

    def by_words(
        self, count: int, codes: Iterable[int]
    ) -> tuple[NDArray[np.int64], Vectors, float]:
        """Return what `TableWords.best` does, of kinds: rows that may count because of words."""
        if self.words is None:
            return np.empty(0, np.int64), np.empty(0, np.float32), -np.inf
        where, some = self.words_where, sorted(codes)
        if len(some) < len(Kind):
            kinds = f"kind IN ({', '.join(map(str, some))})"
            where = kinds if where is None else f"({where}) AND {kinds}"
        return self.words.best(count if self.is_by_words else MOST, where)

    def lessened(self, term: LeveledTerm, evidence: Vectors) -> Vectors:
        """Return the evidence (n,) of rows without the words of the query for a term."""
        if self.words is None or term is not self.terms[0]:
            return evidence
        return self.words.matches.lessened(evidence)

    def _by_meaning(
        self, count: int, codes: Sequence[int]
    ) -> tuple[frozenset[str], dict[int, float]]:
        """Return the keys of about `count` rows, and the bounds of all others by kind."""
        wanted = [each for each in self.terms if each.embedded.term.weight > 0]
        lists = {
            code: [self._best(each, code, count) for each in wanted]
            for code in codes
            if code in self.terms[0].levels
        }
        bounds = {code: self._bound(code, wanted, found) for code, found in lists.items()}
        if len(self.terms) == 1:
            return self._first({code: found for code, (found,) in lists.items()}, bounds, count)
        keys = {key for found in lists.values() for each in found for key in each.keys.tolist()}
        for code in lists:
            keys.update(self._together(wanted, code, count))
        return frozenset(map(bytes.decode, keys)), bounds

    def _first(
        self, found: dict[int, Found], bounds: dict[int, float], count: int
    ) -> tuple[frozenset[str], dict[int, float]]:
        """Return the `count` rows of the highest evidence of all kinds for the only term."""
        codes = [code for code, each in found.items() if len(each.keys)]
        if not codes:
            return frozenset(), bounds
        term = self.terms[0]
        keys = np.concatenate([found[code].keys for code in codes])
        kinds = np.concatenate([np.full(len(found[code].keys), code) for code in codes])
        raw = [term.levels[code].evidence(found[code].scores) for code in codes]
        evidence = self.lessened(term, np.concatenate(raw))
        order = np.argsort(-evidence, kind="stable")
        bounds = dict(bounds)
        for place in order[count:][::-1].tolist():
            code = int(kinds[place])
            bounds[code] = max(bounds[code], float(evidence[place]))
        return frozenset(key.decode() for key in keys[order[:count]].tolist()), bounds

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
            (term.embedded.term, self.lessened(term, _evidence(term, code, each.bound)))
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
        """Return rows of the path or the content of the query's files, and those of their shots."""
        segments = [each for term in self.terms for each in term.embedded.term.segments]
        items = {
            number for each in segments for number in self.library.numbers_at(each.item.location)
        }
        parts = [
            f"content_hash IN ({', '.join(quoted(each.content_hash) for each in segments)})",
            f"item IN ({', '.join(map(str, items))})" if items else "false",
        ]
        table = self.library.table
        copies = table.scan(self.columns, " OR ".join(parts), limit=COPIES)
        files = zip(copies["root"].to_pylist(), copies["path"].to_pylist(), strict=True)
        shots = {item_of(root, name) for root, path in files for name in names_in_shot(path)}
        return joined([copies, table.by_items(shots, self.columns)])

    def working(self, rows: pa.Table) -> Working:
        """Return rows as a library, ranked by all terms."""
        library = self.library.gathered(rows)
        rest = replace(self.filters, pages=None)
        mask = passing_rows(library.columns, rest) & self.files.passes(library.items)
        mask &= written_rows(library, self.terms[0].embedded.term.asked)
        found = None if self.words is None else self.words.among(library)
        if self.filters.pages is not None:
            mask = on_pages(library, mask, self.filters.pages, found)
        if self.is_by_words and found is not None:
            ranking = ranked_by(library, self.terms[0].embedded, found)
            return Working(rows, library, mask, ranking)
        ranking = combine_terms([_scored(library, each) for each in self.terms])
        if found is not None:
            ranking = with_matches(library, ranking, found, mask)
        if any(each.term.segments for each in ranking.terms):
            from qvsearch.retrieval.copies import with_copies  # not needed by words

            ranking = with_copies(library, ranking)
        return Working(rows, library, mask, ranking)


def asked_in(
    library: PublishedLibrary,
    terms: Sequence[EmbeddedTerm],
    filters: Filters,
    where: str | None,
    *,
    exact: bool,
) -> Asked:
    """Return a query of a table; `where` is the SQL condition of the filters.

    Raises QvsearchError as `has_words` does.
    """
    words, among = terms[0].term.asked, terms[0].term.among
    there = has_words(library, words)
    files = narrowed(library, words if there else AskedWords())
    if words.alone:
        levels = [LeveledTerm(each, {}, {}) for each in terms]
    else:
        levels = leveled(library, terms, exact=exact)
    found = None
    if there and words.sought:
        found = words_in_table(library, words) if among is None else among.in_table(library, words)
    earlier = where
    if filters.pages is not None:
        places = {name: library.place(name) for name in library.names}
        earlier = where_of(replace(filters, pages=(1, filters.pages[1])), places)
    conditions = files.where(where), files.where(earlier)
    return Asked(library, levels, filters, *conditions, exact, found, files)


def _scored(library: Library, leveled: LeveledTerm) -> ScoredTerm:
    """Score the rows of a working library by a term whose levels are those of the table."""
    term, vectors = leveled.embedded.term, leveled.embedded.vectors
    scores = all_scores(library, vectors)
    rows_of = dict(enumerate(library.by_kind))
    evidence = evidence_by_kind(scores, rows_of, leveled.levels)
    return ScoredTerm(term, vectors, scores, evidence, leveled.levels)


def _evidence(term: LeveledTerm, code: int, score: float) -> Vectors:
    return term.levels[code].evidence(np.full(1, score, np.float32))
