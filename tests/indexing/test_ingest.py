"""Indexing on real files and real decoders; only what a vector means does not matter here."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support.hostile_videos import seeds
from support.indexer import (
    DIM,
    FINGERPRINT,
    MANY,
    Bench,
    Counting,
    bench,  # noqa: F401 - fixtures
    hash_vector,
    note,
    notes,
    picture,
    while_embedding,
)

from qvsearch import media
from qvsearch.cli.progress import exit_code
from qvsearch.errors import ExitCode, LibraryLocked, QvsearchError
from qvsearch.files import content_hash
from qvsearch.indexing import pipeline as ingest
from qvsearch.indexing.batching import MAX_TOKENS, REFUSED_IN_A_ROW, embed_files
from qvsearch.indexing.changes import KeptFiles
from qvsearch.indexing.forget import forget
from qvsearch.indexing.pipeline import IngestOptions
from qvsearch.indexing.plan import plan
from qvsearch.library.library import Library
from qvsearch.library.rules import ScanOptions
from qvsearch.media.workers import Decoders
from qvsearch.types import (
    Decoded,
    EmbedInput,
    Item,
    Kind,
    Segment,
    Skipped,
)


def test_a_first_run_embeds_everything_and_a_second_nothing(bench):
    picture(bench.root / "a.png", 10)
    picture(bench.root / "sub/B.PNG", 20)
    note(bench.root / "c.txt", "a walk by the sea")
    note(bench.root / "d.exe", "not taken")
    summary = bench.index()
    assert (summary.found, summary.embedded, summary.segments) == (3, 3, 3)
    assert bench.names() == {"a.png", "sub/B.PNG", "c.txt"}
    segments = {Path(os.fsdecode(s.item.location)).name: s for s in bench.open().segments.values()}
    assert (segments["a.png"].width, segments["a.png"].height) == (64, 64)
    assert segments["c.txt"].snippet == "a walk by the sea"
    assert bench.open().roots == [os.fsencode(bench.root)]
    before = bench.rows()

    generation = bench.open().generation
    summary = bench.index()
    assert (summary.found, summary.unchanged, summary.indexed) == (3, 3, 0)
    assert (bench.embedder.embedded, bench.embedder.loads) == ([], 1)
    assert (bench.rows(), bench.open().generation) == (before, generation)


def test_adding_changing_and_deleting(bench):
    paths = notes(bench.root, 3)
    bench.index()
    note(bench.root / "new.txt", "new")
    note(paths[0], "changed words")
    paths[1].unlink()
    summary = bench.index()
    assert sorted(bench.embedder.embedded) == ["changed words", "new"]
    assert (summary.embedded, summary.unchanged, summary.removed) == (2, 1, 1)
    assert bench.names() == {"000.txt", "002.txt", "new.txt"}
    assert all(len(rows) == 1 for rows in bench.rows().values())
    assert [e.path for e in bench.events if e.state == "removed"] == [os.fsencode(paths[1])]


def test_touching_renaming_moving_and_copying_cost_no_embedding(bench):
    paths = notes(bench.root, 12)
    picture(bench.root / "p.png", 3)
    bench.index()
    before = {rows[0][0]: rows[0][2] for rows in bench.rows().values()}
    os.utime(paths[0], ns=(0, 12_345))
    paths[1].rename(bench.root / "renamed.txt")
    (bench.root / "sub").mkdir()
    paths[2].rename(bench.root / "sub/moved.md")
    shutil.copy(paths[3], bench.root / "copy.txt")
    summary = bench.index()
    assert (bench.embedder.embedded, bench.embedder.loads) == ([], 1)
    assert (summary.reused, summary.unchanged, summary.removed) == (4, 10, 2)
    rows = bench.rows()
    assert {row[0]: row[2] for (row,) in rows.values()} == before
    names = bench.names()
    assert {"000.txt", "renamed.txt", "sub/moved.md", "003.txt", "copy.txt"} <= names
    assert not {"001.txt", "002.txt"} & names
    assert bench.index().unchanged == 14


def test_a_copy_of_a_touched_file_costs_no_embedding_though_a_commit_lies_between(bench):
    first, *_ = notes(bench.root, 3)
    bench.index()
    os.utime(first, ns=(0, 12_345))
    shutil.copy(first, bench.root / "z copy.txt")
    assert bench.index(commit_seconds=0).reused == 2
    assert bench.embedder.embedded == []


def test_moving_everything_is_no_loss(bench):
    notes(bench.root / "old", 30)
    bench.index()
    before = Counter(row for rows in bench.rows().values() for row in rows)
    (bench.root / "old").rename(bench.root / "new")
    summary = bench.index()
    assert bench.embedder.embedded == []
    assert (summary.reused, summary.removed, summary.kept) == (30, 30, ())
    assert Counter(row for rows in bench.rows().values() for row in rows) == before
    assert all(name.startswith("new/") for name in bench.names())


def test_exchanging_two_names_costs_no_embedding(bench):
    one, two = notes(bench.root, 2)
    bench.index()
    before = bench.rows()
    one.rename(bench.root / "aside")
    two.rename(one)
    (bench.root / "aside").rename(two)
    os.utime(one, ns=(0, 1))
    os.utime(two, ns=(0, 2))
    assert bench.index().reused == 2
    assert bench.embedder.embedded == []
    after = bench.rows()
    assert after[os.fsencode(one)] == before[os.fsencode(two)]
    assert after[os.fsencode(two)] == before[os.fsencode(one)]


def test_duplicates_in_a_first_run_are_embedded_once(bench):
    for name in ("a.txt", "b.txt", "sub/c.md", "sub/d.txt"):
        note(bench.root / name, "the same words")
    note(bench.root / "e.txt", "other words")
    summary = bench.index()
    assert sorted(bench.embedder.embedded) == ["other words", "the same words"]
    assert (summary.embedded, summary.reused, summary.segments) == (2, 3, 5)
    assert len({rows[0][2] for rows in bench.rows().values()}) == 2


RATED = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description
xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
xmp:Rating="%d"/></rdf:RDF></x:xmpmeta>"""


