"""Cuts a film into shots, from small pictures of it.

A shot ends where the scene changes, where a still stretch begins or ends, and after long motion.
The shots of a film cover it from 0 to its end without a hole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from qvsearch.types import Vectors

# differences of 32x32 pixels, 0 to 255: noise and compression stay under 0.5, one small thing that
# moves makes more than 2
STILL = 1.5
STILL_FLOORS = 5  # a stretch of so many floors without more is one shot, however long
SCENE = 6.0  # the least difference that may be another scene
SCENE_RATIO = 2.5  # and it must be so many times the usual difference around it
AROUND = 4  # looks before and after
DRIFT = 24.0  # so much from the beginning of a shot, a camera shows something else
FLASH_SECONDS = 1.2  # a look between two that are alike and no further apart is a flash
LEAST_SECONDS = 0.001  # that the last look stands for, if the file has no longer time
GROWTH = 1.25  # of floor and ceiling, repeated until there are not too many shots
# a keyframe is encoded better and quicker to decode: it may be less sharp and less like the mean
KEYFRAME_WORTH, KEYFRAME_FAR = 1.25, 2.0


@dataclass(frozen=True, slots=True)
class Look:
    """A small picture of a moment, at `time` in seconds.

    `since` is the time of the largest change after the look before; `thumbnail` is (32, 32, 3)
    float32, luma and two chromas, 0 to 255; `sharpness` is the mean step from pixel to pixel.
    """

    time: float
    since: float
    thumbnail: Vectors
    sharpness: float
    keyframe: bool


@dataclass(frozen=True, slots=True)
class Shot:
    """A stretch `[start, end)` in seconds with the looks at it, of which there is at least one."""

    start: float
    end: float
    looks: tuple[Look, ...]

    def picture(self) -> Look:
        """Return the look that stands for the shot: the sharpest of those that are like its mean.

        Those are at least the nearer half, so none of a fade or of a camera's quick turn.
        """
        times = [*(look.time for look in self.looks), self.end]
        lasting = [after - time for time, after in pairwise(times)]
        mean = np.average([look.thumbnail for look in self.looks], axis=0, weights=lasting)
        unlike = [float(np.abs(look.thumbnail - mean).mean()) for look in self.looks]
        most = max(STILL, float(np.median(unlike)))
        usual = [
            look
            for look, far in zip(self.looks, unlike, strict=True)
            if far <= most * (KEYFRAME_FAR if look.keyframe else 1)
        ]
        return max(
            usual, key=lambda look: look.sharpness * (KEYFRAME_WORTH if look.keyframe else 1)
        )

    def spread(self, most: int) -> tuple[Look, ...]:
        """Return looks from the first to the last, about one a second; two if it is still."""
        still = all(difference(self.looks[0], look) < STILL for look in self.looks)
        count = 2 if still else min(most, max(4, math.ceil(self.end - self.start)))
        places = np.linspace(0, len(self.looks) - 1, min(count, len(self.looks)))
        return tuple(self.looks[place] for place in places.round().astype(int))


@dataclass(frozen=True, slots=True)
class Pace:
    """The least and the most seconds of a shot in which something moves."""

    floor: float
    ceiling: float


WHOLE = Pace(1.0, 10.0)
FINE = Pace(0.9, 1.25)  # about one a second


def cut(looks: Sequence[Look], end: float, pace: Pace, most: int) -> list[Shot]:
    """Return at most so many shots, which tile `[0, end)`; `looks` come in order, at least one.

    A film of more shots than that gets longer ones.
    """
    steady = list(_without_flashes(looks))
    growth = 1.0
    while len(shots := _shots(steady, end, pace.floor * growth, pace.ceiling * growth)) > most:
        growth *= GROWTH
    return shots


def difference(one: Look, other: Look) -> float:
    """Return the mean difference of two pictures, 0 to 255, in the channel that differs most."""
    return max(cv2.mean(cv2.absdiff(one.thumbnail, other.thumbnail)))


def _without_flashes(looks: Sequence[Look]) -> Iterator[Look]:
    before = looks[0]
    yield before
    for look, after in pairwise(looks[1:]):
        if not _is_flash(before, look, after):
            yield look
            before = look
    yield from looks[1:][-1:]


def _is_flash(before: Look, look: Look, after: Look) -> bool:
    if after.time - before.time > FLASH_SECONDS:
        return False
    least = min(difference(before, look), difference(look, after))
    return least > STILL and difference(before, after) < least / 2


def _shots(looks: Sequence[Look], end: float, floor: float, ceiling: float) -> list[Shot]:
    # the start of a shot that begins with each look, and the end
    times = [0.0, *(look.since for look in looks[1:])]
    times.append(max(end, looks[-1].time + LEAST_SECONDS))
    shots = []
    for first, last in pairwise([*_scenes(looks, times, floor), len(looks)]):
        parts = _parts(looks, times, first, last, floor)
        for (start, still), (stop, _) in pairwise([*parts, (last, True)]):
            starts = [start] if still else _pieces(looks, times, start, stop, floor, ceiling)
            shots += [
                Shot(times[one], times[other], tuple(looks[one:other]))
                for one, other in pairwise([*starts, stop])
            ]
    return shots


def _scenes(looks: Sequence[Look], times: Sequence[float], floor: float) -> list[int]:
    """Return the looks with which a scene begins: the greatest changes, none close to another."""
    changes = [0.0, *(difference(one, other) for one, other in pairwise(looks))]
    starts, ends = [0], [0, len(looks)]
    for look in sorted(range(1, len(looks)), key=lambda look: -changes[look]):
        around = changes[max(1, look - AROUND) : look] + changes[look + 1 : look + AROUND + 1]
        usual = float(np.quantile(around, 0.25)) if around else 0.0
        if changes[look] > max(SCENE, SCENE_RATIO * usual) and all(
            abs(times[look] - times[other]) >= floor for other in ends
        ):
            starts.append(look)
            ends.append(look)
    return sorted(starts)


def _parts(
    looks: Sequence[Look], times: Sequence[float], first: int, last: int, floor: float
) -> list[tuple[int, bool]]:
    """Return the first look of each part of a scene, and whether the part is still."""
    parts: list[tuple[int, bool]] = []
    here = first
    while here < last:
        after = here + 1
        while after < last and difference(looks[here], looks[after]) < STILL:
            after += 1
        if after > here + 1 and times[after] - times[here] >= STILL_FLOORS * floor:
            parts.append((here, True))
            here = after
            continue
        if not parts or parts[-1][1]:
            parts.append((here, False))
        here += 1
    lasting = [
        (start, still)
        for (start, still), (stop, _) in pairwise([*parts, (last, True)])
        if still or times[stop] - times[start] >= floor
    ]
    if not lasting:
        return parts[:1]
    return [(first, lasting[0][1]), *lasting[1:]]


def _pieces(
    looks: Sequence[Look],
    times: Sequence[float],
    first: int,
    last: int,
    floor: float,
    ceiling: float,
) -> list[int]:
    """Return the first look of each piece of a moving part: equal pieces, or by the drift."""
    starts = [first]
    for look in range(first + 1, last):
        begin = times[starts[-1]]
        length, rest = times[look] - begin, times[last] - begin
        share = rest / math.ceil(rest / ceiling)
        full = times[look + 1] - begin > share * 1.001
        drifted = length >= ceiling / 3 and difference(looks[starts[-1]], looks[look]) > DRIFT
        if (full or drifted) and length >= floor and times[last] - times[look] >= floor:
            starts.append(look)
    return starts
