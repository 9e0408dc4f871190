"""Known files that look unchanged: their status changed, or an older version read them."""

import json
import os
import shutil
from dataclasses import replace

import psutil
import pytest
from PIL import Image
from support.cheap_model import DecodersHere
from support.indexer import FINGERPRINT, Bench, note, notes

from qvsearch.cli.app import main
from qvsearch.indexing import pipeline as ingest
from qvsearch.indexing.counts import READ_ANEW
from qvsearch.indexing.status import library_status
from qvsearch.library.library import Library
from qvsearch.media import text
from qvsearch.types import NO_METADATA, READING, Kind, Metadata

ANEW = b"anew"
TIME = 1_262_401_445_000_000_000


@pytest.fixture
def bench(tmp_path, monkeypatch):
    mounted(tmp_path, monkeypatch, "ext4")
    Library.create(tmp_path / "library", FINGERPRINT)
    (tmp_path / "media").mkdir()
    return Bench(tmp_path / "library", tmp_path / "media")


@pytest.fixture
def decoders_here(monkeypatch):
    """Decode in this process, where texts with the word ANEW are read otherwise now."""
    monkeypatch.setattr(ingest, "Decoders", DecodersHere)
    monkeypatch.setattr(text, "reads_otherwise", lambda file, item, since: ANEW in file.read())


def mounted(tmp_path, monkeypatch, kind):
    """Let all files lie on a file system of this type."""
    (tmp_path / "self").mkdir(exist_ok=True)
    (tmp_path / "self" / "mounts").write_text(f"/dev/sda1 / {kind} rw 0 0\n")
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))


def photo(path, taken="2020:01:02 03:04:05"):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0132] = taken
    exif[0x010F] = "Maker"
    Image.linear_gradient("L").convert("RGB").save(path, exif=exif)
    os.utime(path, ns=(TIME, TIME))
    return path


def make_older(bench, **changes):
    """Write all rows again as a version would have that knew no readings, with these changes."""
    library = bench.open()
    rows = list(library.segments)
    segments = [
        replace(each, reading=1, item=replace(each.item, ctime_ns=None, inode=None), **changes)
        for each in library.segments.values()
    ]
    vectors = library.vectors(rows)
    with library.lock():
        library.add(segments, vectors)
        library.remove(rows)
        library.commit()


def overwrite(path, data):
    """Give a file other bytes, but not another size or time."""
    path.write_bytes(data.ljust(path.stat().st_size))
    os.utime(path, ns=(TIME, TIME))


def restore(folder):
    """Replace all files by copies with their times, as from a backup."""
    shutil.move(folder, folder.with_name("backup"))
    shutil.copytree(folder.with_name("backup"), folder)


def segments(bench):
    return {
        os.path.basename(each.item.location).decode(): each
        for each in bench.open().segments.values()
    }


def states(bench):
    return [event.state for event in bench.events]


def test_a_file_read_as_before_gets_new_metadata_once_and_keeps_its_vector(bench):
    photo(bench.root / "a.jpg")
    note(bench.root / "b.txt", "words")
    bench.index()
    vectors = {place: rows[0][2] for place, rows in bench.rows().items()}
    page = segments(bench)["a.jpg"].metadata.page
    make_older(bench, metadata=Metadata(taken="1999-01-01T00:00:00", page=page, duration=2.5))
    assert all(b'"reading"' not in path.read_bytes() for path in _sidecars(bench))

    summary = bench.index()
    assert (summary.unchanged, summary.indexed, summary.read_anew) == (2, 0, 0)
    assert (bench.embedder.embedded, bench.embedder.loads) == ([], 1)
    assert [each.files for each in bench.events if each.state == "looking"] == [2]
    found = segments(bench)
    assert found["a.jpg"].metadata == Metadata(
        "2020-01-02T03:04:05", "Maker", page=page, duration=2.5
    )
    assert all(each.reading == READING[each.item.kind] for each in found.values())
    assert {place: rows[0][2] for place, rows in bench.rows().items()} == vectors

    generation = bench.open().generation
    assert bench.index().unchanged == 2
    assert "looking" not in states(bench)
    assert bench.open().generation == generation


