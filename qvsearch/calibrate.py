"""Turn the cosines of one query into evidence that is comparable between kinds, 0 at the cut.

Each kind of row is judged by itself, in three steps:

1. A row's own level, its mean cosine with the bank of generic queries, is taken off, as far as it
   is more than chance (Z-norm, Reynolds 1997; shrinkage, James and Stein 1961). To divide by the
   row's own spread as well was measured, and is worse.
2. The scores fall into two groups of equal spread, what matches and what does not, where that is
   likelier than one group (minimum error threshold, Kittler and Illingworth 1986, as the
   classification likelihood of Scott and Symons 1971). It asks a lone row to stand sqrt(2 ln n)
   spreads out, many rows less. The bank's level counts as a few more rows that do not match, which
   steadies a small library and tells a query that all rows match (Bayes with a conjugate prior).
3. The cut is where both groups are equally likely (two groups, Efron 2008); evidence is the
   distance from it, in units that give the middle of what matches 95 %.

It knows numbers only, and no constant here is a cosine but the two of a library without a bank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.types import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.types import Vectors

MATCHED = float(np.log(19))  # evidence at the middle of what matches: 95 %
BANK_QUERIES = 64  # that a row's mean is over
PRIOR_ROWS = 4  # that the bank stands for: a kind's centre moves by half of a row's spread
LEAST = 1.0  # spreads of the bank by which matches stand out, or all is one group
DIP = 2.0  # times as dense in their middle as at the cut, or they are only the tail of the rest
FEW = 10  # rows are too few to speak of density
BAND = 0.5  # spreads to both sides in which density is counted
BINS = 1024  # of all scores of a kind: finer than a cosine means anything
SAMPLE = 8192  # rows that tell a kind's level; their error is a hundredth of a spread
ROUNDING = 1e-3  # of cosines of half-precision vectors: no spread is smaller
ASSUMED_SPREAD = 0.1  # without a bank: that of the unrelated photos recorded with the 2B model
ASSUMED_LEVEL = 0.5  # without a bank or words: what does not match is at most half way to identical


@dataclass(frozen=True, slots=True)
class Level:
    """What a kind scores for one query: centre and spread of the rows that do not match.

    `matching` is how many rows form a group above, `middle` their centre, or where it would be;
    `bank_centre` and `bank_spread` are what the kind scores with other queries.
    """

    centre: float
    spread: float
    cut: float
    middle: float
    matching: int
    bank_centre: float
    bank_spread: float
    shrinkage: float

    def evidence(self, scores: Vectors, means: Vectors) -> Vectors:
        """Return the evidence (n,) of rows of this kind by their scores and means with the bank."""
        if self.shrinkage:
            own = means - np.float32(self.bank_centre)
            own[np.isnan(own)] = 0
            scores = scores - np.float32(self.shrinkage) * own
        return (scores - np.float32(self.cut)) * np.float32(MATCHED / (self.middle - self.cut))


@dataclass(frozen=True, slots=True)
class RowLevel:
    """How one row's evidence came about.

    `adjusted` is its score without the row's own level, `deviations` how many spreads of its kind
    that is above what does not match, `own_deviations` how many of its own with the bank, whose
    mean and spread are `background`; None where there is no bank.
    """

    score: float
    background: tuple[float, float] | None
    adjusted: float
    deviations: float
    own_deviations: float | None
    evidence: float
    relevance: float
    kind: Level


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Evidence (size,) of each row, the log-odds that it answers, -inf where no row lives."""

    evidence: Vectors
    levels: dict[int, Level]  # by place in Kind
    _scores: Vectors
    _kinds: NDArray[np.uint8]
    _backgrounds: Vectors

    @property
    def relevance(self) -> Vectors:
        """The evidence (size,) as 0 to 1, 0.5 at the cut."""
        return relevance(self.evidence)

    def judge(self, rows: NDArray[np.int64] | slice, scores: Vectors) -> None:
        """Take in the scores of further rows, whose kinds' levels they do not change."""
        self._scores[rows] = scores
        self.evidence[rows] = self.evidence_at(scores, rows)

    def evidence_at(self, scores: Vectors, rows: NDArray[np.int64] | slice) -> Vectors:
        """Return the evidence of rows with such scores."""
        tables = np.full((4, 256), np.nan, np.float32)
        for code, level in self.levels.items():
            slope = MATCHED / (level.middle - level.cut)
            own = level.bank_centre if level.shrinkage else 0.0
            tables[:, code] = level.shrinkage, own, level.cut, slope
        kinds = self._kinds[rows]
        shrinkage, centres, cuts, slopes = (table[kinds] for table in tables)
        above = self._backgrounds[rows, 0] - centres
        above[np.isnan(above)] = 0
        found = ((scores - shrinkage * above) - cuts) * slopes
        found[np.isnan(found)] = -np.inf
        evidence: Vectors = found
        return evidence

    def row(self, row: int) -> RowLevel:
        """Return how a live row's evidence came about."""
        level = self.levels[int(self._kinds[row])]
        score, evidence = float(self._scores[row]), float(self.evidence[row])
        mean, spread = map(float, self._backgrounds[row])
        known = mean == mean
        own = level.shrinkage * (mean - level.bank_centre) if known else 0.0
        return RowLevel(
            score,
            (mean, spread) if known else None,
            score - own,
            (score - own - level.centre) / level.spread,
            (score - mean) / max(spread, ROUNDING) if known else None,
            evidence,
            float(relevance(self.evidence[row : row + 1])[0]),
            level,
        )


def relevance(evidence: Vectors) -> Vectors:
    """Return log-odds as 0 to 1."""
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-evidence))).astype(np.float32)


