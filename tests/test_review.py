"""Unchanged files that an older version read are looked at once, and read anew where that helps."""

import json
import os
import shutil
from dataclasses import replace

import pytest
from cheap_model import DecodersHere
from PIL import Image
from test_ingest import FINGERPRINT, Bench, note, notes

from qvsearch import ingest
from qvsearch.cli import main
from qvsearch.library import Library
from qvsearch.media import text
from qvsearch.run import READ_ANEW
from qvsearch.types import NO_METADATA, READING, Kind, Metadata

ANEW = b"anew"


@pytest.fixture
def bench(tmp_path):
    Library.create(tmp_path / "library", FINGERPRINT)
    (tmp_path / "media").mkdir()
    return Bench(tmp_path / "library", tmp_path / "media")


@pytest.fixture
def decoders_here(monkeypatch):
    """Decode in this process, where texts with the word ANEW are read otherwise now."""
    monkeypatch.setattr(ingest, "Decoders", DecodersHere)
    monkeypatch.setattr(text, "reads_otherwise", lambda file, item, since: ANEW in file.read())


def photo(path, taken="2020:01:02 03:04:05"):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0132] = taken
    exif[0x010F] = "Maker"
    Image.effect_noise((64, 48), 50).convert("RGB").save(path, exif=exif)
    return path


def make_older(bench, **changes):
    """Write all rows again as a version would have that knew no readings, with these changes."""
    library = bench.open()
    rows = list(library.segments)
    segments = [replace(library.segments[row], reading=1, **changes) for row in rows]
    vectors = library.vectors(rows)
    with library.lock():
        library.add(segments, vectors)
        library.remove(rows)
        library.commit()


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
    assert {each.reading for each in found.values()} == {READING[Kind.IMAGE]}
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


def test_what_cannot_be_read_anew_is_said_once_and_keeps_its_rows(bench, decoders_here):
    path = photo(bench.root / "a.jpg")
    bench.index()
    status = path.stat()
    path.write_bytes(b"no picture".ljust(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    make_older(bench)
    before = bench.rows()
    assert bench.index().skipped == 1
    assert bench.rows() == before
    for options, skipped in (({}, 0), ({"retry_failed": True}, 1), ({}, 0)):
        summary = bench.index(**options)
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
    monkeypatch.setattr("qvsearch.run.MOST_UNCOMMITTED", 2)
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
