"""A store gives the cosines that numpy computes, in every form."""

import faiss
import numpy as np
import pytest
from support.processes import MEGABYTE, linux, resident
from support.readers import nearest_rows

from qvsearch.errors import QvsearchError
from qvsearch.types import Stored
from qvsearch.vectors.encoding import Form
from qvsearch.vectors.store import FaissStore, index_file

DIM = 24


def unit(rows, seed, dim=DIM):
    vectors = np.random.default_rng(seed).standard_normal((rows, dim), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def levels(vectors):
    """The numbers of an int8 row: even steps from the largest to its negative, by search."""
    steps = np.arange(-127.0, 128)
    scaled = vectors.astype(np.float64) / np.abs(vectors).max(axis=1, keepdims=True) * 127
    return steps[np.abs(scaled[..., None] - steps).argmin(axis=-1)]


def rounded(vectors, stored):
    """What is left of vectors, float64."""
    if stored is Stored.FLOAT16:
        return vectors.astype(np.float16).astype(np.float64)
    found = levels(vectors) if len(vectors) else vectors
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture(params=Stored)
def form(request):
    return Form(DIM, request.param)


@pytest.fixture(params=["made", "read back"])
def make(request, form):
    def made(vectors):
        store = FaissStore(form)
        store.add(vectors[: len(vectors) // 2])
        store.add(vectors[len(vectors) // 2 :])
        if request.param == "made":
            return store
        return FaissStore.from_bytes(b"".join(index_file([store])), form, len(vectors))

    return made


def near(store, rows, vectors):
    """Whether rows are what is left of vectors: halves exactly, bytes as far as floats are."""
    expected = rounded(vectors, store.form.stored)
    np.testing.assert_allclose(store.fetch(rows), expected, rtol=0, atol=1e-7)
    return True


def oracle(store, vectors, query, k, allowed):
    scores = rounded(vectors, store.form.stored) @ query
    best = [(row, scores[row]) for row in np.argsort(-scores, kind="stable") if allowed[row]]
    return best[:k]


@pytest.mark.parametrize("k", [1, 7, 100, 1000])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.02, 0.0])
def test_search_is_exact_over_allowed_rows(make, k, share):
    vectors = unit(300, 1)
    store = make(vectors)
    allowed = np.random.default_rng(2).random(300) < share
    for query in unit(5, 3):
        found = nearest_rows(store, query, k, allowed)
        expected = oracle(store, vectors, query, k, allowed)
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
    assert [row for row, _ in nearest_rows(store, query, 100)] == [
        row for row, _ in oracle(store, vectors, query, 100, allowed)
    ]
    mask = np.zeros(100, dtype=bool)
    mask[[50, 51]] = True
    assert [row for row, _ in nearest_rows(store, query, 5, mask)] == [51]


@pytest.mark.parametrize("rows", [1, 7, 299])
def test_rows_score_the_same_however_many_are_scanned_at_once(make, monkeypatch, rows):
    vectors, query = unit(300, 1), unit(1, 2)[0]
    store = make(vectors)
    store.remove([0, 6, 7, 150])
    scores = store.scores(query)
    monkeypatch.setattr("qvsearch.vectors.store.AT_ONCE", rows * store.form.row_size)
    np.testing.assert_array_equal(store.scores(query), scores)


def test_scores_are_the_cosines_of_all_rows_and_of_no_removed_one(make):
    vectors = unit(300, 1)
    store = make(vectors)
    for query in unit(5, 3):
        found = store.scores(query)
        assert found.dtype == np.float32
        expected = rounded(vectors, store.form.stored) @ query
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert nearest_rows(store, query, 1)[0] == (found.argmax(), found.max())
    store.remove([0, 7, 299])
    found = store.scores(query)
    assert np.array_equal(np.flatnonzero(found == -np.inf), [0, 7, 299])
    store.add(vectors[:2])
    assert store.scores(vectors[1])[[1, 301]] == pytest.approx([1, 1], abs=1e-3)
    assert FaissStore(store.form).scores(query).shape == (0,)


def test_fetched_vectors_are_the_added_ones_as_far_as_they_are_kept(make):
    vectors = unit(100, 1)
    store = make(vectors)
    rows = [99, 3, 3, 0]
    assert near(store, rows, vectors[rows])
    assert near(store, slice(90, None), vectors[90:])
    assert store.fetch([]).shape == (0, DIM)
    assert store.fetch(rows).dtype == np.float32


def test_rows_can_be_added_at_any_time(make):
    vectors = unit(100, 1)
    store = make(vectors[:60])
    store.remove([10])
    store.add(vectors[60:])
    store.add(vectors[:0])
    assert len(store) == 100
    assert near(store, range(100), vectors)
    assert nearest_rows(store, vectors[80], 1)[0][0] == 80
    assert 10 not in [row for row, _ in nearest_rows(store, vectors[10], 100)]


def test_equal_rows_come_in_their_order(make):
    vectors = np.repeat(unit(3, 1), 40, axis=0)
    store = make(vectors)
    for k in (1, 5, 39, 40, 41, 120):
        found = [row for row, _ in nearest_rows(store, vectors[45], k)]
        assert found[:40] == list(range(40, 80))[:k]
        assert len(found) == k


def test_an_empty_store_answers_with_nothing(form):
    assert nearest_rows(FaissStore(form), unit(1, 1)[0], 5) == []
    again = FaissStore.from_bytes(b"".join(index_file([FaissStore(form)])), form, 0)
    assert nearest_rows(again, unit(1, 1)[0], 5) == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda v: v * np.where(np.arange(4) == 2, np.nan, 1)[:, None], "vector 2 contains NaN"),
        (lambda v: v + np.where(np.arange(4) == 1, np.inf, 0)[:, None], "vector 1 contains NaN"),
        (lambda v: v * np.where(np.arange(4) == 3, 0.9, 1)[:, None], "vector 3 has length 0.9"),
        (lambda v: v * 0, "vector 0 has length 0"),
        (lambda v: v * 1e30, "vector 0 has length inf"),
        (lambda v: v[:, :-1], r"\(4, 23\), but \(n, 24\)"),
        (lambda v: v[0], r"\(24,\), but \(n, 24\)"),
    ],
)
def test_a_bad_vector_never_gets_in(make, spoil, said):
    vectors = unit(4, 1)
    store = make(vectors)
    with pytest.raises(QvsearchError, match=said):
        store.add(spoil(vectors).astype(np.float32))
    assert len(store) == 4
    assert near(store, range(4), vectors)


