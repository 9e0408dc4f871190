"""How each row of a library answers a query: cosines, calibrated and combined over its terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.calibrate import Calibrated, calibrate
from qvsearch.combine import combine

if TYPE_CHECKING:
    from qvsearch.library import Library
    from qvsearch.terms import Term
    from qvsearch.types import Embedder, Vectors


@dataclass(frozen=True, slots=True)
class Judged:
    """What one term of a query makes of the rows: their cosines (n,), and these calibrated."""

    term: Term
    scores: Vectors
    calibrated: Calibrated


@dataclass(frozen=True, slots=True)
class Ranking:
    """A library's rows against a query, arrays by row number, -inf where there is no row.

    `evidence` (n,) is log-odds that a row answers; `scores` (n,) are cosines, the weighted mean
    over what is looked for. `terms` holds what each term of the query made of the rows.
    """

    evidence: Vectors
    scores: Vectors
    terms: tuple[Judged, ...]


def rank_rows(library: Library, terms: Sequence[Term], embedder: Embedder) -> Ranking:
    """Embed a query's terms and judge every row of a library by them."""
    vectors = embedder.embed([each for term in terms for each in term.inputs])
    ends = list(accumulate(len(term.inputs) for term in terms))
    judged = [
        _judged(library, term, rows)
        for term, rows in zip(terms, np.split(vectors, ends[:-1]), strict=True)
    ]
    wanted = [each for each in judged if each.term.weight > 0]
    unwanted = [each for each in judged if each.term.weight < 0]
    evidence = combine(
        [(each.term.weight, each.calibrated.evidence) for each in wanted],
        [(-each.term.weight, each.calibrated.evidence) for each in unwanted],
    )
    total = sum(each.term.weight for each in wanted)
    scores = np.zeros_like(evidence)
    for each in wanted:
        scores += np.float32(each.term.weight / total) * each.scores
    return Ranking(evidence, scores, tuple(judged))


def _judged(library: Library, term: Term, vectors: Vectors) -> Judged:
    """Calibrate one term; where it has several vectors, a row counts by its best."""
    scores = np.maximum.reduce([library.scores(vector) for vector in vectors])
    found = calibrate(scores, library.kinds, library.backgrounds, worded=term.worded)
    return Judged(term, scores, found)
