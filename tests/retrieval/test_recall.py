"""What `check --recall` says of a library is what numpy finds in its files."""

import json
import os
import shutil

import numpy as np
import pytest
from support.made_rows import DIM, FINGERPRINT, Term, made_vectors, row, unit
from support.modules import loaded_by
from support.pages import names_of
from support.readers import make_older

from qvsearch.cli.app import main
from qvsearch.errors import QvsearchError
from qvsearch.library import rows
from qvsearch.library.library import Library
from qvsearch.records.library import recall_record
from qvsearch.retrieval import first_pass as firstpass
from qvsearch.retrieval.calibration import relevance_of
from qvsearch.retrieval.first_pass import rank_best
from qvsearch.retrieval.recall import ANSWERS, STORED, measure_recall, stored_queries
from qvsearch.retrieval.scoring import EmbeddedTerm, rank_rows
from qvsearch.types import Stored
from qvsearch.vectors.sign_bits import Signs

IMAGES = range(0, 12000, 4)  # numbers of which `row` makes pictures


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    """So few rows are scored that some answers are missed."""
    monkeypatch.setattr(firstpass, "BEST", 12)
    monkeypatch.setattr(rows, "SAMPLE", 100)


def made(folder, numbers, vectors, store=Stored.FLOAT16):
    library = Library.create(folder, FINGERPRINT, store)
    for root in range(7):
        library.add_root(b"/media/%d" % root)
    library.add([row(number) for number in numbers], vectors)
    return library


@pytest.fixture(scope="module", params=Stored)
def pictures(request, tmp_path_factory):
    """3,000 pictures and no bank: their order is that of their cosines."""
    vectors = made_vectors(len(IMAGES))
    folder = tmp_path_factory.mktemp("recall") / "library"
    library = made(folder, IMAGES, vectors, request.param)
    library.commit()
    library.remove(range(0, len(IMAGES), 30))
    library.commit()
    return library


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Rows of three kinds, 80 moments to a video, with a bank; the last ones wait for a commit."""
    vectors = made_vectors(4000, 3)
    library = made(tmp_path_factory.mktemp("recall") / "library", range(3500), vectors[:3500])
    library.set_baseline(unit(made_vectors(64, 5) + 0.5 * vectors[:64]))
    library.commit()
    library.add([row(number) for number in range(3500, 4000)], vectors[3500:])
    return library


def ten_best(paths, evidence):
    """The evidence of the ten best files, by path."""
    best = {}
    for number in np.argsort(-evidence).tolist():
        if len(best) < 10 and evidence[number] > -np.inf:
            best.setdefault(paths[number], evidence[number])
    return best


def test_queries_are_rows_with_noise_of_half_their_length(pictures):
    queries = stored_queries(pictures)
    live = list(pictures.segments)
    cosines = pictures.vectors(live).astype(np.float64) @ queries.T
    assert queries.shape == (STORED, DIM)
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-6)
    nearest = cosines.argmax(axis=0)
    assert abs(np.median(cosines.max(axis=0)) - 1 / np.sqrt(1.25)) < 0.03
    assert (np.diff(nearest) > 0).all()
    assert nearest[0] == 0
    assert nearest[-1] == len(live) - 1
    np.testing.assert_array_equal(queries, stored_queries(Library.open(pictures.folder)))


def test_recall_is_what_numpy_says(pictures):
    found = measure_recall(pictures)
    live = np.array(list(pictures.segments))
    stored = pictures.vectors(live).astype(np.float64)
    shares = []
    for query in stored_queries(pictures):
        best = set(live[np.argsort(-(stored @ query))[:10]].tolist())
        ranking = rank_best(pictures, [EmbeddedTerm(Term(1.0), query[None])], pictures.columns.live)
        judged = np.flatnonzero(ranking.evidence > -np.inf)
        ours = judged[np.argsort(-(pictures.vectors(judged) @ query))[:10]]
        shares.append(len(best & set(ours.tolist())) / 10)
    assert found.recall_at_10 == pytest.approx(np.mean(shares), abs=1e-9)
    assert 0.3 < found.recall_at_10 < 0.95
    assert (found.rows, found.stored_queries, found.generic_queries) == (2900, STORED, 0)
    assert found.first_pass_ms > 0
    assert found.exact_ms > 0


def test_recall_and_relevance_are_those_of_files_of_all_kinds(mixed):
    found = measure_recall(mixed)
    paths = {number: segment.item.location for number, segment in mixed.segments.items()}
    shares, apart = [], []
    for query in [*stored_queries(mixed), *mixed.baseline]:
        asked = [EmbeddedTerm(Term(1.0), query[None])]
        exact = rank_rows(mixed, asked).evidence
        fast = rank_best(mixed, asked, mixed.columns.live).evidence
        best, ours = ten_best(paths, exact), ten_best(paths, fast)
        shares.append(len(best.keys() & ours.keys()) / 10)
        apart += [
            abs(relevance_of(ours[path]) - relevance_of(best[path]))
            for path in best.keys() & ours.keys()
        ]
    assert found.recall_at_10 == pytest.approx(np.mean(shares), abs=1e-9)
    assert found.relevance_apart >= max(apart) - 1e-6
    assert 0.3 < found.recall_at_10 < 1
    assert (found.stored_queries, found.generic_queries) == (STORED, 64)


def test_where_all_rows_are_scored_nothing_is_missed(mixed, monkeypatch):
    monkeypatch.setattr(firstpass, "BEST", 4000)
    found = measure_recall(mixed)
    assert found.recall_at_10 == 1
    assert found.relevance_apart < 1e-5


def test_a_first_pass_that_tells_nothing_finds_what_chance_does(pictures, monkeypatch):
    rng = np.random.default_rng(1)
    monkeypatch.setattr(
        Signs, "guess", lambda self, query: rng.random(len(self.bits), dtype=np.float32)
    )
    monkeypatch.setattr(firstpass, "BEST", 200)
    # a row is scored by being of the sample, or among the best by guesses that mean nothing
    assert abs(measure_recall(pictures).recall_at_10 - 300 / 2900) < 0.05


def test_any_of_several_copies_is_as_good_as_another(tmp_path):
    vectors = np.repeat(made_vectors(150), 20, axis=0)
    library = made(tmp_path / "library", IMAGES, vectors)
    library.commit()
    assert measure_recall(library).recall_at_10 > 0.9


def test_the_command_says_it_to_people_and_to_programs(pictures, capfd):
    arguments = ["check", "--recall", "--library", str(pictures.folder)]
    assert main(arguments) == 0
    said = capfd.readouterr().out
    assert main([*arguments, "--json"]) == 0
    (line,) = capfd.readouterr().out.splitlines()
    record = json.loads(line)
    assert set(record) == names_of(recall_record)
    assert f"recall@10 {record['recall_at_10']:.4f}" in said
    assert "50 queries of 2,900 rows: 50 rows with noise of 0.5 times their length" in said
    again = recall_record(measure_recall(pictures))
    for name in record.keys() - {"first_pass_ms", "exact_ms"}:
        assert record[name] == again[name]


def test_no_model_is_loaded(pictures):
    code = f"""
