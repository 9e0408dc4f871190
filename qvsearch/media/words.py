"""The words of a file without its pictures: text layers of pages, and the lines of a film."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from qvsearch import media
from qvsearch.timed_lines import timed_text
from qvsearch.types import Decoded, EmbedInput, Item, Kind, Segment

if TYPE_CHECKING:
    from qvsearch.types import DecodeOptions

LINES = 200  # of a film in one segment, 200 kB at most


def decode(item: Item, content_hash: str, options: DecodeOptions) -> Decoded:
    """Return segments with the words of a file, and without pictures; raises MediaError.

    It takes the place of `media.decode` in a worker. Those of a document are its pages. Those of a
    film have its `timed_lines`, by time, and no moments.
    """
    if item.kind is Kind.TEXT:
        return media.decode(item, content_hash, options)
    with (
        warnings.catch_warnings(action="ignore"),
        media.open_unchanged(item, content_hash) as file,
    ):
        if item.kind is Kind.VIDEO:
            from qvsearch.media.video import spoken_lines

            lines = spoken_lines(file, item)
            parts = (lines[start : start + LINES] for start in range(0, len(lines), LINES))
            segments = [Segment(item, content_hash, words=timed_text(each)) for each in parts]
        else:
            from qvsearch.media.document import page_words

            pages = page_words(file, item)
            segments = [Segment(item, content_hash, page=page, words=text) for page, text in pages]
    return Decoded(item, tuple((segment, EmbedInput()) for segment in segments))
