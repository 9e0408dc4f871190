import errno
import os
import shutil

import numpy as np
import pytest
from support.faulty_disk import FaultyDisk
from support.readers import nearest_rows

from qvsearch import files as durable
from qvsearch.errors import LibraryLocked, QvsearchError
from qvsearch.library import shards as segments
from qvsearch.library.library import Library
from qvsearch.library.repair import Problem, check, repair
from qvsearch.types import Detail, Fingerprint, Item, Kind, Segment, Stored
from qvsearch.vectors.encoding import Form

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("disk")]

DIM = 8
ROWS = 60
FINGERPRINT = Fingerprint("some/model", "abc123", DIM, Detail.LOW, "Represent.", 1, 1)
HALVES = Form(DIM, Stored.FLOAT16)


def unit(rows, seed):
    vectors = np.random.default_rng(seed).standard_normal((rows, DIM), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def photo(number):
    path = b"photo %d.jpg" % number
    return Segment(Item(b"/photos", path, Kind.IMAGE, number, number), f"hash{number}")


def content(library):
    rows = list(library.segments)
    vectors = library.vectors(rows)
    return {library.segments[row]: vectors[i].tobytes() for i, row in enumerate(rows)}


@pytest.fixture
def library(tmp_path):
    """Three files of 20 rows; of the first the rows 2, 3 and 4 are dead."""
    made = Library.create(tmp_path / "library", FINGERPRINT)
    made.add_root(b"/photos")
    vectors = unit(ROWS, 1)
    for start in range(0, ROWS, 20):
        made.add([photo(n) for n in range(start, start + 20)], vectors[start : start + 20])
        made.commit()
    made.remove([2, 3, 4])
    made.commit()
    return made


def names(library):
    return sorted(
        path.relative_to(library.folder).as_posix()
        for path in library.folder.rglob("*")
        if path.suffix in (".json", ".bak", ".faiss", ".jsonl")
    )


def flip(path, place, bit=0):
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)


def test_a_sound_library_is_left_as_it_is(library):
    before = {name: (library.folder / name).read_bytes() for name in names(library)}
    assert check(library.folder) == []
    found = repair(library.folder)
    assert (found.problems, found.kept, found.lost) == ((), 57, 0)
    assert {name: (library.folder / name).read_bytes() for name in names(library)} == before


