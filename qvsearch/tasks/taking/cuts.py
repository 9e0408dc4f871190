"""Moments of videos as frames of their sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvsearch.errors import MediaError
from qvsearch.media.film_rates import FilmRate, FilmRates
from qvsearch.types import Skipped

if TYPE_CHECKING:
    from qvsearch.tasks.taking.spans import Span


@dataclass(frozen=True, slots=True)
class Cut:
    """A span as frames of its source: from `first` up to `after`, counted from `origin`.

    `origin` is the frame number of the source's timecode.
    """

    span: Span
    film: FilmRate
    first: int
    after: int
    origin: int


def cuts_of(spans: Sequence[Span]) -> tuple[list[Cut], list[Skipped]]:
    """Return each span in frames of its video; a video that cannot be read is skipped once."""
    films: dict[bytes, FilmRate | None] = {}
    cuts, skipped = [], []
    with FilmRates() as rates:
        for span in spans:
            if span.path not in films:
                try:
                    films[span.path] = rates.read(span.path)
                except MediaError as error:
                    films[span.path] = None
                    skipped.append(Skipped(span.path, str(error)))
            film = films[span.path]
            if film is not None:
                cuts.append(_cut(span, film))
    return cuts, skipped


def _cut(span: Span, film: FilmRate) -> Cut:
    if span.start is None or span.end is None:
        first, after = 0, max(1, film.frames)
    else:
        first, after = film.frames_of(span.start, span.end)
    if film.frames:
        first = min(first, film.frames - 1)
        after = max(first + 1, min(after, film.frames))
    return Cut(span, film, first, after, _origin(film))


def _origin(film: FilmRate) -> int:
    """Return the number of the first frame by the source's timecode; 0 if it has none."""
    if film.timecode is None:
        return 0
    import opentimelineio

    try:
        time = opentimelineio.opentime.from_timecode(film.timecode, float(film.rate))
    except ValueError:  # nonsense, or a rate without timecodes
        return 0
    return int(time.value)
