"""Finds where a film changes between its keyframes, from the sizes of its packets alone.

A packet holds what the picture does not have in common with the ones before it. So another scene
makes a packet as large as a keyframe, and what begins to move makes seconds larger than others.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# seconds: web players' and broadcasters' keyframes come every 2; so near, a scene is seen by them
NEAR = 2.5
FAR = 12.0  # seconds: encoders set a keyframe every 10 at least; a longer gap is always looked into
CUT = 0.5  # of the smaller keyframe beside a gap: the least packet that may be another scene
LEVEL = 3.0  # so many times more bytes in one second than in another is a change,
QUIET = 0.1  # but a second of less than this part of a keyframe counts as so much


@dataclass(slots=True)
class Packets:
    """The packets of a film in the order of the file: times in seconds, sizes in bytes."""

    times: array[float] = field(default_factory=lambda: array("d"))
    sizes: array[float] = field(default_factory=lambda: array("d"))
    keyframes: array[int] = field(default_factory=lambda: array("b"))

    def add(self, time: float, size: int, *, keyframe: bool) -> None:
        """Append one."""
        self.times.append(time)
        self.sizes.append(size)
        self.keyframes.append(keyframe)


def changing(packets: Packets, end: float) -> Iterator[tuple[float, float]]:
    """Yield (start, end) of stretches from keyframe to keyframe within which the film changes.

    They come in order, and neighbours are joined; `end` is the film's, in seconds.
    """
    times, sizes = np.array(packets.times), np.array(packets.sizes)
    starts = np.flatnonzero(packets.keyframes)
    stretch: tuple[float, float] | None = None
    for first, last in pairwise([*starts.tolist(), len(times)]):
        start, stop = float(times[first]), float(times[last]) if last < len(times) else end
        around = sizes[[first, last]] if last < len(times) else sizes[[first]]
        inner = slice(first + 1, last)
        if not _changes(times[inner] - start, sizes[inner], float(around.min()), stop - start):
            continue
        if stretch is not None and stretch[1] < start:
            yield stretch
            stretch = None
        stretch = (start if stretch is None else stretch[0], stop)
    if stretch is not None:
        yield stretch


def _changes(
    times: NDArray[np.float64], sizes: NDArray[np.float64], keyframe: float, seconds: float
) -> bool:
    """Tell whether a gap of so many seconds has to be looked into."""
    if seconds <= NEAR or not len(sizes):
        return False
    if seconds > FAR or sizes.max() >= CUT * keyframe:
        return True
    # the last second is none that is whole
    _, second = np.unique(np.minimum(times, seconds - 1).astype(int), return_inverse=True)
    levels = np.maximum(np.bincount(second, sizes), QUIET * keyframe)
    return bool(levels.max() >= LEVEL * levels.min())
