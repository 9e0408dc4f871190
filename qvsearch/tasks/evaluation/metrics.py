"""Measures of rankings, similarities and predictions, each with its confidence interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.tasks.agreement import label_scores
from qvsearch.tasks.extras import needed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Numbers = NDArray[np.int64]

RESAMPLES = 1000  # of the bootstrap
CONFIDENCE = (2.5, 97.5)  # percentiles
CUTS = (1, 5, 10)
AT_ONCE = 256  # queries whose rankings are dictionaries at a time


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measure over a sample, and its 95 % confidence interval; None of one query."""

    value: float
    low: float | None = None
    high: float | None = None


def ranking_values(
    rankings: Sequence[Sequence[str]], relevant: Sequence[Mapping[str, int]]
) -> dict[str, Values]:
    """Return each measure of each query (n,), from its documents, best first, and their grades.

    recall@k is the share of the relevant documents among the first k. If a query has several,
    success@k, whether one of them is among the first k, is a measure of its own. ndcg@10 has the
    grade as its gain (Jaervelin and Kekaelaeinen 2002); mrr@10 and map have grades above 0. All are
    computed by ir-measures, with trec_eval's definitions.
    """
    library = needed("ir_measures", "ir-measures", "qvsearch evaluate")
    named = {f"recall@{cut}": library.R @ cut for cut in CUTS}
    if any(len(grades) > 1 for grades in relevant):
        named |= {f"success@{cut}": library.Success @ cut for cut in CUTS}
    named |= {"ndcg@10": library.nDCG @ 10, "mrr@10": library.RR @ 10, "map": library.AP}
    names = {str(measure): name for name, measure in named.items()}
    values = {name: np.zeros(len(rankings)) for name in named}
    for first in range(0, len(rankings), AT_ONCE):
        some = range(first, min(first + AT_ONCE, len(rankings)))
        run, judged = {}, {}
        for query in some:
            # ranks as ids, since a name may not be UTF-8, and as scores, since equal ones would be
            # sorted by id
            ranks = {document: str(rank) for rank, document in enumerate(rankings[query])}
            run[str(query)] = {rank: -float(rank) for rank in ranks.values()}
            judged[str(query)] = {
                ranks.get(document, f"not found {number}"): grade
                for number, (document, grade) in enumerate(relevant[query].items())
            }
        for each in library.iter_calc(list(named.values()), judged, run):
            values[names[str(each.measure)]][int(each.query_id)] = each.value
    return values


def mean_estimates(values: Mapping[str, Values]) -> dict[str, Estimate]:
    """Return the mean of each measure over all queries."""
    table = np.stack(list(values.values()), axis=1)

    def means(rows: Numbers) -> Values:
        chosen: Values = table[rows].mean(axis=0)
        return chosen

    return _estimates(list(values), len(table), means)


def spearman(similarities: Values, scores: Values) -> dict[str, Estimate]:
    """Return the rank correlation of two lists (n,), by scipy; NaN if one of them is constant."""
    stats = needed("scipy.stats", "scipy", "qvsearch evaluate")

    def correlation(rows: Numbers) -> Values:
        one, other = similarities[rows], scores[rows]
        if np.ptp(one) == 0 or np.ptp(other) == 0:
            return np.array([np.nan])
        return np.array([stats.spearmanr(one, other).statistic])

    return _estimates(["spearman"], len(scores), correlation)


def classification(predicted: Numbers, truth: Numbers, prefix: str = "") -> dict[str, Estimate]:
    """Return the accuracy and the macro-F1 of predicted labels, by number (n,).

    A label that a resample lacks counts nothing in it (`qvsearch.tasks.agreement`).
    """

    def both(rows: Numbers) -> Values:
        scores = label_scores(predicted[rows], truth[rows])
        return np.array([scores.accuracy, scores.macro_f1])

    return _estimates([f"{prefix}accuracy", f"{prefix}macro_f1"], len(truth), both)


def _estimates(
    names: Sequence[str], count: int, statistic: Callable[[Numbers], Values]
) -> dict[str, Estimate]:
    """Return a statistic of chosen rows, with the percentile bootstrap (Efron 1979) over rows."""
    values = statistic(np.arange(count))
    if count < 2:
        return {name: Estimate(float(value)) for name, value in zip(names, values, strict=True)}
    rng = np.random.default_rng(0)  # the same figures again, for the same input
    resampled = np.stack([statistic(rng.integers(count, size=count)) for _ in range(RESAMPLES)])
    estimates = {}
    for name, value, sample in zip(names, values, resampled.T, strict=True):
        defined = sample[np.isfinite(sample)]
        ends = np.percentile(defined, CONFIDENCE) if defined.size else (None, None)
        low, high = (None if end is None else float(end) for end in ends)
        estimates[name] = Estimate(float(value), low, high)
    return estimates
