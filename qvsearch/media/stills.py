"""Decodes one picture of a file to look at: an image, a page, or one frame of each moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qvsearch import media
from qvsearch.errors import MediaError
from qvsearch.media import places
from qvsearch.types import Decoded, Kind

if TYPE_CHECKING:
    from qvsearch.types import DecodeOptions, Item

NO_PICTURE = "a text has no picture"


def decode(item: Item, content_hash: str, options: DecodeOptions) -> Decoded:
    """Return the picture of an image, or of each of the options' `moments` a frame or a page.

    A picture has moments if a film is within it.
    It takes the place of `media.decode` in a worker. Raises MediaError as `media.decode` does, for
    a text, and for a moment without a frame.
    """
    if item.kind is Kind.TEXT:
        raise MediaError(NO_PICTURE)
    if item.kind is Kind.IMAGE and not options.moments:
        return media.decode(item, content_hash, options)
    decoded = places.decode(item, content_hash, options, options.moments, most_frames=1)
    if len(decoded.segments) != len(options.moments):
        raise MediaError("no frame of the moment could be decoded")
    return decoded