def test_a_bad_query_is_named(make):
    store = make(unit(4, 1))
    for query in (np.full(DIM, np.nan, np.float32), np.ones(DIM, np.float32), unit(1, 1, 23)[0]):
        with pytest.raises(QvsearchError, match="vector"):
            store.scores(query)


def test_the_file_is_what_faiss_itself_writes_and_reads(make, form):
    vectors = unit(50, 1)
    ours = b"".join(index_file([make(vectors)]))
    quantizers = faiss.ScalarQuantizer
    if form.stored is Stored.FLOAT16:
        numbers = rounded(vectors, form.stored).astype(np.float32)
        index = faiss.IndexScalarQuantizer(DIM, quantizers.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    else:
        numbers = levels(vectors).astype(np.float32)
        index = faiss.IndexScalarQuantizer(
            DIM, quantizers.QT_8bit_uniform, faiss.METRIC_INNER_PRODUCT
        )
        faiss.copy_array_to_vector(np.array([-128.5, 255], np.float32), index.sq.trained)
        index.is_trained = True
    index.add(numbers)
    assert ours == faiss.serialize_index(index).tobytes()
    theirs = faiss.deserialize_index(np.frombuffer(ours, dtype=np.uint8))
    steps = 0 if form.stored is Stored.FLOAT16 else 1e-4  # it divides by 255 and multiplies again
    np.testing.assert_allclose(theirs.reconstruct_n(0, 50), numbers, rtol=0, atol=steps)


@pytest.mark.parametrize("dim", [64, 96, 100, 2048])
def test_faiss_finds_the_same_inner_products_in_the_file(form, dim):
    """Its kernels depend on the dimension, and some round the query."""
    vectors, (query,) = unit(40, 1, dim), unit(1, 2, dim)
    store = FaissStore(Form(dim, form.stored))
    store.add(vectors)
    data = np.frombuffer(b"".join(index_file([store])), dtype=np.uint8)
    theirs = faiss.deserialize_index(data)
    products, rows = theirs.search(query[None], 40)
    cosines = products[0] / store.norms[rows[0]]
    np.testing.assert_allclose(cosines, store.scores(query)[rows[0]], atol=1e-6)
    numbers = theirs.reconstruct_n(0, 40).astype(np.float64)
    np.testing.assert_allclose(store.norms, np.linalg.norm(numbers, axis=1), atol=1e-3)
    expected = numbers @ query / store.norms
    np.testing.assert_allclose(store.scores(query), expected, atol=1e-6)
    assert np.abs(store.scores(query) - vectors @ query).max() < 0.01


def test_a_stored_vector_is_stored_again_bit_for_bit(make):
    """As when a file is renamed; a row may have one large number, or all alike."""
    vectors = unit(300, 1) * np.geomspace(1, 1e4, DIM, dtype=np.float32)
    vectors[0], vectors[1] = 1, -1
    vectors[2], vectors[2, 5] = 0, -1
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    store = make(vectors)
    again = make(store.fetch(range(300)))
    assert again.codes.tobytes() == store.codes.tobytes()


@pytest.mark.parametrize(("stored", "byte"), [(Stored.FLOAT16, 255), (Stored.INT8, 128)])
def test_a_damaged_row_without_a_cosine_is_no_answer(stored, byte):
    form = Form(DIM, stored)
    store = FaissStore(form)
    store.add(unit(9, 1))
    codes = store.codes.copy()
    codes[4].view(np.uint8)[:] = byte  # NaN alone, or zeros
    damaged = FaissStore.of_codes(codes, form)
    query = unit(1, 2)[0]
    assert np.flatnonzero(np.isnan(damaged.scores(query))).tolist() == [4]
    assert np.flatnonzero(np.isnan(damaged.fetch(range(9))).any(axis=1)).tolist() == [4]
    others = [hit for hit in nearest_rows(store, query, 9) if hit[0] != 4]
    for k in (3, 8, 9):
        assert nearest_rows(damaged, query, k) == others[:k]


@linux
def test_a_search_leaves_no_memory_behind(form):
    dim = 1 << 14
    vectors = unit(2, 1, dim)
    store = FaissStore(Form(dim, form.stored))
    store.add(vectors)
    store.scores(vectors[0])
    before = resident()
    for _ in range(1000):  # a query is 64 kB
        store.scores(vectors[0])
    assert resident() - before < 8 * MEGABYTE


def test_a_file_of_several_stores_has_their_live_rows_in_order(make, form):
    vectors = unit(60, 1)
    stores = [make(vectors[:30]), make(vectors[30:])]
    stores[0].remove([0, 1, 5])
    stores[1].remove(range(10, 30))
    kept = np.r_[2:5, 6:40]
    merged = FaissStore.from_bytes(b"".join(index_file(stores)), form, len(kept))
    assert near(merged, range(len(kept)), vectors[kept])
    codes = np.concatenate([each.codes[each.alive] for each in stores])
    assert merged.codes.tobytes() == codes.tobytes()


def test_bytes_that_are_not_exactly_such_an_index_are_refused(make, form):
    sound = b"".join(index_file([make(unit(5, 1))]))
    flat = faiss.serialize_index(faiss.IndexFlatIP(DIM)).tobytes()
    for data in (b"", sound[:40], sound[:-1], sound + b"\0", flat, b"IxMp" + sound[4:]):
        with pytest.raises(QvsearchError, match=r"but|begin"):
            FaissStore.from_bytes(data, form, 5)
    for dim, rows in ((DIM, 4), (DIM - 1, 5), (12, 10), (10**6, 10**12)):
        with pytest.raises(QvsearchError, match=r"but|begin"):
            FaissStore.from_bytes(sound, Form(dim, form.stored), rows)
    for place in range(form.header_size):
        flipped = bytearray(sound)
        flipped[place] ^= 1
        with pytest.raises(QvsearchError, match="does not begin"):
            FaissStore.from_bytes(bytes(flipped), form, 5)
