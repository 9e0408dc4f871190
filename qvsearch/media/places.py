"""Decodes given places of a file and nothing else: moments of a film, or pages of a document."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qvsearch import media
from qvsearch.errors import MediaError
from qvsearch.types import Decoded, Kind

if TYPE_CHECKING:
    from qvsearch.types import DecodeOptions, Item, Segment

Place = tuple[float, float]


def place_of(segment: Segment) -> Place | None:
    """Return the place of a moment or page; None for an image or a passage."""
    if segment.page is not None:
        return page_place(segment.page)
    if segment.start is None or segment.end is None:
        return None
    return segment.start, segment.end


def page_place(page: int) -> Place:
    """Return the place of a page, from 1."""
    return float(page), page + 1.0


def decode(
    item: Item,
    content_hash: str,
    options: DecodeOptions,
    places: Sequence[Place],
    most_frames: int,
) -> Decoded:
    """Return a segment for each place that can be decoded; raises MediaError without any.

    A place is `[start, end)`: seconds of a video or of the film within a picture, of which at most
    `most_frames` are read, or `[n, n + 1)` for page n of a document.
    """
    with (
        warnings.catch_warnings(action="ignore"),
        media.open_unchanged(item, content_hash) as file,
    ):
        if item.kind is Kind.DOCUMENT:
            from qvsearch.media.document import decode_pages

            pages = [int(start) for start, _ in places]
            segments = decode_pages(file, item, content_hash, options, pages)
        else:
            from qvsearch.media.motion import open_film
            from qvsearch.media.video import decode_moments

            film = open_film(file, item.location)
            segments = decode_moments(
                film, item, content_hash, options.max_pixels, places, most_frames
            )
    if not segments:
        what = "page" if item.kind is Kind.DOCUMENT else "frame of the moment"
        raise MediaError(f"no {what} could be decoded")
    return Decoded(item, tuple(segments))
