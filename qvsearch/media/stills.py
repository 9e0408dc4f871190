"""Decodes one picture of a file to look at: an image, or one frame of each given moment."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from qvsearch import media
from qvsearch.errors import MediaError
from qvsearch.types import Decoded, Kind

if TYPE_CHECKING:
    from qvsearch.types import DecodeOptions, Item

NO_PICTURE = "a text has no picture"


def decode(item: Item, content_hash: str, options: DecodeOptions) -> Decoded:
    """Return the picture of an image, or of a video a frame of each of the options' `moments`.

    It takes the place of `media.decode` in a worker. Raises MediaError as `media.decode` does, for
    a text, and for a moment without a frame.
    """
    if item.kind is Kind.TEXT:
        raise MediaError(NO_PICTURE)
    if item.kind is Kind.IMAGE:
        return media.decode(item, content_hash, options)
    from qvsearch.media.video import decode_moments

    with (
        warnings.catch_warnings(action="ignore"),
        media.open_unchanged(item, content_hash) as file,
    ):
        segments = decode_moments(
            file, item, content_hash, options.max_pixels, options.moments, most_frames=1
        )
    if len(segments) != len(options.moments):
        raise MediaError("no frame of the moment could be decoded")
    return Decoded(item, tuple(segments))
