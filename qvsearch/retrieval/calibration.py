"""Turn the cosines of one query into evidence that is comparable between kinds and queries.

Evidence is the log-odds that a row answers; relevance is the probability that it stands for.

A cosine alone means little: with the 2B model an unrelated text scores 0.5, and so does a matching
photo. So the rows of each kind are compared with the kind's baseline, its scores for generic
queries. If the query is a file, the library's own files take their place. Nine numbers describe the
query's own scores: the best, some of those that follow, the median, the spread, the skewness and
the kurtosis. A small network turns these, and a row's place between the median and the best, into
evidence (logistic calibration, Platt 1999). It is fitted once, to many libraries whose answers are
known, by tests/bench/fit_relevance.py. Within a kind rows stay in the order of their cosines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from qvsearch.types import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.types import Vectors

    Rows = NDArray[np.int64] | slice

# Hits are shown from relevance CUT on, if the best of them has ANSWERED. The threshold of the
# highest F1 is half the F1 that a query can reach (Lipton, Elkan and Naryanaswamy 2014): with the
# demo's model 0.5 for a vague phrase, and about 0.65 over all of tests/bench/relevance.py.
CUT, ANSWERED = 0.2, 0.33

NETWORK = Path(__file__).with_name("relevance.json")
PRIOR_ROWS = 6  # as spread as the baseline, added to the spread of a kind that may have few rows
LEAST_SPREAD = 1e-3  # of cosines of half-precision vectors
LEAST_KURTOSIS = 0.5  # of a few rows; a normal distribution has 3
NEXT = 5, 20  # ranks of rows whose distance from the best is an input
TOP = 0.01, 0.1  # shares of the rows, the best, whose least score is an input
LEAST_REACH = 0.3  # spreads from the median to the best: rows that differ less are all alike
BELOW = 3.0  # less evidence for rows that score no more than for generic queries
PLACES = np.linspace(-1, 1, 65)  # at which the network is computed; between them it is interpolated
TILT = 1.0  # least evidence from the median to the best: neighbours differ in single precision
ASSUMED_SPREAD = 0.1  # without a baseline: the spread of unrelated photos, recorded
ASSUMED_CENTRE = 0.5  # at most: what does not match is no more than half way to identical
PRIOR_QUERIES = 6  # weight of the assumed spread beside that of the queries of a baseline


def relevance_of(evidence: float) -> float:
    """Return the probability, 0 to 1, of log-odds."""
    return float((1 + np.tanh(evidence / 2)) / 2)  # the sigmoid, without overflow


def evidence_of(relevance: float) -> float:
    """Return the log-odds of a probability, infinite at 0 and 1."""
    with np.errstate(divide="ignore"):
        return float(np.log(relevance) - np.log1p(-relevance))


class Baseline(NamedTuple):
    """Mean and spread of the cosines of a kind's rows with queries that are not meant for them."""

    centre: float
    spread: float


