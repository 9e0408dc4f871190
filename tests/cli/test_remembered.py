"""A library remembers the patterns of its roots: later runs hold to them, and nothing goes unasked.

Proves also that patterns that cannot be used are refused before anything is remembered, and that
manifests without patterns are what they were.
"""

import json
import os

import orjson
import pytest
from support.commands import files, home, indexed, records, run  # noqa: F401 - fixtures
from support.indexer import FINGERPRINT, Bench, note, notes, picture
from support.library_damage import FINGERPRINT as OTHER
from support.rows import rewrite_manifest

from qvsearch.errors import QvsearchError
from qvsearch.indexing.status import library_status
from qvsearch.library.library import Library
from qvsearch.library.manifest import Manifest
from qvsearch.library.rules import LONGEST_PATTERN, MOST_PATTERNS, Rules, ScanOptions, rules_text
from qvsearch.records.library import status_record
from qvsearch.types import Kind, Skipped, Stored


@pytest.fixture
def bench(tmp_path):
    Library.create(tmp_path / "library", FINGERPRINT)
    (tmp_path / "media").mkdir()
    return Bench(tmp_path / "library", tmp_path / "media")


def rules(bench):
    return bench.open().rules.get(os.fsencode(bench.root))


def test_patterns_hold_in_later_runs_and_come_together(bench):
    for name in ("drafts/a.txt", "old/b.txt", "c.txt", "d.md"):
        note(bench.root / name, f"words of {name}")
    bench.index(scan=ScanOptions(exclude=("drafts/",)))
    assert bench.index().found == 3
    assert bench.index(bench.root / "drafts").found == 0
    assert bench.plan().unchanged == 3
    summary = bench.index(scan=ScanOptions(exclude=("old/",), include=("*.txt",)))
    assert (summary.found, summary.removed, summary.left_out) == (1, 0, 2)
    assert rules(bench) == Rules(("*.txt",), ("drafts/", "old/"))
    assert bench.names() == {"old/b.txt", "c.txt", "d.md"}
    status = library_status(bench.open())
    root = os.fsencode(bench.root)
    assert status.left_out == (
        Skipped(root + b"/d.md", "not in --include"),
        Skipped(root + b"/old/b.txt", "--exclude"),
    )
    (shown,) = json.loads(json.dumps(status_record(status, ())["roots"]))
    assert (shown["include"], shown["exclude"]) == (["*.txt"], ["drafts/", "old/"])
    summary = bench.index(scan=ScanOptions(include=("*.md",)))
    assert (summary.unchanged, summary.left_out) == (2, 1)


def test_what_is_left_out_goes_with_prune_and_comes_back_when_rules_are_forgotten(bench):
    notes(bench.root, 12)
    note(bench.root / "keep.md", "words")
    bench.index()
    scan = ScanOptions(exclude=("*.txt",))
    assert (bench.plan(scan=scan).left_out, bench.plan(scan=scan, prune=True).gone) == (12, 12)
    assert rules(bench) is None, "a plan changes nothing"
    assert bench.index(scan=scan).left_out == 12
    (bench.root / "000.txt").unlink()
    assert (bench.index().removed, len(bench.names())) == (0, 13)
    assert bench.index(prune=True).removed == 12
    assert bench.names() == {"keep.md"}
    assert bench.index().found == 1
    assert bench.plan(forget_rules=True).to_index == {Kind.TEXT: 11}
    assert bench.index(forget_rules=True).found == 12
    assert rules(bench) is None


def test_forgotten_rules_make_room_for_new_ones(bench):
    notes(bench.root, 3)
    bench.index(scan=ScanOptions(exclude=("000.*",)))
    scan = ScanOptions(exclude=("001.*",))
    assert bench.index(scan=scan, forget_rules=True).found == 2
    assert rules(bench) == Rules(exclude=("001.*",))


def test_a_run_without_new_files_remembers_its_patterns_too(bench):
    notes(bench.root, 3)
    bench.index()
    assert bench.index(scan=ScanOptions(exclude=("000.*",))).unchanged == 2
    assert rules(bench) == Rules(exclude=("000.*",))
    generation = bench.open().generation
    assert bench.index(scan=ScanOptions(exclude=("000.*",))).unchanged == 2
    assert bench.open().generation == generation, "nothing new is to be remembered"


def test_a_kind_is_for_one_run(bench):
    picture(bench.root / "a.png", 1)
    note(bench.root / "b.txt", "words")
    assert bench.index(scan=ScanOptions(kinds=frozenset({Kind.IMAGE}))).found == 1
    assert bench.index().found == 2
    only = ScanOptions(kinds=frozenset({Kind.IMAGE}))
    assert (bench.index(scan=only, prune=True).removed, len(bench.names())) == (0, 2)


def test_each_root_has_rules_of_its_own(bench):
    other = bench.root.with_name("other")
    for root in (bench.root, other):
        notes(root, 3)
    bench.index(scan=ScanOptions(exclude=("000.*",)))
    bench.index(other, scan=ScanOptions(exclude=("001.*", "002.*")))
    assert bench.index(bench.root, other).found == 3
    bench.index(bench.root, forget_rules=True)
    assert bench.open().rules == {os.fsencode(other): Rules(exclude=("001.*", "002.*"))}
    library = bench.open()
    library.remove_roots([os.fsencode(other)])
    library.commit()
    assert bench.open().rules == {}
    assert bench.index(other).found == 3, "what was removed is forgotten"


