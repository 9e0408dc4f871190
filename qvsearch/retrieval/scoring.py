"""How the rows of a library answer a query: cosines, calibrated and combined over its terms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

import numpy as np

from qvsearch.retrieval.calibration import (
    Baseline,
    Level,
    baseline_between,
    baseline_of,
    calibrate,
    combine,
    evidence_by_kind,
)
from qvsearch.types import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.library import Library
    from qvsearch.retrieval.query import Term
    from qvsearch.retrieval.word_evidence import Matches
    from qvsearch.types import Embedder, Vectors

    Weighted = Sequence[tuple[Term, Vectors]]

SAMPLE = 8192  # rows that a kind's baseline is computed from: its error is a hundredth of a spread
QUERIES = 64  # files of a library that stand for any file as a query
FETCHED = 512  # rows of a kind that these are compared with


@dataclass(frozen=True, slots=True)
class EmbeddedTerm:
    """A term of a query with its vectors (m, dim); a row counts by its best cosine with any."""

    term: Term
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class ScoredTerm:
    """A term of a query with the cosines (size,) and the evidence (size,) of a library's rows.

    Both are -inf for rows that are not scored. `levels` has each kind's, by its place in Kind.
    `matches` are the rows that have its words, whose evidence is that of both together.
    """

    term: Term
    vectors: Vectors
    scores: Vectors
    evidence: Vectors
    levels: dict[int, Level]
    matches: Matches | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """The rows of a library against a query; arrays by row number, -inf for rows not scored.

    `evidence` (size,) is the log-odds that a row answers; `scores` (size,) are cosines, the
    weighted mean over the terms that are wanted. With a single term both are the term's own arrays.
    `bounds` has (row, highest possible evidence) of the best unscored row of each kind.
    Do not mutate the arrays.
    """

    evidence: Vectors
    scores: Vectors
    terms: tuple[ScoredTerm, ...]
    bounds: tuple[tuple[int, float], ...] = ()

    def bound(self, mask: NDArray[np.bool_]) -> float:
        """Return the highest evidence that an unscored row of the mask may have, or -inf."""
        return max((evidence for row, evidence in self.bounds if mask[row]), default=-np.inf)

    def of_rows(self, library: Library, rows: NDArray[np.int64]) -> tuple[Vectors, Vectors]:
        """Return the evidence and scores (k,) of live rows; those not scored yet are scored now."""
        evidence, scores = self.evidence[rows], self.scores[rows]
        new = evidence == -np.inf
        if new.any() and self.terms[0].levels:  # without any only words count
            terms = _score_rows(library, self.terms, rows[new])
            evidence[new] = combined_evidence([(term, some) for term, _, some in terms])
            scores[new] = mean_score([(term, some) for term, some, _ in terms])
        return evidence, scores


def embed_terms(terms: Sequence[Term], load: Callable[[], Embedder]) -> list[EmbeddedTerm]:
    """Embed the terms of a query, or of several; the model is loaded only if there are inputs."""
    inputs = [each for term in terms for each in term.inputs]
    if not inputs:
        return [EmbeddedTerm(term, np.empty((0, 0), np.float32)) for term in terms]
    vectors = load().embed(inputs)
    ends = list(accumulate(len(term.inputs) for term in terms))
    return [
        EmbeddedTerm(term, rows)
        for term, rows in zip(terms, np.split(vectors, ends[:-1]), strict=True)
    ]


class Compared(Protocol):
    """Rows that a kind's baseline can be computed from: a library's, or a sample of them."""

    @property
    def by_kind(self) -> list[NDArray[np.int64]]:
        """The rows of each kind, ascending."""
        ...

    @property
    def backgrounds(self) -> Vectors:
        """Mean and standard deviation (size, 2) of each row's cosines with the baseline, or NaN."""
        ...

    def vectors(self, rows: Iterable[int]) -> Vectors:
        """Return the vectors of some rows (len(rows), dim), float32."""
        ...


