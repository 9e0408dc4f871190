"""Writes moments of videos as a playlist: M3U with VLC's options for start and stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qvsearch.display import safe_text

if TYPE_CHECKING:
    from qvsearch.tasks.taking.spans import Span


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
            place = f"{_clock(span.start)}-{_clock(span.end)}"
            lines.append(f"#EXTINF:{span.end - span.start:.3f},{safe_text(span.name)} {place}")
            lines.append(f"#EXTVLCOPT:start-time={span.start:.3f}")
            lines.append(f"#EXTVLCOPT:stop-time={span.end:.3f}")
        lines.append(span.url)
    return ("\n".join(lines) + "\n").encode()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
        if minutes >= 60
        else f"{minutes:02}:{rest:02}"
    )