from qvsearch.cli.app import main
from qvsearch.retrieval.calibration import relevance_of
assert main(["check", "--recall", "--library", {str(pictures.folder)!r}]) == 0
"""
    loaded = loaded_by(code)
    assert "qvsearch.retrieval.recall" in loaded
    assert not {"torch", "transformers"} & loaded


def test_an_empty_library_or_one_that_is_always_searched_exactly_says_so(tmp_path, capfd):
    empty = Library.create(tmp_path / "empty", FINGERPRINT)
    with pytest.raises(QvsearchError, match="is empty; fill it with: qvsearch index"):
        measure_recall(empty)
    small = made(tmp_path / "small", IMAGES[:300], made_vectors(300))
    small.commit()
    assert measure_recall(small).recall_at_10 > 0
    make_older(small.folder)
    with pytest.raises(QvsearchError, match="300 rows and nothing for a first pass"):
        measure_recall(Library.open(small.folder))
    for folder in ("empty", "small"):
        assert main(["check", "--recall", "--library", str(tmp_path / folder)]) == 2
        said = capfd.readouterr()
        assert said.out == ""
        assert said.err.startswith("qvsearch: the library ")
        assert said.err.count("\n") == 1


def test_a_damaged_vector_is_named(pictures, tmp_path):
    copy = shutil.copytree(pictures.folder, tmp_path / "copy")
    (path,) = (copy / "segments").glob("*.faiss")
    library = Library.open(copy)
    with path.open("r+b") as file:  # the last row, which is among those that are asked for
        file.seek(-2 * DIM, os.SEEK_END)
        file.write(b"\xff" * 2 * DIM)  # NaN
    with pytest.raises(QvsearchError, match=path.name):
        measure_recall(library)


def test_recall_and_repair_are_not_asked_for_at_once(pictures, capfd):
    folder = str(pictures.folder)
    assert main(["check", "--recall", "--repair", "--library", folder]) == 2
    assert "give one" in capfd.readouterr().err


def test_of_fewer_files_than_ten_all_are_to_be_found(tmp_path):
    videos = range(1, 4800, 4)
    library = made(tmp_path / "library", videos, made_vectors(len(videos)))
    library.commit()
    library.remove([place for place, n in enumerate(videos) if n % 7 or n >= 640])
    assert len({segment.item.location for segment in library.segments.values()}) == 8 < ANSWERS
    assert measure_recall(library).recall_at_10 == 1
