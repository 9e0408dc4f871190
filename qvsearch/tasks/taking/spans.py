"""The moments of hits, for playlists and timelines; and the playlist, as M3U."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from qvsearch.display import clock, safe_text
from qvsearch.types import Kind

if TYPE_CHECKING:
    from qvsearch.types import Hit


@dataclass(frozen=True, slots=True)
class Span:
    """A moment `[start, end)` of a video in seconds; the whole video if both are None.

    `length` is that of the whole video in seconds, None if it is unknown.
    """

    path: bytes
    start: float | None
    end: float | None
    length: float | None = None

    @property
    def name(self) -> str:
        """The name of the file."""
        return os.fsdecode(os.path.basename(self.path))

    @property
    def url(self) -> str:
        """The URL of the file, in ASCII, with the exact bytes of its path."""
        return PurePath(os.fsdecode(self.path)).as_uri()


def spans_of(hits: Iterable[Hit], padding: float) -> Iterator[Span]:
    """Yield the moments of each hit that is a video, best first, longer by `padding` on both sides.

    A video that was listed without a query is one whole span. Files that are gone are left out.
    """
    for hit in hits:
        item = hit.segment.item
        if item.kind is not Kind.VIDEO or hit.gone:
            continue
        length = hit.segment.metadata.duration
        if hit.start is None or hit.end is None:
            yield Span(item.location, None, None, length)
            continue
        for start, end in [(hit.start, hit.end), *((m.start, m.end) for m in hit.moments)]:
            if start is not None and end is not None:
                yield Span(item.location, *padded(start, end, length, padding), length)


def padded(start: float, end: float, length: float | None, padding: float) -> tuple[float, float]:
    """Return a moment that is longer by `padding` on both sides, within a video of that length."""
    after = end + padding
    return max(0.0, start - padding), after if length is None else max(end, min(after, length))


def playlist(spans: Sequence[Span]) -> bytes:
    """Return an M3U playlist in UTF-8.

    `#EXTVLCOPT` is VLC's (its wiki, "M3U"): seconds, with a fraction. Other players ignore it and
    begin each file at its beginning. Files are URLs, since a path may hold a line break.
    """
    lines = ["#EXTM3U"]
    for span in spans:
        if span.start is None or span.end is None:
            length = "-1" if span.length is None else f"{span.length:.3f}"  # -1: unknown
            lines.append(f"#EXTINF:{length},{safe_text(span.name)}")
        else:
            place = f"{clock(round(span.start))}-{clock(round(span.end))}"
            lines.append(f"#EXTINF:{span.end - span.start:.3f},{safe_text(span.name)} {place}")
            lines.append(f"#EXTVLCOPT:start-time={span.start:.3f}")
            lines.append(f"#EXTVLCOPT:stop-time={span.end:.3f}")
        lines.append(span.url)
    return ("\n".join(lines) + "\n").encode()
