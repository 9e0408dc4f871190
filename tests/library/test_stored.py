"""A library whose vectors are bytes: what numpy makes of them stays, bit for bit."""

import json
import os
from dataclasses import replace

import faiss
import numpy as np
import pytest
from PIL import Image
from support.indexer import Counting
from support.readers import make_older, nearest_rows
from support.rows import photo, photos, rewrite_manifest

from qvsearch.cli.app import main
from qvsearch.errors import QvsearchError
from qvsearch.files import Seal, write_file
from qvsearch.formats import pack_arrays, unpack_arrays
from qvsearch.indexing.pipeline import IngestOptions, index
from qvsearch.library import merge_plan
from qvsearch.library import shards as segments
from qvsearch.library.library import Library
from qvsearch.library.manifest import read_committed, write_manifest
from qvsearch.library.repair import check, repair
from qvsearch.library.shards import column_types
from qvsearch.types import Detail, Fingerprint, Stored
from qvsearch.vectors.encoding import Form

pytestmark = pytest.mark.usefixtures("disk")

DIM = 16
ROWS = 60
FINGERPRINT = Fingerprint("some/model", "abc123", DIM, Detail.LOW, "Represent.", 1, 1)
FORM = Form(DIM, Stored.INT8)
START = FORM.header_size


def unit(rows, seed):
    vectors = np.random.default_rng(seed).standard_normal((rows, DIM), dtype=np.float32)
    vectors *= np.arange(1, DIM + 1, dtype=np.float32) ** -0.5
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


VECTORS = unit(ROWS, 1)
STEPS = np.rint(VECTORS / np.abs(VECTORS).max(axis=1, keepdims=True) * 127)
BYTES = (STEPS + 128).astype(np.uint8)
KEPT = STEPS / np.linalg.norm(STEPS, axis=1, keepdims=True)


@pytest.fixture(params=["new", "older"])
def library(request, tmp_path):
    """Two shards of 30 rows, one of them dead; those of an older library have no facts."""
    made = filled(tmp_path / "library")
    if request.param == "new":
        return made
    make_older(made.folder)
    return Library.open(made.folder)


def filled(folder):
    made = Library.create(folder, FINGERPRINT, Stored.INT8)
    made.add_root(b"/photos")
    for start in (0, 30):
        made.add(photos(start, start + 30), VECTORS[start : start + 30])
        made.commit()
    made.remove([7])
    made.commit()
    return made


def path(library, number, suffix="faiss"):
    return library.folder / "segments" / f"{number:06d}.{suffix}"


def stored(library):
    """The bytes of each live row by its content hash, as FAISS and JSON find them on the disk."""
    found = {}
    for file in read_committed(library.folder).files:
        index = faiss.read_index(str(library.folder / "segments" / f"{file.name}.faiss"))
        codes = faiss.vector_to_array(index.codes).reshape(-1, DIM)
        lines = (library.folder / "segments" / f"{file.name}.jsonl").read_bytes().splitlines()
        dead = {row for start, end in file.dead for row in range(start, end)}
        for row, (line, code) in enumerate(zip(lines, codes, strict=True)):
            if row not in dead:
                found[json.loads(line)["content_hash"]] = code.tobytes()
    return found


def expected(numbers):
    return {photo(number).content_hash: BYTES[number].tobytes() for number in numbers}


LIVE = [number for number in range(ROWS) if number != 7]


def test_rows_are_what_numpy_makes_of_them_and_so_are_their_cosines(library):
    query = unit(1, 9)[0]
    for each in (library, Library.open(library.folder)):
        assert each.store is Stored.INT8
        assert stored(each) == expected(LIVE)
        np.testing.assert_allclose(each.vectors(LIVE), KEPT[LIVE], atol=1e-7)
        scores = each.scores(query)
        assert scores[7] == -np.inf
        np.testing.assert_allclose(scores[LIVE], KEPT[LIVE] @ query, atol=1e-6)
        best = sorted(LIVE, key=lambda row: -(KEPT[row] @ query))[:9]
        assert [row for row, _ in nearest_rows(each, query, 9)] == best
        assert [score for _, score in nearest_rows(each, query, 9)] == scores[best].tolist()
        picked = each.pick(np.array([50, 3, 8]))
        np.testing.assert_allclose(picked.scores(query), KEPT[[50, 3, 8]] @ query, atol=1e-6)


