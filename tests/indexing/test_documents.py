"""Documents in a library: a row for each page, in parts, and what is missing is told."""

import io
import os

import pytest
from PIL import Image
from support.hostile_documents import doubling_forms
from support.indexer import (
    Bench,
    bench,  # noqa: F401 - fixtures
)
from support.pdf_files import drawn, lines, one_page, shown, written

from qvsearch.files import open_file
from qvsearch.indexing import pipeline
from qvsearch.indexing.status import library_status
from qvsearch.media import kind_at, pages
from qvsearch.media.workers import Decoders, page_counts
from qvsearch.types import Kind

__all__ = ["bench"]


def rows(bench):
    library = bench.open()
    return [library.segments[row] for row in range(len(library.segments))]


def test_each_page_is_a_row_with_its_words(bench: Bench):
    (bench.root / "a.pdf").write_bytes(drawn(lines("number {}"), pages=3))
    summary = bench.index()
    assert (summary.indexed, summary.segments, summary.sampled) == (1, 3, 0)
    found = rows(bench)
    assert [segment.page for segment in found] == [1, 2, 3]
    assert [segment.snippet for segment in found] == ["number 1", "number 2", "number 3"]
    assert {segment.metadata.pages for segment in found} == {3}
    assert bench.index().unchanged == 1


def test_a_long_document_is_one_file_of_many_parts(bench: Bench, monkeypatch):
    (bench.root / "a.txt").write_text("a note before")
    (bench.root / "b.pdf").write_bytes(drawn(lines("number {}"), pages=205))
    (bench.root / "c.txt").write_text("a note behind")
    summary = bench.index()
    assert (summary.indexed, summary.skipped, summary.sampled) == (3, 0, 1)
    found = [segment for segment in rows(bench) if segment.item.kind is Kind.DOCUMENT]
    assert tuple(segment.page for segment in found) == pages.chosen_pages(205)
    assert all(segment.metadata.damaged is None for segment in found)
    library = bench.open()
    assert len(library) == 202
    document = os.fsencode(bench.root / "b.pdf")
    assert library_status(library).partial == ((document, "200 of 205 pages"),)


def test_pages_that_cannot_be_read_are_told(bench: Bench):
    data = written(
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R 9 0 R 3 0 R] /Count 3 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] >>",
    )
    (bench.root / "a.pdf").write_bytes(data)
    assert bench.index().indexed == 1
    found = rows(bench)
    assert [segment.page for segment in found] == [1, 3]
    assert {segment.metadata.damaged for segment in found} == {"1 of its pages cannot be read"}


class Impatient(Decoders):
    def __init__(self, *_):
        super().__init__(1, patience=lambda item: 3.0)


@pytest.mark.faults
def test_pages_beside_one_that_never_ends_stay(bench: Bench, monkeypatch):
    endless = doubling_forms().replace(b"/Kids [3 0 R] /Count 1", b"/Kids [%s] /Count 11")
    plain = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 800 800] >>"
    number = endless.count(b" 0 obj") + 1
    data = endless.replace(b"xref\n", b"%d 0 obj\n%s\nendobj\nxref\n" % (number, plain), 1)
    plain_page = b"%d 0 R " % number
    data = data.replace(b"[%s]", b"[" + plain_page * 5 + b"3 0 R " + plain_page * 5 + b"]")
    (bench.root / "a.pdf").write_bytes(data)
    monkeypatch.setattr(pipeline, "Decoders", Impatient)
    summary = bench.index()
    assert (summary.indexed, summary.skipped) == (1, 0)
    found = rows(bench)
    assert [segment.page for segment in found] == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    lost = "1 of its pages cannot be read: took longer than 3 s"
    assert found[0].metadata.damaged == lost


def tiff(count, **options):
    file = io.BytesIO()
    sheets = [Image.linear_gradient("L").rotate(90 * number) for number in range(count)]
    sheets[0].save(file, "TIFF", save_all=True, append_images=sheets[1:], **options)
    return file.getvalue()


