"""Decodes what an agent reads of a file: its picture, frames of a video, or all its passages."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from qvsearch import media
from qvsearch.errors import MediaError
from qvsearch.types import Decoded, Kind

if TYPE_CHECKING:
    from qvsearch.types import DecodeOptions, Item


def decode(item: Item, content_hash: str, options: DecodeOptions) -> Decoded:
    """Return an image or the passages of a text; of a video a frame of each of `moments`.

    It takes the place of `media.decode` in a worker. Moments of which no frame can be decoded are
    left out. Raises MediaError as `media.decode` does, and without any frame.
    """
    if item.kind is not Kind.VIDEO:
        return media.decode(item, content_hash, options)
    from qvsearch.media.video import decode_moments

    with (
        warnings.catch_warnings(action="ignore"),
        media.open_unchanged(item, content_hash) as file,
    ):
        segments = decode_moments(
            file, item, content_hash, options.max_pixels, options.moments, most_frames=1
        )
    if not segments:
        raise MediaError("no frame of the moment could be decoded")
    return Decoded(item, tuple(segments))
