"""What an interrupted or running first index has left is told by status and search."""

import os
import shutil

import pytest
from support.indexer import (
    Bench,
    bench,  # noqa: F401 - fixtures
    note,
    notes,
)

from qvsearch.cli.app import main
from qvsearch.errors import QvsearchError
from qvsearch.indexing.forget import forget
from qvsearch.indexing.roots import remembered_rules
from qvsearch.indexing.status import library_status
from qvsearch.library.filters import Filters
from qvsearch.library.pending import PENDING, Pending, read_pending, write_pending
from qvsearch.library.rules import Rules, ScanOptions
from qvsearch.records.library import status_record
from qvsearch.retrieval.selection import allowed_rows
from qvsearch.types import Kind

__all__ = ["bench"]


def not_indexed(bench: Bench):
    return status_record(library_status(bench.open()), ())["not_indexed"]


def interrupted(bench: Bench, *paths, **options):
    """Look at the files, and be interrupted before the first is done."""
    stop = lambda: any(e.state == "planned" for e in bench.events)  # noqa: E731
    return bench.index(*paths, stop=stop, **options)


def test_an_interrupted_run_leaves_its_files_as_not_indexed_yet(bench, capfd):
    notes(bench.root, 20)
    assert not_indexed(bench) == 0
    assert interrupted(bench).left == 20
    assert not_indexed(bench) == 20
    assert main(["status", "-l", str(bench.library_folder)]) == 0
    shown = " ".join(capfd.readouterr().out.split())
    assert "not indexed yet 20 files; unless it still runs:" in shown
    bench.index()
    assert not_indexed(bench) == 0
    assert not (bench.library_folder / PENDING).exists()
    assert main(["status", "-l", str(bench.library_folder)]) == 0
    assert "not indexed" not in capfd.readouterr().out


def test_an_interrupted_first_run_leaves_its_patterns_to_the_next(bench, capfd):
    notes(bench.root, 3)
    root = os.fsencode(bench.root)
    interrupted(bench, scan=ScanOptions(exclude=("000.*",)))
    assert (bench.open().generation, bench.open().roots) == (0, [])
    assert remembered_rules(bench.open()) == {root: Rules(exclude=("000.*",))}
    assert main(["status", "-l", str(bench.library_folder)]) == 0
    assert "indexed with --exclude '000.*'" in " ".join(capfd.readouterr().out.split())
    interrupted(bench, scan=ScanOptions(exclude=("001.*",)))
    assert bench.plan().to_index == {Kind.TEXT: 1}
    assert bench.index().found == 1
    assert bench.open().rules == {root: Rules(exclude=("000.*", "001.*"))}
    assert bench.open().load_pending() == []


def test_patterns_of_an_interrupted_first_run_can_be_forgotten(bench):
    notes(bench.root, 3)
    interrupted(bench, scan=ScanOptions(exclude=("000.*",)))
    assert bench.index(forget_rules=True).found == 3
    assert bench.open().rules == {}


def test_what_is_left_is_known_while_a_run_goes_on(bench):
    notes(bench.root, 20)
    seen = []
    embed = bench.embedder.embed

    def watching(inputs):
        library = bench.open()
        seen.append((len(library), sum(run.files for run in library.load_pending())))
        return embed(inputs)

    bench.embedder.embed = watching
    bench.index(commit_seconds=0.0)
    assert seen[0] == (0, 20)
    assert all(rows + left == 20 for rows, left in seen)


def test_a_search_before_the_first_commit_says_what_is_missing(bench):
    notes(bench.root, 3)
    interrupted(bench)
    with pytest.raises(QvsearchError, match="searched yet: 3 files are not indexed; wait for"):
        allowed_rows(bench.open(), Filters())


def test_runs_over_other_folders_leave_what_is_left(bench):
    for name in ("a", "b", "b/new"):
        (bench.root / name).mkdir()
    for name in ("a", "b"):
        notes(bench.root / name, 4)
    interrupted(bench, bench.root / "a")
    assert not_indexed(bench) == 4
    bench.index(bench.root / "b")
    assert not_indexed(bench) == 4
    bench.index(bench.root)  # above both
    assert not_indexed(bench) == 0
    notes(bench.root / "b" / "new", 1)
    interrupted(bench, bench.root / "b")
    assert not_indexed(bench) == 1
    forget(bench.open(), [os.fsencode(bench.root / "b")])
    assert not_indexed(bench) == 0


def test_folders_that_are_finished_one_by_one_are_not_left(bench):
    names = ("a", "b", "c")
    folders = [bench.root / name for name in names]
    for folder, name in zip(folders, names, strict=True):
        notes(folder, 4)
        note(folder / "other.txt", name)
    interrupted(bench, *folders, scan=ScanOptions(exclude=("000.*",)))
    bench.index(folders[0])
    (left,) = bench.open().load_pending()
    b, c = map(os.fsencode, folders[1:])
    kept = Rules(exclude=("000.*",))
    assert set(left.paths) == {b, c}
    assert (left.files, left.rules) == (8, {b: kept, c: kept})
    shutil.rmtree(folders[1])
    assert forget(bench.open(), [b]) == 0
    assert bench.open().load_pending() == [Pending((c,), 8, {c: kept})]
    bench.index(folders[2])
    assert bench.open().load_pending() == []


def test_a_folder_that_is_gone_before_its_first_run_is_finished_can_be_removed(bench, capfd):
    notes(bench.root, 3)
    interrupted(bench)
    shutil.rmtree(bench.root)
    with pytest.raises(QvsearchError, match="has no such path"):
        bench.index()
    assert main(["remove", str(bench.root), "-l", str(bench.library_folder)]) == 0
    assert (not_indexed(bench), bench.open().generation) == (0, 0)
    assert main(["remove", str(bench.root), "-l", str(bench.library_folder)]) != 0
    assert "holds nothing at" in capfd.readouterr().err


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[",
        b"{}",
        b"7",
        b'["a"]',
        b'[{"paths":["a"],"files":1}]',
        b'[{"paths":[],"files":1,"rules":[1]}]',
        b"[" * 10**6,
        b"\xff",
    ],
)
def test_a_damaged_list_is_none(tmp_path, data):
    runs = [Pending((b"/photos", b"/\xff"), 5, {b"/\xff": Rules(("*.jpg",), ("a", "b"))})]
    write_pending(tmp_path, runs)
    assert read_pending(tmp_path) == runs
    (tmp_path / PENDING).write_bytes(data)
    assert read_pending(tmp_path) == []
