"""Words in pictures are read after embedding, once for each picture, and become words of rows."""

import os
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image
from support.indexer import FINGERPRINT, Bench
from support.readers_of_pictures import work
from support.screens import recording, screen

from qvsearch.cli.tables import ocr_text
from qvsearch.indexing import reading as reading_step
from qvsearch.indexing.reading import (
    READER,
    Reading,
    pictures_to_read,
    read_pictures,
    reading,
    unread_note,
)
from qvsearch.library.library import Library
from qvsearch.media import ocr
from qvsearch.media.picture_reader import PictureReader
from qvsearch.paged_text import BREAK
from qvsearch.types import Item, Kind, Metadata, Segment, VideoMode

start = partial(PictureReader, work)


@pytest.fixture
def library(tmp_path):
    library = Library.create(tmp_path / "library", FINGERPRINT)
    (tmp_path / "media").mkdir()
    library.add_root(bytes(tmp_path / "media"))
    return library


@pytest.fixture
def bench(tmp_path):
    Library.create(tmp_path / "library", FINGERPRINT)
    (tmp_path / "media").mkdir()
    return Bench(tmp_path / "library", tmp_path / "media")


def file(library, name, kind=Kind.DOCUMENT, content="hash"):
    [root] = library.roots
    path = os.path.join(root, name)
    with open(path, "wb") as out:
        out.write(name)
    status = os.stat(path)
    return Segment(
        Item(root, name, kind, status.st_size, status.st_mtime_ns),
        content,
        metadata=Metadata(page=True),
    )


def add(library, *segments):
    """Add and commit rows; return their numbers."""
    first = max(library.segments, default=-1) + 1
    vectors = np.eye(1, FINGERPRINT.dim, dtype=np.float32).repeat(len(segments), 0)
    with library.lock():
        library.add(segments, vectors)
        library.commit()
    return list(range(first, first + len(segments)))


def read(library, *paths, stop=lambda: False):
    events = []
    with library.lock():
        count = read_pictures(library, paths or library.roots, events.append, stop, start)
    return count, [(event.state, event.segments) for event in events]


def test_pages_without_words_are_read_once(library):
    scan = file(library, b"scan.pdf")
    with_text = replace(scan, page=2, metadata=Metadata())
    rows = add(library, replace(scan, page=1), with_text, replace(scan, page=4))
    assert read(library) == (2, [("reading", 2), ("read", 1), ("read", 1)])
    assert [library.words.text(row) for row in rows] == ["page 1", "", "page 4"]
    assert library.words.read_by(READER).tolist() == [rows[0], rows[2]]
    assert read(library) == (0, [])
    assert (reading(library).read, reading(library).waiting) == (2, 0)


def test_a_line_that_the_file_has_as_text_is_not_there_twice(library):
    page = replace(file(library, b"scan.pdf"), page=7)
    rows = add(library, replace(page, words="PAGE, 7"), replace(page, page=8, words="page 7"))
    assert read(library)[0] == 2
    assert [library.words.text(row) for row in rows] == ["PAGE, 7", "page 7\npage 8"]
    assert read(library) == (0, [])
    long = replace(page, metadata=replace(page.metadata, pages=2000))
    [row] = add(library, replace(long, page=9, words=f"page 9\n{BREAK}10\nmore"))
    assert read(library)[0] == 1
    assert library.words.text(row) == f"page 9\n{BREAK}10\nmore"


def test_a_picture_without_words_or_with_a_crash_is_not_tried_again(library):
    pages = [replace(file(library, b"crashes"), page=page) for page in (1, 3)]
    rows = add(library, *pages)
    assert read(library)[0] == 2
    assert [library.words.text(row) for row in rows] == ["page 1", ""]
    assert read(library) == (0, [])


def test_copies_are_read_once_and_all_have_the_words(library):
    one, other = file(library, b"a.pdf"), file(library, b"b.pdf")
    rows = add(library, replace(one, page=1), replace(other, page=1))
    assert read(library) == (2, [("reading", 2), ("read", 2)])
    assert [library.words.text(row) for row in rows] == ["page 1", "page 1"]


def test_files_that_are_away_or_changed_wait(library):
    gone, changed = file(library, b"gone", content="1"), file(library, b"changed", content="2")
    add(library, replace(gone, page=1), replace(changed, page=1))
    os.remove(gone.item.location)
    os.utime(changed.item.location, ns=(1, 1))
    assert read(library) == (0, [("reading", 2)])
    assert reading(library).waiting == 2
    os.utime(changed.item.location, ns=(1, changed.item.mtime_ns))
    assert read(library)[0] == 1


