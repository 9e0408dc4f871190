"""What readers have written on a page of a PDF file: values of its form, notes and comments.

Their letters are no part of the page's text layer (ISO 32000-1, sections 12.5 and 12.7).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial

import pypdfium2
import pypdfium2.raw as pdfium

from qvsearch.media.pdf_text import MOST_LETTERS, cleaned

MOST_NOTES = 2000  # of a page; a tax form has 300 fields
MOST_OPTIONS = 1000  # of a list
MOST_BYTES = 4_000_000  # of a note, in UTF-16; the rest of the page is not read after a longer one
_UNSEEN = pdfium.FPDF_ANNOT_FLAG_HIDDEN | pdfium.FPDF_ANNOT_FLAG_NOVIEW
_WITHOUT_TEXT = {pdfium.FPDF_ANNOT_LINK, pdfium.FPDF_ANNOT_POPUP}
_CHOSEN = {pdfium.FPDF_FORMFIELD_COMBOBOX, pdfium.FPDF_FORMFIELD_LISTBOX}
_WRITTEN = {pdfium.FPDF_FORMFIELD_TEXTFIELD, *_CHOSEN}
_PASSWORD = 1 << 13  # a flag of text fields


def page_notes(page: pypdfium2.PdfPage, forms: pypdfium2.PdfFormEnv | None) -> str | None:
    """Return the values and notes of a page, a line each; hidden ones and passwords are not read.

    `forms` are those of the document, if it has any.
    """
    texts = dict[str, None]()  # a field that is in several places has one value
    left = MOST_LETTERS
    for place in range(min(MOST_NOTES, pdfium.FPDFPage_GetAnnotCount(page))):
        if left > 0 and (note := pdfium.FPDFPage_GetAnnot(page, place)):
            text = _text(note, forms)
            pdfium.FPDFPage_CloseAnnot(note)
            if text is None:
                break
            texts[text] = None
            left -= len(text)
    return cleaned("\n".join(filter(None, texts))[:MOST_LETTERS])


def _text(note: pdfium.FPDF_ANNOTATION, forms: pypdfium2.PdfFormEnv | None) -> str | None:
    """Return the text of a note, which may be empty; None if it is too long."""
    kind = pdfium.FPDFAnnot_GetSubtype(note)
    if pdfium.FPDFAnnot_GetFlags(note) & _UNSEEN or kind in _WITHOUT_TEXT:
        return ""
    if kind != pdfium.FPDF_ANNOT_WIDGET:
        return _string(partial(pdfium.FPDFAnnot_GetStringValue, note, b"Contents"))
    if forms is None or (field := pdfium.FPDFAnnot_GetFormFieldType(forms, note)) not in _WRITTEN:
        return ""
    if pdfium.FPDFAnnot_GetFormFieldFlags(forms, note) & _PASSWORD:
        return ""
    if field in _CHOSEN and (chosen := _chosen(note, forms)):
        return chosen
    return _string(partial(pdfium.FPDFAnnot_GetFormFieldValue, forms, note))


def _chosen(note: pdfium.FPDF_ANNOTATION, forms: pypdfium2.PdfFormEnv) -> str:
    """Return the options that are chosen in a list, a line each, as they are shown."""
    options = range(min(MOST_OPTIONS, pdfium.FPDFAnnot_GetOptionCount(forms, note)))
    labels = (
        _string(partial(pdfium.FPDFAnnot_GetOptionLabel, forms, note, option))
        for option in options
        if pdfium.FPDFAnnot_IsOptionSelected(forms, note, option)
    )
    return "\n".join(filter(None, labels))


def _string(read: Callable[[ctypes.Array[ctypes.c_ushort] | None, int], int]) -> str | None:
    """Return a text that `read` writes into a buffer of so many bytes; it returns how many.

    None if it is too long.
    """
    size = read(None, 0)
    if size > MOST_BYTES:
        return None
    buffer = (ctypes.c_ushort * (size // 2))()
    read(buffer, size)
    return bytes(buffer).decode("utf-16-le", "ignore").rstrip("\0")