def test_where_there_is_no_library_nothing_is_made(tmp_path):
    for task in (check, repair):
        with pytest.raises(QvsearchError, match="no library at"):
            task(tmp_path / "nothing")
        with pytest.raises(QvsearchError, match="no library at"):
            task(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_is_written_is_not_repaired(library):
    with library.lock(), pytest.raises(LibraryLocked, match=str(os.getpid())):
        repair(library.folder)


@pytest.mark.parametrize("suffix", ["faiss", "jsonl"])
def test_one_flipped_bit_costs_one_row(library, suffix):
    before = content(library)
    path = library.folder / "segments" / f"000002.{suffix}"
    place = path.stat().st_size // 2
    flip(path, path.read_bytes().index(b"photo", place) if suffix == "jsonl" else place)
    with pytest.raises(QvsearchError, match=rf"000002\.{suffix} is damaged: its sha256"):
        Library.open(library.folder)
    (problem,) = check(library.folder)
    assert problem.file == f"segments/000002.{suffix}"
    found = repair(library.folder)
    assert (found.problems, found.kept, found.lost) == ((problem,), 56, 1)
    after = content(Library.open(library.folder))
    assert after.items() < before.items()
    assert len(after) == 56
    assert check(library.folder) == []
    assert sorted(path.name for path in (library.folder / "quarantine").iterdir()) == [
        f"000002.{each}" for each in ("facts", "faiss", "jsonl", "words")
    ]


def test_dead_rows_stay_dead(library):
    flip(library.folder / "segments" / "000001.jsonl", 0)
    assert repair(library.folder).lost == 1
    assert {2, 3, 4}.isdisjoint(
        each.item.size for each in Library.open(library.folder).segments.values()
    )


def test_a_damaged_start_of_a_vector_file_costs_nothing(library):
    flip(library.folder / "segments" / "000001.faiss", 5)
    before = content(library)
    assert repair(library.folder).lost == 0
    assert content(Library.open(library.folder)) == before


def test_a_line_break_that_comes_or_goes_costs_two_rows_at_most(library):
    path = library.folder / "segments" / "000002.jsonl"
    data = path.read_bytes()
    joined = data.index(b"\n", len(data) // 2)
    split = data.index(b"photo", len(data) // 2)
    for place, byte, cost in ((joined, b" ", 2), (split, b"\n", 1)):
        shutil.rmtree(library.folder.parent / "copy", ignore_errors=True)
        copy = shutil.copytree(library.folder, library.folder.parent / "copy")
        broken = data[:place] + byte + data[place + 1 :]
        (copy / "segments" / "000002.jsonl").write_bytes(broken)
        assert repair(copy).lost == cost
        assert check(copy) == []


def test_a_truncated_file_loses_only_what_is_cut_off(library):
    for suffix in ("faiss", "jsonl"):
        path = library.folder / "segments" / f"00000{2 if suffix == 'faiss' else 3}.{suffix}"
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size * 3 // 4)
    found = repair(library.folder)
    assert len(found.problems) == 2
    assert 8 <= found.lost <= 14
    assert check(library.folder) == []


def test_a_missing_file_loses_its_rows_and_no_others(library):
    (library.folder / "segments" / "000002.jsonl").unlink()
    with pytest.raises(QvsearchError, match=r"000002\.jsonl is damaged: it is missing"):
        Library.open(library.folder)
    assert check(library.folder) == [Problem("segments/000002.jsonl", "No such file or directory")]
    assert repair(library.folder).lost == 20
    again = Library.open(library.folder)
    assert [each.item.size for each in again.segments.values()] == [
        0,
        1,
        *range(5, 20),
        *range(40, 60),
    ]
    again.add([photo(n) for n in range(20, 40)], unit(20, 5))
    again.commit()
    assert len(Library.open(library.folder)) == 57


def test_swapped_sidecars_are_noticed_and_no_row_gets_anothers_vector(library):
    folder = library.folder / "segments"
    first, second = (folder / "000002.jsonl").read_bytes(), (folder / "000003.jsonl").read_bytes()
    (folder / "000002.jsonl").write_bytes(second)
    (folder / "000003.jsonl").write_bytes(first)
    with pytest.raises(QvsearchError, match="is damaged"):
        Library.open(library.folder)
    before = content(library)
    assert repair(library.folder).lost == 40
    assert content(Library.open(library.folder)).items() < before.items()


@pytest.mark.parametrize("way", ["flip", "empty", "gone"])
def test_a_damaged_manifest_is_taken_from_its_copy(library, way):
    before = content(library)
    path = library.folder / "manifest.json"
    if way == "flip":
        flip(path, path.stat().st_size // 2)
    elif way == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    with pytest.raises(QvsearchError, match=r"manifest\.json is damaged.*check --repair"):
        Library.open(library.folder)
    assert [problem.file for problem in check(library.folder)] == ["manifest.json"]
    found = repair(library.folder)
    assert (found.kept, found.lost) == (57, 0)
    assert content(Library.open(library.folder)) == before
    assert check(library.folder) == []


def test_a_damaged_copy_is_made_anew(library):
    flip(library.folder / "manifest.json.bak", 100)
    assert content(Library.open(library.folder)) == content(library)
    assert [problem.file for problem in check(library.folder)] == ["manifest.json.bak"]
    assert repair(library.folder).lost == 0
    assert check(library.folder) == []


def test_without_any_manifest_nothing_is_touched(library):
    for name in ("manifest.json", "manifest.json.bak"):
        (library.folder / name).write_bytes(b"{}")
    before = names(library)
    with pytest.raises(QvsearchError, match="both damaged.*another --library"):
        repair(library.folder)
    assert names(library) == before


def test_large_vector_files_are_verified_by_check_and_before_they_are_copied(library, monkeypatch):
    monkeypatch.setattr(segments, "VERIFY_AT_OPEN", 0)
    flip(library.folder / "segments" / "000003.faiss", 200)
    opened = Library.open(library.folder)
    assert [problem.file for problem in check(library.folder)] == ["segments/000003.faiss"]
    opened.remove([row for row, each in opened.segments.items() if 40 <= each.item.size < 50])
    with pytest.raises(QvsearchError, match=r"000003\.faiss is damaged"):
        opened.commit()
    assert repair(library.folder).lost == 1
    assert check(library.folder) == []


def test_an_impossible_score_is_no_answer(library, monkeypatch):
    monkeypatch.setattr(segments, "VERIFY_AT_OPEN", 0)
    query = unit(1, 9)[0]
    path = library.folder / "segments" / "000003.faiss"
    data = path.read_bytes()
    huge = np.full(DIM, 60000, dtype=np.float16) * np.sign(query)
    path.write_bytes(data[:81] + huge.astype("<f2").tobytes() + data[81 + 2 * DIM :])
    with pytest.raises(QvsearchError, match=r"000003\.faiss is damaged: the score of vector 0 is"):
        nearest_rows(Library.open(library.folder), query, 5)


def test_flipped_bits_anywhere_are_detected_or_harmless_and_cost_a_row_at_most(library, tmp_path):
    before = content(library)
    query = unit(1, 9)[0]
    answers = nearest_rows(library, query, 10)
    rng = np.random.default_rng(1)
    sizes = {name: (library.folder / name).stat().st_size for name in names(library)}
    for name in rng.choice(list(sizes), 150):
        copy = shutil.copytree(library.folder, tmp_path / "copy")
        flip(copy / name, int(rng.integers(sizes[name])), int(rng.integers(8)))
        noticed = [problem.file for problem in check(copy)]
        if noticed and name != "manifest.json.bak":
            with pytest.raises(QvsearchError, match=name.rpartition("/")[2]):
                Library.open(copy)
        else:
            opened = Library.open(copy)
            assert content(opened) == before
            assert nearest_rows(opened, query, 10) == answers
        found = repair(copy)
        again = content(Library.open(copy))
        assert again.items() <= before.items()
        assert found.kept == len(again) >= len(before) - 2
        assert check(copy) == []
        shutil.rmtree(copy)


def test_truncations_anywhere_are_detected_and_repaired(library, tmp_path):
    before = content(library)
    rng = np.random.default_rng(2)
    for name in rng.choice(names(library), 60):
        copy = shutil.copytree(library.folder, tmp_path / "copy")
        path = copy / name
        with path.open("r+b") as file:
            file.truncate(int(rng.integers(path.stat().st_size)))
        if name == "manifest.json.bak":
            Library.open(copy)
        else:
            with pytest.raises(QvsearchError, match="is damaged"):
                Library.open(copy)
        assert [problem.file for problem in check(copy)] == [name]
        repair(copy)
        assert content(Library.open(copy)).items() <= before.items()
        assert check(copy) == []
        shutil.rmtree(copy)


def moment(name, second):
    item = Item(b"/photos", name, Kind.VIDEO, 9, 9)
    return Segment(item, name.decode(), start=float(second), end=second + 1.0)


@pytest.mark.parametrize("lost", [1, 2, 3, 4, 5])
def test_a_video_that_lost_a_moment_is_dropped_whole_to_be_embedded_again(tmp_path, lost):
    made = Library.create(tmp_path / "films", FINGERPRINT)
    made.add_root(b"/photos")
    films = [moment(b"a.mp4", s) for s in range(3)] + [moment(b"b.mp4", s) for s in range(3)]
    made.add([photo(0), *films, photo(1)], unit(8, 2))
    made.commit()
    flip(made.folder / "segments" / "000001.faiss", HALVES.header_size + lost * HALVES.row_size)
    found = repair(made.folder)
    left = Library.open(made.folder).by_location()
    assert {b"/photos/photo 0.jpg", b"/photos/photo 1.jpg"} <= left.keys()
    hurt = b"/photos/a.mp4" if lost <= 3 else b"/photos/b.mp4"
    assert hurt not in left
    assert all(len(rows) == 3 for place, rows in left.items() if place.endswith(b".mp4"))
    assert found.kept + found.lost == 8
    assert found.kept == sum(map(len, left.values()))


def test_a_folder_or_a_pipe_in_place_of_a_file_is_a_problem_that_costs_its_rows_only(library):
    for number, make in ((2, os.mkdir), (3, os.mkfifo)):
        path = library.folder / "segments" / f"00000{number}.faiss"
        path.unlink()
        make(path)
    open_files = len(os.listdir("/dev/fd"))
    assert check(library.folder) == [
        Problem("segments/000002.faiss", "Is a directory"),
        Problem("segments/000003.faiss", "not a plain file"),
    ]
    assert len(os.listdir("/dev/fd")) == open_files
    found = repair(library.folder)
    assert (found.kept, found.lost) == (17, 40)
    assert check(library.folder) == []


@pytest.mark.parametrize("suffix", ["faiss", "jsonl"])
def test_a_damaged_file_that_cannot_be_read_now_loses_nothing(library, monkeypatch, suffix):
    """Of another user, or too many files are open: that is over before the next repair."""
    before = {name: (library.folder / name).read_bytes() for name in names(library)}
    refused = library.folder / "segments" / f"000002.{suffix}"

    class Refusing(FaultyDisk):
        def open(self, path, *arguments):
            if path == refused:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return os.open(path, *arguments)

    monkeypatch.setattr(durable, "os", Refusing())
    assert check(library.folder) == [Problem(f"segments/{refused.name}", "Permission denied")]
    with pytest.raises(QvsearchError, match=rf"{refused.name} of the library: Permission denied"):
        repair(library.folder)
    assert {name: (library.folder / name).read_bytes() for name in names(library)} == before
    monkeypatch.undo()
    assert repair(library.folder).problems == ()


def test_a_disk_that_fails_in_the_middle_of_a_repair_is_one_sentence(library, monkeypatch):
    flip(library.folder / "segments" / "000002.faiss", 300)

    class Failing(FaultyDisk):
        def open(self, path, *arguments):
            if path.name == "000004.faiss":
                raise OSError(errno.EIO, "Input/output error", str(path))
            return os.open(path, *arguments)

    monkeypatch.setattr(durable, "os", Failing())
    with pytest.raises(QvsearchError, match=r"000004\.faiss of the library: Input/output error"):
        repair(library.folder)
    monkeypatch.undo()
    assert repair(library.folder).lost == 1
