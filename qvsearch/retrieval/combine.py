"""One judgement from several: what is looked for, what examples look like, what is to be left out.

Evidence is log-odds that a row answers; relevance is the probability it stands for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from qvsearch.types import Vectors

# Hits are shown from relevance CUT on, if the best of them has ANSWERED. The threshold of the most
# F1 is half the F1 that a query can reach (Lipton, Elkan and Naryanaswamy 2014): with the demo's
# model 0.5 for a vague phrase, and about 0.65 over all of tests/bench/relevance.py.
CUT, ANSWERED = 0.2, 0.33


def relevance_of(evidence: float) -> float:
    """Return the probability, 0 to 1, that log-odds stand for."""
    return float((1 + np.tanh(evidence / 2)) / 2)  # the sigmoid, without overflow


def evidence_of(relevance: float) -> float:
    """Return the log-odds of a probability, infinite at 0 and 1."""
    with np.errstate(divide="ignore"):
        return float(np.log(relevance) - np.log1p(-relevance))


def combine(
    wanted: Sequence[tuple[float, Vectors]], unwanted: Sequence[tuple[float, Vectors]]
) -> Vectors:
    """Return the evidence (n,) of a query whose terms come as (weight, evidence (n,)).

    What is wanted counts by its weighted mean, the logarithmic opinion pool (Genest and Zidek
    1986). Of that remains the share that is none of the unwanted, taken for independent:
    P = P(wanted) * (1 - P(unwanted)) ** weight. Of one term alone it is that term's own array.
    """
    if len(wanted) == 1 and not unwanted:
        return wanted[0][1]
    total = sum(weight for weight, _ in wanted)
    pooled = np.zeros_like(wanted[0][1])
    for weight, evidence in wanted:
        pooled += np.float32(weight / total) * evidence
    if not unwanted:
        return pooled
    log_odds = -np.logaddexp(0, -pooled, dtype=np.float64)  # log P(wanted)
    for weight, evidence in unwanted:
        log_odds -= weight * np.logaddexp(0, evidence)  # log (1 - P(unwanted))
    with np.errstate(divide="ignore"):
        log_odds -= np.log(-np.expm1(log_odds))
    combined: Vectors = log_odds.astype(np.float32)
    return combined
