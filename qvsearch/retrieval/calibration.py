"""Turn the cosines of one query into evidence that is comparable between kinds and queries.

A cosine alone says little: with the 2B model an unrelated text scores 0.5 where a matching photo
does. So each kind is measured against what it scores for generic queries, or for the library's own
files if the query is a file: the baseline. Of the query's own scores the best, the median, the
spread, the skewness and the kurtosis are taken, in spreads of the baseline. From these and a row's
place between the median and the best, a small network returns the log-odds that the row answers
(logistic calibration, Platt 1999). It is fitted once, to many libraries whose answers are known, by
tests/bench/fit_relevance.py. Within a kind rows stay in the order of their cosines.
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

NETWORK = Path(__file__).with_name("relevance.json")
PRIOR_ROWS = 6  # as spread as the baseline, added to the spread of a kind, which may have few
LEAST_SPREAD = 1e-3  # of cosines of half-precision vectors
LEAST_KURTOSIS = 0.5  # of a few rows; it is 3 for a normal distribution
LEAST_REACH = 0.3  # spreads from the median to the best: with less, rows are all alike
BELOW = 3.0  # less evidence for rows that score no more than they do for generic queries
PLACES = np.linspace(-1, 1, 65)  # where the network is asked; evidence between is interpolated
TILT = 1.0  # least evidence from the median to the best: neighbours differ in single precision


class Baseline(NamedTuple):
    """Mean and spread of the cosines of a kind's rows with queries that are not meant for them."""

    centre: float
    spread: float


ASSUMED_SPREAD = 0.1  # of a baseline, if nothing is known: that of unrelated photos, recorded
ASSUMED_CENTRE = 0.5  # at most: what does not match is no more than half way to identical
PRIOR_QUERIES = 6  # that the assumed spread counts for, beside those of a baseline


@dataclass(frozen=True, slots=True)
class Level:
    """How the rows of one kind score for a query.

    `best`, `median` and `spread` are cosines; `rows` is how many there are; `words` is the share
    of the query that is words: 1, 0.5 beside a file, or 0.
    """

    best: float
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
        ]

    @property
    def reach(self) -> float:
        """How far the best lies above the median, as a cosine."""
        return max(self.best - self.median, LEAST_REACH * self.spread)

    def places(self, scores: Vectors) -> Vectors:
        """Return where scores (n,) lie: the median at 0, the best at 1."""
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
    """Evidence (size,) of each row, the log-odds that it answers, -inf where no row lives."""

    evidence: Vectors
    levels: dict[int, Level]  # by place in Kind
    _kinds: NDArray[np.uint8]

    def level_of(self, row: int) -> Level:
        """Return the level of a live row's kind."""
        return self.levels[int(self._kinds[row])]

    def judge(self, rows: NDArray[np.int64] | slice, scores: Vectors) -> None:
        """Take in further rows, which do not change the levels of their kinds."""
        self.evidence[rows] = self.evidence_at(scores, rows)

    def evidence_at(self, scores: Vectors, rows: NDArray[np.int64] | slice) -> Vectors:
        """Return the evidence of rows with such scores."""
        kinds = self._kinds[rows]
        evidence = np.full(len(scores), -np.inf, np.float32)
        for code, level in self.levels.items():
            here = kinds == code
            evidence[here] = level.evidence(scores[here])
        return evidence


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
    are not live. With `weights` (size,) only rows that have some are judged, each standing for so
    many of its kind.
    """
    found = Calibrated(np.full(len(scores), -np.inf, np.float32), {}, kinds)
    for code in range(len(Kind)):
        rows = np.flatnonzero(kinds == code)
        if weights is not None:
            rows = rows[weights[rows] > 0]
        if not len(rows):
            continue
        each = None if weights is None else weights[rows]
        level = level_of(scores[rows], baselines[code], words=words, weights=each)
        found.levels[code] = level
        found.evidence[rows] = level.evidence(scores[rows])
    return found


def baseline_of(backgrounds: Vectors) -> Baseline | None:
    """Return a kind's baseline by mean and standard deviation (n, 2) of some rows' scores with it.

    These are NaN where there are none; if all are, there is no baseline.
    """
    known = backgrounds[np.isfinite(backgrounds[:, 0])].astype(np.float64)
    if not len(known):
        return None
    spread = float(np.sqrt((known[:, 1] ** 2).mean()))
    return Baseline(float(known[:, 0].mean()), max(spread, LEAST_SPREAD))


def baseline_between(scores: Vectors, same: NDArray[np.bool_]) -> Baseline | None:
    """Return a kind's baseline by its rows' scores with files (n, m), those `same` aside.

    A row that is one of the files says nothing. Few files say little of the spread.
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
    """Return how a kind's rows score, by some of them (n,), each standing for so many.

    Without a baseline the query's own scores stand for it.
    """
    count, median, variance, third, fourth = central_moments(scores, weights)
    if baseline is None:
        baseline = Baseline(min(median, ASSUMED_CENTRE), ASSUMED_SPREAD)
    prior = PRIOR_ROWS * baseline.spread**2
    spread = float(np.sqrt((count * variance + prior) / (count + PRIOR_ROWS)))
    shape = third / spread**3, fourth / spread**4
    return Level(float(scores.max()), median, spread, *shape, count, baseline, words)


def central_moments(
    x: Vectors, weights: Vectors | None
) -> tuple[float, float, float, float, float]:
    """Return how many rows scores (n,) stand for, their median and central moments 2 to 4."""
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
    """One hidden layer: a kind's inputs and a place to evidence."""

    mean: Vectors
    scale: Vectors
    hidden: Vectors
    bias: Vectors
    output: Vectors
    offset: Vectors

    def __call__(self, measured: Sequence[float]) -> Vectors:
        """Return the evidence at PLACES, which never falls, by a kind's inputs."""
        inputs = np.column_stack([np.tile(measured, (len(PLACES), 1)), PLACES])
        inputs = np.clip((inputs - self.mean) / self.scale, -3, 3)  # not beyond what it saw
        evidence = np.tanh(inputs @ self.hidden + self.bias) @ self.output + self.offset
        return np.asarray(np.maximum.accumulate(evidence), np.float32)


@cache
def network() -> Network:
    """Return the fitted network of the package."""
    values = json.loads(NETWORK.read_text())
    return Network(**{name: np.array(value, np.float32) for name, value in values.items()})