def baselines(library: Compared, term: Term) -> dict[int, Baseline | None]:
    """Return each kind's baseline: of generic queries or, for a file, of files like it."""
    kinds = {code: _some(rows, SAMPLE) for code, rows in enumerate(library.by_kind) if len(rows)}
    like = [kinds[code] for code, kind in enumerate(Kind) if kind in term.like and code in kinds]
    if term.words == 1 or not like:
        return {code: baseline_of(library.backgrounds[rows]) for code, rows in kinds.items()}
    files = _some(np.concatenate(like), QUERIES)
    vectors = library.vectors(files.tolist())
    by_kind = {}
    for code, rows in kinds.items():
        some = _some(rows, FETCHED)
        scores = library.vectors(some.tolist()) @ vectors.T
        by_kind[code] = baseline_between(scores, some[:, None] == files)
    return by_kind


def _some(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return at most so many rows, spread evenly."""
    return rows[:: -(-len(rows) // count)]


def rank_rows(library: Library, terms: Sequence[EmbeddedTerm]) -> Ranking:
    """Score every row of a library by a query's terms."""
    return combine_terms([_scored(library, each) for each in terms])


def _scored(library: Library, embedded: EmbeddedTerm) -> ScoredTerm:
    """Score every row by one term."""
    term, vectors = embedded.term, embedded.vectors
    scores = all_scores(library, vectors)
    calibrated = calibrate(scores, library.kinds, baselines(library, term), words=term.words)
    return ScoredTerm(term, vectors, scores, calibrated.evidence, calibrated.levels)


def all_scores(library: Library, vectors: Vectors) -> Vectors:
    """Return the best cosine (size,) of each row with any of the vectors."""
    scores: Vectors = reduce(np.maximum, [library.scores(vector) for vector in vectors])
    return scores


def combine_terms(
    terms: Sequence[ScoredTerm], bounds: tuple[tuple[int, float], ...] = ()
) -> Ranking:
    """Return the ranking that several terms make together."""
    return Ranking(
        combined_evidence([(each.term, each.evidence) for each in terms]),
        mean_score([(each.term, each.scores) for each in terms]),
        tuple(terms),
        bounds,
    )


def combined_evidence(terms: Weighted) -> Vectors:
    """Return the evidence (n,) of terms together, each with its own (n,)."""
    return combine(
        [(term.weight, evidence) for term, evidence in terms if term.weight > 0],
        [(-term.weight, evidence) for term, evidence in terms if term.weight < 0],
    )


def mean_score(terms: Weighted) -> Vectors:
    """Return the weighted mean (n,) of the cosines with wanted terms, each with its own (n,).

    Do not mutate the result: for a single term it is that term's own array.
    """
    wanted = [(term.weight, scores) for term, scores in terms if term.weight > 0]
    if len(wanted) == 1:
        return wanted[0][1]
    total = sum(weight for weight, _ in wanted)
    mean = np.zeros_like(wanted[0][1])
    for weight, scores in wanted:
        mean += np.float32(weight / total) * scores
    return mean


def with_rows(library: Library, ranking: Ranking, rows: NDArray[np.int64]) -> Ranking:
    """Return a ranking in which these live rows are scored too; levels of kinds stay."""
    new = rows[ranking.evidence[rows] == -np.inf]
    if not len(new):
        return ranking
    terms = []
    for each, some in zip(ranking.terms, _score_rows(library, ranking.terms, new), strict=True):
        scores, evidence = each.scores.copy(), each.evidence.copy()
        _, scores[new], evidence[new] = some
        terms.append(replace(each, scores=scores, evidence=evidence))
    return combine_terms(terms, ranking.bounds)


def _score_rows(
    library: Library, terms: Sequence[ScoredTerm], rows: NDArray[np.int64]
) -> list[tuple[Term, Vectors, Vectors]]:
    """Return each term with its scores and evidence (k,) of live rows."""
    vectors, kinds = library.vectors(rows.tolist()), library.kinds[rows]
    places = {code: np.flatnonzero(kinds == code) for code in range(len(Kind))}
    scored = []
    for each in terms:
        scores = (vectors @ each.vectors.T).max(axis=1)
        evidence = evidence_by_kind(scores, places, each.levels)
        if each.matches is not None:
            evidence = each.matches.lessened(evidence)
        scored.append((each.term, scores, evidence))
    return scored
