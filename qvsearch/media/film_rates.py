"""Reads frame rates and timecodes of videos from their headers, in a confined process."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from qvsearch.errors import MediaError
from qvsearch.media.sandbox import LastingProcess
from qvsearch.wire import BadMessage, send

if TYPE_CHECKING:
    import socket

    from qvsearch.media.packets import PacketReader
    from qvsearch.wire import Array

PATIENCE = 60.0  # seconds for one file
LOOK = 240  # packets whose times are compared with the rate
NEAR = 0.001  # relative difference from a standard rate that is rounding or a clock's drift
APART = 0.002  # seconds: Matroska rounds to 0.001
LONGEST_TEXT = 40  # characters of a timecode
MOST = 10**9  # of a number in a rate; a hostile one stays cheap

NTSC = tuple(Fraction(each * 1000, 1001) for each in (24, 30, 48, 60, 120))
STANDARD = (*NTSC, *map(Fraction, (12, 15, 24, 25, 30, 48, 50, 60, 100, 120, 240)))


@dataclass(frozen=True, slots=True)
class FilmRate:
    """Frame `n` of a video is shown from `begin + n / rate` seconds on, unless it is `variable`.

    `frames` is their number, 0 if the header has none. `width` and `height` are coded pixels.
    `timecode` is that of the first frame, e.g. `01:00:00:00`, with `;` if frames are dropped.
    """

    rate: Fraction
    begin: float
    frames: int
    width: int
    height: int
    variable: bool = False
    timecode: str | None = None
    has_sound: bool = False

    def frames_of(self, start: float, end: float, rounding: float = 0.001) -> tuple[int, int]:
        """Return the first frame shown in `[start, end)` seconds, and that after the last one."""
        first = int((start - self.begin + rounding) * self.rate // 1)
        after = -int(-(end - self.begin - rounding) * self.rate // 1)
        first = max(0, first)
        return first, max(first + 1, after)


class FilmRates:
    """Reads rates, one after another; a context manager, which ends its process."""

    def __init__(self) -> None:
        self._process = LastingProcess(_work)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.end()

    def read(self, path: bytes) -> FilmRate:
        """Return the rate of a video; raises MediaError with the reason if it has none."""
        answers = self._process.run((Path(os.fsdecode(path)),), PATIENCE, _parse)
        if len(answers) != 1:
            raise MediaError("it has no frame rate")
        return answers[0]


def _work(pipe: socket.socket, path: Path) -> None:
    """Read one file, in the process."""
    from qvsearch.media.packets import DAMAGE, PacketReader

    try:
        with path.open("rb") as file:
            send(pipe, _facts(PacketReader(file)))
    except DAMAGE as error:
        raise MediaError((getattr(error, "strerror", None) or str(error)).lower()) from error


def _facts(film: PacketReader) -> dict[str, Any]:
    stream = film.stream
    claimed = [rate for rate in (stream.average_rate, stream.base_rate) if rate]
    if not claimed:
        raise MediaError("it has no frame rate")
    begin = film.claimed_begin()
    times = sorted(film.time(packet) for packet in itertools.islice(film.packets(), LOOK))
    rate = _standard(claimed[0])
    drift = [abs(time - times[0] - place / float(rate)) for place, time in enumerate(times)]
    even = abs(claimed[0] / claimed[-1] - 1) < NEAR and max(drift, default=0.0) < APART
    tags = [film.container.metadata, *(each.metadata for each in film.container.streams)]
    length = film.claimed_length()
    return {
        "rate": [rate.numerator, rate.denominator],
        "begin": times[0] if times else begin,
        "frames": 0 if length is None else round((length - begin) * float(rate)),
        "size": [stream.width, stream.height],
        "variable": not even,
        "timecode": next((tag["timecode"] for tag in tags if tag.get("timecode")), None),
        "sound": bool(film.container.streams.audio),
    }


def _standard(rate: Fraction) -> Fraction:
    """Return the nearest standard rate, if it is near; else the rate as it is."""
    best = min(STANDARD, key=lambda each: abs(each / rate - 1))
    return best if abs(best / rate - 1) < NEAR / 2 else rate


def _parse(message: dict[str, Any], _: Sequence[Array]) -> FilmRate:
    """Return the rate of a message; raises ValueError for what no film has."""
    match message:
        case {
            "rate": [int(above), int(below)],
            "begin": int() | float() as begin,
            "frames": int(frames),
            "size": [int(width), int(height)],
            "variable": bool(variable),
            "timecode": str() | None as timecode,
            "sound": bool(sound),
        } if 0 < above < MOST and 0 < below < MOST and 0 <= frames < MOST and abs(begin) < MOST:
            if timecode is not None and len(timecode) > LONGEST_TEXT:
                timecode = None
            rate = Fraction(above, below)
            return FilmRate(rate, begin, frames, width, height, variable, timecode, sound)
        case _:
            raise BadMessage("not the rate of a video")
