"""Decodes only what was found: given moments and pages; other files as `media.decode` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from qvsearch import media
from qvsearch.media import places
from qvsearch.types import Decoded, DecodeOptions, Item, Kind


def decode(
    item: Item,
    content_hash: str,
    options: DecodeOptions,
    *,
    moments: Mapping[bytes, Sequence[tuple[float, float]]],
    most_frames: int,
) -> Decoded:
    """Return the segments of a file: those of its `moments`, or all if it has none there.

    It takes the place of `media.decode` in a worker. `moments` are places (`media.places`) by the
    absolute path of the file; a clip of a video has `most_frames` at most. Raises MediaError as
    `media.decode` does, and without a frame. A picture with moments has its own segment as well.
    """
    if item.location not in moments:
        return media.decode(item, content_hash, options)
    found = places.decode(item, content_hash, options, moments[item.location], most_frames)
    if item.kind is not Kind.IMAGE:
        return found
    still = media.decode(item, content_hash, replace(options, films=False))
    return replace(found, segments=still.segments + found.segments)
