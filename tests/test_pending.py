"""What an interrupted or running first index has left is told by status and search."""

import os

import pytest
from test_ingest import Bench, bench, notes

from qvsearch.cli import main
from qvsearch.errors import QvsearchError
from qvsearch.filters import Filters
from qvsearch.ingest import forget
from qvsearch.pending import PENDING, Pending, read_pending, write_pending
from qvsearch.retrieve import allowed_rows
from qvsearch.status import library_status, status_record

__all__ = ["bench"]


def not_indexed(bench: Bench):
    return status_record(library_status(bench.open()))["not_indexed"]


def interrupted(bench: Bench, *paths):
    """Look at the files, and be interrupted before the first is done."""
    return bench.index(*paths, stop=lambda: any(e.state == "planned" for e in bench.events))


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


@pytest.mark.parametrize(
    "data",
    [b"", b"[", b"{}", b"7", b'["a"]', b'[{"paths":["a"],"files":1}]', b"[" * 10**6, b"\xff"],
)
def test_a_damaged_list_is_none(tmp_path, data):
    runs = [Pending((b"/photos", b"/\xff"), 5)]
    write_pending(tmp_path, runs)
    assert read_pending(tmp_path) == runs
    (tmp_path / PENDING).write_bytes(data)
    assert read_pending(tmp_path) == []