def test_backgrounds_are_of_the_cosines(library):
    bank = unit(9, 5)
    library.set_baseline(bank)
    library.add(photos(100, 103), VECTORS[:3])
    kept = np.concatenate([KEPT[LIVE], KEPT[:3]])
    scores = kept @ bank.astype(np.float16).T.astype(np.float64)
    library.commit()
    for each in (library, Library.open(library.folder)):
        found = each.backgrounds[list(each.segments)]
        np.testing.assert_allclose(found[:, 0], scores.mean(axis=1), atol=1e-4)
        np.testing.assert_allclose(found[:, 1], scores.std(axis=1), atol=1e-4)


def test_plain_faiss_finds_the_same_inner_products(library):
    query = unit(1, 9)[0]
    scores = library.scores(query)
    products, rows = faiss.read_index(str(path(library, 2))).search(query[None], 30)
    lengths = np.linalg.norm(STEPS[30 + rows[0]], axis=1)
    np.testing.assert_allclose(products[0] / lengths, scores[30 + rows[0]], atol=1e-6)


def test_merged_and_compacted_files_have_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(merge_plan, "TIERS", (10**4, 10**5, 10**6))
    library = Library.create(tmp_path / "library", FINGERPRINT, Stored.INT8)
    library.add_root(b"/photos")
    for start in range(0, ROWS, 3):
        library.add(photos(start, start + 3), VECTORS[start : start + 3])
        library.commit()
    assert len(read_committed(library.folder).files) < 10
    assert stored(library) == expected(range(ROWS))
    library.remove(range(0, ROWS, 2))
    library.commit()
    assert stored(library) == expected(range(1, ROWS, 2))
    again = Library.open(library.folder)
    np.testing.assert_allclose(again.vectors(list(again.segments)), KEPT[1::2], atol=1e-7)
    assert check(library.folder) == []


def test_no_vector_is_read_to_open_or_search_what_has_facts(tmp_path, monkeypatch):
    library = filled(tmp_path / "library")

    def measured(*_):
        raise AssertionError("its lengths were kept")

    monkeypatch.setattr(Form, "norms", measured)
    opened = Library.open(library.folder)
    query = unit(1, 9)[0]
    np.testing.assert_array_equal(opened.scores(query), library.scores(query))
    opened.pick(np.arange(10, 20)).scores(query)


def test_a_renamed_file_has_the_same_bytes_and_costs_no_embedding(tmp_path):
    root = tmp_path / "notes"
    root.mkdir()
    for number in range(5):
        (root / f"{number}.txt").write_text(f"what is said in note {number}")
    made = replace(FINGERPRINT, dim=8)
    library = Library.create(tmp_path / "library", made, Stored.INT8)
    embedder = Counting()

    def run():
        embedder.embedded.clear()
        paths = [os.fsencode(root)]
        index(library, paths, embedder.load, IngestOptions(), lambda _: None, lambda: False)
        rows = list(library.segments)
        names = [library.segments[row].item.path for row in rows]
        return dict(zip(names, map(bytes, library.pick(np.array(rows)).codes), strict=True))

    before = run()
    assert len(embedder.embedded) == len(before) == 5
    (root / "3.txt").rename(root / "moved.txt")
    after = run()
    assert embedder.embedded == []
    assert after == {b"moved.txt" if name == b"3.txt" else name: before[name] for name in before}


def test_one_flipped_bit_costs_one_row_and_no_byte_of_the_others(library):
    data = bytearray(path(library, 2).read_bytes())
    data[START + 4 * DIM + 3] ^= 1
    path(library, 2).write_bytes(data)
    with pytest.raises(QvsearchError, match=r"000002\.faiss is damaged"):
        Library.open(library.folder)
    assert [each.file for each in check(library.folder)] == ["segments/000002.faiss"]
    found = repair(library.folder)
    assert (found.kept, found.lost) == (len(LIVE) - 1, 1)
    assert check(library.folder) == []
    assert Library.open(library.folder).store is Stored.INT8
    assert stored(library) == expected(number for number in LIVE if number != 34)


def test_a_row_of_zeros_in_a_damaged_file_is_no_hit_and_check_reports_it(library, monkeypatch):
    monkeypatch.setattr(segments, "VERIFY_AT_OPEN", 0)
    data = bytearray(path(library, 2).read_bytes())
    data[START + 4 * DIM : START + 5 * DIM] = b"\x80" * DIM
    path(library, 2).write_bytes(data)
    opened = Library.open(library.folder)
    query = unit(1, 9)[0]
    if path(library, 2, "facts").exists():  # which know a length for it
        assert abs(opened.scores(query)[34]) < 1e-6
        with pytest.raises(QvsearchError, match="line 5 and its vector do not match"):
            opened.segments[34]
    else:
        with pytest.raises(
            QvsearchError, match=r"000002\.faiss is damaged: the score of vector 4 is nan"
        ):
            opened.scores(query)
    assert [each.file for each in check(library.folder)] == ["segments/000002.faiss"]
    assert repair(library.folder).lost == 1