def ratings(bench):
    library = bench.open()
    return {os.fsdecode(each.item.path): each.metadata.rating for each in library.segments.values()}


@pytest.mark.parametrize("at_once", [True, False])
def test_copies_of_a_photo_have_the_metadata_beside_each(bench, at_once):
    for name, rating in (("card/a.png", None), ("edited/a.png", 5), ("best/a.png", 4)):
        picture(bench.root / name, 3)
        if rating is not None:
            (bench.root / name).with_suffix(".xmp").write_text(RATED % rating)
        if not at_once:
            bench.index()
    expected = {"card/a.png": None, "edited/a.png": 5, "best/a.png": 4}
    for force in (False, True):
        bench.index(force=force)
        assert ratings(bench) == expected


def test_moved_photos_with_metadata_beside_them_cost_no_embedding(bench):
    for number in range(3):
        picture(bench.root / f"card/{number}.png", number)
        (bench.root / f"card/{number}.xmp").write_text(RATED % (number + 1))
    bench.index()
    (bench.root / "card").rename(bench.root / "2024")
    shutil.copytree(bench.root / "2024", bench.root / "copy")
    summary = bench.index()
    assert (summary.reused, bench.embedder.embedded) == (6, [])
    assert ratings(bench) == {
        f"{folder}/{number}.png": number + 1 for folder in ("2024", "copy") for number in range(3)
    }


def test_a_copy_in_an_album_of_takeout_costs_no_embedding(bench):
    for album, views in (("2024", 3), ("Rome", 8)):
        picture(bench.root / album / "a.png", 3)
        (bench.root / album / "a.png.json").write_text(f'{{"title": "a", "imageViews": "{views}"}}')
    (bench.root / "Rome" / "other.xmp").write_text(RATED % 1)
    assert bench.index().reused == 1


def test_copies_of_a_film_have_the_subtitles_beside_each(bench):
    cue = "1\n00:00:00,000 --> 00:00:01,000\n%s\n"
    for name, words in (("a", "burgundy"), ("b", "aquamarine"), ("c", "burgundy")):
        (bench.root / name).mkdir()
        (bench.root / name / "talk.mp4").write_bytes(seeds()["mp4"])
        (bench.root / name / "talk.srt").write_text(cue % words)
    summary = bench.index()
    assert (summary.embedded, summary.reused) == (2, 1)
    library = bench.open()
    found = {
        word: {os.fsdecode(library.segments[row].item.path) for row in rows.tolist()}
        for word in ("burgundy", "aquamarine")
        for rows in [library.words.postings(word)[0]]
    }
    assert found == {"burgundy": {"a/talk.mp4", "c/talk.mp4"}, "aquamarine": {"b/talk.mp4"}}


def test_one_content_under_two_kinds_is_decoded_as_each(bench):
    picture(bench.root / "a.png", 1)
    shutil.copy(bench.root / "a.png", bench.root / "a.txt")
    summary = bench.index()
    assert (summary.embedded, summary.skipped) == (1, 1)
    assert bench.names() == {"a.png"}


