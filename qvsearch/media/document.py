"""Documents: each page is a picture, and has the words of its text layer.

Pages are decoded in parts of PART_PIXELS, so that a long document never fills memory.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, Protocol

from qvsearch.errors import MediaError
from qvsearch.media.pages import PART_PIXELS, Page, chosen_pages, joined
from qvsearch.media.pixels import dhash, patches
from qvsearch.media.workers import patience
from qvsearch.paged_text import PageText, paged_text
from qvsearch.types import EmbedInput, Item, Metadata, Segment

if TYPE_CHECKING:
    from qvsearch.types import DecodeOptions

SNIPPET_CHARACTERS = 160
# of a page that has a text layer: a scan may have a stamp or a number of its own
LEAST_LETTERS = 16
PART_SHARE = 0.5  # of a file's patience: the page that is being drawn then may take the rest
WORDS_SHARE = 0.75  # of it, after which the words of further pages are left out
MOST_LETTERS = 1 << 17  # of the pages between two chosen ones: as many as 40 pages of a book
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class _Document(Protocol):
    pages: int
    metadata: Metadata

    def page(self, number: int, max_pixels: int) -> Page: ...

    def words(self, number: int) -> str | None: ...

    def has_notes(self, number: int) -> bool: ...


def decode(
    file: BinaryIO, item: Item, content_hash: str, options: DecodeOptions
) -> list[tuple[Segment, EmbedInput]]:
    """Decode the chosen pages after `options.after_page`, as many as one part has.

    Each has the words of the pages between it and the next one, too, as `paged_text`. A page that
    cannot be drawn is left out. Raises MediaError with the first page's reason if there is none,
    and for a file that is no document or needs a password.
    """
    started = time.monotonic()
    enough = started + PART_SHARE * patience(item)
    document = _opened(file, item)
    reasons: list[MediaError] = []
    segments: list[tuple[Segment, EmbedInput]] = []
    pixels = 0
    chosen = (number for number in chosen_pages(document.pages) if number > options.after_page)
    for answer in _read(document, item, content_hash, options, chosen, reasons):
        segments.append(answer)
        size = answer[1].images[0].size // 3
        pixels += size
        if pixels + size > PART_PIXELS or time.monotonic() > enough:
            break
        if len(segments) == options.most_pages:
            break
    if not segments:
        raise reasons[0] if reasons else MediaError("it has no pages")
    if options.most_pages is not None:  # a page may end the process: one that is not drawn need not
        return segments
    return _with_pages_between(document, segments, started + WORDS_SHARE * patience(item))


def _with_pages_between(
    document: _Document, segments: Sequence[tuple[Segment, EmbedInput]], enough: float
) -> list[tuple[Segment, EmbedInput]]:
    """Return segments with the words of the pages up to the next one, until it is `enough`."""
    pages = [segment.page or 0 for segment, _ in segments]
    following = [*pages[1:], _next_chosen(document, pages[-1])]
    between = (
        _words(document, page, end, enough) for page, end in zip(pages, following, strict=True)
    )
    return [
        (replace(segment, words=paged_text(segment.words, others)), source)
        for (segment, source), others in zip(segments, between, strict=True)
    ]


def decode_pages(
    file: BinaryIO,
    item: Item,
    content_hash: str,
    options: DecodeOptions,
    pages: Sequence[int],
) -> list[tuple[Segment, EmbedInput]]:
    """Decode only these pages, from 1; those that cannot be drawn are left out.

    All of them are in memory together. Raises MediaError for one that is not there, and with the
    first reason if none can be drawn.
    """
    document = _opened(file, item)
    if wrong := [number for number in pages if not 1 <= number <= document.pages]:
        raise MediaError(f"it has {document.pages} pages, and no page {wrong[0]}")
    reasons: list[MediaError] = []
    segments = list(_read(document, item, content_hash, options, pages, reasons))
    if reasons and not segments:
        raise reasons[0]
    return segments


def page_words(file: BinaryIO, item: Item) -> Iterator[tuple[int, str | None]]:
    """Yield the number of each chosen page and its words, as `decode` adds others to them.

    Raises MediaError.
    """
    enough = time.monotonic() + PART_SHARE * patience(item)
    document = _opened(file, item)
    for number in chosen_pages(document.pages):
        others = _words(document, number, _next_chosen(document, number), enough)
        yield number, paged_text(document.words(number), others)


def _next_chosen(document: _Document, page: int) -> int:
    """Return the chosen page behind another one, or the last."""
    chosen = chosen_pages(document.pages)
    return chosen[min(bisect_right(chosen, page), len(chosen) - 1)]


def _words(document: _Document, page: int, end: int, enough: float) -> Iterator[PageText]:
    """Yield the words of the pages between two others, until it is `enough`."""
    left = MOST_LETTERS
    for number in range(page + 1, end):
        if left < 0 or time.monotonic() > enough:
            return
        if words := document.words(number):
            left -= len(words)
            yield PageText(number, words)


def reads_otherwise(file: BinaryIO, item: Item, since: int) -> bool:
    """Return whether version `since` gave other words for this file; raises MediaError.

    Version 1 did not read what readers have written on the pages.
    """
    if since >= 2:
        return False
    document = _opened(file, item)
    return any(map(document.has_notes, chosen_pages(document.pages)))


def read_metadata(file: BinaryIO, item: Item) -> Metadata:
    """Return the metadata of a document; raises MediaError."""
    return _opened(file, item).metadata


def _opened(file: BinaryIO, item: Item) -> _Document:
    """Open a document by its first bytes, whatever its suffix."""
    start = file.read(4)
    file.seek(0)
    if start in TIFF_STARTS:
        from qvsearch.media.tiff_document import TiffDocument

        return TiffDocument(file, item)
    from qvsearch.media.pdf import Pdf

    return Pdf(file)


def _read(
    document: _Document,
    item: Item,
    content_hash: str,
    options: DecodeOptions,
    pages: Iterable[int],
    reasons: list[MediaError],
) -> Iterator[tuple[Segment, EmbedInput]]:
    """Yield these pages; the reasons of those that cannot be drawn are added to `reasons`."""
    for number in pages:
        try:
            page = document.page(number, options.page_pixels or options.max_pixels)
        except MediaError as error:
            reasons.append(error)
            continue
        except MemoryError:
            reasons.append(MediaError("not enough memory to decode it"))
            continue
        is_scan = sum(map(str.isalnum, page.words or "")) < LEAST_LETTERS
        words = joined(page.words, page.notes)
        segment = Segment(
            item,
            content_hash,
            page=number,
            snippet=words and " ".join(words.split())[:SNIPPET_CHARACTERS],
            words=words,
            width=page.width,
            height=page.height,
            dhash=dhash(page.pixels),
            patches=patches(page.pixels),
            metadata=replace(document.metadata, page=is_scan),
        )
        yield segment, EmbedInput(images=(page.pixels,))
