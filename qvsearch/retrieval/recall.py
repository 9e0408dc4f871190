"""Measures how many of the best files a first pass finds, on a library's own rows.

No model is loaded: the queries are stored rows with noise, and the baseline queries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.library.names import option
from qvsearch.retrieval.calibration import relevance_of
from qvsearch.retrieval.first_pass import rank_all, rank_best
from qvsearch.retrieval.hits import best_rows
from qvsearch.retrieval.query import Term
from qvsearch.retrieval.scoring import EmbeddedTerm

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.retrieval.scoring import Ranking
    from qvsearch.types import Vectors

ANSWERS = 10  # files that the recall of a query is measured over
STORED = 50  # rows that are turned into queries
NOISE = 0.5  # length of the noise; a row has length 1, so its cosine with the query is about 0.9
_SEED = 10  # of the noise: every measurement of a library has the same queries


@dataclass(frozen=True, slots=True)
class Recall:
    """The results of searching with a first pass beside those of exact search, for ten files each.

    `recall_at_10` is the mean share of the ten best files, or others as good, that the first pass
    finds. `relevance_apart` is the largest difference in the relevance of such a file. Times are
    medians.
    """

    rows: int
    stored_queries: int
    generic_queries: int
    recall_at_10: float
    relevance_apart: float
    first_pass_ms: float
    exact_ms: float


@dataclass(frozen=True, slots=True)
class _Compared:
    """The results for one query."""

    recall: float
    relevance_apart: float
    first_pass_ms: float
    exact_ms: float


def measure_recall(library: Library) -> Recall:
    """Compare a search after a first pass with an exact one, whatever the library's size.

    Raises QvsearchError if the library is empty, if no file of it has data for a first pass, or if
    a stored vector is damaged.
    """
    if not len(library):
        raise QvsearchError(
            f"the library {library.folder} is empty; fill it with:"
            f" qvsearch index FOLDER{option(library.folder)}"
        )
    if not library.has_signs:
        raise QvsearchError(
            f"the library {library.folder} has {len(library):,} rows and nothing for a first pass:"
            " all its searches are exact. The next `qvsearch index` that changes the library"
            " prepares one"
        )
    # the first query reads files into memory, and finds damaged vectors; it is not timed
    _compared(library, np.eye(1, library.fingerprint.dim, dtype=np.float32)[0], exact_first=True)
    stored, generic = stored_queries(library), library.baseline
    queries = stored if generic is None else np.concatenate([stored, generic])
    # in turns, because the second way finds more in the machine's caches
    results = [_compared(library, each, exact_first=n % 2 > 0) for n, each in enumerate(queries)]
    return Recall(
        rows=len(library),
        stored_queries=len(stored),
        generic_queries=len(queries) - len(stored),
        recall_at_10=float(np.mean([each.recall for each in results])),
        relevance_apart=max(each.relevance_apart for each in results),
        first_pass_ms=float(np.median([each.first_pass_ms for each in results])),
        exact_ms=float(np.median([each.exact_ms for each in results])),
    )


def stored_queries(library: Library) -> Vectors:
    """Return the vectors (m, dim) of evenly spread rows, each with a little random noise."""
    rows = np.flatnonzero(library.segments.live)
    rows = rows[np.linspace(0, len(rows) - 1, min(STORED, len(rows))).astype(np.intp)]
    vectors = library.vectors(rows.tolist())
    noise = np.random.default_rng(_SEED).standard_normal(vectors.shape, np.float32)
    vectors += NOISE * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    turned: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return turned


def _compared(library: Library, query: Vectors, *, exact_first: bool) -> _Compared:
    """Search one query (dim,) both ways; any copy of a file counts, and any moment of it."""
    live, items = library.columns.live, library.columns.items
    terms = [EmbeddedTerm(Term("", (), 1.0), query[None])]

    def timed(rank: Callable[[], Ranking]) -> tuple[Vectors, list[int], float]:
        start = perf_counter()
        ranking = rank()
        best = list(islice(best_rows(library, ranking, live, -np.inf), ANSWERS))
        return ranking.evidence, best, 1000 * (perf_counter() - start)

    ways = [lambda: rank_best(library, terms, live), lambda: rank_all(library, terms)]
    if exact_first:
        exact, fast = timed(ways[1]), timed(ways[0])
    else:
        fast, exact = timed(ways[0]), timed(ways[1])
    (estimated, rows, first_pass_ms), (evidence, best, exact_ms) = fast, exact
    of_files = [evidence[items == items[row]].max() for row in rows]
    return _Compared(
        sum(each >= evidence[best[-1]] for each in of_files) / len(best),
        max(abs(relevance_of(estimated[row]) - relevance_of(evidence[row])) for row in rows),
        first_pass_ms,
        exact_ms,
    )
