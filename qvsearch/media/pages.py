"""Which pages of a document are indexed, and what is said of parts of a file that are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from qvsearch.paged_text import DOCUMENT_PAGES
from qvsearch.types import Segment

if TYPE_CHECKING:
    from qvsearch.types import Metadata, Pixels

# of the pages that are decoded at once: 75 MB. So 200 pages in high detail, which have 1.1 GB, are
# never in memory together
PART_PIXELS = 25_000_000


class Page(NamedTuple):
    """A page as embedded; `width` and `height` are its own, `words` None without a text layer.

    `notes` are what readers have written on it.
    """

    pixels: Pixels
    width: int
    height: int
    words: str | None
    notes: str | None = None


def joined(words: str | None, notes: str | None) -> str | None:
    """Return the text of a page: its layer, and what readers have written on it."""
    return "\n".join(filter(None, (words, notes))) or None


def sampled_part(metadata: Metadata) -> str | None:
    """Return the indexed part of a document, e.g. `200 of 431 pages`; None if all pages are."""
    pages = metadata.pages or 0
    return f"{DOCUMENT_PAGES} of {pages:,} pages" if pages > DOCUMENT_PAGES else None


def chosen_pages(count: int) -> tuple[int, ...]:
    """Return the numbers of the pages to index, from 1: all, or DOCUMENT_PAGES spread evenly.

    The first and the last page are always among them.
    """
    if count <= DOCUMENT_PAGES:
        return tuple(range(1, count + 1))
    gaps = DOCUMENT_PAGES - 1
    return tuple(1 + round(place * (count - 1) / gaps) for place in range(DOCUMENT_PAGES))


def with_losses(segments: Sequence[Segment], reason: str | None) -> tuple[Segment, ...]:
    """Return the segments of a file; those of a document tell how many chosen pages are missing.

    `reason` is why its last pages are missing, if that is known.
    """
    count = segments[0].metadata.pages if segments else None
    if count is None:
        return tuple(segments)
    lost = len(set(chosen_pages(count)).difference(segment.page for segment in segments))
    if not lost:
        return tuple(segments)
    damaged = f"{lost} of its pages cannot be read" + (f": {reason}" if reason else "")
    return tuple(
        replace(each, metadata=replace(each.metadata, damaged=damaged)) for each in segments
    )


def without_film(segment: Segment, reason: str) -> Segment:
    """Return the segment of a picture, with the reason why the film within it is not indexed."""
    partial = f"the picture without its film: {reason}"
    return replace(segment, metadata=replace(segment.metadata, partial=partial))
