"""The bank of generic queries: embedded once per model, kept with the library."""

import hashlib
import os
from dataclasses import replace

import numpy as np
import platformdirs
import pytest
from support.readers import nearest_rows

from qvsearch.errors import QvsearchError
from qvsearch.indexing.baseline_queries import QUERIES, baseline_vectors, queries
from qvsearch.indexing.pipeline import IngestOptions, index
from qvsearch.library.library import Library
from qvsearch.library.manifest import Damaged
from qvsearch.library.repair import check, repair
from qvsearch.library.shard_columns import NO_ROW
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.types import Detail, Fingerprint, Item, Kind, Segment

DIM = 16
FINGERPRINT = Fingerprint("some/model", "abc123", DIM, Detail.LOW, "Represent.", 1, 1)
ROOT = b"/photos"


def unit(rows, seed, dim=DIM):
    vectors = np.random.default_rng(seed).standard_normal((rows, dim), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def photo(number, kind=Kind.IMAGE):
    return Segment(Item(ROOT, b"%d" % number, kind, number, number), f"hash{number}")


class Hashing:
    """Embeds each text as a vector of its own, and remembers what it was asked."""

    dim = DIM

    def __init__(self):
        self.asked = []

    def embed(self, inputs):
        self.asked += inputs
        return np.concatenate([unit(1, len(each.text) * 7 + ord(each.text[0])) for each in inputs])


@pytest.fixture
def library(tmp_path):
    made = Library.create(tmp_path / "library", FINGERPRINT)
    made.add_root(ROOT)
    return made


def add(library, start, end, kind=Kind.IMAGE):
    library.add([photo(number, kind) for number in range(start, end)], unit(end, 7)[start:end])


def expected(library, bank):
    """Mean and spread of the live rows' cosines with the bank, computed the plain way."""
    found = np.full((library.size, 2), np.nan)
    for row in library.segments:
        scores = library.vectors([row])[0].astype(np.float64) @ bank.T.astype(np.float64)
        found[row] = scores.mean(), np.sqrt(((scores - scores.mean()) ** 2).mean())
    return found


def check_backgrounds(library, bank):
    found = library.backgrounds
    assert found.shape == (library.size, 2)
    np.testing.assert_allclose(found, expected(library, bank), atol=3e-4)


# ------------------------------------------------------------------ with the library


def test_every_row_knows_what_it_scores_with_the_bank(library):
    bank = unit(64, 3)
    add(library, 0, 5)
    library.set_baseline(bank)
    add(library, 5, 30)
    library.remove([0, 7, 29])
    check_backgrounds(library, bank)
    before = library.backgrounds.copy()
    library.commit()
    assert np.array_equal(library.backgrounds, before, equal_nan=True)
    again = Library.open(library.folder)
    check_backgrounds(again, bank)
    np.testing.assert_allclose(again.baseline, bank, atol=1e-3)
    assert check(library.folder) == []


def test_backgrounds_are_read_not_computed_when_a_library_is_opened(library, monkeypatch):
    library.set_baseline(unit(64, 3))
    add(library, 0, 30)
    library.commit()
    monkeypatch.setattr("qvsearch.library.shards.compared", None)
    assert np.array_equal(Library.open(library.folder).backgrounds, library.backgrounds)


def test_a_library_without_a_bank_opens_and_has_no_backgrounds(library):
    add(library, 0, 4)
    library.commit()
    again = Library.open(library.folder)
    assert again.baseline is None
    assert np.isnan(again.backgrounds).all()
    assert again.backgrounds.shape == (4, 2)
    assert check(library.folder) == []


def test_a_bank_that_comes_later_is_written_to_every_row_once(library):
    for start in range(0, 30, 10):
        add(library, start, start + 10)
        library.commit()
    bank = unit(64, 3)
    library.set_baseline(bank)
    library.commit()
    again = Library.open(library.folder)
    check_backgrounds(again, bank)
    lines = b"".join(path.read_bytes() for path in (library.folder / "segments").glob("*.jsonl"))
    assert lines.count(b'"background":[') == 30
    generation = again.generation
    again.set_baseline(bank)
    again.commit()
    assert again.generation == generation, "the same bank is no change"


def test_another_bank_replaces_the_backgrounds(library):
    library.set_baseline(unit(64, 3))
    add(library, 0, 10)
    library.commit()
    library.set_baseline(unit(20, 4))
    library.commit()
    again = Library.open(library.folder)
    check_backgrounds(again, unit(20, 4))
    banks = list((library.folder / "segments").glob("*.bank"))
    library.commit()
    assert len(banks) <= 2, "one may stay for the manifest's copy"


def test_merged_files_keep_the_backgrounds(library):
    bank = unit(64, 3)
    library.set_baseline(bank)
    for start in range(0, 27, 3):
        add(library, start, start + 3)
        library.commit()
    assert len(list((library.folder / "segments").glob("*.faiss"))) < 9
    check_backgrounds(Library.open(library.folder), bank)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: b"",
        lambda data: data[:99] + bytes([data[99] ^ 1]) + data[100:],
    ],
)
def test_a_damaged_bank_is_reported_and_repair_drops_it_alone(library, spoil):
    bank = unit(64, 3)
    library.set_baseline(bank)
    add(library, 0, 10)
    library.commit()
    (path,) = (library.folder / "segments").glob("*.bank")
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(Damaged, match=r"\.bank is damaged"):
        Library.open(library.folder)
    (problem,) = check(library.folder)
    assert problem.file == f"segments/{path.name}"
    repaired = repair(library.folder)
    assert (repaired.kept, repaired.lost) == (10, 0)
    assert check(library.folder) == []
    again = Library.open(library.folder)
    assert again.baseline is None
    check_backgrounds(again, bank)
    again.set_baseline(bank)
    again.commit()
    assert check(library.folder) == []
    check_backgrounds(Library.open(library.folder), bank)


