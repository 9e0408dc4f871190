import os
import re
from dataclasses import replace

import numpy as np
import orjson
import pytest
from support.processes import linux
from support.readers import make_older, nearest_rows
from support.rows import (
    DIM,
    FINGERPRINT,
    ROOT,
    library,  # noqa: F401 - fixtures
    photo,
    photos,
    rewrite_manifest,
    rounded,
)

from qvsearch import files as durable
from qvsearch.errors import QvsearchError
from qvsearch.library import manifest, merge_plan
from qvsearch.library import shards as segments
from qvsearch.library.failures import Failure
from qvsearch.library.library import Library, library_folder
from qvsearch.library.rules import Rules
from qvsearch.types import Item, Kind, Segment, Stored

pytestmark = pytest.mark.usefixtures("disk")


def unit(rows, seed):
    vectors = np.random.default_rng(seed).standard_normal((rows, DIM), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def content(library):
    """Return what a library holds: each live segment with its stored vector."""
    rows = list(library.segments)
    vectors = library.vectors(rows)
    return {library.segments[row]: vectors[i].tobytes() for i, row in enumerate(rows)}


def expected(segments, vectors, stored=Stored.FLOAT16):
    kept = rounded(vectors, stored)
    return {segment: kept[i].tobytes() for i, segment in enumerate(segments)}


def fill(library, start, end):
    library.add(photos(start, end), unit(end, 7)[start:end])
    library.commit()


def files(library):
    return sorted(path.name for path in (library.folder / "segments").iterdir())


def shard(number):
    return [f"{number:06d}.{suffix}" for suffix in ("facts", "faiss", "jsonl", "words")]


# ------------------------------------------------------------------ what a library holds


def test_a_new_library_is_empty_and_opens(library):
    again = Library.open(library.folder)
    assert len(again) == 0
    assert again.fingerprint == FINGERPRINT
    assert again.roots == []
    assert nearest_rows(again, unit(1, 1)[0], 5) == []
    assert again.vectors([]).shape == (0, DIM)


def test_committed_rows_are_there_after_opening_again(library):
    vectors = unit(10, 1)
    library.add(photos(0, 6), vectors[:6])
    library.commit()
    library.add(photos(6, 10), vectors[6:])
    library.commit()
    again = Library.open(library.folder)
    assert list(again.segments.values()) == photos(0, 10)
    assert content(again) == content(library) == expected(photos(0, 10), vectors)
    assert again.roots == [ROOT]
    assert len(again) == 10


def test_nothing_is_on_the_disk_before_the_commit_but_it_is_found(library):
    vectors = unit(10, 1)
    fill(library, 0, 5)
    library.add(photos(10, 20), vectors)
    library.remove([0])
    assert library.segments[nearest_rows(library, vectors[3], 1)[0][0]] == photo(13)
    assert 0 not in library.segments
    assert list(Library.open(library.folder).segments.values()) == photos(0, 5)


def test_a_commit_without_changes_writes_nothing(library, disk):
    fill(library, 0, 5)
    generation = library.generation
    disk.steps.clear()
    library.commit()
    Library.open(library.folder).commit()
    assert not {"write", "replace", "unlink", "mkdir"} & set(disk.names)
    assert Library.open(library.folder).generation == generation


def test_removed_rows_are_gone_and_the_numbers_of_the_others_stay(library):
    fill(library, 0, 20)
    library.remove([3, 4, 19])
    library.commit()
    assert library.segments == {n: photo(n) for n in range(20) if n not in (3, 4, 19)}
    again = Library.open(library.folder)
    assert list(again.segments.values()) == [photo(n) for n in range(20) if n not in (3, 4, 19)]
    for gone in (3, 20, -1):
        with pytest.raises(QvsearchError, match=f"row {gone} is not in the library"):
            library.remove([5, gone])
        with pytest.raises(QvsearchError, match=f"row {gone} is not in the library"):
            library.vectors([gone])
    assert 5 in library.segments


NAMES = [
    "naïve café.jpg".encode(),
    "nai\u0308ve.jpg".encode(),
    b"bad \xff\xfe utf-8.jpg",
    b"line\nbreak\r.jpg",
    b"tab\tand \x1b[31mescape.jpg",
    "\u202egpj.exe".encode(),
    b"-rf.jpg",
    b"[red]x[/red].jpg",
    b'quote".jpg',
    b" ",
    b"a" * 251 + b".jpg",
    "👨‍👩‍👧.jpg".encode(),
    b"",
    b"\xed\xa0\x80.jpg",  # a surrogate in UTF-8, which is no UTF-8
]


def test_every_name_and_field_comes_back_exactly(library):
    rows = [
        Segment(Item(root, name, kind, size, mtime), "h", start, end, lines, snippet, width, height)
        for root in (ROOT, b"/disk \xff")
        for name, (kind, size, mtime, start, end, lines, snippet, width, height) in zip(
            NAMES,
            [
                (Kind.VIDEO, 0, 0, 0.0, 1 / 3, None, None, 1920, 1080),
                (Kind.TEXT, 2**40, -1, None, None, (1, 17), "a\nsnippet\u2028 \0", None, None),
                (Kind.IMAGE, 1, 2**63, None, None, None, None, 1, 1),
                (Kind.IMAGE, 1, -(2**70), None, None, None, None, 1, 1),
            ]
            * 3
            + [(Kind.IMAGE, 5, 5, None, None, None, "", None, None)] * 2,
            strict=True,
        )
    ]
    library.add_root(b"/disk \xff")
    library.add(rows, unit(len(rows), 1))
    library.commit()
    again = Library.open(library.folder)
    assert list(again.segments.values()) == rows
    assert again.roots == [ROOT, b"/disk \xff"]
    assert again.by_location()[os.path.join(ROOT, NAMES[2])] == [2]


def test_text_that_json_cannot_hold_does_not_stop_a_commit(library):
    row = replace(photo(1), snippet="half \ud83d of a pair")
    library.add([row], unit(1, 1))
    library.commit()
    assert Library.open(library.folder).segments[0].snippet == "half ? of a pair"


def test_the_sidecar_has_a_json_line_for_each_row(library):
    fill(library, 0, 3)
    lines = (library.folder / "segments" / "000001.jsonl").read_bytes().splitlines()
    assert [orjson.loads(line)["path"] for line in lines] == [
        "0/photo 0.jpg",
        "1/photo 1.jpg",
        "2/photo 2.jpg",
    ]
    assert orjson.loads(lines[1]) | {"crc": 0} == {
        "root": 0,
        "path": "1/photo 1.jpg",
        "kind": "image",
        "size": 1001,
        "mtime_ns": 1_700_000_000_000_000_001,
        "content_hash": "hash1",
        "width": 4000,
        "height": 3000,
        "crc": 0,
    }


def test_rows_of_one_file_share_its_item(library):
    moments = [replace(photo(1), start=float(n), end=n + 1.0) for n in range(3)]
    library.add(moments, unit(3, 1))
    library.commit()
    items = [segment.item for segment in Library.open(library.folder).segments.values()]
    assert items[0] is items[1] is items[2]


def test_rows_are_found_by_location(library):
    copy = replace(photo(1), item=replace(photo(1).item, path=b"copy.jpg"))
    library.add([photo(0), photo(1), copy], unit(3, 1))
    library.commit()
    library.remove([0])
    assert library.by_location() == {b"/photos/1/photo 1.jpg": [1], b"/photos/copy.jpg": [2]}


def test_a_removed_root_takes_its_rows_and_can_come_back(library):
    library.add_root(b"/other")
    library.add([photo(0), photo(1, b"/other")], unit(2, 1))
    library.commit()
    library.remove_roots([ROOT])
    library.commit()
    again = Library.open(library.folder)
    assert again.roots == [b"/other"]
    assert list(again.segments.values()) == [photo(1, b"/other")]
    again.add_root(ROOT)
    again.add([photo(2)], unit(1, 2))
    again.commit()
    assert list(Library.open(library.folder).segments.values()) == [photo(1, b"/other"), photo(2)]


def test_what_does_not_fit_is_refused_and_nothing_is_added(library):
    vectors = unit(2, 1)
    bad = vectors * np.array([[1], [np.nan]], dtype=np.float32)
    for rows, found, said in [
        (photos(0, 2), bad, "vector 1 contains NaN"),
        (photos(0, 2), vectors * 2, "vector 0 has length 2"),
        (photos(0, 2), vectors[:, :8], r"\(2, 8\), but \(n, 16\)"),
        (photos(0, 3), vectors, "3 segments have 2 vectors"),
        ([photo(0), photo(1, b"/other")], vectors, "/other is not a root of the library"),
    ]:
        with pytest.raises(QvsearchError, match=said):
            library.add(rows, found)
    assert len(library) == 0
    fill(library, 0, 2)
    assert len(Library.open(library.folder)) == 2


def test_a_row_too_long_to_be_read_is_not_written(library):
    fill(library, 0, 3)
    library.add([replace(photo(3), snippet="a" * 2**20)], unit(1, 1))
    with pytest.raises(QvsearchError, match=r"3\.jpg has .* bytes; at most 1,048,576"):
        library.commit()
    assert len(Library.open(library.folder)) == 3


def test_failures_come_back_and_a_broken_line_is_passed_over(library):
    assert library.load_failures() == []
    failures = [
        Failure(b"/photos/\xff.jpg", 5, 2**65, "cut off \ud800", 2),
        Failure(b"/photos/b.jpg", 0, -1, "empty", 1),
    ]
    library.save_failures(failures)
    path = library.folder / "failed.jsonl"
    again = Library.open(library.folder).load_failures()
    assert again == [replace(failures[0], reason="cut off ?"), failures[1]]
    path.write_bytes(path.read_bytes()[3:] + b'[]\n{"path": 5}\n\xff\n{"path": "x"')
    assert Library.open(library.folder).load_failures() == failures[1:]


# ------------------------------------------------------------------ search


def test_search_over_many_files_is_exact_with_masks_and_dead_rows(library, monkeypatch):
    monkeypatch.setattr(merge_plan, "MERGE", 100)
    vectors = unit(200, 7)
    for start in range(0, 160, 20):
        fill(library, start, start + 20)
    library.add(photos(160, 200), vectors[160:])
    dead = [0, 33, 34, 35, 150, 199]
    library.remove(dead)
    rng = np.random.default_rng(5)
    for query in unit(20, 9):
        for k, size in ((1, 200), (10, 200), (300, 120), (5, 500)):
            allowed = rng.random(size) < 0.7
            alive = [row for row in range(200) if row not in dead and row < size and allowed[row]]
            scores = rounded(vectors).astype(np.float64) @ query
            best = sorted(alive, key=lambda row: -scores[row])[:k]
            found = nearest_rows(library, query, k, allowed)
            assert [row for row, _ in found] == best
            np.testing.assert_allclose([s for _, s in found], scores[best], atol=1e-6)
        everything = nearest_rows(library, query, 1000)
        assert len(everything) == 194


def test_equal_vectors_in_different_files_come_in_row_order(library, monkeypatch):
    monkeypatch.setattr(merge_plan, "MERGE", 100)
    vector = unit(1, 3)
    for start in range(0, 30, 3):
        library.add(photos(start, start + 3), np.repeat(vector, 3, axis=0))
        library.commit()
    assert [row for row, _ in nearest_rows(library, vector[0], 20)] == list(range(20))


# ------------------------------------------------------------------ merging and compaction


def test_many_commits_keep_few_files_and_every_row_bit_for_bit(library, disk, monkeypatch):
    row = 2 * DIM + 256
    monkeypatch.setattr(merge_plan, "TIERS", (8 * row, 64 * row, 512 * row))
    vectors = unit(1000, 7)
    for start in range(0, 1000, 2):
        library.add(photos(start, start + 2), vectors[start : start + 2])
        library.commit()
        assert len(files(library)) // 4 <= 7 * 3 + 1000 // 512 + 1
    assert content(library) == expected(photos(0, 1000), vectors)
    again = Library.open(library.folder)
    assert content(again) == expected(photos(0, 1000), vectors)
    assert list(again.segments.values()) == photos(0, 1000)
    lines = sum(
        bytes(arguments[1]).count(b'"crc"') for name, arguments in disk.steps if name == "write"
    )
    assert lines <= 5 * 1000  # a row is written once a class, not once a commit


@linux
def test_small_files_of_an_open_library_hold_no_descriptor(library):
    """So that many libraries, or a library of many small files, stay below the system's limit."""
    for number in range(5):
        library.add([photo(number)], unit(1, number))
        library.commit()
    before = len(os.listdir("/proc/self/fd"))
    opened = [Library.open(library.folder) for _ in range(3)]
    assert [len(each) for each in opened] == [5, 5, 5]
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_with_many_dead_rows_is_written_anew(library):
    fill(library, 0, 100)
    fill(library, 100, 110)
    library.remove(range(25))
    library.commit()
    assert files(library)[:4] == shard(1)
    library.remove([25])
    library.commit()
    assert files(library) == [*shard(2), *shard(3)]
    assert (library.folder / "segments" / "000003.jsonl").read_bytes().count(b"\n") == 74
    assert library.segments == {n: photo(n) for n in range(26, 110)}
    again = Library.open(library.folder)
    assert list(again.segments.values()) == photos(26, 110)
    stored = np.concatenate([unit(100, 7), unit(110, 7)[100:]])[26:]
    assert content(again) == content(library) == expected(photos(26, 110), stored)


def test_files_that_are_not_ours_are_left_alone(library):
    (library.folder / "segments").mkdir()
    others = ["notes.jsonl", "faces.faiss", "12.facts", "000001.txt", "000009.jsonl"]
    for name in others:
        (library.folder / "segments" / name).write_bytes(b"")
    fill(library, 0, 5)
    left = files(library)
    assert others[:-1] == [name for name in others if name in left]


def test_a_file_without_live_rows_goes(library):
    fill(library, 0, 10)
    library.remove(range(10))
    library.commit()
    assert files(library) == []
    assert len(Library.open(library.folder)) == 0
    fill(library, 10, 12)
    assert files(library) == shard(2)


@pytest.mark.parametrize("seed", range(8))
def test_any_history_equals_a_dictionary(tmp_path, monkeypatch, seed):
    row = 2 * DIM + 256
    monkeypatch.setattr(merge_plan, "TIERS", (8 * row, 64 * row, 512 * row))
    monkeypatch.setattr(segments, "VERIFY_AT_OPEN", 1000 if seed % 2 else 64 << 20)
    rng = np.random.default_rng(seed)
    stored = list(Stored)[seed // 4]
    library = Library.create(tmp_path / "library", FINGERPRINT, stored)
    library.add_root(ROOT)
    model, committed, following = {}, {}, 0
    for _ in range(120):
        match rng.choice(["add", "remove", "commit", "commit", "open"]):
            case "add":
                number = int(rng.integers(1, 30))
                rows, vectors = photos(following, following + number), unit(number, following)
                library.add(rows, vectors)
                model |= expected(rows, vectors, stored)
                following += number
            case "remove":
                share = rng.choice([0.02, 0.4])
                gone = [row for row in library.segments if rng.random() < share]
                for number in gone:
                    del model[library.segments[number]]
                library.remove(gone)
            case "commit":
                library.commit()
                committed = dict(model)
            case "open":
                make_older(library.folder, (0, 20, 1000)[seed % 3])
                library = Library.open(library.folder)
                model = dict(committed)
                assert content(library) == committed
                if not library.roots:
                    library.add_root(ROOT)
        assert content(library) == model
    library.commit()
    again = Library.open(library.folder)
    assert content(again) == model
    if model:
        query = unit(1, 1000)[0]
        scores = {s: np.frombuffer(v, np.float32) @ query for s, v in model.items()}
        best = again.segments[nearest_rows(again, query, 1)[0][0]]
        assert scores[best] == pytest.approx(max(scores.values()), abs=1e-6)


# ------------------------------------------------------------------ opening and refusing


def test_a_missing_library_is_said_with_the_way_out(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "nothing", tmp_path / "empty"):
        assert not Library.exists(folder)
        with pytest.raises(QvsearchError, match="no library at .*; make one with: qvsearch index"):
            Library.open(folder)


def test_a_file_where_the_folder_would_be_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "library"):
        assert not Library.exists(folder)
        for task in (Library.open, lambda folder: Library.create(folder, FINGERPRINT)):
            with pytest.raises(QvsearchError, match=r"no library can be at .*file is not"):
                task(folder)


def test_a_folder_with_other_things_does_not_become_a_library(tmp_path):
    (tmp_path / "thesis.tex").write_bytes(b"")
    with pytest.raises(QvsearchError, match=r"is not a library and holds thesis\.tex"):
        Library.create(tmp_path, FINGERPRINT)
    assert not (tmp_path / "manifest.json").exists()


def test_a_library_is_not_made_twice(library):
    with pytest.raises(QvsearchError, match="is already a library"):
        Library.create(library.folder, FINGERPRINT)


def test_a_home_folder_and_strings_are_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Library.create("~/mine", FINGERPRINT)
    assert Library.open(str(tmp_path / "mine")).fingerprint == FINGERPRINT
    assert Library.exists("~/mine")


def test_a_newer_format_names_both_versions(library):
    rewrite_manifest(library, lambda record: record.update(format=5, segments="who knows"))
    with pytest.raises(QvsearchError, match="has format 5, but this qvsearch reads up to 4"):
        Library.open(library.folder)


def test_rules_come_back_with_their_root_and_go_with_it(library):
    fill(library, 0, 2)
    rules = Rules(("*.jpg", "\u202e\n"), ("drafts/",))
    library.set_rules(ROOT, rules)
    library.set_rules(b"/other", rules)
    library.commit()
    assert Library.open(library.folder).rules == {ROOT: rules}, "the other one is no root"
    library.remove_roots([ROOT])
    library.commit()
    assert Library.open(library.folder).rules == library.rules == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.update(segments=[{}]),
        lambda r: r.update(segments={}),
        lambda r: r["segments"][0].update(name="../../etc/passwd"),
        lambda r: r["segments"][0].update(name="000001\n"),
        lambda r: r["segments"][0].update(rows=10**15),
        lambda r: r["segments"][0].update(rows=-1),
        lambda r: r["segments"][0].update(rows=4),
        lambda r: r["segments"][0].update(dead=[[0, 10**12]]),
        lambda r: r["segments"][0].update(dead=[[2, 1]]),
        lambda r: r["segments"][0].update(dead=[["a", "b"]]),
        lambda r: r["segments"][0].update(dead=[[1]]),
        lambda r: r["segments"][0]["faiss"].update(size=10**15),
        lambda r: r["segments"][0]["faiss"].update(sha256=5),
        lambda r: r["segments"].append(r["segments"][0]),
        lambda r: r["segments"].append(None),
        lambda r: r.update(next=1),
        lambda r: r.update(next="2"),
        lambda r: r.update(roots=[]),
        lambda r: r.update(roots=[{}]),
        lambda r: r.update(roots=[{"path_b64": "?"}]),
        lambda r: r.update(roots=[None]),
        lambda r: r.update(rules={}),
        lambda r: r.update(rules=[None]),
        lambda r: r.update(rules=[{"path": "/photos"}]),
        lambda r: r.update(rules=[{"path": "/nowhere", "include": [], "exclude": ["a"]}]),
        lambda r: r.update(rules=2 * [{"path": "/photos", "include": [], "exclude": ["a"]}]),
        lambda r: r.update(rules=[{"path": "/photos", "include": "a", "exclude": []}]),
        lambda r: r.update(rules=[{"path": "/photos", "include": [1], "exclude": []}]),
        lambda r: r.update(rules=[{"path": "/photos", "include": [""], "exclude": []}]),
        lambda r: r.update(generation=None),
        lambda r: r["fingerprint"].update(dim=8),
        lambda r: r["fingerprint"].update(dim=10**9),
        lambda r: r["fingerprint"].update(dim=True),
        lambda r: r["fingerprint"].update(detail="extreme"),
        lambda r: r["fingerprint"].pop("model"),
        lambda r: r.update(fingerprint=[]),
        lambda r: r.update(format="1"),
    ],
)
def test_a_manifest_that_nobody_would_write_is_one_sentence(library, change):
    fill(library, 0, 5)
    rewrite_manifest(library, change)
    with pytest.raises(QvsearchError, match=r"is damaged: .*check --repair"):
        Library.open(library.folder)


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[]", b"{}", b"\xff", b"[" * 10**6, b'{"a":' * 10**5, b"4" * 10**6, b"\0" * 99],
)
def test_a_manifest_that_is_none_is_one_sentence(library, data):
    (library.folder / "manifest.json").write_bytes(data)
    remedy = f"`qvsearch check --repair -l {library.folder}`"
    with pytest.raises(QvsearchError, match=rf"manifest\.json is damaged: .*{remedy}"):
        Library.open(library.folder)


