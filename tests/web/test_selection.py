"""A selection as a ZIP that is written while it is sent, and as paths."""

import io
import os
import zipfile
from pathlib import Path

import pytest
from support import gallery_reader
from support.images import item_of
from support.processes import MEGABYTE, linux, resident
from support.served import HOSTILE, SCRIPT

from qvsearch.library.identity import Gone
from qvsearch.types import Kind, Segment
from qvsearch.web.archive import MISSING, unused_name, zip_of
from qvsearch.web.files import Originals


def asked(browser, ids, form="zip", expected=200):
    return browser.post("/api/selection", expected, data={"id": ids, "form": form})


def test_a_zip_has_the_files_as_they_are(browser):
    hits = browser.all_hits()
    answer = asked(browser, [hit["id"] for hit in hits])
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == 'attachment; filename="qvsearch.zip"'
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    assert sorted(archive.read(name) for name in archive.namelist()) == sorted(
        Path(hit["path"]).read_bytes() for hit in hits
    )
    assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())


def test_a_gallery_has_the_pictures_and_links_to_the_files(browser, tmp_path):
    hits = browser.all_hits()
    answer = asked(browser, [hit["id"] for hit in hits], "gallery")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="qvsearch.html"'
    (tmp_path / "gallery.html").write_bytes(answer.content)
    read = gallery_reader.read(tmp_path / "gallery.html")
    assert len(read.images) == sum(hit["kind"] != "text" for hit in hits)
    linked = {path for path, _ in gallery_reader.paths_of(read)}
    assert linked == {os.fsencode(hit["path"]) for hit in hits}
    assert SCRIPT not in answer.text


def test_names_in_a_zip_are_harmless_and_different(browser):
    archive = zipfile.ZipFile(io.BytesIO(asked(browser, [browser.id_of(HOSTILE)]).content))
    (name,) = archive.namelist()
    assert name.isprintable()
    assert not {"/", "\\", "\n", "\r", "\u202e"} & set(name)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.jpg", "a.jpg", "A.JPG"], ["a.jpg", "a (2).jpg", "A (3).JPG"]),
        (["a (2).jpg", "a.jpg", "a.jpg"], ["a (2).jpg", "a.jpg", "a (3).jpg"]),
        (["a", "a"], ["a", "a (2)"]),
        (["a"] * 20_000, ["a", *(f"a ({number})" for number in range(2, 20_001))]),
    ],
)
def test_equal_names_get_numbers(names, expected):
    used = {}
    assert [unused_name(each, used) for each in names] == expected


def test_a_long_name_fits_a_file_system():
    used = {}
    for name in ("é" * 300 + ".jpeg", "x" * 500, "a." + "b" * 400):
        for _ in range(3):
            assert len(unused_name(name, used).encode()) <= 255


def test_paths_are_exact_bytes(browser):
    hits = browser.all_hits()[:3]
    answer = asked(browser, [hit["id"] for hit in hits], "paths")
    assert answer.content == b"".join(os.fsencode(hit["path"]) + b"\n" for hit in hits)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]


def test_json_is_taken_as_well(browser):
    item = browser.id_of("page.txt")
    answer = browser.post("/api/selection", json={"ids": [item, item], "form": "paths"})
    assert answer.text.endswith("page.txt\n")
    assert answer.text.count("\n") == 1


BAD = [
    (b"{", "application/json", 400),
    (b"[" * 100_000, "application/json", 400),
    (b'{"ids": [1]}', "application/json", 400),
    (b'{"ids": []}', "application/json", 400),
    (b"form=zip", "application/x-www-form-urlencoded", 400),
    (b"id=1&form=tar", "application/x-www-form-urlencoded", 400),
    (b"id=../../etc/passwd", "application/x-www-form-urlencoded", 410),
    (b"id=" + b"0" * 48, "application/x-www-form-urlencoded", 410),
    (b"id=1", "text/plain", 415),
    (b"id=" + b"0" * 3_000_000, "application/x-www-form-urlencoded", 413),
    (b"\xff" * 100, "application/x-www-form-urlencoded", 400),
]


@pytest.mark.parametrize(("body", "type_", "status"), BAD)
def test_a_selection_that_cannot_be_read(browser, body, type_, status):
    answer = browser.post("/api/selection", status, content=body, headers={"content-type": type_})
    assert answer.json()["error"]


def test_what_is_missing_is_listed_in_the_archive(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("here")
    segments = [Segment(item_of(path, Kind.TEXT), "00")] * 2

    def opened(_, calls=iter(range(9))):  # noqa: B008 - it counts over all calls
        if next(calls):
            raise Gone("a.txt has changed since it was indexed")
        return io.FileIO(path)

    archive = zipfile.ZipFile(io.BytesIO(b"".join(zip_of(segments, opened))))
    assert archive.namelist() == ["a.txt", MISSING]
    assert archive.read(MISSING) == b"a (2).txt: a.txt has changed since it was indexed\n"


@linux
def test_a_missing_file_with_a_hostile_name_is_listed_in_a_line(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff\n\x1b[2J.txt")
    path.write_text("here")
    segment = Segment(item_of(path, Kind.TEXT), "00")
    path.unlink()
    archive = zipfile.ZipFile(io.BytesIO(b"".join(zip_of([segment], Originals().open))))
    (line,) = archive.read(MISSING).decode().splitlines()
    assert line.isprintable()
    assert "no such file" in line


@linux
def test_a_large_zip_is_never_in_memory(tmp_path):
    path = tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.truncate(200 * MEGABYTE)
    segment = Segment(item_of(path, Kind.VIDEO), "00")
    before, most, size = resident(), 0, 0
    for piece in zip_of([segment], lambda _: io.FileIO(path)):
        size += len(piece)
        most = max(most, resident() - before)
    assert size > 200 * MEGABYTE
    assert most < 32 * MEGABYTE


@pytest.mark.soak
def test_a_zip_of_20_gb_can_be_read(tmp_path):
    path, target = tmp_path / "large.mp4", tmp_path / "all.zip"
    with path.open("wb") as file:
        file.truncate(5 * 2**30)
    segment = Segment(item_of(path, Kind.VIDEO), "00")
    with target.open("wb") as out:
        for piece in zip_of([segment] * 4, lambda _: io.FileIO(path)):
            if piece.count(0) == len(piece):
                out.seek(len(piece), os.SEEK_CUR)  # sparse
            else:
                out.write(piece)
    archive = zipfile.ZipFile(target)
    assert [entry.file_size for entry in archive.infolist()] == [5 * 2**30] * 4
    assert archive.testzip() is None
