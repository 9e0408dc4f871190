"""Groups among unit vectors: HDBSCAN on a graph of neighbours, or spherical k-means.

Before HDBSCAN each vector is replaced by the mean of its nearest ones. This is one step of mean
shift (Fukunaga and Hostetler 1975), or the graph filter of Wu et al. (2019). It empties the space
between groups; without it HDBSCAN leaves half of a library in no group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import faiss as _faiss
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.types import Vectors

    Labels = NDArray[np.int64]

faiss: Any = _faiss  # its type stubs lack the methods of its Python layer

SEED = 1
NEIGHBOURS = 15  # of each vector in the graph, and at most in its mean
CORE = 4  # the neighbour whose distance is a vector's density; HDBSCAN counts the vector, too: 5
SHORTEST = 1e-4  # distance of equal vectors: a sparse matrix takes 0 for no edge
LARGEST = 0.8  # share of all vectors: a larger group is split if it has several within
FRINGE = 0.05  # share of a group that may lie further out than a vector that joins it
FENCE = 1.5  # interquartile ranges below the lower quartile of a group's cosines (Tukey 1977)
NONE = -1  # the label of vectors in no group
EXACT_UP_TO = 5000  # vectors whose neighbours are found by comparing all pairs
PROBES = 32  # cells of an inverted file that are searched, of 4 * sqrt(n)


def default_size(count: int) -> int:
    """Return the least size of a group among so many vectors: half the square root, 3 to 50."""
    return int(np.clip(round(count**0.5 / 2), 3, 50))


def density_groups(vectors: Vectors, min_size: int) -> Labels:
    """Return the group (n,) of each unit vector (n, d), NONE for those in no group.

    Groups have `min_size` vectors before those that lie far out leave them. They are numbered by
    size, the largest first. HDBSCAN is of Campello, Moulavi and Sander (2013).
    """
    count = len(vectors)
    if are_equal(vectors) and count >= min_size:
        return np.zeros(count, np.int64)
    if count <= CORE or count < min_size:
        return np.full(count, NONE)
    graph = neighbour_graph(smoothed(vectors, min(NEIGHBOURS, min_size)))
    labels = _dense(graph, min_size)
    if np.bincount(labels + 1)[1:].max(initial=0) > LARGEST * count:
        finer = _dense(graph, min_size, int(LARGEST * count))
        labels = finer if finer.max() > labels.max() else labels
    return by_size(settled(vectors, labels))


def _dense(graph: Any, min_size: int, max_size: int | None = None) -> Labels:  # noqa: ANN401
    """Return the groups (n,) of HDBSCAN, given a sparse matrix of distances (n, n)."""
    from sklearn.cluster import HDBSCAN

    hdbscan = HDBSCAN(
        min_cluster_size=min_size,
        max_cluster_size=max_size,
        min_samples=CORE,
        metric="precomputed",
        copy=True,
    )
    return np.asarray(hdbscan.fit_predict(graph), np.int64)


def kmeans_groups(vectors: Vectors, count: int) -> Labels:
    """Return the group (n,) of each unit vector (n, d), at most `count` of them, by size."""
    kmeans = faiss.Kmeans(
        vectors.shape[1],
        count,
        niter=25,
        nredo=3,
        spherical=True,
        seed=SEED,
        min_points_per_centroid=1,  # it warns about fewer
    )
    kmeans.train(vectors)
    _, labels = kmeans.index.search(vectors, 1)
    return by_size(labels[:, 0])


def are_equal(vectors: Vectors) -> bool:
    """Return whether vectors (n, d) are all the same, apart from rounding."""
    return bool((np.abs(vectors - vectors[:1]) < SHORTEST).all())


def smoothed(vectors: Vectors, count: int) -> Vectors:
    """Return the mean of each vector and its nearest ones, `count` together, as unit vectors."""
    _, nearest = neighbours(vectors, count)
    means = np.zeros_like(vectors)
    for place in range(nearest.shape[1]):
        means += vectors[nearest[:, place]]
    return unit(means)


def neighbours(vectors: Vectors, count: int) -> tuple[Vectors, Labels]:
    """Return cosines and places (n, count) of the nearest vectors of each, itself among them.

    Of more than EXACT_UP_TO vectors an inverted file finds about nine neighbours of ten. There are
    fewer columns if there are fewer vectors.
    """
    size, dim = vectors.shape
    index = faiss.IndexFlatIP(dim)
    if size > EXACT_UP_TO:
        cells = int(4 * size**0.5)
        index = faiss.IndexIVFFlat(index, dim, cells, faiss.METRIC_INNER_PRODUCT)
        index.cp.niter, index.cp.seed = 5, SEED
        index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, 64
        index.nprobe = PROBES
        index.train(vectors)
    index.add(vectors)
    cosines, places = index.search(vectors, min(count, size))
    lost = places < 0  # the searched cells have too few vectors
    itself = np.broadcast_to(np.arange(size)[:, None], places.shape)
    return np.where(lost, np.float32(1), cosines), np.where(lost, itself, places)


def neighbour_graph(vectors: Vectors) -> Any:  # noqa: ANN401 - scipy has no types
    """Return the distances of neighbours as a symmetric sparse matrix (n, n) of one component."""
    from scipy.sparse.csgraph import connected_components

    cosines, places = neighbours(vectors, NEIGHBOURS + 1)
    rows = np.repeat(np.arange(len(vectors)), places.shape[1])
    graph = _edges(rows, places.ravel(), cosines.ravel(), len(vectors))
    while True:
        count, parts = connected_components(graph, directed=False)
        if count == 1:
            return graph
        graph = graph.maximum(_bridges(vectors, parts.astype(np.int64), count))


def _bridges(vectors: Vectors, parts: Labels, count: int) -> Any:  # noqa: ANN401
    """Return edges from each of `count` components to the nearest other, between central ones."""
    means = group_means(vectors, parts, count)
    nearness = np.einsum("nd,nd->n", vectors, means[parts])
    order = np.lexsort((-nearness, parts))
    central = order[np.searchsorted(parts[order], np.arange(count))]
    cosines, places = neighbours(np.ascontiguousarray(vectors[central]), 3)
    rows = np.repeat(np.arange(count), places.shape[1])
    return _edges(central[rows], central[places.ravel()], cosines.ravel(), len(vectors))


def _edges(rows: Labels, columns: Labels, cosines: Vectors, count: int) -> Any:  # noqa: ANN401
    """Return edges between different rows as a symmetric sparse matrix of distances."""
    from scipy.sparse import csr_array

    apart = rows != columns
    distances = np.sqrt(np.maximum(2 - 2 * cosines[apart].astype(np.float64), SHORTEST**2))
    graph = csr_array((distances, (rows[apart], columns[apart])), shape=(count, count))
    return graph.maximum(graph.T)


def settled(vectors: Vectors, labels: Labels) -> Labels:
    """Return labels after each vector is compared with the mean of its group, or the nearest.

    Vectors of a group that lie further out than its FENCE leave it; smoothing had drawn them in.
    Vectors of no group that lie no further out than the FRINGE of the nearest group join it.
    """
    count = int(labels.max(initial=NONE)) + 1
    if not count:
        return labels
    grouped = np.flatnonzero(labels != NONE)
    means = group_means(vectors[grouped], labels[grouped], count)
    nearest = labels.copy()
    nearest[labels == NONE] = nearest_means(means, vectors[labels == NONE])
    nearness = np.einsum("nd,nd->n", vectors, means[nearest])
    fringe, fence = np.empty(count), np.empty(count)
    for group in range(count):
        own = nearness[labels == group]
        fringe[group], low, high = np.quantile(own, [FRINGE, 0.25, 0.75])
        fence[group] = low - FENCE * (high - low)
    stays = nearness >= np.where(labels == NONE, fringe[nearest], fence[nearest])
    return np.where(stays, nearest, NONE)


def nearest_means(means: Vectors, vectors: Vectors) -> Labels:
    """Return the place (n,) of the mean that is nearest to each vector (n, d)."""
    index = faiss.IndexFlatIP(means.shape[1])
    index.add(means)
    places: Labels = index.search(vectors, 1)[1][:, 0]
    return places


def group_means(vectors: Vectors, labels: Labels, count: int) -> Vectors:
    """Return the mean direction (count, d) of the vectors (n, d) of each label, 0 to count - 1."""
    from scipy.sparse import csr_array

    members = (np.ones(len(labels), np.float32), (labels, np.arange(len(labels))))
    return unit(csr_array(members, shape=(count, len(labels))) @ vectors)


def by_size(labels: Labels) -> Labels:
    """Return labels numbered from 0 by size, the largest group first, ties by first member."""
    names, firsts, counts = np.unique(labels, return_index=True, return_counts=True)
    order = np.lexsort((firsts, -counts))
    order = order[names[order] != NONE]
    numbers = np.full(int(names.max(initial=NONE)) + 2, NONE)  # the last is that of NONE
    numbers[names[order]] = np.arange(len(order))
    return numbers[labels]


def unit(vectors: Vectors) -> Vectors:
    """Return vectors (n, d) scaled to length 1; shorter ones than rounding become 0."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = np.divide(
        vectors, lengths, out=np.zeros_like(vectors), where=lengths > SHORTEST
    )
    return scaled