def _sidecars(bench):
    return list((bench.library_folder / "segments").glob("*.jsonl"))


def test_a_file_read_otherwise_is_embedded_again(bench, decoders_here):
    note(bench.root / "a.txt", "read anew")
    shutil.copy(bench.root / "a.txt", bench.root / "copy.txt")
    note(bench.root / "b.txt", "read as before")
    bench.index()
    make_older(bench, snippet="an older version's")
    shutil.copy(bench.root / "a.txt", bench.root / "new copy.txt")

    summary = bench.index()
    assert bench.embedder.embedded == ["read anew"], "its own old row is no copy of it"
    assert (summary.embedded, summary.reused, summary.unchanged) == (1, 2, 1)
    assert summary.read_anew == 2
    reasons = {os.path.basename(e.path): e.reason for e in bench.events if e.path is not None}
    assert reasons == {
        b"a.txt": READ_ANEW,
        b"copy.txt": READ_ANEW,
        b"new copy.txt": None,
        b"b.txt": None,
    }
    snippets = {name: each.snippet for name, each in segments(bench).items()}
    assert snippets.pop("b.txt") == "an older version's"
    assert set(snippets.values()) == {"read anew"}
    assert len(bench.open()) == 4
    assert bench.index().unchanged == 4
    assert "looking" not in states(bench)


def test_a_copy_of_what_an_older_version_read_is_looked_at_later(bench, decoders_here):
    note(bench.root / "a/old.txt", "read anew")
    bench.index(bench.root / "a")
    make_older(bench)
    (bench.root / "b").mkdir()
    shutil.copy(bench.root / "a/old.txt", bench.root / "b/copy.txt")
    assert bench.index(bench.root / "b").reused == 1
    assert bench.index(bench.root / "b").read_anew == 1
    assert bench.index(bench.root / "b").unchanged == 1


def test_what_cannot_be_read_anew_is_tried_twice_and_keeps_its_rows(bench, decoders_here):
    path = photo(bench.root / "a.jpg")
    bench.index()
    overwrite(path, b"no picture")
    make_older(bench)
    before = bench.rows()
    assert bench.index().skipped == 1
    assert bench.rows() == before
    assert library_status(bench.open()).older == 1
    for options, skipped in (({}, 1), ({}, 0), ({"retry_failed": True}, 1), ({}, 0)):
        summary = bench.index(**options)
        assert library_status(bench.open()).older == 0
        assert (summary.skipped, summary.unchanged) == (skipped, 1 - skipped)
        assert ("looking" in states(bench)) == bool(skipped)
        assert len(bench.open().load_failures()) == 1
        assert bench.rows() == before


def test_an_interrupted_look_goes_on_where_it_was(bench, decoders_here):
    notes(bench.root, 6)
    note(bench.root / "z.txt", "read anew")
    bench.index()
    make_older(bench, metadata=NO_METADATA)

    def stop():
        return states(bench).count("unchanged") == 4

    summary = bench.index(stop=stop)
    assert (summary.interrupted, summary.unchanged, summary.left) == (True, 4, 3)
    assert sum(each.is_older for each in segments(bench).values()) == 3
    summary = bench.index()
    assert [each.files for each in bench.events if each.state == "looking"] == [3]
    assert (summary.unchanged, summary.read_anew) == (6, 1)


def test_rows_that_are_written_again_are_committed_now_and_then(bench, decoders_here, monkeypatch):
    monkeypatch.setattr("qvsearch.indexing.session.MOST_UNCOMMITTED", 2)
    notes(bench.root, 5)
    bench.index()
    make_older(bench)
    bench.index()
    assert [each.files for each in bench.events if each.state == "committed"] == [2, 2, 1]
    assert len(bench.open()) == 5