def test_no_picture_is_read_whose_words_cannot_be_kept(library, monkeypatch):
    add(library, replace(file(library, b"a.pdf"), page=1))
    monkeypatch.setattr(reading_step, "has_full_text", lambda: False)
    assert read(library) == (0, [])


def test_only_the_given_paths_are_read(library, tmp_path):
    add(library, replace(file(library, b"a.pdf"), page=1))
    assert read(library, bytes(tmp_path / "elsewhere")) == (0, [])


def test_lines_of_a_film_have_the_time_of_the_moment(library):
    film = file(library, b"film.mp4", Kind.VIDEO)
    [row, _] = add(
        library,
        replace(film, start=2.5, end=4.0, words="2.750\tspoken"),
        replace(film, start=4.0, end=5.0, metadata=Metadata()),
    )
    assert read(library)[0] == 1
    assert "2.500\tpage None" in library.words.text(row).splitlines()


def times(library, row):
    return [float(line.partition("\t")[0]) for line in library.words.text(row).splitlines()]


def test_a_still_moment_of_a_film_is_read_at_many_times(library):
    film = file(library, b"counting", Kind.VIDEO)
    rows = add(library, replace(film, start=0.0, end=9.0), replace(film, start=9.0, end=10.0))
    assert read(library)[0] == 2
    assert [times(library, row) for row in rows] == [[0, 2.25, 4.5, 6.75], [9]]


def test_a_line_that_stays_on_the_screen_is_there_once(library):
    film = file(library, b"film.mp4", Kind.VIDEO)
    [row] = add(library, replace(film, start=0.0, end=90.0))
    assert read(library)[0] == 1
    assert library.words.text(row) == "0.000\tpage None"


def test_a_long_film_is_read_at_so_many_times_at_most(library):
    film = replace(
        file(library, b"counting", Kind.VIDEO), metadata=Metadata(page=True, duration=7200.0)
    )
    rows = add(library, *(replace(film, start=float(n), end=n + 3600.0) for n in (0, 3600)))
    assert read(library)[0] == 2
    assert sum(len(times(library, row)) for row in rows) == reading_step.MOST_SCREENS


def test_a_stop_within_a_moment_of_a_film_leaves_it_for_later(library):
    film = file(library, b"counting", Kind.VIDEO)
    add(library, replace(film, start=0.0, end=500.0))
    calls = iter([False] * 2 + [True] * 100)
    assert read(library, stop=lambda: next(calls))[0] == 0
    assert reading(library).waiting == 1
    assert read(library)[0] == 1
    assert reading(library).waiting == 0


def test_films_that_were_read_at_one_frame_are_read_again_and_nothing_else(library):
    film = file(library, b"film.mp4", Kind.VIDEO)
    rows = add(library, replace(film, start=0.0, end=9.0), file(library, b"a.png", Kind.IMAGE))
    with library.lock():
        library.add_words(dict.fromkeys(rows, ""), READER)
        library.commit()
    assert pictures_to_read(library) == rows[:1]
    assert read(library)[0] == 1
    assert read(library) == (0, [])


def test_clips_beside_frames_are_not_read_again(tmp_path):
    both = replace(FINGERPRINT, video_mode=VideoMode.BOTH)
    library = Library.create(tmp_path / "library", both)
    library.add_root(bytes(tmp_path))
    film = file(library, b"film.mp4", Kind.VIDEO)
    frame, _ = add(
        library, replace(film, start=0.0, end=1.0), replace(film, start=0.0, end=1.0, clip=True)
    )
    assert pictures_to_read(library) == [frame]


@pytest.mark.parametrize(
    "name",
    [
        "Screenshot_20240303-101010.png",
        "Screenshot 2024-02-02 at 10.11.12.PNG",
        "Bildschirmfoto vom 2024-02-02.jpg",
        "Capture d\u2019e\u0301cran 2024-02-02.png",  # letters as macOS has them
        "\u5c4f\u5e55\u622a\u56fe 2024.png",
        "IMG_0042.PNG",  # an iPhone's photos are never PNG
    ],
)
def test_a_picture_is_read_if_its_name_is_that_of_a_screenshot(library, name):
    shown = replace(
        file(library, name.encode(), Kind.IMAGE), metadata=Metadata(page=False)
    )  # a map, or two words on white
    [row] = add(library, shown)
    assert read(library)[0] == 1
    assert library.words.read_by(READER).tolist() == [row]


