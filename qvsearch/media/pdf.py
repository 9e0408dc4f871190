"""PDF files: pages drawn at the size that the model sees, with their text layers.

PDFium draws what is on a page and the values of its forms. It is built without JavaScript, and
nothing here opens attachments, links or other files than fonts of the system.
"""

from __future__ import annotations

import re
import time
from contextlib import closing
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pypdfium2
import pypdfium2.raw as pdfium
from pypdfium2.internal import set_callback

from qvsearch.errors import MediaError
from qvsearch.media.dates import date
from qvsearch.media.pages import Page, joined
from qvsearch.media.pdf_notes import page_notes
from qvsearch.media.pdf_text import page_text
from qvsearch.media.pixels import smart_resize
from qvsearch.types import Metadata

if TYPE_CHECKING:
    from qvsearch.types import Pixels

POINTS = 72  # in an inch, the unit of pages
DPI = 200  # a page is drawn no finer, so that a label does not get the tokens of a poster
PAGE_SECONDS = 30.0  # for drawing a page; a map of a million lines takes 5
LONGEST_LINE, LONGEST_KEYWORD, MOST_KEYWORDS = 300, 100, 50
YEARS = range(1985, 2100)  # of documents; some programs write 1904 or 1970 for an unknown date
_FLAGS = pdfium.FPDF_ANNOT | pdfium.FPDF_REVERSE_BYTE_ORDER
_WHITE = (255, 255, 255, 255)


class Pdf:
    """An open PDF file; raises MediaError if it cannot be opened, or needs a password."""

    def __init__(self, file: BinaryIO) -> None:
        try:
            self._document = pypdfium2.PdfDocument(file)
            self._document.init_forms()  # before any page is loaded
            self.pages = len(self._document)
        except pypdfium2.PdfiumError as error:
            raise MediaError(_reason(error)) from error
        self.metadata = self._metadata()

    def page(self, number: int, max_pixels: int) -> Page:
        """Draw a page, from 1, and read its text; raises MediaError.

        The width and height of the result are points.
        """
        try:
            with closing(self._document[number - 1]) as page:
                width, height = (max(1, round(each)) for each in page.get_size())
                pixels = self._draw(page, width, height, max_pixels)
                notes = page_notes(page, self._document.formenv)
                return Page(pixels, width, height, page_text(page), notes)
        except pypdfium2.PdfiumError as error:
            raise MediaError(f"damaged PDF: page {number} cannot be read") from error

    def words(self, number: int) -> str | None:
        """Return the text and notes of a page, from 1; None without, or if it cannot be read."""
        try:
            with closing(self._document[number - 1]) as page:
                return joined(page_text(page), page_notes(page, self._document.formenv))
        except pypdfium2.PdfiumError:
            return None

    def has_notes(self, number: int) -> bool:
        """Return whether readers have written on a page, from 1; False if it cannot be read."""
        try:
            with closing(self._document[number - 1]) as page:
                return page_notes(page, self._document.formenv) is not None
        except pypdfium2.PdfiumError:
            return False

    def _draw(self, page: pypdfium2.PdfPage, width: int, height: int, max_pixels: int) -> Pixels:
        """Return a page (h, w, 3), RGB, drawn at once in the size that the model sees."""
        fine = [max(1, round(side * DPI / POINTS)) for side in (height, width)]
        rows, columns = smart_resize(*fine, max_pixels=max_pixels)
        bitmap = pypdfium2.PdfBitmap.new_native(
            columns, rows, pdfium.FPDFBitmap_BGR, rev_byteorder=True
        )
        bitmap.fill_rect(_WHITE, 0, 0, columns, rows)
        place = (bitmap, page, 0, 0, columns, rows, 0, _FLAGS)
        end = time.monotonic() + PAGE_SECONDS
        pause = pdfium.IFSDK_PAUSE(version=1)
        set_callback(pause, "NeedToPauseNow", lambda _: time.monotonic() > end)
        state = pdfium.FPDF_RenderPageBitmap_Start(*place, pause)
        pdfium.FPDF_RenderPage_Close(page)
        if state == pdfium.FPDF_RENDER_TOBECONTINUED:
            raise MediaError(f"a page took longer than {PAGE_SECONDS:.0f} s to draw")
        if state != pdfium.FPDF_RENDER_DONE:
            raise MediaError("damaged PDF: a page cannot be drawn")
        if self._document.formenv:
            pdfium.FPDF_FFLDraw(self._document.formenv, *place)
        return np.array(bitmap.to_numpy())

    def _metadata(self) -> Metadata:
        title, author, keywords = map(self._value, ("Title", "Author", "Keywords"))
        words = (each.strip()[:LONGEST_KEYWORD] for each in re.split("[,;]", keywords))
        created = self._value("CreationDate").removeprefix("D:").replace("'", ":")
        return Metadata(
            taken=date(created, YEARS),
            title=title or None,
            author=author or None,
            keywords=tuple(dict.fromkeys(filter(None, words)))[:MOST_KEYWORDS] or None,
            pages=self.pages,
        )

    def _value(self, key: str) -> str:
        """Return a line of the document's information, or nothing."""
        value = self._document.get_metadata_value(key)
        line = "".join(each if each.isprintable() else " " for each in value)
        return " ".join(line.split())[:LONGEST_LINE]


def _reason(error: pypdfium2.PdfiumError) -> str:
    match error.err_code:
        case pdfium.FPDF_ERR_PASSWORD:
            return "encrypted: it needs a password to be opened"
        case pdfium.FPDF_ERR_SECURITY:
            return "encrypted in a way that is not supported"
        case pdfium.FPDF_ERR_SUCCESS:
            return "damaged PDF: it has no pages"
        case _:
            return "not a PDF, or a damaged one"