@pytest.mark.parametrize("limit", ["LARGEST", "MOST_VALUES"])
def test_a_manifest_too_large_to_be_read_is_not_written_and_a_way_out_is_said(
    library, monkeypatch, limit
):
    fill(library, 0, 5)
    data = (library.folder / "manifest.json").read_bytes()
    library.remove([1])  # which the manifest has to say as well
    with monkeypatch.context() as patch:
        most = len(data) if limit == "LARGEST" else data.count(b",")
        patch.setattr(manifest, limit, most)
        with pytest.raises(QvsearchError) as refused:
            library.commit()
    said = re.fullmatch(
        rf"the manifest of {library.folder} cannot be written: it has ([\d,]+) (bytes|values);"
        r" at most ([\d,]+) can be read; index some of its folders into a library of their own,"
        r" with --library",
        str(refused.value),
    )
    assert said is not None
    assert int(said[1].replace(",", "")) > int(said[3].replace(",", "")) == most
    assert len(Library.open(library.folder)) == 5
    library.commit()
    assert len(Library.open(library.folder)) == 4


def test_pipes_folders_and_giants_in_place_of_files_do_not_stop_it(library):
    fill(library, 0, 5)
    for name in ("manifest.json", "segments/000001.faiss", "segments/000001.jsonl"):
        path = library.folder / name
        saved = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(QvsearchError, match="is damaged: it is not a plain file"):
            Library.open(library.folder)
        path.unlink()
        path.mkdir()
        with pytest.raises(QvsearchError, match="is damaged: it is not a plain file"):
            Library.open(library.folder)
        path.rmdir()
        with path.open("wb") as file:
            file.truncate(1 << 40)
        with pytest.raises(QvsearchError, match="is damaged"):
            Library.open(library.folder)
        path.write_bytes(saved)
    assert len(Library.open(library.folder)) == 5


