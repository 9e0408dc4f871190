"""How much of what exact search finds the first pass leaves, on a library's own rows.

It loads no model: it asks for stored rows, made noisy, and for the bank's generic queries.
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
from qvsearch.retrieval.combine import relevance_of
from qvsearch.retrieval.first_pass import rank_all, rank_best
from qvsearch.retrieval.hits import best_rows
from qvsearch.retrieval.query import Term
from qvsearch.retrieval.scoring import Asked

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.retrieval.scoring import Ranking
    from qvsearch.types import Vectors

ANSWERS = 10  # files of which a query's recall is told
STORED = 50  # rows that are asked for
NOISE = 0.5  # as long as that, where a row is of length 1: the query's cosine with it is about 0.9
_SEED = 10  # of the noise: a library is asked the same whenever it is measured


@dataclass(frozen=True, slots=True)
class Recall:
    """What came of asking both ways, for the ten best files each.

    `recall_at_10` is the mean share of a query's that the first pass finds, or others as good;
    `relevance_apart` the largest difference in a found file's relevance. Times are medians.
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
    """What came of one query."""

    recall: float
    relevance_apart: float
    first_pass_ms: float
    exact_ms: float


def measure_recall(library: Library) -> Recall:
    """Compare a search that a first pass precedes with an exact one, whatever the library's size.

    Raises QvsearchError where the library is empty or no first pass is kept for any of its files,
    or where a stored vector is damaged.
    """
    if not len(library):
        raise QvsearchError(
            f"the library {library.folder} is empty; fill it with:"
            f" qvsearch index FOLDER{option(library.folder)}"
        )
    if not library.has_signs:
        raise QvsearchError(
            f"the library {library.folder} has {len(library):,} rows and nothing for a first pass,"
            " so that all its searches are exact; the next `qvsearch index` that changes the"
            " library prepares one"
        )
    # what is read only once is no query's time, and a damaged vector is named before it is asked
    _compared(library, np.eye(1, library.fingerprint.dim, dtype=np.float32)[0], exact_first=True)
    stored, generic = stored_queries(library), library.bank
    queries = stored if generic is None else np.concatenate([stored, generic])
    # by turns, because the second way finds more in the machine's caches
    found = [_compared(library, each, exact_first=n % 2 > 0) for n, each in enumerate(queries)]
    return Recall(
        rows=len(library),
        stored_queries=len(stored),
        generic_queries=len(queries) - len(stored),
        recall_at_10=float(np.mean([each.recall for each in found])),
        relevance_apart=max(each.relevance_apart for each in found),
        first_pass_ms=float(np.median([each.first_pass_ms for each in found])),
        exact_ms=float(np.median([each.exact_ms for each in found])),
    )


def stored_queries(library: Library) -> Vectors:
    """Return the vectors (m, dim) of rows taken evenly, each turned a little at random."""
    rows = np.flatnonzero(library.segments.live)
    rows = rows[np.linspace(0, len(rows) - 1, min(STORED, len(rows))).astype(np.intp)]
    vectors = library.vectors(rows.tolist())
    noise = np.random.default_rng(_SEED).standard_normal(vectors.shape, np.float32)
    vectors += NOISE * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    turned: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return turned


def _compared(library: Library, query: Vectors, *, exact_first: bool) -> _Compared:
    """Ask one query (dim,) both ways; of copies, which are as good as each other, any counts.

    A file is found by whichever of its moments, as a search takes in the others.
    """
    live, items = library.columns.live, library.columns.items
    asked = [Asked(Term("", (), 1.0), query[None])]

    def ask(rank: Callable[[], Ranking]) -> tuple[Vectors, list[int], float]:
        start = perf_counter()
        ranking = rank()
        best = list(islice(best_rows(library, ranking, live, -np.inf), ANSWERS))
        return ranking.evidence, best, 1000 * (perf_counter() - start)

    ways = [lambda: rank_best(library, asked, live), lambda: rank_all(library, asked)]
    if exact_first:
        exact, fast = ask(ways[1]), ask(ways[0])
    else:
        fast, exact = ask(ways[0]), ask(ways[1])
    (guessed, found, first_pass_ms), (evidence, best, exact_ms) = fast, exact
    worth = [evidence[items == items[row]].max() for row in found]
    return _Compared(
        sum(each >= evidence[best[-1]] for each in worth) / len(best),
        max(abs(relevance_of(guessed[row]) - relevance_of(evidence[row])) for row in found),
        first_pass_ms,
        exact_ms,
    )