def test_bad_files_cost_only_themselves(bench):
    for number in range(6):
        picture(bench.root / f"{number}.png", 40 * number)
    note(bench.root / "words.txt", "words")
    bench.index()
    good = bench.rows()

    other = Bench(bench.library_folder.with_name("other"), bench.root)
    Library.create(other.library_folder, FINGERPRINT)
    whole = (bench.root / "3.png").read_bytes()
    (bench.root / "2a.png").write_bytes(whole[: len(whole) // 2])
    (bench.root / "2b.png").write_bytes(b"")
    (bench.root / "2c.jpg").write_text("<html>not a picture</html>")
    (bench.root / "2d.txt").write_bytes(bytes(range(256)) * 20)
    summary = other.index()
    assert (summary.embedded, summary.skipped) == (7, 4)
    bad = {os.path.basename(each.path): each.reason for each in summary.failures}
    assert set(bad) == {b"2a.png", b"2b.png", b"2c.jpg", b"2d.txt"}
    assert all(bad.values())
    assert other.rows() == good


def test_what_the_embedder_refuses_costs_only_its_file(bench):
    paths = notes(bench.root, 5)
    note(paths[2], "note that breaks the model")
    bench.embedder.refuses = "breaks the model"
    summary = bench.index()
    assert summary.failures == (Skipped(os.fsencode(paths[2]), "cannot embed breaks the model"),)
    assert bench.names() == {"000.txt", "001.txt", "003.txt", "004.txt"}


def test_a_long_file_is_whole_or_absent_when_one_passage_is_refused(bench):
    paragraphs = [f"Paragraph {number}. " + "word " * 380 for number in range(12)]
    paragraphs[7] += "breaks the model"
    note(bench.root / "long.txt", "\n\n".join(paragraphs))
    note(bench.root / "short.txt", "short")
    bench.embedder.refuses = "breaks the model"
    assert bench.index().skipped == 1
    assert bench.names() == {"short.txt"}
    note(bench.root / "long.txt", "\n\n".join(paragraphs).replace("breaks the model", ""))
    assert bench.index().segments > 10
    (rows,) = [rows for place, rows in bench.rows().items() if place.endswith(b"long.txt")]
    lines = [row[1] for row in rows]
    assert lines == sorted(lines), "passages come in the file's order"
    assert (lines[0][0], lines[-1][1]) == (1, 23)


def frames(root: bytes, count: int, side: int) -> Decoded:
    item = Item(root, b"v.mp4", Kind.VIDEO, 1, 1)
    pixels = np.zeros((side, side, 3), dtype=np.uint8)
    segments = [Segment(item, "hash", float(n), n + 1.0) for n in range(count)]
    return Decoded(item, tuple((segment, EmbedInput(images=(pixels,))) for segment in segments))


def test_batches_are_bounded_and_end_within_long_files():
    sizes = []

    class Sizing(Counting):
        def embed(self, inputs):
            sizes.append(sum(image.size // 3 // 1024 for each in inputs for image in each.images))
            return super().embed(inputs)

    films = [frames(b"/%d" % number, 64, 512) for number in range(8)]
    done = list(embed_files(iter(films), Sizing().load, lambda: False))
    assert [each.item for each in done] == [film.item for film in films]
    for embedded, film in zip(done, films, strict=True):
        assert embedded.segments == tuple(segment for segment, _ in film.segments)
        assert embedded.vectors.shape == (64, DIM)
    assert sizes[0] == 256, "the first batch is one input"
    assert max(sizes) <= MAX_TOKENS + 256
    assert sum(sizes) == 8 * 64 * 256


def test_stop_is_heard_within_a_long_file():
    embedder = Counting()
    stop = lambda: len(embedder.embedded) > 0  # noqa: E731
    assert list(embed_files(iter([frames(b"/r", 64, 64)]), embedder.load, stop)) == []
    assert len(embedder.embedded) == 1


def test_a_vector_that_is_none_is_never_stored(bench):
    class Broken(Counting):
        def embed(self, inputs):
            vectors = super().embed(inputs)
            for source, vector in zip(inputs, vectors, strict=True):
                if source.text == "note 1":
                    vector[0] = np.nan
            return vectors

    bench.embedder = Broken()
    notes(bench.root, 3)
    summary = bench.index()
    (failure,) = summary.failures
    assert failure.path.endswith(b"001.txt")
    assert "NaN" in failure.reason
    assert bench.names() == {"000.txt", "002.txt"}


def test_a_changed_file_that_became_unreadable_keeps_its_rows(bench):
    path = picture(bench.root / "a.png", 1)
    picture(bench.root / "b.png", 2)
    bench.index()
    before = bench.rows()
    path.write_bytes(b"no picture any more")
    summary = bench.index()
    assert (summary.skipped, summary.unchanged, summary.removed) == (1, 1, 0)
    assert bench.rows() == before


def test_a_file_that_fails_is_tried_twice_until_it_changes_or_is_asked_for(bench):
    path = note(bench.root / "a.txt", "broken")
    bench.embedder.refuses = "broken"
    said = Skipped(os.fsencode(path), "cannot embed broken")
    assert bench.index().failures == (said,)
    assert bench.index().failures == (replace(said, known=True),)
    loads = bench.embedder.loads
    again = bench.index()
    reason = "failed before: cannot embed broken; --retry-failed tries again"
    assert again.failures == (Skipped(os.fsencode(path), reason, known=True),)
    assert bench.embedder.loads == loads
    assert bench.plan().skipped == again.failures
    assert bench.plan(retry_failed=True).to_index == {Kind.TEXT: 1}
    assert bench.index(retry_failed=True).failures == (said,), "who asks is told"
    (failure,) = bench.open().load_failures()
    assert (failure.path, failure.tries) == (os.fsencode(path), 3)

    note(path, "broken anew")
    assert bench.index().failures == (said,)
    assert bench.open().load_failures()[0].tries == 1
    bench.embedder.refuses = "nothing"
    assert bench.index().embedded == 1
    assert bench.open().load_failures() == []


def stuck(item, content_hash, options):
    """Decode in the worker process, but never come to an end of a file of that name."""
    if item.path == b"stuck.txt":
        threading.Event().wait()
    return media.decode(item, content_hash, options)


@pytest.mark.faults
def test_a_file_whose_decoder_hangs_is_left_alone_after_two_tries(bench, monkeypatch):
    def patience(item):
        return 0.3 if item.path == b"stuck.txt" else 60.0

    monkeypatch.setattr(ingest, "Decoders", partial(Decoders, 1, stuck, patience))
    path = note(bench.root / "stuck.txt", "words")
    note(bench.root / "z.txt", "other words")
    first = bench.index()
    assert first.failures == (Skipped(os.fsencode(path), "took longer than 0.3 s"),)
    assert bench.names() == {"z.txt"}
    assert bench.index().failures == (replace(first.failures[0], known=True),)
    reason = "failed before: took longer than 0.3 s; --retry-failed tries again"
    assert bench.index().failures[0].reason == reason
    assert bench.index(retry_failed=True).failures == first.failures
    monkeypatch.undo()
    assert bench.index(retry_failed=True).embedded == 1
    assert bench.index().skipped == 0


def test_failures_of_files_that_are_gone_are_forgotten(bench):
    path = note(bench.root / "a.txt", "broken")
    note(bench.root / "b.txt", "fine")
    bench.embedder.refuses = "broken"
    bench.index()
    path.unlink()
    bench.index()
    assert bench.open().load_failures() == []


def test_force_embeds_everything_again_once(bench):
    notes(bench.root, 3)
    note(bench.root / "copy.txt", "note 1")
    bench.index()
    before = bench.rows()
    summary = bench.index(force=True)
    assert sorted(bench.embedder.embedded) == ["note 0", "note 1", "note 2"]
    assert (summary.embedded, summary.reused, summary.unchanged) == (3, 1, 0)
    assert bench.rows() == before


class StopAfter:
    """Says stop once so many inputs were embedded."""

    def __init__(self, bench: Bench, count: int):
        self.bench, self.count = bench, count

    def __call__(self) -> bool:
        return len(self.bench.embedder.embedded) >= self.count


def test_an_interrupted_run_keeps_what_is_finished_and_goes_on_from_there(bench):
    notes(bench.root, 40)
    summary = bench.index(stop=StopAfter(bench, 1))
    done = bench.names()
    assert summary.interrupted
    assert 0 < len(done) == summary.embedded < 40
    assert summary.left == 40 - len(done)
    first = list(bench.embedder.embedded)
    summary = bench.index()
    assert not summary.interrupted
    assert summary.unchanged == len(done)
    assert len(bench.embedder.embedded) + len(done) == 40
    assert not set(first[: len(done)]) & set(bench.embedder.embedded)
    assert len(bench.names()) == 40


def test_an_interrupted_run_removes_nothing(bench):
    paths = notes(bench.root, 4)
    bench.index()
    paths[0].unlink()
    note(bench.root / "new.txt", "new")
    summary = bench.index(stop=lambda: True)
    assert (summary.interrupted, summary.removed, summary.found) == (True, 0, 0)
    assert bench.names() == {"000.txt", "001.txt", "002.txt", "003.txt"}
    assert bench.index().removed == 1


def test_work_is_committed_as_it_goes(bench):
    notes(bench.root, 30)
    seen = []
    embed = bench.embedder.embed

    def watching(inputs):
        if inputs[0].instruction is None:  # no generic queries
            seen.append(len(bench.open().segments))
        return embed(inputs)

    bench.embedder.embed = watching
    bench.index(commit_seconds=0.0)
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert seen[-1] >= len(seen) - 1 > 0, "each batch found the one before it on the disk"
    committed = [event.files for event in bench.events if event.state == "committed"]
    assert (sum(committed), len(bench.names())) == (30, 30)


CHILD = """
import os, signal, sys
sys.path.insert(0, os.path.dirname({here!r}))
from support.indexer import Counting
from qvsearch.indexing.pipeline import IngestOptions, index
from qvsearch.library.library import Library

if __name__ == "__main__":
    def report(event):
        if event.state != "embedded":  # a batch, of as many files as are fast
            events.append(event)
        if event.state == "committed":
            print(event.files, flush=True)
        if len(events) == {after}:
            os.kill(os.getpid(), signal.SIGKILL)
    events = []
    options = IngestOptions(commit_seconds={seconds})
    folder, library = {root!r}.encode(), Library.open({library!r})
    index(library, [folder], Counting().load, options, report, lambda: False)
"""


def kill_and_resume(bench: Bench, script: Path, after: int, seconds: float) -> tuple[int, int]:
    """Kill a run at an event; return how many files were acknowledged, how many came after."""
    words = {"here": __file__, "after": after, "seconds": seconds}
    words |= {"root": str(bench.root), "library": str(bench.library_folder)}
    script.write_text(CHILD.format(**words))
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    acknowledged = sum(map(int, ended.stdout.split()))
    assert len(bench.names()) == acknowledged
    summary = bench.index()
    assert summary.unchanged == acknowledged
    assert len(bench.embedder.embedded) == summary.embedded
    return acknowledged, summary.embedded


@pytest.mark.faults
@pytest.mark.parametrize("after", [2, 9, 40])
def test_a_killed_run_loses_nothing_that_was_committed(bench, tmp_path, after):
    notes(bench.root, 100)
    done, rest = kill_and_resume(bench, tmp_path / "child.py", after, 0.0)
    # planned comes first, then indexed and committed take turns
    assert (done, rest) == ((after - 1) // 2, 100 - (after - 1) // 2)
    other = Bench(tmp_path / "other", bench.root)
    Library.create(other.library_folder, FINGERPRINT)
    other.index()
    assert other.rows() == bench.rows()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(25))
def test_many_killed_runs_lose_nothing_that_was_committed(bench, tmp_path, seed):
    dice = np.random.default_rng(seed)
    notes(bench.root, 300)
    kill_and_resume(bench, tmp_path / "child.py", int(dice.integers(1, 300)), dice.random() / 20)
    assert len(bench.names()) == 300


def test_a_missing_root_is_reported_and_loses_nothing(bench):
    notes(bench.root, 3)
    bench.index()
    before = bench.rows()
    bench.root.rename(bench.root.with_name("away"))
    for path in (bench.root, bench.root / "sub", bench.root.parent / "media/001.txt"):
        summary = bench.index(path)
        assert (summary.unreachable, summary.removed) == ((os.fsencode(path),), 0)
        assert bench.plan(path).unreachable == (os.fsencode(path),)
    assert bench.rows() == before
    bench.root.with_name("away").rename(bench.root)
    assert bench.index().unchanged == 3
    shutil.rmtree(bench.root)
    assert bench.plan(prune=True).gone == 3
    summary = bench.index(prune=True)
    assert (summary.unreachable, summary.removed, bench.rows()) == ((), 3, {})


def test_an_unknown_path_is_named_and_the_others_are_indexed(bench):
    notes(bench.root, 1)
    nowhere = bench.root.parent / "nowhere/at all"
    with pytest.raises(QvsearchError, match=r"nowhere/at all does not exist"):
        bench.index(nowhere)
    assert bench.plan(bench.root, nowhere).unreachable == (os.fsencode(nowhere),)
    for prune in (False, True):
        summary = bench.index(bench.root, nowhere, prune=prune)
        assert (summary.found, summary.unreachable) == (1, (os.fsencode(nowhere),))
        assert exit_code(summary) == ExitCode.INCOMPLETE
    assert bench.open().roots == [os.fsencode(bench.root)]


def test_an_empty_root_loses_nothing(bench):
    paths = notes(bench.root, 3)
    bench.index()
    before = bench.rows()
    for path in paths:
        path.unlink()
    summary = bench.index()
    assert (summary.removed, summary.found) == (0, 0)
    assert summary.kept == (KeptFiles(os.fsencode(bench.root), 3, "it is empty"),)
    assert bench.plan().kept == summary.kept
    assert bench.rows() == before
    assert bench.index(prune=True).removed == 3
    assert bench.rows() == {}


@pytest.mark.parametrize(
    ("known", "deleted", "goes"), [(10, 5, True), (10, 6, False), (9, 8, True)]
)
def test_a_mostly_missing_root_loses_nothing(bench, known, deleted, goes):
    paths = notes(bench.root, known)
    bench.index()
    for path in paths[:deleted]:
        path.unlink()
    planned = bench.plan()
    summary = bench.index()
    assert (summary.removed, len(bench.names())) == (
        (deleted, known - deleted) if goes else (0, known)
    )
    assert sum(kept.files for kept in summary.kept) == (0 if goes else deleted)
    assert (planned.gone, planned.kept) == (summary.removed, summary.kept)
    assert bench.index(prune=True).removed == (0 if goes else deleted)


def test_a_folder_that_the_scan_could_not_enter_loses_nothing(bench):
    notes(bench.root / "closed", 2)
    note(bench.root / "open.txt", "open")
    note(bench.root / "gone.txt", "gone")
    bench.index()
    (bench.root / "gone.txt").unlink()
    shutil.rmtree(bench.root / "closed")
    # a folder whose ignore file cannot be read is closed to everybody, root too
    (bench.root / "closed/.qvsearchignore").mkdir(parents=True)
    summary = bench.index()
    assert [each.path for each in summary.failures] == [os.fsencode(bench.root / "closed")]
    assert summary.removed == 1
    assert bench.names() == {"open.txt", "closed/000.txt", "closed/001.txt"}


@contextmanager
def closed_to_others(folder: Path):
    """Take a folder's permissions away and, where root runs the tests, root's privilege too."""
    folder.chmod(0o000)
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        folder.chmod(0o755)


def test_an_unreadable_folder_is_reported_and_keeps_its_rows(bench):
    notes(bench.root / "closed", 2)
    note(bench.root / "open.txt", "open")
    bench.index()
    for folder in (bench.root, *bench.root.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    for path in [bench.library_folder, *bench.library_folder.rglob("*")]:
        path.chmod(0o777)
    with closed_to_others(bench.root / "closed"):
        summary = bench.index()
    assert summary.failures == (Skipped(os.fsencode(bench.root / "closed"), "permission denied"),)
    assert (summary.unchanged, summary.removed) == (1, 0)
    assert len(bench.names()) == 3


def test_special_files_are_reported_and_keep_rows_of_their_name(bench):
    path = note(bench.root / "a.txt", "words")
    note(bench.root / "b.txt", "more words")
    bench.index()
    path.unlink()
    os.mkfifo(path)
    summary = bench.index()
    assert summary.failures == (Skipped(os.fsencode(path), "a FIFO, not a file"),)
    assert bench.names() == {"a.txt", "b.txt"}


def test_links_are_followed_only_when_asked_and_a_broken_one_loses_nothing(bench):
    outside = bench.root.with_name("outside")
    notes(outside, 2)
    note(bench.root / "own.txt", "own")
    (bench.root / "link").symlink_to(outside)
    assert bench.index().found == 1
    follow = ScanOptions(follow_symlinks=True)
    assert bench.index(scan=follow).embedded == 2
    assert bench.names() == {"own.txt", "link/000.txt", "link/001.txt"}
    assert bench.index().removed == 0, "still there, if not looked at"
    outside.rename(outside.with_name("unmounted"))
    assert bench.index(scan=follow).removed == 0
    outside.with_name("unmounted").rename(outside)
    (outside / "000.txt").unlink()
    assert bench.index(scan=follow).removed == 1


def test_hidden_files_stay_when_they_are_not_looked_at(bench):
    note(bench.root / ".h.txt", "hidden")
    note(bench.root / "v.txt", "visible")
    assert bench.index(scan=ScanOptions(hidden=True)).embedded == 2
    assert (bench.index().removed, len(bench.names())) == (0, 2)
    (bench.root / ".h.txt").unlink()
    assert (bench.index().removed, bench.names()) == (1, {"v.txt"})


def test_what_is_ignored_later_leaves_the_library(bench):
    notes(bench.root / "private", 12)
    note(bench.root / "public.txt", "public")
    bench.index()
    (bench.root / ".qvsearchignore").write_text("private/\n")
    assert bench.plan().gone == 12
    summary = bench.index()
    assert (summary.removed, summary.kept) == (12, ())
    assert bench.names() == {"public.txt"}


def test_filters_choose_what_is_indexed_and_what_may_go(bench):
    picture(bench.root / "a.png", 1)
    picture(bench.root / "b.png", 2)
    text, other = note(bench.root / "t.txt", "t"), note(bench.root / "u.txt", "u")
    images = ScanOptions(kinds=frozenset({Kind.IMAGE}))
    assert bench.index(scan=images).found == 2
    bench.index()
    text.unlink()
    (bench.root / "b.png").unlink()
    assert bench.index(scan=images).removed == 1
    assert bench.names() == {"a.png", "t.txt", "u.txt"}
    only = partial(bench.index, forget_rules=True)
    assert only(scan=ScanOptions(exclude=("t.*",))).removed == 0
    assert only(scan=ScanOptions(include=("u.*",))).removed == 0
    assert only(scan=ScanOptions(exclude=("u.*", "*.png"))).removed == 0, "nothing is left"
    assert only(scan=ScanOptions(exclude=("*.png",))).removed == 1
    assert other.exists()
    assert bench.names() == {"a.png", "u.txt"}


HOSTILE = [
    b"-rf.txt",
    b"new\nline.txt",
    b"\x1b]0;x\x07.txt",
    b"\xff\xfe.txt",
    b"[red]x.txt",
    b" .txt",
]


def test_hostile_names_are_indexed_reused_and_removed_byte_for_byte(bench):
    root = os.fsencode(bench.root)
    for number, name in enumerate(HOSTILE):
        note(Path(os.fsdecode(os.path.join(root, name))), f"words {number}")
    note(bench.root / "plain.txt", "plain")
    assert bench.index().embedded == 7
    places = {os.path.join(root, name) for name in [*HOSTILE, b"plain.txt"]}
    assert set(bench.rows()) == places
    assert bench.index().unchanged == 7
    folder = os.path.join(root, b"\xfe\n")
    os.mkdir(folder)
    for name in HOSTILE:
        os.rename(os.path.join(root, name), os.path.join(folder, name))
    summary = bench.index()
    assert (summary.reused, summary.removed, bench.embedder.embedded) == (6, 6, [])
    assert forget(bench.open(), [folder]) == 6
    assert set(bench.rows()) == {os.path.join(root, b"plain.txt")}


def test_a_run_below_a_root_looks_only_there(bench):
    notes(bench.root / "a", 2)
    notes(bench.root / "b", 2)
    bench.index()
    note(bench.root / "a/new.txt", "new in a")
    note(bench.root / "b/new.txt", "new in b")
    (bench.root / "a/000.txt").unlink()
    (bench.root / "b/000.txt").unlink()
    summary = bench.index(bench.root / "a")
    assert (summary.found, summary.embedded, summary.removed) == (2, 1, 1)
    assert bench.open().roots == [os.fsencode(bench.root)]
    assert bench.names() == {"a/001.txt", "a/new.txt", "b/000.txt", "b/001.txt"}
    summary = bench.index(bench.root / "b/new.txt")
    assert (summary.found, summary.embedded, summary.removed) == (1, 1, 0)


def test_nested_and_repeated_paths_count_files_once(bench):
    notes(bench.root / "sub", 2)
    note(bench.root / "top.txt", "top")
    summary = bench.index(bench.root / "sub", bench.root, bench.root, bench.root / "sub/000.txt")
    assert (summary.found, summary.embedded) == (3, 3)
    assert bench.open().roots == [os.fsencode(bench.root)]


def test_a_root_around_a_known_root_leaves_its_files_as_they_are(bench):
    notes(bench.root / "sub", 2)
    bench.index(bench.root / "sub")
    note(bench.root / "top.txt", "top")
    summary = bench.index()
    assert (summary.unchanged, summary.embedded) == (2, 1)
    assert bench.open().roots == [os.fsencode(bench.root / "sub"), os.fsencode(bench.root)]
    (bench.root / "sub/000.txt").unlink()
    assert bench.index().removed == 1
    assert bench.names() == {"sub/001.txt", "top.txt"}


def test_a_file_can_be_a_root(bench):
    path = note(bench.root / "a.txt", "words")
    note(bench.root / "b.txt", "not asked for")
    assert bench.index(path).embedded == 1
    assert bench.open().roots == [os.fsencode(path)]
    assert bench.index(path).unchanged == 1


def test_a_file_that_vanishes_or_changes_before_it_is_decoded_is_one_line(bench):
    paths = notes(bench.root, MANY)
    late = paths[-10:]

    def act():
        for path in late[:5]:
            path.unlink()
        for path in late[5:]:
            note(path, "other words")

    while_embedding(bench, act)
    summary = bench.index()
    assert [each.path for each in summary.failures] == [os.fsencode(path) for path in late]
    assert all(each.reason for each in summary.failures)
    assert summary.embedded == MANY - 10
    bench.embedder = Counting()
    summary = bench.index()
    assert (summary.unchanged, summary.embedded, summary.reused) == (MANY - 10, 1, 4)
    assert bench.embedder.embedded == ["other words"]
    assert bench.open().load_failures() == []


def test_a_root_that_vanishes_in_mid_run_loses_nothing(bench):
    notes(bench.root, MANY)
    away = bench.root.with_name("away")
    while_embedding(bench, lambda: bench.root.rename(away))
    summary = bench.index()
    assert (summary.embedded + summary.skipped, summary.removed) == (MANY, 0)
    assert 0 < summary.embedded < MANY
    assert len(bench.names()) == summary.embedded
    away.rename(bench.root)
    bench.embedder = Counting()
    summary = bench.index()
    assert (summary.unchanged + summary.embedded, summary.skipped) == (MANY, 0)


def test_a_copy_of_what_failed_is_tried_for_itself(bench):
    paths = notes(bench.root, MANY)
    for path in (paths[-2], paths[-1]):
        note(path, "the same words")
    while_embedding(bench, paths[-2].unlink)
    summary = bench.index()
    # the two are hashed before the first is found to be gone, or the first is not even hashed
    assert [each.path for each in summary.failures] == [os.fsencode(paths[-2])]
    assert os.fsencode(paths[-1]) in bench.rows()


def test_copies_of_what_the_model_refuses_are_all_reported(bench):
    for name in ("a.txt", "b.txt", "c.txt"):
        note(bench.root / name, "refused")
    note(bench.root / "d.txt", "fine")
    bench.embedder.refuses = "refused"
    summary = bench.index()
    assert (summary.skipped, summary.embedded) == (3, 1)
    assert sorted(each.path[-5:] for each in summary.failures) == [b"a.txt", b"b.txt", b"c.txt"]


def test_without_a_model_what_needs_none_is_done_and_nothing_by_half(bench):
    paths = notes(bench.root, 12)
    bench.index()
    before = bench.rows()
    note(paths[1], "changed")
    os.utime(paths[0], ns=(0, 1))

    def missing_weights():
        raise QvsearchError("no weights here; `qvsearch models pull` fetches them")

    counting, bench.embedder = bench.embedder, Counting()
    bench.embedder.load = missing_weights
    with pytest.raises(QvsearchError, match="no weights here"):
        bench.index()
    assert bench.rows() == before
    bench.embedder = counting
    summary = bench.index()
    assert (summary.embedded, summary.unchanged, summary.reused) == (1, 11, 0)


def test_a_model_that_refuses_file_after_file_ends_the_run_and_blames_none(bench):
    note(bench.root / "0 fine.txt", "fine")
    notes(bench.root, REFUSED_IN_A_ROW)
    bench.embedder.refuses = "note"
    with pytest.raises(QvsearchError, match="cannot embed note"):
        bench.index()
    assert bench.names() == {"0 fine.txt"}
    assert bench.open().load_failures() == []
    note(bench.root / "004 fine.txt", "fine as well")
    assert bench.index().skipped == REFUSED_IN_A_ROW
    assert bench.names() == {"0 fine.txt", "004 fine.txt"}


def test_a_plan_says_what_the_run_does_and_touches_nothing(bench):
    paths = notes(bench.root, 12)
    bench.index()
    paths[0].rename(bench.root / "renamed.txt")
    os.utime(paths[1], ns=(0, 1))
    paths[2].unlink()
    note(paths[3], "changed")
    picture(bench.root / "new.png", 1)
    shutil.copy(bench.root / "new.png", bench.root / "new copy.png")
    os.mkfifo(bench.root / "pipe.txt")
    generation, loads = bench.open().generation, bench.embedder.loads
    planned = bench.plan()
    assert (bench.open().generation, bench.embedder.loads) == (generation, loads)
    assert planned.to_index == {Kind.IMAGE: 1, Kind.TEXT: 1}
    assert (planned.reused, planned.unchanged, planned.gone, planned.segments) == (3, 8, 2, 2)
    summary = bench.index()
    assert (summary.embedded, summary.reused, summary.unchanged) == (2, 3, 8)
    assert (summary.removed, summary.failures) == (planned.gone, planned.skipped)


def test_a_plan_needs_no_library(tmp_path):
    notes(tmp_path / "media", 3)
    picture(tmp_path / "media/p.png", 5)
    planned = plan(None, [os.fsencode(tmp_path / "media")], IngestOptions())
    assert planned.to_index == {Kind.TEXT: 3, Kind.IMAGE: 1}
    assert (planned.unchanged, planned.gone, planned.segments) == (0, 0, 4)
    assert [path.name for path in tmp_path.iterdir()] == ["media"]


def test_forgetting_removes_rows_and_roots_but_no_files(bench):
    notes(bench.root / "a", 2)
    notes(bench.root / "b", 3)
    other = note(bench.root.with_name("other") / "o.txt", "o")
    bench.embedder.refuses = "note 2"
    bench.index(bench.root, other.parent)
    assert len(bench.open().load_failures()) == 1
    assert forget(bench.open(), [os.fsencode(bench.root / "a")]) == 2
    assert bench.names() == {"b/000.txt", "b/001.txt", "../other/o.txt"}
    assert forget(bench.open(), [os.fsencode(bench.root)]) == 2
    assert bench.open().roots == [os.fsencode(other.parent)]
    assert bench.open().load_failures() == []
    assert (bench.root / "a/000.txt").exists()
    with pytest.raises(QvsearchError, match="holds nothing at .*nowhere"):
        forget(bench.open(), [os.fsencode(other.parent), os.fsencode(bench.root / "nowhere")])
    assert bench.names() == {"../other/o.txt"}


def test_only_one_run_writes_at_a_time(bench):
    notes(bench.root, 1)
    holder = bench.open()
    with holder.lock():
        with pytest.raises(LibraryLocked):
            bench.index()
        with pytest.raises(LibraryLocked):
            forget(bench.open(), [os.fsencode(bench.root)])
    assert bench.index().embedded == 1


def test_items_follow_a_touched_file(bench):
    path = note(bench.root / "a.txt", "words")
    bench.index()
    os.utime(path, ns=(0, -5_000_000_001))
    bench.index()
    (segment,) = bench.open().segments.values()
    assert segment.item.mtime_ns == path.stat().st_mtime_ns == -5_000_000_001
    assert segment == replace(segment, item=segment.item)


def test_what_does_not_change_leaves_the_manifest_byte_for_byte(bench):
    notes(bench.root, 5)
    note(bench.root / "empty.txt", "")
    bench.index()
    bench.index()  # the empty one fails a second time
    kept = {path: path.read_bytes() for path in bench.library_folder.rglob("*") if path.is_file()}
    assert len(kept) > 4
    bench.index()
    after = {path: path.read_bytes() for path in bench.library_folder.rglob("*") if path.is_file()}
    assert after == kept
    for path in bench.root.iterdir():
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))
    assert bench.index().reused == 5
    assert bench.embedder.embedded == []


def test_a_thousand_renamed_files_cost_no_embedding_nor_a_model(bench):
    """Filled without decoding; then only what the files are called is new."""
    paths = notes(bench.root / "old", 1000)
    vectors, segments = [], []
    for path in paths:
        content = path.read_bytes()
        status = path.stat()
        item = Item(
            os.fsencode(bench.root),
            os.fsencode(path.relative_to(bench.root)),
            Kind.TEXT,
            len(content),
            status.st_mtime_ns,
        )
        segments.append(Segment(item, content_hash(item.location, item.size), lines=(1, 1)))
        vectors.append(hash_vector(EmbedInput(text=content.decode().strip())))
    library = bench.open()
    library.add_root(os.fsencode(bench.root))
    library.set_baseline(np.stack(vectors[:3]))
    library.add(segments, np.stack(vectors))
    library.commit()
    assert bench.index().unchanged == 1000
    (bench.root / "new").mkdir()
    for path in paths:
        path.rename(bench.root / "new" / f"moved {path.name}")
    summary = bench.index()
    assert (summary.reused, summary.removed, summary.kept) == (1000, 1000, ())
    assert (bench.embedder.embedded, bench.embedder.loads) == ([], 0)
    assert {row[0]: row[2] for (row,) in bench.rows().values()} == {
        segment.content_hash: vector.astype(np.float16).astype(np.float32).tobytes()
        for segment, vector in zip(segments, vectors, strict=True)
    }
