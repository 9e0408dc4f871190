"""Decodes a few pages of a document, spread evenly; other files as `media.decode` does."""

from __future__ import annotations

import warnings

from qvsearch import media
from qvsearch.types import Decoded, DecodeOptions, Item, Kind


def decode(item: Item, content_hash: str, options: DecodeOptions, *, most: int) -> Decoded:
    """Return at most `most` pages of a document, its first and last among them; raises MediaError.

    It takes the place of `media.decode` in a worker.
    """
    if item.kind is not Kind.DOCUMENT:
        return media.decode(item, content_hash, options)
    from qvsearch.media.document import decode_pages

    with (
        warnings.catch_warnings(action="ignore"),
        media.open_unchanged(item, content_hash) as file,
    ):
        first = decode_pages(file, item, content_hash, options, [1])
        count = first[0][0].metadata.pages or 1
        if count > 1:
            file.seek(0)
            wanted = min(count, most)
            pages = [1 + place * (count - 1) // max(1, wanted - 1) for place in range(wanted)]
            first = decode_pages(file, item, content_hash, options, pages)
    return Decoded(item, tuple(first))