def test_a_missing_bank_is_reported_and_repaired(library):
    library.set_baseline(unit(64, 3))
    add(library, 0, 3)
    library.commit()
    next((library.folder / "segments").glob("*.bank")).unlink()
    with pytest.raises(QvsearchError, match=r"bank.*missing"):
        Library.open(library.folder)
    assert len(check(library.folder)) == 1
    assert repair(library.folder).kept == 3
    assert len(Library.open(library.folder)) == 3


def test_rows_saved_from_a_damaged_file_keep_their_backgrounds(library):
    bank = unit(64, 3)
    library.set_baseline(bank)
    add(library, 0, 10)
    library.commit()
    (path,) = (library.folder / "segments").glob("*.faiss")
    data = bytearray(path.read_bytes())
    data[-3] ^= 0xFF
    path.write_bytes(data)
    assert repair(library.folder).lost == 1
    again = Library.open(library.folder)
    assert len(again) == 9
    check_backgrounds(again, bank)


@pytest.mark.parametrize("background", [b'"x"', b"[1]", b'["1",2]', b"[null,null]", b"{}"])
def test_a_background_that_is_none_is_damage(library, background):
    from qvsearch.library.sidecar import decode_rows, encode_rows

    (line,) = encode_rows([(photo(1), (0.25, 0.5), b"")], {ROOT: 0})
    assert decode_rows(line, [ROOT], [True])[1] == [(0.25, 0.5)]
    with pytest.raises(ValueError, match="background"):
        decode_rows(line.replace(b"[0.25,0.5]", background), [ROOT], [True])


def test_what_is_no_bank_is_refused(library):
    for vectors, said in [
        (unit(65, 1), "queries, not 65"),
        (unit(5, 1)[:0], "queries, not 0"),
        (unit(5, 1) * 2, "length 2"),
        (unit(5, 1, DIM - 1), r"\(5, 15\)"),
    ]:
        with pytest.raises(QvsearchError, match=said):
            library.set_baseline(vectors)
    assert library.baseline is None


# ------------------------------------------------------------------ all rows' scores


def test_scores_and_kinds_of_all_rows_lie_at_their_numbers(library):
    add(library, 0, 10)
    library.commit()
    add(library, 10, 20, Kind.TEXT)
    library.remove([0, 4, 5, 6, 7, 12, 19])  # so many that the file is written anew
    library.commit()
    add(library, 20, 25, Kind.VIDEO)
    library.remove([24])
    query = unit(1, 9)[0]
    live = list(library.segments)
    assert library.size == 24 == live[-1] + 1
    scores, kinds = library.scores(query), library.kinds
    assert scores.dtype == np.float32
    assert np.array_equal(np.flatnonzero(scores > -np.inf), live)
    assert np.array_equal(np.flatnonzero(kinds != NO_ROW), live)
    np.testing.assert_allclose(scores[live], library.vectors(live) @ query, atol=1e-6)
    assert [list(Kind)[kinds[row]] for row in live] == [
        library.segments[row].item.kind for row in live
    ]
    best = nearest_rows(library, query, 1)[0]
    assert (int(scores.argmax()), pytest.approx(scores.max())) == best
    library.commit()
    again = Library.open(library.folder).scores(query)
    assert np.array_equal(np.sort(again[again > -np.inf]), np.sort(scores[live]))


def test_an_empty_library_scores_nothing(library):
    assert library.size == 0
    assert library.scores(unit(1, 1)[0]).shape == (0,)
    assert library.backgrounds.shape == (0, 2)


def test_a_score_that_no_sound_vector_has_is_damage(library, monkeypatch):
    monkeypatch.setattr("qvsearch.library.shards.VERIFY_AT_OPEN", 0)
    add(library, 0, 10)
    library.commit()
    (path,) = (library.folder / "segments").glob("*.faiss")
    sound = path.read_bytes()
    for value in (np.nan, np.inf, -np.inf, 30000, -30000):
        for row in (0, 9):
            codes = np.frombuffer(sound[-10 * DIM * 2 :], np.float16).reshape(10, DIM).copy()
            codes[row, 3] = value
            path.write_bytes(sound[: -10 * DIM * 2] + codes.tobytes())
            library = Library.open(library.folder)
            with pytest.raises(Damaged, match=f"the score of vector {row} is"):
                library.scores(unit(1, 1)[0])
            library.remove([row])
            assert np.isfinite(library.scores(unit(1, 1)[0])).sum() == 9


