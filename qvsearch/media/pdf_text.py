"""The text layer of a page of a PDF file, with a space wherever a reader sees one.

PDFium adds spaces where strings lie apart, but none for character spacing. Ghostscript writes gaps
between words as such, e.g. in manuals by groff.
"""

from __future__ import annotations

import re
from contextlib import closing
from itertools import pairwise

import pypdfium2

MOST_LETTERS = 100_000  # of a page's text; a page of a newspaper has 20,000
# between words, as a share of the height of a letter's box, which is about the size of the font.
# Words of justified lines are 0.22 apart or more, kerned letters 0.05 at most
LEAST_GAP = 0.15
_WORD = re.compile(r"\S{3,}")
# PDFium's marks for a hyphen at the end of a line, whose word goes on in the next one
_BROKEN_WORD = re.compile(r"[\x02\ufffe]\s*")
_CONTROL = re.compile(r"[^\S\n]*[\x00-\x09\x0b-\x1f\x7f-\x9f\ufffe\uffff][^\S\n]*")


def page_text(page: pypdfium2.PdfPage) -> str | None:
    """Return the text layer of a page, words that a line's end breaks made whole."""
    try:
        with closing(page.get_textpage()) as layer:
            text = _spaced(layer, layer.get_text_bounded(errors="ignore"))
    except pypdfium2.PdfiumError:  # the picture is there nevertheless
        return None
    return cleaned(text)


def cleaned(text: str) -> str | None:
    """Return a text without marks of broken words and control characters; None if it is empty."""
    text = _BROKEN_WORD.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _CONTROL.sub(" ", text).strip() or None


def _spaced(layer: pypdfium2.PdfTextPage, text: str) -> str:
    """Return the first MOST_LETTERS of a text, with spaces where PDFium leaves them out.

    Only words of several text objects have such places. If parts of the layer lie beside the page,
    letters cannot be found by their places in the text, and none is added.
    """
    is_whole = len(text) == layer.count_chars()
    text = text[:MOST_LETTERS]
    if not is_whole:
        return text
    places = [0]
    for word in _WORD.finditer(text):
        start, end = word.span()
        if layer.count_rects(start, end - start) > 1:
            places += _gaps(layer, start, end)
    return " ".join(text[start:end] for start, end in zip(places, [*places[1:], None], strict=True))


def _gaps(layer: pypdfium2.PdfTextPage, start: int, end: int) -> list[int]:
    """Return the letters, by place, that have a gap before them wider than most of this string.

    So letters with spacing stay together.
    """
    boxes = [layer.get_charbox(place, loose=True) for place in range(start, end)]
    least = LEAST_GAP * max(top - bottom for _, bottom, _, top in boxes)
    gaps = [after[0] - before[2] for before, after in pairwise(boxes)]
    usual = sorted(gaps)[(len(gaps) - 1) // 2]
    if least <= 0 or usual < -least:  # a font without a height, or letters that run to the left
        return []
    return [place for place, gap in enumerate(gaps, start + 1) if gap > usual + least]
