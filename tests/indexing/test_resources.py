"""What a long life in one process costs.

Proves that indexing and searching again and again, with the real decode processes, leaves no file
open, no thread, no process and no memory behind, and that memory does not grow with the files of a
run by more than what the library says of each.
"""

import os
import sys
import tempfile
from pathlib import Path

import pytest
from support.indexer import FINGERPRINT, Bench, Counting, note
from support.processes import MEGABYTE, children, linux, resident

from qvsearch.indexing.pipeline import IngestOptions, index
from qvsearch.library.library import Library
from qvsearch.retrieval.pipeline import SearchOptions, answer, parse_query

pytestmark = linux


def held():
    """What this process holds: its open files, its threads and its children, by their numbers."""
    here = Path("/proc/self")
    return {
        "files": sorted(os.readlink(each) for each in (here / "fd").iterdir() if each.is_symlink()),
        "threads": len(list((here / "task").iterdir())),
        "children": children(os.getpid()),
    }


def one_life(bench, number):
    """Index one more file, change and remove one, and search."""
    note(bench.root / f"{number}.txt", f"note number {number}")
    note(bench.root / "changing.txt", f"it is {number} now")
    (bench.root / f"{number - 2}.txt").unlink(missing_ok=True)
    assert bench.index().embedded == 2
    hits = answer(
        bench.open(),
        parse_query(f"note number {number}", None, None),
        SearchOptions(min_relevance=0.0),
        lambda: bench.embedder,
        None,
        lambda _: None,
    )
    assert hits


@pytest.mark.parametrize("lives", [6, pytest.param(50, marks=pytest.mark.soak)])
def test_indexing_and_searching_again_and_again_leaves_nothing_behind(tmp_path, lives):
    Library.create(tmp_path / "library", FINGERPRINT)
    (tmp_path / "media").mkdir()
    bench = Bench(tmp_path / "library", tmp_path / "media")
    for number in range(3):
        one_life(bench, number)
    before, memory = held(), resident()
    for number in range(3, 3 + lives):
        one_life(bench, number)
    assert held() == before
    assert resident() - memory < 16 * MEGABYTE


@pytest.mark.soak
def test_fifty_thousand_small_files_take_memory_for_their_rows_only():
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where) as folder:
        root = Path(folder) / "media"
        root.mkdir()
        for number in range(50_000):
            (root / f"{number:05}.txt").write_text(f"a small note, number {number}")
        library = Library.create(Path(folder) / "library", FINGERPRINT)
        memory = []

        def report(event):
            if event.state == "indexed":
                report.files += 1
                if report.files % 5000 == 0:
                    memory.append(resident())

        report.files = 0
        options = IngestOptions(commit_seconds=5.0)
        summary = index(
            library, [os.fsencode(root)], Counting().load, options, report, lambda: False
        )
    assert summary.embedded == 50_000
    growth = (memory[-1] - memory[1]) / 40_000
    sys.stderr.write(f"MB at each tenth: {[round(each / MEGABYTE) for each in memory]}\n")
    assert growth < 4096, f"{growth:.0f} bytes for each file"