@dataclass(frozen=True, slots=True)
class Level:
    """How the rows of one kind score for a query.

    `best`, `median` and `spread` are cosines, and so is `tail`: the scores of the ranks NEXT, and
    the least of the best shares TOP. `rows` is the number of rows. `words` is the share of the
    query that is words: 1, 0.5 beside a file, or 0.
    """

    best: float
    tail: tuple[float, ...]
    median: float
    spread: float
    skewness: float
    kurtosis: float
    rows: float
    baseline: Baseline
    words: float

    @property
    def inputs(self) -> list[float]:
        """The network's inputs, without the place."""
        centre, spread = self.baseline
        return [
            float(np.arcsinh((self.best - centre) / spread)),
            float(np.log(self.reach / self.spread)),
            (self.median - centre) / spread,
            float(np.log(self.spread / spread)),
            float(np.arcsinh(self.skewness)),
            float(np.log(max(self.kurtosis, LEAST_KURTOSIS))),
            float(np.log(self.rows)),
            self.words,
            *((self.best - score) / self.spread for score in self.tail[: len(NEXT)]),
            *((score - self.median) / self.spread for score in self.tail[len(NEXT) :]),
        ]

    @property
    def reach(self) -> float:
        """How far the best lies above the median, as a cosine."""
        return max(self.best - self.median, LEAST_REACH * self.spread)

    def places(self, scores: Vectors) -> Vectors:
        """Return the places of scores (n,): the median has 0, the best 1."""
        places: Vectors = 1 - (self.best - scores) / np.float32(self.reach)
        return places

    def evidence(self, scores: Vectors) -> Vectors:
        """Return the evidence (n,) of rows of this kind by their scores."""
        places = self.places(scores)
        curve = network()(self.inputs)
        steps = (places.clip(-1, 1) + np.float32(1)) * np.float32((len(PLACES) - 1) / 2)
        below = np.minimum(steps.astype(np.int32), len(PLACES) - 2)
        steps -= below
        evidence = curve[below] + steps * np.diff(curve)[below]
        evidence += np.float32(TILT) * (places - np.float32(1))
        evidence[scores <= self.baseline.centre] -= np.float32(BELOW)
        return evidence


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Evidence (size,) of each row, -inf without one, and the level of each kind, by place."""

    evidence: Vectors
    levels: dict[int, Level]


def calibrate(
    scores: Vectors,
    kinds: NDArray[np.uint8],
    baselines: Mapping[int, Baseline | None],
    *,
    words: float = 1.0,
    weights: Vectors | None = None,
) -> Calibrated:
    """Return the evidence of rows by their cosines (size,), their kinds, and each kind's baseline.

    `words` is the share of the query that is words. A kind is its place in Kind; rows of any other
    are not live. With `weights` (size,) a row stands for so many of its kind, and rows of weight 0
    get no evidence.
    """
    rows_of, levels = {}, {}
    for code in range(len(Kind)):
        rows = np.flatnonzero(kinds == code)
        if weights is not None:
            rows = rows[weights[rows] > 0]
        if len(rows):
            some = None if weights is None else weights[rows]
            levels[code] = level_of(scores[rows], baselines[code], words=words, weights=some)
            rows_of[code] = rows
    return Calibrated(evidence_by_kind(scores, rows_of, levels), levels)


def evidence_by_kind(
    scores: Vectors, rows_of: Mapping[int, Rows], levels: Mapping[int, Level]
) -> Vectors:
    """Return the evidence (n,) of rows by their cosines (n,); -inf if their kind has no level.

    `rows_of` has the places of each kind's rows among the scores.
    """
    evidence = np.full(len(scores), -np.inf, np.float32)
    for code, level in levels.items():
        rows = rows_of[code]
        evidence[rows] = level.evidence(scores[rows])
    return evidence


def baseline_of(backgrounds: Vectors) -> Baseline | None:
    """Return a kind's baseline, given mean and standard deviation (n, 2) of some rows' scores.

    Rows of NaN, which were never compared, do not count; without any others there is no baseline.
    """
    compared = backgrounds[np.isfinite(backgrounds[:, 0])].astype(np.float64)
    if not len(compared):
        return None
    spread = float(np.sqrt((compared[:, 1] ** 2).mean()))
    return Baseline(float(compared[:, 0].mean()), max(spread, LEAST_SPREAD))


def baseline_between(scores: Vectors, same: NDArray[np.bool_]) -> Baseline | None:
    """Return a kind's baseline, given its rows' scores with files (n, m), without those `same`.

    `same` (n, m) marks a row that is the file itself. The assumed spread counts beside few files.
    """
    count = np.count_nonzero(~same)
    if not count:
        return None
    others = np.where(same, np.nan, scores.astype(np.float64))
    means = np.nanmean(others[(~same).any(axis=1)], axis=1)
    within = np.nanvar(others[(~same).any(axis=1)], axis=1).mean()
    files = scores.shape[1]
    spread = (files * within + PRIOR_QUERIES * ASSUMED_SPREAD**2) / (files + PRIOR_QUERIES)
    return Baseline(float(means.mean()), float(np.sqrt(spread)))


def level_of(
    scores: Vectors, baseline: Baseline | None, *, words: float, weights: Vectors | None = None
) -> Level:
    """Return how a kind's rows score, given some scores (n,), each with a weight for so many rows.

    Without a baseline one is derived from the query's own scores.
    """
    count, median, variance, third, fourth = central_moments(scores, weights)
    if baseline is None:
        baseline = Baseline(min(median, ASSUMED_CENTRE), ASSUMED_SPREAD)
    prior = PRIOR_ROWS * baseline.spread**2
    spread = float(np.sqrt((count * variance + prior) / (count + PRIOR_ROWS)))
    shape = third / spread**3, fourth / spread**4
    ranks = [1, *NEXT, *(int(share * count) + 1 for share in TOP)]
    best, *tail = highest(scores, weights, ranks)
    return Level(best, tuple(tail), median, spread, *shape, count, baseline, words)


def highest(scores: Vectors, weights: Vectors | None, ranks: Sequence[int]) -> list[float]:
    """Return the scores of some ranks, 1 is the best, of the rows that scores (n,) stand for.

    A rank beyond the last has the score of the last.
    """
    if weights is not None:
        order = np.argsort(-scores)
        reached = np.cumsum(weights[order], dtype=np.float64)
        places = np.searchsorted(reached, ranks).clip(max=len(order) - 1)
        return [float(score) for score in scores[order[places]]]
    top, found = scores, {}
    for rank in sorted(ranks, reverse=True):  # of fewer and fewer rows
        start = len(top) - min(rank, len(top))
        top = np.partition(top, start)[start:]
        found[rank] = float(top[0])
    return [found[rank] for rank in ranks]


def central_moments(
    x: Vectors, weights: Vectors | None
) -> tuple[float, float, float, float, float]:
    """Return the number of rows that scores (n,) stand for, median and central moments 2 to 4."""
    if weights is None:
        half = (len(x) - 1) // 2
        count, median = float(len(x)), np.partition(x, half)[half]
        above = x - x.mean(dtype=np.float64).astype(np.float32)
        square = above * above
        weighted = square
    else:
        order, count = np.argsort(x), float(weights.sum(dtype=np.float64))
        reached = np.cumsum(weights[order], dtype=np.float64)
        median = x[order[np.searchsorted(reached, count / 2)]]
        above = x - np.float32(np.average(x, weights=weights))
        square = above * above
        weighted = weights * square
    second = float(weighted.sum(dtype=np.float64)) / count
    third, fourth = (float(weighted @ each) / count for each in (above, square))
    return count, float(median), second, third, fourth


@dataclass(frozen=True, slots=True)
class Network:
    """One hidden layer, from a kind's inputs and a place to evidence."""

    mean: Vectors
    scale: Vectors
    hidden: Vectors
    bias: Vectors
    output: Vectors
    offset: Vectors

    def __call__(self, level: Sequence[float]) -> Vectors:
        """Return the evidence at PLACES, which never falls, given a level's inputs."""
        inputs = np.column_stack([np.tile(level, (len(PLACES), 1)), PLACES])
        inputs = np.clip((inputs - self.mean) / self.scale, -3, 3)  # the range of the fit
        evidence = np.tanh(inputs @ self.hidden + self.bias) @ self.output + self.offset
        return np.asarray(np.maximum.accumulate(evidence), np.float32)


@cache
def network() -> Network:
    """Return the fitted network of the package."""
    values = json.loads(NETWORK.read_text())
    return Network(**{name: np.array(value, np.float32) for name, value in values.items()})


def combine(
    wanted: Sequence[tuple[float, Vectors]], unwanted: Sequence[tuple[float, Vectors]]
) -> Vectors:
    """Return the evidence (n,) of a query whose terms come as (weight, evidence (n,)).

    Wanted terms count by their weighted mean, the logarithmic opinion pool (Genest and Zidek 1986).
    Each unwanted term takes its share of that, as if independent:
    P = P(wanted) * (1 - P(unwanted)) ** weight. Do not mutate the result: for a single term it is
    that term's own array.
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