def test_patterns_that_are_given_below_a_root_are_for_one_run(bench):
    for name in ("2023/a.md", "2024/b.txt", "2024/c.md"):
        note(bench.root / name, f"words of {name}")
    bench.index(scan=ScanOptions(exclude=("drafts/",)))
    only = ScanOptions(include=("*.txt",))
    for options in ({"scan": only}, {"scan": only, "forget_rules": True}):
        assert bench.plan(bench.root / "2024", prune=True, **options).gone == 0
        summary = bench.index(bench.root / "2024", prune=True, **options)
        assert (summary.found, summary.removed, summary.left_out) == (1, 0, 0)
        assert rules(bench) == Rules(exclude=("drafts/",))
    note(bench.root / "2023/new.md", "new words")
    note(bench.root / "2024/drafts/d.txt", "left out of the whole root")
    assert bench.index(bench.root / "2024", scan=only).found == 1
    assert bench.index(prune=True).found == 4
    bench.index(bench.root / "2024", bench.root, scan=only)
    assert rules(bench) == Rules(("*.txt",), ("drafts/",)), "the root was given as well"


def test_the_last_pattern_decides(bench):
    notes(bench.root, 3)
    note(bench.root / "d.md", "words")
    bench.index(scan=ScanOptions(exclude=("*.txt",)))
    assert bench.index(scan=ScanOptions(exclude=("!001.txt",))).found == 2
    assert bench.index(scan=ScanOptions(exclude=("*.txt",))).found == 1
    assert bench.index(scan=ScanOptions(exclude=("!001.txt",))).found == 2


@pytest.mark.parametrize(
    ("patterns", "says"),
    [
        (("!",), "patterns are written as in .gitignore"),
        (("",), "empty"),
        (("  ",), "empty"),
        (("a" * (LONGEST_PATTERN + 1),), "longer than 4,096 characters"),
        (tuple(f"{number}.txt" for number in range(MOST_PATTERNS + 1)), "at most 1,000"),
    ],
)
def test_patterns_that_cannot_be_used_are_not_remembered(bench, patterns, says):
    notes(bench.root, 2)
    bench.index()
    for scan in (ScanOptions(exclude=patterns), ScanOptions(include=patterns)):
        with pytest.raises(QvsearchError, match=says):
            bench.index(scan=scan)
        with pytest.raises(QvsearchError, match=says):
            bench.plan(scan=scan)
    assert rules(bench) is None
    assert bench.index().unchanged == 2


def test_a_pattern_of_any_bytes_is_remembered_and_holds(bench):
    path = os.path.join(os.fsencode(bench.root), b"\xff.txt")
    with open(path, "wb") as file:
        file.write(b"words")
    note(bench.root / "b.txt", "words too")
    bench.index(scan=ScanOptions(exclude=(os.fsdecode(b"\xff*"),)))
    assert bench.names() == {"b.txt"}
    assert bench.index().found == 1


def test_a_manifest_without_rules_is_what_it_was(bench):
    assert b"rules" not in Manifest(OTHER).to_bytes()
    notes(bench.root, 1)
    bench.index(scan=ScanOptions(exclude=("x",)))
    record = orjson.loads((bench.library_folder / "manifest.json").read_bytes())
    assert record["rules"] == [
        {"path": str(bench.root), "include": [], "exclude": ["x"]},
    ]
    assert record["roots"] == [{"path": str(bench.root)}]


@pytest.mark.parametrize(("store", "without"), [(Stored.FLOAT16, 1), (Stored.INT8, 2)])
def test_rules_of_older_formats_are_kept(tmp_path, store, without):
    Library.create(tmp_path / "library", FINGERPRINT, store)
    bench = Bench(tmp_path / "library", tmp_path / "media")
    notes(bench.root, 2)
    bench.index(scan=ScanOptions(exclude=("000.*",)))
    kept = Rules(exclude=("000.*",))
    for number in (3, without):  # the first version with rules wrote them without format 3
        rewrite_manifest(bench.open(), lambda record, number=number: record.update(format=number))
        assert rules(bench) == kept
    bench.index(forget_rules=True)
    assert rules(bench) is None
    rewrite_manifest(bench.open(), lambda record: record.update(format=3))
    with pytest.raises(QvsearchError, match="is damaged: it is not what qvsearch writes"):
        bench.open()


def test_a_failed_first_run_leaves_no_trace_of_its_patterns(bench):
    notes(bench.root, 1)
    bench.embedder.refuses = "note"
    assert bench.index(scan=ScanOptions(exclude=("x",))).skipped == 1
    assert (bench.open().generation, bench.open().rules) == (0, {})


def test_rules_are_shown_as_they_are_written():
    assert rules_text(Rules(("*.jpg",), ("my drafts/",))) == (
        "--include '*.jpg' --exclude 'my drafts/'"
    )


def test_the_command_line_remembers_says_so_and_forgets(run, indexed):  # noqa: F811
    code, output, error = run("index", indexed, "--exclude", "r*.png", "--exclude", "#x")
    assert (code, error) == (0, "")
    assert "left out now, and still in the library: 1 file; qvsearch status" in output.decode()
    _, output, _ = run("status")
    assert f"left out:\n  {indexed}/red.png: --exclude\n" in output.decode()
    assert "--exclude 'r*.png' --exclude '#x'\n" in output.decode()
    _, output, _ = run("index", indexed, "--prune", "--json")
    assert (records(output)[-1]["removed"], records(output)[-1]["left_out"]) == (1, 0)
    code, output, _ = run("explain", "red", indexed / "red.png", "--json")
    assert "leaves it out: --exclude" in records(output)[0]["reason"]
    _, output, _ = run("index", indexed, "--forget-rules", "--json")
    assert records(output)[-1]["indexed"] == 1
