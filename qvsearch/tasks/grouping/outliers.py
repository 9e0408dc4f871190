"""The files of a library that belong nowhere, by their local outlier factors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.library.filters import Filters
from qvsearch.retrieval.query import Query, parse_query
from qvsearch.runtime.loading import own_embedder
from qvsearch.tasks.extras import needed
from qvsearch.tasks.grouping.cluster import chosen_rows
from qvsearch.tasks.grouping.item_vectors import item_vectors, library_items, space_of
from qvsearch.tasks.grouping.vector_groups import SHORTEST, are_equal, neighbours
from qvsearch.types import Item, Segment

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.types import Embedder, Vectors

NEIGHBOURS = 20  # as in Breunig et al. (2000), who recommend 10 to 20 at least
FEWEST = 10  # files among which one can lie apart
LEAST_SPREAD = 0.01  # of factors: among files that all lie alike none lies apart
SPREADS = 3.0  # robust standard deviations above the median from which a file is an outlier


@dataclass(frozen=True, slots=True)
class Outlier:
    """A file that lies apart; `rank` counts from 1.

    `factor` is the density around its neighbours as a multiple of its own; 1 is usual.
    """

    rank: int
    factor: float
    segment: Segment
    duplicates: tuple[Item, ...] = ()


def outliers(
    library: Library,
    query: Query | str | Path | None = None,
    embedder: Embedder | None = None,
    filters: Filters | None = None,
    *,
    dedupe: bool = True,
) -> list[Outlier]:
    """Return the files that lie apart from all others, those of the highest factor first.

    A query limits all to what answers it, as for `cluster`. Raises QvsearchError for an empty
    library and without scikit-learn.
    """
    parsed = query if query is None or isinstance(query, Query) else parse_query(str(query))
    return find_outliers(
        library,
        parsed,
        filters or Filters(),
        lambda: embedder or own_embedder(library),
        dedupe=dedupe,
    )


def find_outliers(
    library: Library,
    query: Query | None,
    filters: Filters,
    load: Callable[[], Embedder],
    *,
    dedupe: bool,
) -> list[Outlier]:
    """Do what `outliers` does, loading a model only for a query."""
    needed("sklearn", "scikit-learn", "qvsearch cluster")
    mask = chosen_rows(library, query, filters, load)
    items = library_items(library, mask, dedupe=dedupe)
    if len(items) < FEWEST:
        return []
    factors = outlier_factors(item_vectors(library, items, space_of(library, items)))
    least = cut_of(factors)
    places = np.flatnonzero(factors > least)
    places = places[np.argsort(-factors[places], kind="stable")]
    return [
        Outlier(rank, float(factors[place]), items.segments[place], items.duplicates[place])
        for rank, place in enumerate(places.tolist(), 1)
    ]


def cut_of(factors: Vectors) -> float:
    """Return the factor above which a file is an outlier: SPREADS above the median."""
    median = float(np.median(factors))
    spread = 1.4826 * float(np.median(np.abs(factors - median)))  # that of a normal distribution
    return median + SPREADS * max(spread, LEAST_SPREAD)


def outlier_factors(vectors: Vectors) -> Vectors:
    """Return the local outlier factor (n,) of unit vectors (n, d) (Breunig et al. 2000)."""
    from scipy.sparse import csr_array
    from sklearn.neighbors import LocalOutlierFactor

    size = len(vectors)
    if are_equal(vectors):
        return np.ones(size, np.float32)
    cosines, places = neighbours(vectors, NEIGHBOURS + 1)
    distances = np.sqrt(np.maximum(2 - 2 * cosines.astype(np.float64), SHORTEST**2))
    distances[places == np.arange(size)[:, None]] = 0  # each vector is the first of its own
    order = np.argsort(distances, axis=1, kind="stable")
    distances, places = (np.take_along_axis(each, order, 1) for each in (distances, places))
    starts = np.arange(0, places.size + 1, places.shape[1])
    graph = csr_array((distances.ravel(), places.ravel(), starts), shape=(size, size))
    found = LocalOutlierFactor(n_neighbors=places.shape[1] - 1, metric="precomputed").fit(graph)
    factors: Vectors = -found.negative_outlier_factor_.astype(np.float32)
    return factors
