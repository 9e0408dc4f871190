"""Groups and outliers among vectors are those of independent methods."""

import numpy as np
import pytest
from sklearn.cluster import HDBSCAN
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score
from sklearn.neighbors import LocalOutlierFactor
from support.blobs import blobs, scattered
from support.made_rows import unit

from qvsearch.tasks.grouping import vector_groups
from qvsearch.tasks.grouping.outliers import outlier_factors
from qvsearch.tasks.grouping.vector_groups import (
    NONE,
    by_size,
    density_groups,
    kmeans_groups,
    neighbour_graph,
    neighbours,
    smoothed,
)


def test_groups_are_found_and_what_is_apart_is_in_none():
    rng = np.random.default_rng(0)
    vectors, truth = blobs(rng, [60, 40, 20])
    far = scattered(rng, 6)
    labels = density_groups(np.concatenate([vectors, far]), 10)
    assert adjusted_rand_score(truth, labels[: len(truth)]) > 0.98
    assert (labels[len(truth) :] == NONE).sum() >= 5
    assert np.bincount(labels[labels >= 0]).tolist() == sorted(
        np.bincount(labels[labels >= 0]), reverse=True
    )


def test_groups_are_those_of_hdbscan_over_all_distances():
    rng = np.random.default_rng(1)
    vectors, _ = blobs(rng, [50, 30, 30, 20, 15], spread=0.28)
    vectors = np.concatenate([vectors, scattered(rng, 15)])
    nearest = np.argsort(-(vectors @ vectors.T), axis=1)[:, :8]
    smooth = unit(vectors[nearest].mean(axis=1))
    whole = HDBSCAN(min_cluster_size=8, min_samples=5, algorithm="brute", copy=True)
    exact = whole.fit_predict(smooth)
    ours = density_groups(vectors, 8)
    grouped = exact >= 0
    assert grouped.sum() > 100
    # ours differ by the files on the fringe, which join a group
    assert adjusted_mutual_info_score(exact[grouped], ours[grouped]) > 0.98


def test_the_graph_has_the_distances_of_neighbours_and_is_of_one_component():
    from scipy.sparse.csgraph import connected_components

    rng = np.random.default_rng(2)
    vectors, truth = blobs(rng, [40, 40, 40], spread=0.05)
    graph = neighbour_graph(vectors)
    assert connected_components(graph, directed=False)[0] == 1
    rows, columns = graph.nonzero()
    expected = np.linalg.norm(vectors[rows] - vectors[columns], axis=1)
    assert np.abs(graph.tocoo().data - expected).max() < 1e-3
    assert (truth[rows] != truth[columns]).sum() <= 12  # bridges
    near = np.sort(np.linalg.norm(vectors[0] - vectors, axis=1))[1]
    assert graph[[0]].data.min() == pytest.approx(near, abs=1e-3)


def test_an_inverted_file_finds_most_neighbours(monkeypatch):
    vectors, _ = blobs(np.random.default_rng(3), [400] * 5, spread=0.3)
    exact = neighbours(vectors, 10)[1]
    monkeypatch.setattr(vector_groups, "EXACT_UP_TO", 100)
    found = neighbours(vectors, 10)[1]
    shared = [len({*ours} & {*true}) / 10 for ours, true in zip(found, exact, strict=True)]
    assert np.mean(shared) > 0.9
    assert found.min() >= 0


def test_a_smoothed_vector_is_the_mean_of_its_nearest():
    vectors = scattered(np.random.default_rng(4), 50)
    nearest = np.argsort(-(vectors @ vectors[7]))[:5]
    assert np.allclose(smoothed(vectors, 5)[7], unit(vectors[nearest].mean(axis=0)), atol=1e-5)


def test_kmeans_makes_as_many_groups_as_wanted_and_the_same_each_time():
    vectors, truth = blobs(np.random.default_rng(5), [50, 30, 20])
    labels = kmeans_groups(vectors, 3)
    assert adjusted_rand_score(truth, labels) == 1
    assert np.bincount(labels).tolist() == [50, 30, 20]
    assert (labels == kmeans_groups(vectors, 3)).all()


def test_labels_are_numbered_by_size():
    assert by_size(np.array([5, 5, -1, 2, 2, 2, 9])).tolist() == [1, 1, -1, 0, 0, 0, 2]
    assert by_size(np.array([-1, -1])).tolist() == [-1, -1]


def test_equal_vectors_are_one_group_and_few_are_none():
    same = np.tile(scattered(np.random.default_rng(6), 1), (9, 1))
    assert density_groups(same, 3).tolist() == [0] * 9
    assert density_groups(scattered(np.random.default_rng(6), 3), 2).tolist() == [NONE] * 3


def test_pairs_of_equal_vectors_are_no_missing_edges():
    vectors, truth = blobs(np.random.default_rng(7), [30, 30])
    twice, truth = np.repeat(vectors, 2, axis=0), np.repeat(truth, 2)
    assert adjusted_rand_score(truth, density_groups(twice, 10)) > 0.95


def test_outlier_factors_are_those_of_scikit_learn():
    rng = np.random.default_rng(8)
    vectors = np.concatenate([blobs(rng, [60, 40])[0], scattered(rng, 5)])
    exact = -LocalOutlierFactor(n_neighbors=20).fit(vectors).negative_outlier_factor_
    factors = outlier_factors(vectors)
    assert np.abs(factors - exact).max() < 0.01
    assert set(np.argsort(-factors)[:5]) == set(range(100, 105))