ROW = {
    "root": 0,
    "path": "a.jpg",
    "kind": "image",
    "size": 5,
    "mtime_ns": 7,
    "content_hash": "h",
}


@pytest.mark.parametrize(
    "change",
    [
        {"root": 1},
        {"root": "0"},
        {"root": None},
        {"path": 5},
        {"path": None},
        {"kind": "smell"},
        {"kind": []},
        {"size": "5"},
        {"ctime_ns": "x"},
        {"inode": [1]},
        {"reading": "2"},
        {"reading": 0},
        {"reading": True},
        {"size": 5.5},
        {"mtime_ns": "x"},
        {"mtime_ns": []},
        {"content_hash": 5},
        {"start": "0"},
        {"lines": [1]},
        {"lines": 5},
        {"lines": ["a", "b"]},
        {"snippet": 5},
        {"width": 1.5},
    ],
)
def test_a_sidecar_that_nobody_would_write_is_one_sentence(library, change):
    library.add([photo(1)], unit(1, 1))
    library.commit()
    path = library.folder / "segments" / "000001.jsonl"
    seal = durable.write_file(path, orjson.dumps(ROW | change) + b"\n")

    def reseal(record):
        record["segments"][0]["sidecar"] = {"size": seal.size, "sha256": seal.sha256}
        record["segments"][0]["facts"] = None  # as of an older library, whose lines are all read

    rewrite_manifest(library, reseal)
    with pytest.raises(QvsearchError, match=r"000001\.jsonl is damaged"):
        Library.open(library.folder)


# ------------------------------------------------------------------ names of libraries


def test_where_a_library_lies(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("QVSEARCH_LIBRARY", raising=False)
    monkeypatch.chdir(tmp_path)
    home = library_folder(None).parent
    assert home.is_relative_to(tmp_path)
    assert library_folder(None) == home / "main"
    assert library_folder("family") == home / "family"
    assert library_folder("./family") == tmp_path / "family"
    assert library_folder("/x/family") == library_folder("/x/family/")
    assert library_folder("~/family") == tmp_path / "family"
    (tmp_path / "main").mkdir()
    (tmp_path / "family").mkdir()
    assert library_folder(None) == home / "main"
    assert library_folder("family") == tmp_path / "family"
    Library.create(home / "family", FINGERPRINT)
    assert library_folder("family") == home / "family"
    monkeypatch.setenv("QVSEARCH_LIBRARY", "work")
    assert library_folder(None) == home / "work"
    assert library_folder("family") == home / "family"
    monkeypatch.setenv("QVSEARCH_LIBRARY", "")
    assert library_folder(None) == home / "main"