def test_a_tiff_of_several_pages_is_a_document_and_others_are_images(bench: Bench):
    (bench.root / "fax.tif").write_bytes(tiff(3))
    (bench.root / "photo.TIFF").write_bytes(tiff(1))
    (bench.root / "damaged.tif").write_bytes(b"II*\0")
    summary = bench.index()
    assert (summary.indexed, summary.skipped) == (2, 1)
    found = {(each.item.path, each.item.kind, each.page) for each in rows(bench)}
    assert found == {
        (b"photo.TIFF", Kind.IMAGE, None),
        *((b"fax.tif", Kind.DOCUMENT, number) for number in (1, 2, 3)),
    }
    assert bench.index().unchanged == 2


def test_a_tiff_that_was_an_image_becomes_a_document(bench: Bench, monkeypatch):
    (bench.root / "fax.tif").write_bytes(tiff(2))
    with monkeypatch.context() as earlier:
        earlier.setattr("qvsearch.media.kind_at.TIFFS", frozenset())
        bench.index()
    assert [each.item.kind for each in rows(bench)] == [Kind.IMAGE]
    assert bench.index().indexed == 1
    assert [(each.item.kind, each.page) for each in rows(bench)] == [
        (Kind.DOCUMENT, 1),
        (Kind.DOCUMENT, 2),
    ]


def test_files_that_did_not_change_are_not_opened_for_their_kind(bench: Bench, monkeypatch):
    for name, data in (("fax.tif", tiff(2)), ("photo.tif", tiff(1)), ("code.ts", b"let a = 1\n")):
        (bench.root / name).write_bytes(data)
    opened = []

    def counted(path):
        opened.append(os.path.basename(path))
        return open_file(path)

    bench.index()
    monkeypatch.setattr(kind_at, "open_file", counted)
    assert bench.index().unchanged == 3
    bench.plan()
    library_status(bench.open())
    assert opened == []
    (bench.root / "photo.tif").write_bytes(tiff(3))
    (bench.root / "new.tif").write_bytes(tiff(1))
    assert bench.index().indexed == 2
    assert sorted(opened) == [b"new.tif", b"photo.tif"]
    kinds = {each.item.path: each.item.kind for each in bench.open().segments.values()}
    assert kinds[b"photo.tif"] is kinds[b"fax.tif"] is Kind.DOCUMENT
    assert (kinds[b"new.tif"], kinds[b"code.ts"]) == (Kind.IMAGE, Kind.TEXT)


def test_counts_of_pages_are_those_of_the_files(tmp_path):
    for count in (1, 7, 300):
        (tmp_path / f"{count}.pdf").write_bytes(drawn(lines("x"), pages=count))
    (tmp_path / "3.tif").write_bytes(tiff(3))
    (tmp_path / "none.pdf").write_bytes(b"words")
    found = page_counts([*tmp_path.iterdir(), tmp_path / "gone.pdf"], 60.0)
    assert {path.name: count for path, count in found.items()} == {
        "1.pdf": 1,
        "7.pdf": 7,
        "300.pdf": 300,
        "3.tif": 3,
    }


def test_a_plan_counts_pages_as_indexing_does(bench: Bench):
    for count in (1, 12):
        (bench.root / f"{count}.pdf").write_bytes(drawn(lines("x"), pages=count))
    planned = bench.plan()
    assert os.path.getsize(bench.root / "12.pdf") < 60_000  # one page by its size
    assert planned.by_kind == {Kind.DOCUMENT: 13}
    assert bench.index().segments == 13


@pytest.mark.parametrize("change", [b"%PDF-1.7", b"words"])
def test_a_document_that_is_none_is_skipped_with_a_reason(bench: Bench, change):
    (bench.root / "a.pdf").write_bytes(change)
    (bench.root / "b.pdf").write_bytes(one_page(shown(b"words")))
    [skipped] = bench.index().failures
    assert skipped.reason == "not a PDF, or a damaged one"