def test_what_is_to_be_looked_at_is_said_beforehand(bench, decoders_here, capfd):
    notes(bench.root, 3)
    note(bench.root / "long.txt", "\n\n".join(["word " * 380] * 4))
    bench.index()
    assert (bench.plan().older, bench.plan().unchanged) == (0, 4)
    rows = len(bench.open())
    make_older(bench)
    plan = bench.plan()
    assert (plan.older, plan.older_segments, plan.unchanged, plan.segments) == (4, rows, 0, 0)
    arguments = ["-l", str(bench.library_folder)]
    assert main(["status", *arguments]) == 0
    said = f"4 files that an older version read; at most {rows} segments will be embedded again"
    assert said in " ".join(capfd.readouterr().out.split())
    assert main(["status", "--json", *arguments]) == 0
    record = json.loads(capfd.readouterr().out)
    assert (record["older"], record["older_segments"]) == (4, rows)


# ------------------------------------------------------------------ the status of a file changed


def checked(bench):
    return [each.files for each in bench.events if each.state == "checking"]


def test_a_date_edited_in_place_is_seen_though_size_and_time_stay(bench):
    path = photo(bench.root / "a.jpg")
    size = path.stat().st_size
    bench.index()
    photo(path, "2010:05:06 07:08:09")
    assert path.stat().st_size == size
    summary = bench.index()
    assert (summary.embedded, summary.unchanged, summary.checked) == (1, 0, 1)
    assert segments(bench)["a.jpg"].metadata.taken == "2010-05-06T07:08:09"
    assert len(bench.open()) == 1
    assert bench.index().unchanged == 1


def test_two_files_of_one_size_and_time_that_exchange_names(bench, decoders_here):
    one, two = notes(bench.root, 2)
    for path in (one, two):
        os.utime(path, ns=(TIME, TIME))
    bench.index()
    before = bench.rows()
    one.rename(bench.root / "aside")
    two.rename(one)
    (bench.root / "aside").rename(two)
    summary = bench.index()
    assert (summary.reused, summary.checked, bench.embedder.embedded) == (2, 2, [])
    after = bench.rows()
    assert after[os.fsencode(one)] == before[os.fsencode(two)]
    assert after[os.fsencode(two)] == before[os.fsencode(one)]


def test_a_restored_backup_is_compared_once(bench, decoders_here, capfd):
    notes(bench.root, 3)
    bench.index()
    before = bench.rows()
    restore(bench.root)
    assert bench.plan().touched == 3
    assert main(["status", "--json", "-l", str(bench.library_folder)]) == 0
    assert json.loads(capfd.readouterr().out)["touched"] == 3
    summary = bench.index()
    assert (summary.unchanged, summary.checked, checked(bench)) == (3, 3, [3])
    assert bench.embedder.embedded == []
    assert bench.rows() == before
    generation = bench.open().generation
    summary = bench.index()
    assert (summary.unchanged, summary.checked, checked(bench)) == (3, 0, [])
    assert bench.open().generation == generation
    assert bench.plan().touched == 0


@pytest.mark.parametrize(
    ("kind", "has_ctime", "has_inode"),
    [
        ("xfs", True, True),
        ("nfs4", True, False),
        ("vfat", False, False),
        ("exfat", False, False),
        ("fuse.sshfs", False, False),
    ],
)
def test_only_what_a_file_system_keeps_is_compared(
    bench, decoders_here, tmp_path, monkeypatch, kind, has_ctime, has_inode
):
    mounted(tmp_path, monkeypatch, kind)
    path = note(bench.root / "a.txt", "words")
    bench.index()
    (item,) = [each.item for each in segments(bench).values()]
    status = path.stat()
    assert item.ctime_ns == (status.st_ctime_ns if has_ctime else None)
    assert item.inode == (status.st_ino if has_inode else None)
    restore(bench.root)
    bench.index()
    assert checked(bench) == ([1] if has_ctime else [])