# ------------------------------------------------------------------ the queries


def test_there_are_64_different_short_queries():
    for model in ("some/model", "demo"):
        texts = queries(model)
        assert len(set(texts)) == len(texts) == 64
        assert max(map(len, texts)) < 150
        assert texts == queries(model)
    assert queries("some/model") == QUERIES


@pytest.mark.parametrize(
    ("model", "digest"),
    [
        ("some/model", "0a83911f820a9faba08f5fab7803b6b2c6939ec69bf9db286b9de183568cd073"),
        ("demo", "ebc65726f5e053f37ca50cca523102d6fbe04bb2bfa11ae054bee7595b6d6baa"),
    ],
)
def test_the_queries_stay_what_the_baselines_of_libraries_were_computed_with(model, digest):
    assert hashlib.sha256("\n".join(queries(model)).encode()).hexdigest() == digest


def test_queries_are_embedded_as_queries_and_once_per_model():
    embedder = Hashing()
    vectors = baseline_vectors(embedder, FINGERPRINT)
    assert [each.text for each in embedder.asked] == list(QUERIES)
    assert {each.instruction for each in embedder.asked} == {QUERY_INSTRUCTION}
    assert vectors.shape == (64, DIM)
    assert np.array_equal(baseline_vectors(embedder, FINGERPRINT), vectors)
    other_files = replace(FINGERPRINT, detail=Detail.HIGH, preprocessing=9)
    assert np.array_equal(baseline_vectors(embedder, other_files), vectors)
    assert len(embedder.asked) == 64
    for made in (replace(FINGERPRINT, revision="b"), replace(FINGERPRINT, prompt_layout=2)):
        baseline_vectors(embedder, made)
    assert len(embedder.asked) == 3 * 64


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-4], lambda data: b"", lambda data: data[::-1]]
)
def test_a_damaged_cache_is_embedded_anew(spoil):
    embedder = Hashing()
    vectors = baseline_vectors(embedder, FINGERPRINT)
    (path,) = (platformdirs.user_cache_path() / "banks").iterdir()
    path.write_bytes(spoil(path.read_bytes()))
    assert np.array_equal(baseline_vectors(embedder, FINGERPRINT), vectors)
    assert len(embedder.asked) == 128
    baseline_vectors(embedder, FINGERPRINT)
    assert len(embedder.asked) == 128, "and kept again"


def test_a_cache_that_cannot_be_written_costs_nothing_but_the_next_time():
    (platformdirs.user_cache_path() / "banks").write_bytes(b"a file where a folder should be")
    embedder = Hashing()
    assert baseline_vectors(embedder, FINGERPRINT).shape == (64, DIM)
    assert baseline_vectors(embedder, FINGERPRINT).shape == (64, DIM)
    assert len(embedder.asked) == 128


# ------------------------------------------------------------------ indexing


def run(folder, root, embedder):
    library = Library.open(folder)
    return index(
        library,
        [os.fsencode(root)],
        lambda: embedder,
        IngestOptions(),
        lambda _: None,
        lambda: False,
    )


def test_indexing_sets_the_bank_before_the_first_row_and_only_then(tmp_path):
    folder, root = tmp_path / "library", tmp_path / "notes"
    root.mkdir()
    (root / "a.txt").write_text("a note")
    Library.create(folder, FINGERPRINT)
    embedder = Hashing()
    run(folder, root, embedder)
    assert len(embedder.asked) == 65
    library = Library.open(folder)
    assert library.baseline is not None
    assert np.isfinite(library.backgrounds).all()
    run(folder, root, embedder)
    (root / "b.txt").write_text("another one")
    run(folder, root, embedder)
    assert len(embedder.asked) == 66


def test_an_older_library_gets_its_bank_with_the_next_file(tmp_path, monkeypatch):
    folder, root = tmp_path / "library", tmp_path / "notes"
    root.mkdir()
    (root / "a.txt").write_text("a note")
    Library.create(folder, FINGERPRINT)
    embedder = Hashing()
    with monkeypatch.context() as patch:
        patch.setattr(Library, "set_baseline", lambda *_: None)  # as it was
        run(folder, root, embedder)
    assert Library.open(folder).baseline is None
    run(folder, root, embedder)
    assert Library.open(folder).baseline is None, "no model is loaded for it"
    (root / "b.txt").write_text("another one")
    run(folder, root, embedder)
    library = Library.open(folder)
    check_backgrounds(library, library.baseline)


def test_the_demos_queries_are_of_its_own_world():
    words = " ".join(queries("demo"))
    assert all(word in words for word in ("red", "circle", "star", "grass", "top left"))
