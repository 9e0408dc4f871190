"""Decodes the part of a file that somebody reads: pictures, frames, pages, lines or passages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qvsearch import media
from qvsearch.errors import MediaError
from qvsearch.media import places
from qvsearch.types import Decoded, EmbedInput, Kind, Segment

if TYPE_CHECKING:
    from qvsearch.types import DecodeOptions, Item

LONGEST = 100_000  # characters of some lines: a program may have written a book in one line
_END = re.compile(r"\r\n|\n|\r")  # as `media.text` counts lines


def decode(item: Item, content_hash: str, options: DecodeOptions) -> Decoded:
    """Return a picture, moments, pages, or a text; it takes the place of `media.decode`.

    Each of the options' `moments` is a frame of a film in seconds, page `[n, n + 1)` of a
    document, or lines `[first, last)` of a text; pages and lines count from 1. A text without them
    has all its passages. Raises MediaError as `media.decode` does, for lines and pages behind the
    end, and if no moment has a frame.
    """
    if not options.moments:
        return media.decode(item, content_hash, options)
    if item.kind is Kind.TEXT:
        return _lines(item, content_hash, options)
    return places.decode(item, content_hash, options, options.moments, most_frames=1)


def _lines(item: Item, content_hash: str, options: DecodeOptions) -> Decoded:
    r"""Return a segment for the lines of each moment, which end with \n; beyond LONGEST is cut."""
    from qvsearch.media.encoding import to_text
    from qvsearch.media.text import MAX_BYTES

    with media.open_unchanged(item, content_hash) as file:
        lines = _END.split(to_text(file.read(MAX_BYTES)))
    segments = []
    for first, last in options.moments:
        chosen = lines[int(first) - 1 : int(last) - 1]
        if not chosen:
            raise MediaError(f"the text has only {len(lines)} lines")
        text = "\n".join(chosen)[:LONGEST]
        numbers = (int(first), int(first) + text.count("\n"))
        segments.append((Segment(item, content_hash, lines=numbers), EmbedInput(text=text)))
    return Decoded(item, tuple(segments))
