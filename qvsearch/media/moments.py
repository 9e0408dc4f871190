"""Decodes only what was found: given moments of a video; other files as `media.decode` does."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from qvsearch import media
from qvsearch.errors import MediaError
from qvsearch.types import Decoded, DecodeOptions, Item, Kind


def decode(
    item: Item,
    content_hash: str,
    options: DecodeOptions,
    *,
    moments: Mapping[bytes, Sequence[tuple[float, float]]],
    most_frames: int,
) -> Decoded:
    """Return the segments of a file; of a video, one clip for each of its `moments`.

    It takes the place of `media.decode` in a worker. `moments` are `[start, end)` in seconds, by
    the absolute path of the file; a clip has `most_frames` at most. Raises MediaError as
    `media.decode` does, and without a frame.
    """
    if item.kind is not Kind.VIDEO:
        return media.decode(item, content_hash, options)
    from qvsearch.media.video import decode_moments

    with (
        warnings.catch_warnings(action="ignore"),
        media.open_unchanged(item, content_hash) as file,
    ):
        segments = decode_moments(
            file, item, content_hash, options.max_pixels, moments[item.location], most_frames
        )
    if not segments:
        raise MediaError("no frame of the moment could be decoded")
    return Decoded(item, tuple(segments))
