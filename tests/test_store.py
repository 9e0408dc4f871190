"""The contract of VectorStore, on every implementation, against numpy."""

import faiss
import numpy as np
import pytest

from qvsearch.errors import QvsearchError
from qvsearch.stores.faiss import FaissStore, index_file

DIM = 24


def unit(rows, seed, dim=DIM):
    vectors = np.random.default_rng(seed).standard_normal((rows, dim), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def rounded(vectors):
    return vectors.astype(np.float16).astype(np.float32)


def made(vectors):
    store = FaissStore(DIM)
    store.add(vectors[: len(vectors) // 2])
    store.add(vectors[len(vectors) // 2 :])
    return store


def read_back(vectors):
    return FaissStore.from_bytes(b"".join(index_file([made(vectors)])), DIM, len(vectors))


@pytest.fixture(params=[made, read_back])
def make(request):
    return request.param


def oracle(vectors, query, k, allowed):
    scores = rounded(vectors).astype(np.float64) @ query
    best = [(row, scores[row]) for row in np.argsort(-scores, kind="stable") if allowed[row]]
    return best[:k]


@pytest.mark.parametrize("k", [1, 7, 100, 1000])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.02, 0.0])
def test_search_is_exact_over_allowed_rows(make, k, share):
    vectors = unit(300, 1)
    store = make(vectors)
    allowed = np.random.default_rng(2).random(300) < share
    for query in unit(5, 3):
        found = store.search(query, k, allowed)
        expected = oracle(vectors, query, k, allowed)
        assert [row for row, _ in found] == [row for row, _ in expected]
        np.testing.assert_allclose(
            [score for _, score in found], [score for _, score in expected], atol=1e-6
        )


def test_removed_rows_are_no_answers_and_the_others_keep_their_numbers(make):
    vectors = unit(100, 1)
    store = make(vectors)
    store.remove([0, 50, 99])
    store.remove([7])
    allowed = np.ones(100, dtype=bool)
    allowed[[0, 7, 50, 99]] = False
    query = vectors[50]
    assert [row for row, _ in store.search(query, 100)] == [
        row for row, _ in oracle(vectors, query, 100, allowed)
    ]
    mask = np.zeros(100, dtype=bool)
    mask[[50, 51]] = True
    assert [row for row, _ in store.search(query, 5, mask)] == [51]


def test_scores_are_the_cosines_of_all_rows_and_of_no_removed_one(make):
    vectors = unit(300, 1)
    store = make(vectors)
    for query in unit(5, 3):
        found = store.scores(query)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, rounded(vectors).astype(np.float64) @ query, atol=1e-6)
        assert store.search(query, 1)[0] == (found.argmax(), found.max())
    store.remove([0, 7, 299])
    found = store.scores(query)
    assert np.array_equal(np.flatnonzero(found == -np.inf), [0, 7, 299])
    store.add(vectors[:2])
    assert store.scores(vectors[1])[[1, 301]] == pytest.approx([1, 1], abs=1e-3)
    assert FaissStore(DIM).scores(query).shape == (0,)


def test_fetched_vectors_are_the_added_ones_in_half_precision(make):
    vectors = unit(100, 1)
    store = make(vectors)
    rows = [99, 3, 3, 0]
    assert np.array_equal(store.fetch(rows), rounded(vectors[rows]))
    assert store.fetch([]).shape == (0, DIM)


def test_rows_can_be_added_at_any_time(make):
    vectors = unit(100, 1)
    store = make(vectors[:60])
    store.remove([10])
    store.add(vectors[60:])
    store.add(vectors[:0])
    assert len(store) == 100
    assert np.array_equal(store.fetch(range(100)), rounded(vectors))
    assert store.search(vectors[80], 1)[0][0] == 80
    assert 10 not in [row for row, _ in store.search(vectors[10], 100)]


def test_equal_rows_come_in_their_order(make):
    vectors = np.repeat(unit(3, 1), 40, axis=0)
    store = make(vectors)
    for k in (1, 5, 39, 40, 41, 120):
        found = [row for row, _ in store.search(vectors[45], k)]
        assert found[:40] == list(range(40, 80))[:k]
        assert len(found) == k


def test_an_empty_store_answers_with_nothing():
    assert FaissStore(DIM).search(unit(1, 1)[0], 5) == []
    assert (
        FaissStore.from_bytes(b"".join(index_file([FaissStore(DIM)])), DIM, 0).search(
            unit(1, 1)[0], 5
        )
        == []
    )


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda v: v * np.where(np.arange(4) == 2, np.nan, 1)[:, None], "vector 2 holds NaN"),
        (lambda v: v + np.where(np.arange(4) == 1, np.inf, 0)[:, None], "vector 1 holds NaN"),
        (lambda v: v * np.where(np.arange(4) == 3, 0.9, 1)[:, None], "vector 3 has length 0.9"),
        (lambda v: v * 0, "vector 0 has length 0"),
        (lambda v: v * 1e30, "vector 0 has length inf"),
        (lambda v: v[:, :-1], r"\(4, 23\), where \(n, 24\)"),
        (lambda v: v[0], r"\(24,\), where \(n, 24\)"),
    ],
)
def test_a_bad_vector_never_gets_in(make, spoil, said):
    vectors = unit(4, 1)
    store = make(vectors)
    with pytest.raises(QvsearchError, match=said):
        store.add(spoil(vectors).astype(np.float32))
    assert len(store) == 4
    assert np.array_equal(store.fetch(range(4)), rounded(vectors))


