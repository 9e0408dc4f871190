"""Score only the rows of a large library that may answer a query, with the answers of scoring all.

A first pass estimates every row's cosine. Promising rows get exact scores, and so does a sample of
each kind, which shows how far estimates are off. Levels of kinds come from these exact scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.library.rows import LARGEST_SCORE, places
from qvsearch.retrieval.calibration import calibrate, evidence_by_kind, relevance_of
from qvsearch.retrieval.scoring import (
    EmbeddedTerm,
    Ranking,
    ScoredTerm,
    all_scores,
    baselines,
    combine_terms,
    combined_evidence,
    rank_rows,
)
from qvsearch.retrieval.word_ranking import rank_by_words, with_words
from qvsearch.types import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.library import Library
    from qvsearch.retrieval.calibration import Baseline, Level
    from qvsearch.types import Hit, Vectors
    from qvsearch.vectors.store import FaissStore

EXACT_UP_TO = 200_000 * 2048  # numbers of vectors up to which all rows are scored: 0.1 seconds
BEST = 1000  # rows of each kind that get an exact score
REACH = 3.0  # spreads of the estimates' errors: one estimate of 700 is further below the score
_PROBE = 16  # one estimate of so many is looked at to find a threshold for the best


def rankings(
    library: Library, terms: Sequence[EmbeddedTerm], mask: NDArray[np.bool_], *, exact: bool
) -> Iterator[Ranking]:
    """Yield rankings, each more complete: of promising rows in a large library, then of all.

    `exact` skips the first pass. Callers stop at the first ranking that their list needs.
    """
    if is_large(library) and not exact and not terms[0].term.asked.alone:
        yield rank_best(library, terms, mask)
    yield rank_all(library, terms, mask)


def _completed(
    library: Library, ranking: Ranking, mask: NDArray[np.bool_] | None = None
) -> Ranking:
    """Add the evidence of words, and put copies of the query's files first."""
    if ranking.terms[0].term.asked.sought:
        ranking = with_words(library, ranking, mask)
    if not any(each.term.segments for each in ranking.terms):
        return ranking
    from qvsearch.retrieval.copies import with_copies  # not needed by words

    return with_copies(library, ranking)


def may_lack(hits: Sequence[Hit], count: int, bound: float, least: float) -> bool:
    """Return whether an unscored row, of at most `bound` evidence, could enter a list of hits.

    The list has the `count` best hits whose evidence is at least `least`.
    """
    if bound == -np.inf:
        return False  # all rows are scored
    hits = [hit for hit in hits if hit.relevance >= relevance_of(least)]
    if len(hits) < count:
        return bound >= least
    return hits[-1].relevance < relevance_of(bound)


def is_large(library: Library) -> bool:
    """Return whether a first pass is worth its time."""
    return len(library) * library.fingerprint.dim > EXACT_UP_TO


def rank_all(
    library: Library, terms: Sequence[EmbeddedTerm], mask: NDArray[np.bool_] | None = None
) -> Ranking:
    """Score every row of a library; those of the mask (size,) also answer by their words.

    In a large library the levels of kinds are those of `rank_best`, so that a row has the same
    relevance in both.
    """
    if terms[0].term.asked.alone:
        return rank_by_words(library, terms[0])
    if not is_large(library):
        return _completed(library, rank_rows(library, terms), mask)
    scored = [
        _scored(library, term, estimates, top, slice(None), all_scores(library, term.vectors))
        for term, estimates, top in _estimate_all(library, terms)
    ]
    return _completed(library, combine_terms(scored), mask)


def rank_best(library: Library, terms: Sequence[EmbeddedTerm], mask: NDArray[np.bool_]) -> Ranking:
    """Score the rows that promise most, of all rows and of those in the mask (size,)."""
    estimated = _estimate_all(library, terms)
    together = combined_evidence([(each.term, rough.evidence) for each, rough, _ in estimated])
    groups = library.by_kind
    chosen, following = best_guesses(
        together, groups if mask.all() else [rows[mask[rows]] for rows in groups]
    )
    wanted = np.zeros(library.size, np.bool_)
    wanted[np.concatenate([chosen, *(top for _, _, top in estimated)])] = True
    wanted[library.sample.rows] = False
    rows = np.flatnonzero(wanted)
    store = library.pick(rows)
    scored = [
        _scored(library, term, estimates, top, rows, _exact(store, term.vectors))
        for term, estimates, top in estimated
    ]
    kinds = library.kinds[following]
    rows_of = _by_kind(kinds, np.arange(len(kinds)))
    highest = []
    for each, (term, estimates, _) in zip(scored, estimated, strict=True):
        scores = estimates.reach(following, kinds, term)
        highest.append((each.term, evidence_by_kind(scores, rows_of, each.levels)))
    bounds = zip(following.tolist(), combined_evidence(highest).tolist(), strict=True)
    return _completed(library, combine_terms(scored, tuple(bounds)), mask)


@dataclass(frozen=True, slots=True)
class Estimates:
    """Estimates of all rows for a term: cosines (size,) and evidence (size,).

    `errors` are those of the sample's rows, by kind; `sampled` are the sample's exact scores.
    """

    scores: Vectors
    evidence: Vectors
    errors: dict[int, Vectors]
    sampled: Vectors
    baselines: dict[int, Baseline | None]

    def reach(
        self, rows: NDArray[np.int64], kinds: NDArray[np.uint8], term: EmbeddedTerm
    ) -> Vectors:
        """Return the highest scores (k,) that rows may have, or the lowest for an unwanted term."""
        spreads = [self.errors[code].std() for code in kinds.tolist()]
        reach = np.copysign(REACH * np.array(spreads, np.float32), term.term.weight)
        scores: Vectors = self.scores[rows] + reach
        return scores


