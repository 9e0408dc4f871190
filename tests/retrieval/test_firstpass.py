"""What a first pass leaves to be scored exactly gives the answers of an exact search."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from support.made_rows import DIM, FINGERPRINT, Term, made_vectors, row, unit
from support.readers import make_older

from qvsearch.errors import QvsearchError
from qvsearch.library import rows
from qvsearch.library import shards as segments
from qvsearch.library.filtering import passing_rows
from qvsearch.library.filters import parse_filters
from qvsearch.library.library import Library
from qvsearch.retrieval import first_pass as firstpass
from qvsearch.retrieval.first_pass import rank_all, rank_best
from qvsearch.retrieval.hits import best_hits
from qvsearch.retrieval.pipeline import Query, SearchOptions, search
from qvsearch.retrieval.scoring import EmbeddedTerm, rank_rows
from qvsearch.types import Kind, Stored
from qvsearch.vectors.encoding import Form
from qvsearch.vectors.sign_bits import Signs, signs_of, width_of
from qvsearch.vectors.store import FaissStore

ROWS = 6000
IMAGE, VIDEO, TEXT = range(3)


@dataclass(frozen=True)
class Says:
    """Answers words with the vector that they are the number of."""

    vectors: np.ndarray
    dim: int = DIM

    def embed(self, inputs):
        return self.vectors[[int(each.text) for each in inputs]]


@pytest.fixture(scope="module", params=Stored)
def library(request, tmp_path_factory):
    """6,000 rows of three kinds in two files; some are dead, and some wait for a commit."""
    folder = tmp_path_factory.mktemp("first") / "library"
    library = Library.create(folder, FINGERPRINT, request.param)
    for root in range(7):
        library.add_root(b"/media/%d" % root)
    vectors = made_vectors(ROWS)
    vectors[TEXT::4] = unit(vectors[TEXT::4] + 0.3 * vectors.mean(axis=0))
    library.set_baseline(unit(made_vectors(64, 5) + 0.5 * vectors[:64]))
    for start, end in ((0, 2500), (2500, 5900), (5900, 6000)):
        library.add([row(number) for number in range(start, end)], vectors[start:end])
        if end < ROWS:
            library.commit()
    library.remove(range(0, ROWS, 50))
    return library


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """A library of this size is a large one."""
    monkeypatch.setattr(firstpass, "EXACT_UP_TO", 0)
    monkeypatch.setattr(firstpass, "BEST", 200)
    monkeypatch.setattr(rows, "SAMPLE", 1000)


@pytest.fixture(scope="module")
def says(library):
    live = list(library.segments)
    first, second = (library.vectors(live[start::151]) for start in (0, 7))
    return Says(unit(first[:35] + 0.7 * second[:35]))


def alike(library, query, says, **options):
    """The hits of both ways, kind by kind, which are the same."""
    options = {"by_kind": True, "min_relevance": 0, "dedupe": False, **options}
    exact, fast = (
        search(library, query, says, SearchOptions(exact=exact, **options))
        for exact in (True, False)
    )
    assert [each.segment for each in fast] == [each.segment for each in exact]
    for one, other in zip(exact, fast, strict=True):
        assert other.score == pytest.approx(one.score, abs=1e-5)
        assert other.relevance == pytest.approx(one.relevance, abs=1e-4)
    return exact, fast


def test_signs_tell_about_cosines_whatever_the_dimension():
    for dim in (64, 96, 2048):
        rng = np.random.default_rng(dim)
        vectors = unit(rng.standard_normal((500, dim)) * np.arange(1, dim + 1) ** -0.5 + 0.02)
        query = unit(vectors[7] + vectors[8])
        store = FaissStore(Form(dim, Stored.FLOAT16))
        store.add(vectors)
        signs = signs_of(store)
        assert signs.bits.shape == (500, width_of(dim) // 8)
        errors = signs.guess(query) - vectors @ query
        assert np.abs(errors).mean() < 1.5 / np.sqrt(dim)
        assert abs(errors.mean()) < 0.3 / np.sqrt(dim)
        assert {7, 8} <= set(signs.guess(query).argsort()[-10:].tolist())
        part = signs.part(100, 200)
        np.testing.assert_array_equal(part.guess(query), signs.guess(query)[100:200])
        assert Signs(signs.centre, signs.radius, signs.bits[:0]).guess(query).shape == (0,)


def test_the_best_rows_and_their_evidence_are_those_of_an_exact_search(library, says):
    apart, recall = [], []
    for vector in says.vectors:
        asked = [EmbeddedTerm(Term(1.0), vector[None])]
        exact = rank_rows(library, asked)
        fast = rank_best(library, asked, library.columns.live)
        judged = fast.evidence > -np.inf
        assert judged.sum() < len(library)
        np.testing.assert_allclose(fast.scores[judged], exact.scores[judged], atol=1e-6)
        best = np.argsort(-exact.scores)[:10]
        recall.append(judged[best].mean())
        best = np.argsort(-exact.evidence)[:10]
        apart.append(np.abs(relevance(fast.evidence) - relevance(exact.evidence))[best])
    assert np.mean(recall) >= 0.99
    assert np.mean(apart) < 0.06  # the moments of so small a sample are noisy
    assert np.median(np.max(apart, axis=1)) < 0.08


def test_showing_the_nearest_hits_costs_no_exact_search(library, says, monkeypatch):
    shape = (12, says.vectors.shape[1])
    noise = Says(unit(np.random.default_rng(9).standard_normal(shape).astype(np.float32)))
    searches = []
    for nearest in (0, 3):
        exact = []
        monkeypatch.setattr(
            firstpass, "rank_all", lambda *of, exact=exact: exact.append(1) or rank_all(*of)
        )
        for number in range(len(noise.vectors)):
            search(library, str(number), noise, SearchOptions(nearest=nearest))
        searches.append(len(exact))
    assert searches[0] == searches[1] < len(noise.vectors)


def relevance(evidence):
    return 1 / (1 + np.exp(-evidence.astype(np.float64)))


def test_hits_are_those_of_an_exact_search(library, says, monkeypatch):
    scored = []
    monkeypatch.setattr(firstpass, "rank_all", lambda *of: scored.append(1) or rank_all(*of))
    for number in range(12):
        exact, fast = alike(library, str(number), says)
        assert len(exact) == 30
    assert 12 <= len(scored) <= 18  # else exact search is compared with itself


@pytest.mark.parametrize(
    "asked",
    [
        {"kinds": [Kind.TEXT]},
        {"under": [b"/media/3"]},
        {"globs": ["1??4"]},
        {"globs": ["17"]},
        {"kinds": [Kind.VIDEO], "under": [b"/media/1"]},
    ],
)
def test_filters_choose_before_the_first_pass_does(library, says, asked):
    for number in range(4):
        alike(library, str(number), says, filters=parse_filters(**asked))


def test_queries_of_several_parts(library, says):
    for query in (Query("1", without=("2",)), Query("3", without=("4", "5"), not_weight=2.0)):
        alike(library, query, says, by_kind=False)


def test_moments_of_a_hit_are_judged_though_no_first_pass_chose_them(library, says, monkeypatch):
    monkeypatch.setattr(firstpass, "BEST", 150)
    for number in range(6):
        exact, fast = alike(
            library,
            str(number),
            says,
            filters=parse_filters(kinds=[Kind.VIDEO]),
            top=3,
        )
        for one, other in zip(exact, fast, strict=True):
            expected = {each.segment for each in one.moments}
            assert {each.segment for each in other.moments} == expected


def test_moments_are_scored_without_a_change_to_the_ranking(library, says, monkeypatch):
    monkeypatch.setattr(firstpass, "BEST", 50)
    films = passing_rows(library.columns, parse_filters(kinds=[Kind.VIDEO]))
    for weights in ((1.0,), (1.0, 0.5), (1.0, -1.0)):
        terms = [
            EmbeddedTerm(Term(weight), says.vectors[number][None])
            for number, weight in enumerate(weights)
        ]
        ranking = rank_best(library, terms, films)
        evidence, scores = ranking.evidence.copy(), ranking.scores.copy()
        hits = best_hits(library, ranking, films, 20, least=-np.inf, dedupe=True)
        assert any(hit.moments for hit in hits)
        assert np.array_equal(ranking.evidence, evidence)
        assert np.array_equal(ranking.scores, scores)
        rows = np.flatnonzero(films)[::5]
        assert (evidence[rows] == -np.inf).any()
        whole = rank_all(library, terms)
        for found, expected in zip(
            ranking.of_rows(library, rows), (whole.evidence[rows], whole.scores[rows]), strict=True
        ):
            assert np.isfinite(found).all()
            np.testing.assert_allclose(found, expected, atol=1e-3)


def test_where_the_chosen_rows_do_not_fill_the_list_all_are_scored(library, says, monkeypatch):
    monkeypatch.setattr(firstpass, "BEST", 5)
    asked = {"filters": parse_filters(kinds=[Kind.VIDEO])}
    exact, fast = alike(library, "1", says, top=60, **asked)
    assert len(exact) == len(fast) == 60


def all_scored(*_):
    raise AssertionError("a first pass was enough")


def test_rows_that_are_all_judged_are_not_scored_again(library, says, monkeypatch):
    options = {"filters": parse_filters(globs=["1??4"]), "min_relevance": 0, "dedupe": False}
    few = passing_rows(library.columns, options["filters"])
    assert few.sum() == 100
    exact = search(library, "1", says, SearchOptions(exact=True, top=200, **options))
    monkeypatch.setattr(firstpass, "rank_all", all_scored)
    fast = search(library, "1", says, SearchOptions(top=200, **options))
    assert len(fast) == few.sum()
    assert [each.segment for each in fast] == [each.segment for each in exact]


def test_a_kind_of_few_rows_needs_no_more_of_another(tmp_path, says, monkeypatch):
    made = Library.create(tmp_path / "library", FINGERPRINT)
    for root in range(7):
        made.add_root(b"/media/%d" % root)
    made.add([row(number) for number in [*range(0, 8000, 4), 3, 7, 11]], made_vectors(2003))
    made.commit()
    options = {"by_kind": True, "min_relevance": 0, "dedupe": False}
    exact = search(made, "1", says, SearchOptions(exact=True, **options))
    with monkeypatch.context() as patch:
        patch.setattr(firstpass, "rank_all", all_scored)
        fast = search(made, "1", says, SearchOptions(**options))
    assert [each.segment for each in fast] == [each.segment for each in exact]
    assert [each.segment.item.kind for each in fast].count(Kind.TEXT) == 3


def test_a_library_of_the_version_before_is_scored_exactly(tmp_path, says):
    made = Library.create(tmp_path / "library", FINGERPRINT)
    made.add_root(b"/media")
    moved = [replace(row(n), item=replace(row(n).item, root=b"/media")) for n in range(300)]
    made.add(moved, made_vectors(300))
    made.commit()
    make_older(made.folder)
    alike(Library.open(made.folder), "1", says)


@pytest.mark.parametrize("library", [Stored.FLOAT16], indirect=True)
def test_a_damaged_vector_stops_the_search(library, says, tmp_path, monkeypatch):
    import shutil

    library.commit()
    copy = shutil.copytree(library.folder, tmp_path / "copy")
    monkeypatch.setattr(segments, "VERIFY_AT_OPEN", 0)
    (path, *_) = sorted((copy / "segments").glob("*.faiss"))
    data = bytearray(path.read_bytes())
    data[-2 * DIM * 400 :] = b"\xff" * (2 * DIM * 400)  # NaN
    path.write_bytes(data)
    with pytest.raises(QvsearchError, match="damaged.*check --repair"):
        search(Library.open(copy), "1", says, SearchOptions())
