"""Judge only the rows of a large library that may answer a query, as exactly as if it were all.

A first pass guesses every row's cosine. What it finds promising gets an exact score, and so does a
sample, which tells how wrong guesses are. Levels of kinds come from these exact scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.library.rows import LARGEST_SCORE, places
from qvsearch.retrieval.calibration import Calibrated, calibrate
from qvsearch.retrieval.copies import with_copies
from qvsearch.retrieval.scoring import (
    Asked,
    Judged,
    Ranking,
    baselines,
    pooled,
    rank_rows,
    ranking_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.library import Library
    from qvsearch.retrieval.calibration import Baseline, Level
    from qvsearch.types import Vectors
    from qvsearch.vectors.store import FaissStore

EXACT_UP_TO = 200_000 * 2048  # numbers are scored exactly, all: that takes a tenth of a second
BEST = 1000  # rows of each kind that get an exact score
REACH = 3.0  # spreads of the guesses' errors: one guess of 700 is further below the score
_PROBE = 16  # of so many guesses one tells from where on the best are


def rank_all(library: Library, asked: Sequence[Asked]) -> Ranking:
    """Judge every row of a library by its own score.

    In a large library the levels of kinds are those that `rank_best` finds, so that a row has the
    same relevance in both.
    """
    if not is_large(library):
        return with_copies(library, rank_rows(library, asked))
    judged = [
        _judged(library, each, rough, top, slice(None), _all_scores(library, each.vectors))
        for each, rough, top in _guess_all(library, asked)
    ]
    return with_copies(library, ranking_of(judged))


def is_large(library: Library) -> bool:
    """Tell whether a first pass is worth its time."""
    return len(library) * library.fingerprint.dim > EXACT_UP_TO


def rank_best(library: Library, asked: Sequence[Asked], mask: NDArray[np.bool_]) -> Ranking:
    """Judge the rows that may answer best, of all rows and of those in the mask (size,)."""
    guessed = _guess_all(library, asked)
    together = pooled([(each.term, rough.evidence) for each, rough, _ in guessed])
    groups = library.by_kind
    chosen, following = best_guesses(
        together, groups if mask.all() else [rows[mask[rows]] for rows in groups]
    )
    wanted = np.zeros(library.size, np.bool_)
    wanted[np.concatenate([chosen, *(top for _, _, top in guessed)])] = True
    wanted[library.sample.rows] = False
    rows = np.flatnonzero(wanted)
    store = library.pick(rows)
    judged = [
        _judged(library, each, rough, top, rows, _exact(store, each.vectors))
        for each, rough, top in guessed
    ]
    most = []
    for found, (each, rough, _) in zip(judged, guessed, strict=True):
        scores = rough.most(following, library.kinds, each)
        most.append((each.term, found.calibrated.evidence_at(scores, following)))
    left = tuple(zip(following.tolist(), pooled(most).tolist(), strict=True))
    return with_copies(library, ranking_of(judged, left))


@dataclass(frozen=True, slots=True)
class Rough:
    """Guesses of all rows: cosines (size,), evidence (size,), errors of the sample by kind.

    `sampled` are the sample's own scores.
    """

    scores: Vectors
    evidence: Vectors
    errors: dict[int, Vectors]
    sampled: Vectors
    baselines: dict[int, Baseline | None]

    def most(self, rows: NDArray[np.int64], kinds: NDArray[np.uint8], asked: Asked) -> Vectors:
        """Return what rows may score that counts most, or least of what is to be left out."""
        spreads = [self.errors[code].std() for code in kinds[rows].tolist()]
        reach = np.copysign(REACH * np.array(spreads, np.float32), asked.term.weight)
        found: Vectors = self.scores[rows] + reach
        return found


def _guess_all(
    library: Library, asked: Sequence[Asked]
) -> list[tuple[Asked, Rough, NDArray[np.int64]]]:
    """Return, with each term, guesses of all rows and the BEST of each kind by them."""
    guessed = [(each, _guessed(library, each)) for each in asked]
    by_kind = library.by_kind
    return [(each, rough, best_guesses(rough.evidence, by_kind)[0]) for each, rough in guessed]


def _judged(
    library: Library,
    asked: Asked,
    rough: Rough,
    top: NDArray[np.int64],
    rows: NDArray[np.int64] | slice,
    exact: Vectors,
) -> Judged:
    """Judge the sample and `rows`, the top ones among them, by their own scores."""
    scores = np.full(library.size, -np.inf, np.float32)
    scores[library.sample.rows] = rough.sampled
    scores[rows] = exact
    levels = _levels(library, asked, rough, scores, top)
    found = Calibrated(np.full_like(scores, -np.inf), levels, library.kinds)
    for known in (library.sample.rows, rows):
        found.judge(known, scores[known])
    return Judged(asked.term, scores, found, asked.vectors)


def _guessed(library: Library, asked: Asked) -> Rough:
    """Guess what all rows score."""
    sample, kinds = library.sample, library.kinds
    exact = _exact(sample.store, asked.vectors)
    guesses = reduce(np.maximum, [library.guesses(vector) for vector in asked.vectors])
    means = library.backgrounds[:, 0]
    seen = guesses[sample.rows]
    told = np.stack([seen, np.nan_to_num(means[sample.rows]), np.ones_like(seen)], axis=1)
    errors: dict[int, Vectors] = {}
    for code, rows in enumerate(library.by_kind):
        here = kinds[sample.rows] == code
        if not len(rows):
            continue
        # a row's mean tells something of the error, too
        line = np.linalg.lstsq(told[here], exact[here])[0].astype(np.float32)
        errors[code] = exact[here] - told[here] @ line
        at = places(rows)
        guesses[at] = line[0] * guesses[at] + line[1] * np.nan_to_num(means[at]) + line[2]
    guesses[sample.rows] = exact
    found = baselines(library, asked.term)
    levels = calibrate(
        exact,
        kinds[sample.rows],
        found,
        words=asked.term.words,
        weights=sample.weights,
    ).levels
    evidence = np.full_like(guesses, -np.inf)
    for code, level in levels.items():
        at = places(library.by_kind[code])
        evidence[at] = level.evidence(guesses[at])
    return Rough(guesses, evidence, errors, exact, found)


def _levels(
    library: Library, asked: Asked, rough: Rough, scores: Vectors, top: NDArray[np.int64]
) -> dict[int, Level]:
    """Return the levels of all kinds from exact scores: of the top rows, and a sample of the rest.

    The few rows that match best, which a sample misses, move the skewness most.
    """
    weights = np.zeros(library.size, np.float32)
    sample, kinds = library.sample.rows, library.kinds
    some = sample[~np.isin(sample, top)]
    for code, rows in enumerate(library.by_kind):
        here = some[kinds[some] == code]
        rest = len(rows) - np.count_nonzero(kinds[top] == code)
        weights[here] = rest / max(1, len(here))
    weights[top] = 1
    words = asked.term.words
    return calibrate(scores, kinds, rough.baselines, words=words, weights=weights).levels


def _all_scores(library: Library, vectors: Vectors) -> Vectors:
    """Return the best cosine (size,) of each row with any of the vectors."""
    scores: Vectors = reduce(np.maximum, [library.scores(vector) for vector in vectors])
    return scores


def _exact(store: FaissStore, vectors: Vectors) -> Vectors:
    """Return the best cosine (n,) of each stored row with any of the vectors."""
    scores: Vectors = reduce(np.maximum, [store.scores(vector) for vector in vectors])
    if not (np.abs(scores) < LARGEST_SCORE).all():  # NaN compares with nothing
        raise QvsearchError(
            "a stored vector is damaged; `qvsearch check` says in which file,"
            " `qvsearch check --repair` keeps what is sound"
        )
    return scores


def best_guesses(
    evidence: Vectors, groups: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the BEST rows of each group, and of each that has more the row that would follow."""
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