def test_a_bad_query_is_named(make):
    store = make(unit(4, 1))
    for query in (np.full(DIM, np.nan, np.float32), np.ones(DIM, np.float32), unit(1, 1, 23)[0]):
        with pytest.raises(QvsearchError, match="vector"):
            store.search(query, 3)
        with pytest.raises(QvsearchError, match="vector"):
            store.scores(query)


def test_the_file_is_what_faiss_itself_writes_and_reads(make):
    vectors = unit(50, 1)
    ours = b"".join(index_file([make(vectors)]))
    index = faiss.IndexScalarQuantizer(
        DIM, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    index.add(rounded(vectors))
    assert ours == faiss.serialize_index(index).tobytes()
    theirs = faiss.deserialize_index(np.frombuffer(ours, dtype=np.uint8))
    assert np.array_equal(theirs.reconstruct_n(0, 50), rounded(vectors))


def test_a_file_of_several_stores_has_their_live_rows_in_order(make):
    vectors = unit(60, 1)
    stores = [make(vectors[:30]), make(vectors[30:])]
    stores[0].remove([0, 1, 5])
    stores[1].remove(range(10, 30))
    kept = np.r_[2:5, 6:40]
    merged = FaissStore.from_bytes(b"".join(index_file(stores)), DIM, len(kept))
    assert np.array_equal(merged.fetch(range(len(kept))), rounded(vectors[kept]))


def test_bytes_that_are_not_exactly_such_an_index_are_refused():
    sound = b"".join(index_file([made(unit(5, 1))]))
    flat = faiss.serialize_index(faiss.IndexFlatIP(DIM)).tobytes()
    for data in (b"", sound[:40], sound[:-1], sound + b"\0", flat, b"IxMp" + sound[4:]):
        with pytest.raises(QvsearchError, match=r"where|begin"):
            FaissStore.from_bytes(data, DIM, 5)
    for dim, rows in ((DIM, 4), (DIM - 1, 5), (12, 10), (10**6, 10**12)):
        with pytest.raises(QvsearchError, match=r"where|begin"):
            FaissStore.from_bytes(sound, dim, rows)
    for place in range(81):
        flipped = bytearray(sound)
        flipped[place] ^= 1
        with pytest.raises(QvsearchError, match="does not begin"):
            FaissStore.from_bytes(bytes(flipped), DIM, 5)
