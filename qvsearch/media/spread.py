"""Decodes a few pages of a document, spread evenly; other files as `media.decode` does."""

from __future__ import annotations

import warnings

from qvsearch import media
from qvsearch.types import Decoded, DecodeOptions, Item, Kind


def decode(item: Item, content_hash: str, options: DecodeOptions, *, most: int) -> Decoded:
    """Return at most `most` pages of a document, its first and last among them; raises MediaError.

    Those that cannot be drawn are left out. It takes the place of `media.decode` in a worker.
    """
    if item.kind is not Kind.DOCUMENT:
        return media.decode(item, content_hash, options)
    from qvsearch.media.document import decode_pages, read_metadata

    with (
        warnings.catch_warnings(action="ignore"),
        media.open_unchanged(item, content_hash) as file,
    ):
        count = read_metadata(file, item).pages or 1
        file.seek(0)
        gaps = max(1, min(count, most) - 1)
        pages = [1 + place * (count - 1) // gaps for place in range(min(count, most))]
        return Decoded(item, tuple(decode_pages(file, item, content_hash, options, pages)))
