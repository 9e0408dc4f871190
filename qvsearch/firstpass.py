"""Judge only the rows of a large library that may answer a query, as exactly as if it were all.

A first pass guesses every row's cosine. What it finds promising gets an exact score, and so does a
sample, which tells how wrong guesses are. Levels of kinds come from all three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.calibrate import Calibrated, calibrate
from qvsearch.errors import QvsearchError
from qvsearch.ranking import Asked, Judged, Ranking, pooled, ranking_of
from qvsearch.rows import LARGEST_SCORE
from qvsearch.types import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.calibrate import Level
    from qvsearch.library import Library
    from qvsearch.stores.faiss import FaissStore
    from qvsearch.types import Vectors

EXACT_UP_TO = 200_000 * 2048  # numbers are scored exactly, all: that takes a tenth of a second
BEST = 1000  # rows of each kind that get an exact score
REST = 1 << 16  # of the other rows of a kind: their guesses tell how all of them score
REACH = 3.0  # spreads of the guesses' errors: one guess of 700 is further below the score
_PROBE = 16  # of so many guesses one tells from where on the best are


def rank_best(library: Library, asked: Sequence[Asked], mask: NDArray[np.bool_]) -> Ranking:
    """Judge the rows that may answer best, of all rows and of those in the mask (size,)."""
    kinds, sample = library.kinds, library.sample
    of_kind = [np.flatnonzero(kinds == code) for code in range(len(Kind))]
    sampled = [_exact(sample.store, each.vectors) for each in asked]
    rough = [_guessed(library, *each) for each in zip(asked, sampled, strict=True)]
    tops = [best_guesses(each.evidence, of_kind)[0] for each in rough]
    together = pooled(
        [(each.term, found.evidence) for each, found in zip(asked, rough, strict=True)]
    )
    masked = of_kind if mask.all() else [rows[mask[rows]] for rows in of_kind]
    chosen, following = best_guesses(together, masked)
    wanted = np.zeros(library.size, np.bool_)
    wanted[np.concatenate([chosen, *tops])] = True
    wanted[sample.rows] = False
    rows = np.flatnonzero(wanted)
    store = library.pick(rows)
    judged = []
    for each, guessed, known, top in zip(asked, rough, sampled, tops, strict=True):
        scores = np.full(library.size, -np.inf, np.float32)
        scores[sample.rows], scores[rows] = known, _exact(store, each.vectors)
        found = Calibrated(
            np.full_like(scores, -np.inf),
            _levels(library, each, guessed, scores, of_kind, top),
            scores,
            kinds,
            library.backgrounds,
        )
        for exact in (rows, sample.rows):
            found.judge(exact, scores[exact])
        judged.append(Judged(each.term, scores, found, each.vectors))
    guesses = [
        (each.term, each.calibrated.evidence_at(guessed.most(following, kinds, each), following))
        for each, guessed in zip(judged, rough, strict=True)
    ]
    left = zip(following.tolist(), pooled(guesses).tolist(), strict=True)
    return ranking_of(judged, tuple(left))


@dataclass(frozen=True, slots=True)
class Rough:
    """Guesses of all rows: cosines (size,), evidence (size,), errors of the sample by kind."""

    scores: Vectors
    evidence: Vectors
    errors: dict[int, Vectors]

    def most(self, rows: NDArray[np.int64], kinds: NDArray[np.uint8], judged: Judged) -> Vectors:
        """Return what rows may score that counts most, or least of what is to be left out."""
        spreads = [self.errors[code].std() for code in kinds[rows].tolist()]
        reach = np.copysign(REACH * np.array(spreads, np.float32), judged.term.weight)
        found: Vectors = self.scores[rows] + reach
        return found


def _guessed(library: Library, asked: Asked, exact: Vectors) -> Rough:
    """Guess what all rows score, where `exact` are the scores of the sample."""
    sample, kinds = library.sample, library.kinds
    guesses = np.maximum.reduce([library.guesses(vector) for vector in asked.vectors])
    means = np.nan_to_num(library.backgrounds[:, 0])
    lines = np.zeros((3, 256), np.float32)
    errors: dict[int, Vectors] = {}
    for code in np.unique(kinds[sample.rows]).tolist():
        here = kinds[sample.rows] == code
        rows = sample.rows[here]
        # a row's mean tells something of the error, too
        told = np.stack([guesses[rows], means[rows], np.ones_like(guesses[rows])], axis=1)
        lines[:, code] = np.linalg.lstsq(told, exact[here])[0]
        errors[code] = exact[here] - told @ lines[:, code]
    slope, share, offset = lines
    guesses *= slope[kinds]
    guesses += share[kinds] * means + offset[kinds]
    guesses[sample.rows] = exact
    weights = np.zeros(library.size, np.float32)
    weights[sample.rows] = sample.weights
    found = calibrate(
        guesses, kinds, library.backgrounds, worded=asked.term.worded, weights=weights
    )
    return Rough(guesses, found.evidence_at(guesses, slice(None)), errors)


def _levels(
    library: Library,
    asked: Asked,
    rough: Rough,
    exact: Vectors,
    of_kind: Sequence[NDArray[np.int64]],
    top: NDArray[np.int64],
) -> dict[int, Level]:
    """Return the levels of all kinds, from exact scores of the top rows and guesses of the rest.

    A guess is given an error of the sample, so that guesses are spread as scores are. That tells a
    spread better than the sample alone does: there are many more of them.
    """
    scores = np.full(library.size, np.nan, np.float32)
    weights = np.zeros(library.size, np.float32)
    scores[top], weights[top] = exact[top], 1
    for code, rows in enumerate(of_kind):
        rest = rows[weights[rows] == 0]
        if len(rest):
            some = rest[:: -(-len(rest) // REST)]
            scores[some] = rough.scores[some] + np.resize(rough.errors[code], len(some))
            weights[some] = len(rest) / len(some)
    sampled = library.sample.rows[weights[library.sample.rows] > 0]
    scores[sampled] = exact[sampled]
    return calibrate(
        scores, library.kinds, library.backgrounds, worded=asked.term.worded, weights=weights
    ).levels


def _exact(store: FaissStore, vectors: Vectors) -> Vectors:
    """Return the best cosine (n,) of each stored row with any of the vectors."""
    scores: Vectors = np.maximum.reduce([store.scores(vector) for vector in vectors])
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