def _estimate_all(
    library: Library, terms: Sequence[EmbeddedTerm]
) -> list[tuple[EmbeddedTerm, Estimates, NDArray[np.int64]]]:
    """Return, with each term, estimates of all rows and the BEST of each kind by them."""
    estimated = [(each, _estimate(library, each)) for each in terms]
    by_kind = library.by_kind
    return [(each, rough, best_guesses(rough.evidence, by_kind)[0]) for each, rough in estimated]


def _estimate(library: Library, term: EmbeddedTerm) -> Estimates:
    """Estimate the scores of all rows, corrected by the errors of the sample."""
    sample, kinds = library.sample, library.kinds
    exact = _exact(sample.store, term.vectors)
    guesses = reduce(np.maximum, [library.guesses(vector) for vector in term.vectors])
    means = library.backgrounds[:, 0]
    sampled = guesses[sample.rows]
    inputs = np.stack([sampled, np.nan_to_num(means[sample.rows]), np.ones_like(sampled)], axis=1)
    errors: dict[int, Vectors] = {}
    for code, rows in enumerate(library.by_kind):
        here = kinds[sample.rows] == code
        if not len(rows):
            continue
        # a row's mean predicts a part of the error, too
        line = np.linalg.lstsq(inputs[here], exact[here])[0].astype(np.float32)
        errors[code] = exact[here] - inputs[here] @ line
        at = places(rows)
        guesses[at] = line[0] * guesses[at] + line[1] * np.nan_to_num(means[at]) + line[2]
    guesses[sample.rows] = exact
    by_kind = baselines(library, term.term)
    levels = calibrate(
        exact, kinds[sample.rows], by_kind, words=term.term.words, weights=sample.weights
    ).levels
    rows_of = {code: places(rows) for code, rows in enumerate(library.by_kind)}
    return Estimates(guesses, evidence_by_kind(guesses, rows_of, levels), errors, exact, by_kind)


def _scored(
    library: Library,
    embedded: EmbeddedTerm,
    estimates: Estimates,
    top: NDArray[np.int64],
    rows: NDArray[np.int64] | slice,
    exact: Vectors,
) -> ScoredTerm:
    """Return a term with the exact scores of `rows` and of the sample, on the levels of both.

    `top` are the BEST rows of each kind, which are among `rows`.
    """
    scores = np.full(library.size, -np.inf, np.float32)
    scores[library.sample.rows] = estimates.sampled
    scores[rows] = exact
    levels = _levels(library, embedded, estimates, scores, top)
    scored = np.flatnonzero(scores > -np.inf)
    evidence = evidence_by_kind(scores, _by_kind(library.kinds, scored), levels)
    return ScoredTerm(embedded.term, embedded.vectors, scores, evidence, levels)


def _by_kind(
    kinds: NDArray[np.uint8], rows: NDArray[np.int64]
) -> dict[int, NDArray[np.int64] | slice]:
    """Return those of ascending rows that are of each kind."""
    return {code: places(rows[kinds[rows] == code]) for code in range(len(Kind))}


def _levels(
    library: Library,
    embedded: EmbeddedTerm,
    estimates: Estimates,
    scores: Vectors,
    top: NDArray[np.int64],
) -> dict[int, Level]:
    """Return the levels of all kinds from exact scores: of the top rows, and a sample of the rest.

    The few rows that match best move the skewness most, and a sample misses them.
    """
    weights = np.zeros(library.size, np.float32)
    sample, kinds = library.sample.rows, library.kinds
    some = sample[~np.isin(sample, top)]
    for code, rows in enumerate(library.by_kind):
        here = some[kinds[some] == code]
        rest = len(rows) - np.count_nonzero(kinds[top] == code)
        weights[here] = rest / max(1, len(here))
    weights[top] = 1
    words = embedded.term.words
    return calibrate(scores, kinds, estimates.baselines, words=words, weights=weights).levels


def _exact(store: FaissStore, vectors: Vectors) -> Vectors:
    """Return the best cosine (n,) of each stored row with any of the vectors."""
    scores: Vectors = reduce(np.maximum, [store.scores(vector) for vector in vectors])
    if not (np.abs(scores) < LARGEST_SCORE).all():  # false for NaN, too
        raise QvsearchError(
            "a stored vector is damaged; `qvsearch check` says in which file,"
            " `qvsearch check --repair` keeps what is sound"
        )
    return scores


def best_guesses(
    evidence: Vectors, groups: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the BEST rows of each group, and for each larger group the row that would follow."""
    chosen, following = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for group in groups:
        rows = group
        if len(rows) > 4 * _PROBE * BEST:
            values = evidence[rows]
            probe = values[::_PROBE]
            rank = 2 * BEST // _PROBE
            near = rows[values >= np.partition(probe, -rank)[-rank]]
            rows = near if len(near) > BEST else rows
        if len(rows) > BEST:
            order = np.argpartition(-evidence[rows], BEST)
            following.append(rows[order[BEST : BEST + 1]])
            rows = rows[order[:BEST]]
        chosen.append(rows)
    return np.concatenate(chosen), np.concatenate(following)
