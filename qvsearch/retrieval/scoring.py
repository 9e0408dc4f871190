"""How the rows of a library answer a query: cosines, calibrated and combined over its terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.retrieval.calibration import (
    Baseline,
    Calibrated,
    baseline_between,
    baseline_of,
    calibrate,
)
from qvsearch.retrieval.combine import combine
from qvsearch.types import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.library import Library
    from qvsearch.retrieval.query import Term
    from qvsearch.types import Embedder, Vectors


SAMPLE = 8192  # rows that tell a kind's baseline; their error is a hundredth of a spread
QUERIES = 64  # files of a library that stand for any file, as queries
FETCHED = 512  # rows of a kind that these are compared with


@dataclass(frozen=True, slots=True)
class Asked:
    """A term of a query with its vectors (m, dim); a row counts by its best with any of them."""

    term: Term
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class Judged:
    """What one term of a query makes of the rows: their cosines (n,), and these calibrated."""

    term: Term
    scores: Vectors
    calibrated: Calibrated
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class Ranking:
    """A library's rows against a query, arrays by row number, -inf where there is no row.

    `evidence` (n,) is log-odds that a row answers; `scores` (n,) are cosines, the weighted mean
    over what is looked for. `terms` holds what each term of the query made of the rows. Rows that
    are not judged are at -inf as well; `left` has the best of each kind, (row, evidence at most).
    """

    evidence: Vectors
    scores: Vectors
    terms: tuple[Judged, ...]
    left: tuple[tuple[int, float], ...] = ()

    def bound(self, mask: NDArray[np.bool_]) -> float:
        """Return the most evidence that the mask's rows may have that are not judged, or -inf."""
        return max((evidence for row, evidence in self.left if mask[row]), default=-np.inf)

    def judge(self, library: Library, rows: Sequence[int]) -> None:
        """Judge those of the rows that are not judged yet."""
        found = np.asarray(rows, np.int64)
        found = found[self.evidence[found] == -np.inf]
        if not len(found):
            return
        stored = library.vectors(found.tolist())
        for each in self.terms:
            each.scores[found] = (stored @ each.vectors.T).max(axis=1)
            each.calibrated.judge(found, each.scores[found])
        self.pool(found)
        self.scores[found] = mean_score([(each.term, each.scores[found]) for each in self.terms])

    def pool(self, rows: NDArray[np.int64]) -> None:
        """Take the evidence of rows together anew, after a term's has changed."""
        self.evidence[rows] = pooled(
            [(each.term, each.calibrated.evidence[rows]) for each in self.terms]
        )


def ask(terms: Sequence[Term], embedder: Embedder) -> list[Asked]:
    """Embed a query's terms."""
    vectors = embedder.embed([each for term in terms for each in term.inputs])
    ends = list(accumulate(len(term.inputs) for term in terms))
    return [
        Asked(term, rows) for term, rows in zip(terms, np.split(vectors, ends[:-1]), strict=True)
    ]


def baselines(library: Library, term: Term) -> dict[int, Baseline | None]:
    """Return each kind's baseline: of generic queries or, for a file, of files like it."""
    kinds = {code: _some(rows, SAMPLE) for code, rows in enumerate(library.by_kind) if len(rows)}
    like = [kinds[code] for code, kind in enumerate(Kind) if kind in term.like and code in kinds]
    if term.words == 1 or not like:
        return {code: baseline_of(library.backgrounds[rows]) for code, rows in kinds.items()}
    files = _some(np.concatenate(like), QUERIES)
    shown = library.vectors(files.tolist())
    found = {}
    for code, rows in kinds.items():
        some = _some(rows, FETCHED)
        scores = library.vectors(some.tolist()) @ shown.T
        found[code] = baseline_between(scores, some[:, None] == files)
    return found


def _some(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return at most so many rows, evenly taken."""
    return rows[:: -(-len(rows) // count)]


def rank_rows(library: Library, asked: Sequence[Asked]) -> Ranking:
    """Judge every row of a library by a query's terms."""
    return ranking_of([_judged(library, each) for each in asked])


def ranking_of(judged: Sequence[Judged], left: tuple[tuple[int, float], ...] = ()) -> Ranking:
    """Return what several terms make of the rows together."""
    evidence = pooled([(each.term, each.calibrated.evidence) for each in judged])
    scores = mean_score([(each.term, each.scores) for each in judged])
    return Ranking(evidence, scores, tuple(judged), left)


def pooled(found: Sequence[tuple[Term, Vectors]]) -> Vectors:
    """Return the evidence (n,) of all terms together."""
    return combine(
        [(term.weight, evidence) for term, evidence in found if term.weight > 0],
        [(-term.weight, evidence) for term, evidence in found if term.weight < 0],
    )


def mean_score(found: Sequence[tuple[Term, Vectors]]) -> Vectors:
    """Return the weighted mean (n,) of the cosines with what is looked for.

    Of one term alone it is that term's own array.
    """
    wanted = [(term.weight, scores) for term, scores in found if term.weight > 0]
    if len(wanted) == 1:
        return wanted[0][1]
    total = sum(weight for weight, _ in wanted)
    mean = np.zeros_like(wanted[0][1])
    for weight, scores in wanted:
        mean += np.float32(weight / total) * scores
    return mean


def _judged(library: Library, asked: Asked) -> Judged:
    """Calibrate one term."""
    scores = reduce(np.maximum, [library.scores(vector) for vector in asked.vectors])
    term = asked.term
    found = calibrate(scores, library.kinds, baselines(library, term), words=term.words)
    return Judged(asked.term, scores, found, asked.vectors)
