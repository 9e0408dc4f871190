"""Some lines of a text to read: those of a passage with their neighbours."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qvsearch import media
from qvsearch.errors import MediaError
from qvsearch.media.encoding import to_text
from qvsearch.media.text import MAX_BYTES
from qvsearch.types import Decoded, EmbedInput, Kind, Segment

if TYPE_CHECKING:
    from qvsearch.types import DecodeOptions, Item

LONGEST = 100_000  # characters: a program may have written a book in one line
_END = re.compile(r"\r\n|\n|\r")  # as `media.text` counts lines


def decode(item: Item, content_hash: str, options: DecodeOptions) -> Decoded:
    r"""Return one segment for each of the options' `moments`: lines `[first, last)` from 1 on.

    It takes the place of `media.decode` in a worker. Lines end with \n; what is beyond LONGEST is
    cut off. Raises MediaError for another kind, and for lines behind the end.
    """
    if item.kind is not Kind.TEXT:
        raise MediaError("only a text has lines")
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