def calibrate(
    scores: Vectors,
    kinds: NDArray[np.uint8],
    backgrounds: Vectors,
    *,
    worded: bool = True,
    weights: Vectors | None = None,
) -> Calibrated:
    """Return the evidence of rows by their cosines (size,), kinds and backgrounds (size, 2).

    `worded` says that the query is words alone, as the bank's are: else only what the bank says of
    one row against another holds, and not the level. A kind is its place in Kind; rows of any other
    are not live. A background is mean and standard deviation, NaN where there is no bank. With
    `weights` (size,) only rows that have some are judged, each standing for so many of its kind.
    """
    evidence = np.full(len(scores), -np.inf, dtype=np.float32)
    levels: dict[int, Level] = {}
    for code in range(len(Kind)):
        rows = np.flatnonzero(kinds == code)
        if not len(rows):
            continue
        centre, spread, shrinkage = _bank_level(backgrounds[rows[:: -(-len(rows) // SAMPLE)]])
        if weights is not None:
            rows = rows[weights[rows] > 0]
        each = None if weights is None else weights[rows]
        adjusted = scores[rows]
        if shrinkage:
            own = np.nan_to_num(backgrounds[rows, 0] - np.float32(centre))
            adjusted = adjusted - np.float32(shrinkage) * own
        level = _level(adjusted, each, centre, spread, shrinkage, worded)
        evidence[rows] = (adjusted - level.cut) * (MATCHED / (level.middle - level.cut))
        levels[code] = level
    return Calibrated(evidence, levels, scores, kinds, backgrounds)


def _bank_level(backgrounds: Vectors) -> tuple[float, float, float]:
    """Return centre and spread of a kind with the bank, and how much a row's own level counts."""
    known = backgrounds[np.isfinite(backgrounds[:, 0])].astype(np.float64)
    if not len(known):
        return float("nan"), float("nan"), 0.0
    centre, spread = known[:, 0].mean(), max(np.sqrt((known[:, 1] ** 2).mean()), ROUNDING)
    chance = spread**2 / BANK_QUERIES  # variance of a mean over the bank, were all rows alike
    shrinkage = 1 - chance / max(known[:, 0].var(), chance)
    return float(centre), float(spread), float(shrinkage)


def _level(
    x: Vectors,
    weights: Vectors | None,
    centre: float,
    spread: float,
    shrinkage: float,
    worded: bool,
) -> Level:
    """Return how a kind's adjusted scores fall into what matches and what does not."""
    middle, rows, variance = _moments(x, weights)
    if centre != centre:
        centre = min(middle, ASSUMED_LEVEL)
        spread = np.sqrt((rows * variance + PRIOR_ROWS * ASSUMED_SPREAD**2) / (rows + PRIOR_ROWS))
    elif not worded:
        centre = min(middle, (centre + 1) / 2)

    # all scores as a histogram: `count` rows at each of `value`, ascending
    low, high = float(x.min()), float(x.max())
    width = max((high - low) / BINS, 1e-6)
    count = np.bincount(((x - low) * np.float32(1 / width)).astype(np.intp), weights)
    value = low + (np.flatnonzero(count) + 0.5) * width
    count = count[count > 0].astype(np.float64)

    # for each value: the group from there up, and the rest with the rows that the bank stands for
    n = rows + PRIOR_ROWS
    upper, sums, squares = (np.cumsum((count * value**p)[::-1])[::-1] for p in range(3))
    prior = PRIOR_ROWS * np.array([centre, centre**2 + spread**2])
    rest, total = n - upper, sums[0] + prior[0]
    above, below = sums / upper, (total - sums) / rest
    both = squares[0] + prior[1] - upper * above**2 - rest * below**2
    spreads = np.sqrt(np.maximum(both / n, ROUNDING**2))
    alone = np.sqrt(max((squares[0] + prior[1]) / n - (total / n) ** 2, ROUNDING**2))
    gap = np.maximum(above - below, ROUNDING)
    cuts = np.minimum(below + gap / 2 + spreads**2 / gap * np.log(rest / upper), below + 0.9 * gap)

    # likelier than one group, far enough above the rest, and no tail of it
    gain = n * np.log(alone / spreads) + upper * np.log(upper / n) + rest * np.log(rest / n)
    ends = np.append(0, np.cumsum(count))
    near = [
        ends[np.searchsorted(value, at + BAND * spreads)]
        - ends[np.searchsorted(value, at - BAND * spreads)]
        for at in (above, cuts)
    ]
    gain[(above - below < LEAST * spread) | ((upper >= FEW) & (near[0] < DIP * near[1]))] = -np.inf
    best = int(gain.argmax())
    if gain[best] > 0:
        found = below[best], spreads[best], cuts[best], above[best]
        matching = round(float(upper[best]))
    else:
        lone = max(alone * np.sqrt(2 * np.log(n) + 2), LEAST * spread)
        cut = max(total / n + lone, high + spread / 10)
        found = total / n, alone, cut, 2 * cut - total / n
        matching = 0
    base, width, cut, middle = map(float, found)
    return Level(base, width, cut, middle, matching, centre, spread, shrinkage)


def _moments(x: Vectors, weights: Vectors | None) -> tuple[float, float, float]:
    """Return the median of scores, the number of rows that they stand for, and their variance."""
    if weights is None:
        half = (len(x) - 1) // 2
        return float(np.partition(x, half)[half]), len(x), float(x.var())
    # rows of small weight are the few that match best
    median = _moments(x[weights == weights.max()], None)[0]
    rows, mean = float(weights.sum(dtype=np.float64)), np.average(x, weights=weights)
    return median, rows, float(np.average((x - mean) ** 2, weights=weights))