@pytest.mark.parametrize("wrong", [0, np.nan, -1, "too few"])
def test_lengths_that_no_vector_has_are_refused_and_made_anew(tmp_path, wrong):
    """Though the checksums fit, as after a mistake of ours."""
    library = filled(tmp_path / "library")
    query = unit(1, 9)[0]
    before = library.scores(query)
    file = path(library, 2, "facts")
    arrays = unpack_arrays(file.read_bytes(), column_types(FORM))
    np.testing.assert_allclose(arrays["norms"], np.linalg.norm(STEPS[30:], axis=1), rtol=1e-6)
    norms = arrays["norms"].copy()
    if wrong == "too few":
        norms = norms[:-1]
    else:
        norms[4] = wrong
    facts = write_file(file, *pack_arrays(arrays | {"norms": norms}))
    assert isinstance(facts, Seal)
    manifest = read_committed(library.folder)
    first, second = manifest.files
    write_manifest(library.folder, replace(manifest, files=(first, replace(second, facts=facts))))
    with pytest.raises(QvsearchError, match=r"000002\.facts is damaged.*length of each vector"):
        Library.open(library.folder)
    assert [each.file for each in check(library.folder)] == ["segments/000002.facts"]
    assert repair(library.folder).lost == 0
    np.testing.assert_array_equal(Library.open(library.folder).scores(query), before)


def test_an_older_manifest_is_of_halves_unless_it_says_otherwise(tmp_path):
    halves = Library.create(tmp_path / "halves", FINGERPRINT)
    assert halves.store is Stored.FLOAT16
    rewrite_manifest(halves, lambda record: (record.pop("store"), record.update(format=1)))
    assert Library.open(halves.folder).store is Stored.FLOAT16
    of_bytes = Library.create(tmp_path / "bytes", FINGERPRINT, Stored.INT8)
    rewrite_manifest(of_bytes, lambda record: record.update(format=2))
    assert Library.open(of_bytes.folder).store is Stored.INT8
    for wrong in ({"store": "int4"}, {"store": "float16"}, {"format": 1}, {"store": None}):
        rewrite_manifest(of_bytes, lambda record, wrong=wrong: record.update(wrong))
        with pytest.raises(QvsearchError, match="is damaged: it is not what qvsearch writes"):
            Library.open(of_bytes.folder)
        rewrite_manifest(of_bytes, lambda record: record.update(store="int8", format=2))


def test_a_file_of_the_other_form_is_refused(library):
    rewrite_manifest(library, lambda record: record.update(store="float16", format=1))
    with pytest.raises(QvsearchError, match=r"000001\.faiss is damaged: .* 30 x 16 float16"):
        Library.open(library.folder)


def test_the_option_makes_a_library_that_keeps_it(tmp_path, capfd):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (64, 64), colour).save(pictures / f"{number}.png")
    folder = tmp_path / "library"
    run = ["index", str(pictures), "-l", str(folder), "--model", "demo", "--quiet"]
    assert main([*run, "--store", "int8"]) == 0
    assert main(run) == 0
    assert Library.open(folder).store is Stored.INT8
    for more in ([], ["--dry-run"]):
        capfd.readouterr()
        assert main([*run, "--store", "float16", *more]) == 2
        assert "was made with --store int8, not float16;" in capfd.readouterr().err
    assert main([*run, "--store", "int3"]) == 2
    assert main(["check", "-l", str(folder)]) == 0
    capfd.readouterr()
    assert main(["status", "-l", str(folder), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["store"] == "int8"
    assert main(["status", "-l", str(folder)]) == 0
    assert "vectors in int8" in capfd.readouterr().out
    assert main(["search", "red", "-l", str(folder), "--all", "--json"]) == 0
    hits = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert sorted(hit["path"] for hit in hits) == sorted(map(str, pictures.iterdir()))
    assert main(["similar", str(pictures / "0.png"), "-l", str(folder), "--json"]) == 0
    assert all(-1 <= json.loads(hit)["score"] <= 1 for hit in capfd.readouterr().out.splitlines())
