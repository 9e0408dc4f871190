"""How all rows of a shared table score for a query, by a few that its engine finds.

As the first pass of a large library does, levels come from exact cosines of the best rows of each
kind, and of a sample that stands for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.published.engine import REFINE
from qvsearch.published.schema import vectors_of
from qvsearch.retrieval.calibration import calibrate
from qvsearch.retrieval.scoring import baselines

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.published.engine import Table
    from qvsearch.published.library import PublishedLibrary
    from qvsearch.published.sample import TableSample
    from qvsearch.retrieval.calibration import Level
    from qvsearch.retrieval.scoring import EmbeddedTerm
    from qvsearch.types import Vectors

BEST = 1000  # rows of each kind that get an exact score, as in a large library
REFINED = 2  # candidates of the index for each of many rows; for a few, more are needed
FEW = 200  # rows


@dataclass(frozen=True, slots=True)
class Found:
    """The best rows of a kind for a term, best first: keys (n,), files (n,) and cosines (n,).

    `bound` is the highest cosine that any other row may have, -inf if there is none.
    """

    keys: NDArray[np.bytes_]
    items: NDArray[np.int64]
    scores: Vectors
    bound: float


@dataclass(frozen=True, slots=True)
class LeveledTerm:
    """A term with the level of each kind, and the best rows of each kind without any filter."""

    embedded: EmbeddedTerm
    levels: dict[int, Level]
    best: dict[int, Found]


def leveled(
    library: PublishedLibrary, terms: Sequence[EmbeddedTerm], *, exact: bool
) -> list[LeveledTerm]:
    """Return the levels of a query's terms; `exact` compares all rows to find the best."""
    table, sample = library.table, library.table_sample
    codes = np.flatnonzero(sample.counts).tolist()
    with ThreadPoolExecutor() as pool:  # the engine waits for its storage
        found = {
            (place, code): pool.submit(
                best_of_kind,
                table,
                term.vectors,
                code,
                max(FEW, BEST // len(term.vectors)),
                None,
                exact=exact,
            )
            for place, term in enumerate(terms)
            for code in codes
        }
        return [
            _leveled(sample, term, {code: found[place, code].result() for code in codes})
            for place, term in enumerate(terms)
        ]


def best_of_kind(
    table: Table, vectors: Vectors, code: int, count: int, where: str | None, *, exact: bool
) -> Found:
    """Return the best rows of a kind that pass an SQL filter, by their best cosine with any vector.

    With several vectors (m, dim) there may be more than `count`.
    """
    condition = f"kind = {code}" if where is None else f"kind = {code} AND ({where})"
    refine = REFINED if count > FEW else REFINE
    lists = [table.nearest(each, count, condition, exact=exact, refine=refine) for each in vectors]
    cut = [each.cosines[-1] for each in lists if len(each.rows) >= count]
    bound = max(cut, default=-np.inf)
    if len(lists) > 1:
        return _rescored(table, {key for each in lists for key in each.rows}, vectors, bound)
    (only,) = lists
    keys, items = np.array(only.rows, "S"), np.array(only.items, np.int64)
    return Found(keys, items, np.array(only.cosines, np.float32), bound)


def _rescored(table: Table, keys: set[str], vectors: Vectors, bound: float) -> Found:
    """Return rows, best first, by their best cosine with any of several vectors (m, dim)."""
    rows = table.by_rows(keys)
    scores = (vectors_of(rows) @ vectors.T).max(axis=1, initial=-1)
    order = np.argsort(-scores, kind="stable")
    names = np.array(rows["row"].to_pylist(), "S")
    return Found(names[order], rows["item"].to_numpy()[order], scores[order], bound)


def _leveled(sample: TableSample, embedded: EmbeddedTerm, best: Mapping[int, Found]) -> LeveledTerm:
    """Return a term with levels from the best rows and from the sample, which is for the rest."""
    term, vectors = embedded.term, embedded.vectors
    sampled: Vectors = reduce(np.maximum, [sample.store.scores(each) for each in vectors])
    scores, kinds, weights = [], [], []
    for code, found in best.items():
        rows = sample.by_kind[code]
        others = rows[~np.isin(sample.keys[rows], found.keys)]
        rest = max(0, int(sample.counts[code]) - len(found.keys))
        scores += [_exact(sample, rows, sampled, found), sampled[others]]
        kinds.append(np.full(len(found.keys) + len(others), code, np.uint8))
        weights += [np.ones(len(found.keys)), np.full(len(others), rest / max(1, len(others)))]
    levels = calibrate(
        np.concatenate(scores).astype(np.float32),
        np.concatenate(kinds),
        baselines(sample, term),
        words=term.words,
        weights=np.concatenate(weights).astype(np.float32),
    ).levels
    return LeveledTerm(embedded, levels, dict(best))


def _exact(sample: TableSample, rows: NDArray[np.int64], sampled: Vectors, found: Found) -> Vectors:
    """Return the cosines of found rows; those of the engine differ a little from the sample's."""
    scores = found.scores.copy()
    _, mine, theirs = np.intersect1d(sample.keys[rows], found.keys, return_indices=True)
    scores[theirs] = sampled[rows[mine]]
    return scores