@pytest.mark.parametrize(
    "name",
    [
        *("IMG_0042.HEIC", "DSC_0042.PNG", "screen door.jpg"),
        *("IMG_1.png", "IMG_20240303.png", "Screenshots of my kids.jpg"),
    ],
)
def test_no_photo_is_read(library, name):
    add(library, replace(file(library, name.encode(), Kind.IMAGE), metadata=Metadata(page=False)))
    assert read(library) == (0, [])


def test_the_film_and_the_text_of_a_screenshot_s_name_are_not_read(library):
    film = file(library, b"Screenshot.mp4", Kind.VIDEO)
    text = file(library, b"Screenshot.txt", Kind.TEXT, "other")
    add(library, *(replace(each, metadata=Metadata()) for each in (film, text)))
    assert read(library) == (0, [])


def test_a_stop_keeps_what_was_read(library):
    pages = [replace(file(library, b"a.pdf"), page=page) for page in range(10, 30)]
    rows = add(library, *pages)
    calls = iter([False, False] + [True] * 100)
    count, _ = read(library, stop=lambda: next(calls))
    assert 0 <= count < len(rows)
    assert len(library.words.read_by(READER)) == count
    assert read(library)[0] == len(rows) - count


@pytest.mark.skipif(find_spec("rapidocr") is None, reason="needs the extra [ocr]")
def test_screenshots_and_screen_recordings_are_read_after_embedding(bench, monkeypatch):
    added = {}
    add_words = Library.add_words

    def adding(library, texts, reader):
        added.update({library.segments[row].item.path: text for row, text in texts.items()})
        add_words(library, texts, reader)

    monkeypatch.setattr(Library, "add_words", adding)
    screen("Invoice 4711").save(bench.root / "screen.png")
    recording(bench.root / "film.mp4", screen("Order 815"))
    Image.effect_noise((64, 64), 90).save(bench.root / "photo.png")
    assert bench.index(ocr=True).pictures_read == 2
    states = [event.state for event in bench.events]
    assert states[-3:] == ["reading", "read", "read"]
    assert states.index("reading") > max(at for at, each in enumerate(states) if each == "indexed")
    assert added == {
        b"screen.png": "Invoice 4711\nTotal 1,234.56 EUR",
        b"film.mp4": "0.000\tOrder 815\n0.000\tTotal 1,234.56 EUR",
    }
    assert bench.index().pictures_read == 0


@pytest.mark.skipif(find_spec("rapidocr") is None, reason="needs the extra [ocr]")
def test_each_screen_of_a_recording_has_its_words_at_its_time(bench):
    names = ["Alpha Catherine", "Beta Linton", "Gamma Earnshaw"]
    recording(bench.root / "film.mp4", *map(screen, names), seconds=8)
    assert bench.index(ocr=True).pictures_read == 1, "of one moment: all is still"
    library = Library.open(bench.library_folder)
    [row] = library.segments
    assert library.words.text(row).splitlines() == [
        "0.000\tAlpha Catherine",
        "0.000\tTotal 1,234.56 EUR",
        "8.000\tBeta Linton",
        "16.000\tGamma Earnshaw",
    ]


def test_status_says_whether_words_are_read_and_how_many_pictures_wait():
    off = Reading(installed=False, read=0, waiting=2, languages=())
    assert ocr_text(off) == (
        'off, not installed; 2 pictures may have words: pip install "qvsearch[ocr]"'
    )
    on = Reading(installed=True, read=1, waiting=1_200, languages=("en", "de"))
    assert ocr_text(on) == (
        "on, in 2 languages (--json lists them): 1 picture read, 1,200 for the next index"
    )


def test_pictures_that_cannot_be_read_are_pointed_out(bench, monkeypatch):
    screen("Invoice 4711").save(bench.root / "screen.png")
    other = bench.root / "other"
    other.mkdir()
    monkeypatch.setattr(ocr, "is_installed", lambda: False)
    assert bench.index(ocr=True).pictures_unread == 1
    assert bench.index(other, ocr=True).pictures_unread == 0
    assert bench.index(ocr=False).pictures_unread == 0
    assert unread_note(1) == (
        "1 picture looks like a screenshot or a page; to find the words:"
        ' pip install "qvsearch[ocr]"'
    )