def test_a_status_that_is_not_known_is_no_reason_to_compare(bench, decoders_here):
    note(bench.root / "a.txt", "words")
    bench.index()
    make_older(bench)
    restore(bench.root)
    assert bench.index().unchanged == 1
    assert checked(bench) == []
    restored = segments(bench)["a.txt"].item
    assert restored.inode == (bench.root / "a.txt").stat().st_ino
    assert bench.index().checked == 0


def test_a_file_may_be_compared_and_looked_at(bench, decoders_here):
    for name in ("as before", "read anew"):
        note(bench.root / f"{name}.txt", name)
    bench.index()
    library = bench.open()
    rows = list(library.segments)
    old = [replace(each, reading=1) for each in library.segments.values()]
    with library.lock():
        library.add(old, library.vectors(rows))
        library.remove(rows)
        library.commit()
    restore(bench.root)
    summary = bench.index()
    assert (summary.checked, summary.read_anew, summary.unchanged) == (2, 1, 1)
    assert len(bench.open()) == 2
    assert bench.index().unchanged == 2
    assert states(bench) == ["unchanged", "unchanged", "planned"]


def test_what_was_overwritten_with_nonsense_is_tried_twice(bench, decoders_here):
    path = photo(bench.root / "a.jpg")
    bench.index()
    overwrite(path, b"no picture")
    for start in ("not an image", "not an image", "failed before: not an image"):
        (failure,) = bench.index().failures
        assert failure.reason.startswith(start)


def test_an_interrupted_comparison_goes_on_where_it_was(bench, decoders_here):
    notes(bench.root, 5)
    bench.index()
    restore(bench.root)
    summary = bench.index(stop=lambda: states(bench).count("unchanged") == 2)
    assert (summary.interrupted, summary.unchanged, summary.left) == (True, 2, 3)
    summary = bench.index()
    assert (summary.unchanged, summary.checked, len(bench.open())) == (5, 3, 5)
    assert bench.index().checked == 0


def test_files_that_wait_to_be_read_anew_are_not_reported_as_not_indexed(bench, decoders_here):
    notes(bench.root, 3)
    note(bench.root / "anew.txt", "words anew")
    bench.index()
    make_older(bench)
    note(bench.root / "new.txt", "more words")
    summary = bench.index(stop=lambda: "planned" in states(bench))
    assert summary.left == 2
    assert [run.files for run in bench.open().load_pending()] == [1]
    assert (bench.index().read_anew, bench.open().load_pending()) == (1, [])


def test_a_file_that_an_older_version_could_not_read_is_tried_again(bench):
    (bench.root / "broken.jpg").write_bytes(b"no picture")
    for _ in range(2):
        bench.index()
    library = bench.open()
    [failure] = library.load_failures()
    assert (failure.tries, failure.reading) == (2, READING[Kind.IMAGE])
    with library.lock():
        library.save_failures([replace(failure, reading=1)])
    for expected in ("not an image", "not an image", "failed before: not an image"):
        (failure,) = bench.index().failures
        assert failure.reason.startswith(expected)


def test_a_copy_under_another_name_has_the_date_of_its_own_name(bench):
    first = bench.root / "Screenshot 2023-05-01.png"
    Image.linear_gradient("L").convert("RGB").save(first)
    shutil.copy(first, bench.root / "IMG_20200202_101112.png")
    bench.index()
    first.rename(bench.root / "holiday.png")
    bench.index()
    taken = {
        each.item.path: (each.metadata.taken, each.metadata.taken_from)
        for each in bench.open().segments.values()
    }
    assert taken == {
        b"IMG_20200202_101112.png": ("2020-02-02T10:11:12", "name"),
        b"holiday.png": (None, None),
    }
