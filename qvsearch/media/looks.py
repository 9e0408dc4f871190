"""Looks at a whole film: small pictures of it, close enough to find its scenes.

Between keyframes, a long film is decoded only if it changes there, by the sizes of its packets. A
packet holds the difference of a picture from the ones before it. So a packet of another scene is as
large as a keyframe, and motion makes seconds larger than others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, cast

import cv2
import numpy as np

from qvsearch.media.packets import ROUNDING, moving_streams
from qvsearch.media.pixels import check_size
from qvsearch.media.shots import SCENE, Look

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from numpy.typing import NDArray

    from qvsearch.media.frames import Film
    from qvsearch.media.packets import PacketLog

THUMBNAIL_SIDE = 32  # pixels
LOOK_SECONDS = 0.5
MAX_LOOKS = 1200  # a film over ten minutes is looked at less often
LONG_SECONDS = 300.0  # decoding more than that costs minutes
LOOK_SHARE = 0.45  # of the time that a film may take: until the last look
KEYFRAMES_NEAR = 1.0  # seconds between keyframes that suffice as looks in any film
# of the usual time between keyframes: an encoder sets one so early because the scene changes. Such
# looks may be closer, by so much of a step
EARLY, LEAST_STEP = 0.9, 0.25
LATE_START = 0.5  # seconds: pictures that begin later give other moments
MOST_FAR = 0.1  # of a film may lie further from a keyframe
# frames that no other needs are not decoded if so many lie between two looks: a neighbour does as
# well, and with B-frames that saves 70 % of the work
NEAR_FRAMES = 8
# codecs whose frames are seldom needed by others if they are predicted from both sides
CERTAIN_B = {"h264", "mpeg1video", "mpeg2video", "mpeg4"}
PROBES, MOST_NEAR = 16, 0.9  # keyframes that show how often they come, and how many must be near
GOLDEN = (math.sqrt(5) - 1) / 2  # its multiples are spread evenly
WRONG_LENGTH = 0.02  # of a long film: so much less or more than the header's is looked at anew

# seconds: web players' and broadcasters' keyframes come every 2; so near, they show each scene
NEAR = 2.5
FAR = 12.0  # seconds: encoders set a keyframe every 10 at least; a longer gap is always decoded
CUT = 0.5  # of the smaller keyframe beside a gap: the least packet that may be another scene
LEVEL = 3.0  # a change is so many times more bytes in one second than in another,
QUIET = 0.1  # but a second of less than this part of a keyframe counts as so much


def look_at(film: Film) -> list[Look]:
    """Look at the whole film, twice a second or as often as 1200 looks allow.

    Keyframes suffice if they come every second, or every other second in a long film. Otherwise a
    long film is decoded only where it changes between keyframes. `film.end` is then the end of the
    part that was looked at.
    """
    looks = _at_claimed_keyframes(film, NEAR)
    if looks:
        return looks
    # reading all packets is cheap beside decoding them, which a wrong length would waste
    log = film.survey()
    if film.unseen < math.inf and (looks := _at_claimed_keyframes(film, FAR)):
        film.unseen = math.inf
        return looks  # a huge file, or a slow disk
    step = _step(film.pictures_end)
    if film.pictures_end > LONG_SECONDS and film.keyframes:
        looks = _long(film, log, step)
    elif _uncovered(film.keyframes, film.pictures_end) <= MOST_FAR * film.pictures_end:
        times = _thinned(film.keyframes, step)
        looks = list(_at_keyframes(film, times))
        if len(looks) < len(times):
            looks = list(_through(film, step))
    else:
        looks = list(_through(film, step))
    if looks and looks[-1].time >= film.unseen:
        film.unseen = math.inf  # only frames in between are missing
    return looks


def is_plain(film: Film) -> bool:
    """Return whether a film is one stream from 0 on whose keyframes show all its changes.

    Only headers are read, except of a long film with few keyframes and of a container whose time
    stamps may restart.
    """
    streams = moving_streams(film.container)
    with_codec = [each for each in streams if cast("object", each.codec_context) is not None]
    if (
        with_codec[0].index != film.stream.index
        or film.claimed_begin() > LATE_START
        or film.is_outlasted()
    ):
        return False
    length = None if film.may_restart else film.claimed_length()
    if length is not None and (length <= LONG_SECONDS or _has_keyframes_near(film, length, NEAR)):
        return True
    log = film.survey()
    is_long = film.pictures_end > LONG_SECONDS
    return not film.in_order and not (is_long and any(changing(log, film.pictures_end)))


def changing(log: PacketLog, end: float) -> Iterator[tuple[float, float]]:
    """Yield (start, end) of stretches from keyframe to keyframe within which the film changes.

    They come in order, and neighbours are joined; `end` is the film's, in seconds.
    """
    times, sizes = np.array(log.times), np.array(log.sizes)
    starts = np.flatnonzero(log.keyframes)
    stretch: tuple[float, float] | None = None
    for first, last in itertools.pairwise([*starts.tolist(), len(times)]):
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
    """Return whether a gap of so many seconds between keyframes must be decoded."""
    if seconds <= NEAR or not len(sizes):
        return False
    if seconds > FAR or sizes.max() >= CUT * keyframe:
        return True
    # the last second is always whole
    _, second = np.unique(np.minimum(times, seconds - 1).astype(int), return_inverse=True)
    levels = np.maximum(np.bincount(second, sizes), QUIET * keyframe)
    return bool(levels.max() >= LEVEL * levels.min())


def _at_claimed_keyframes(film: Film, near: float) -> list[Look]:
    """Return looks at the keyframes of a long film; none if its header cannot be trusted.

    Nor are there any if few keyframes are within `near` seconds of another. Only a little of the
    file is read.
    """
    length = film.claimed_length()
    # only all packets show whether time stamps restart
    if length is None or length <= LONG_SECONDS or film.may_restart:
        return []
    if not _has_keyframes_near(film, length, near):
        return []
    looks = list(_at_keyframes_before(film, length))
    for _ in film.packets():
        pass
    film.keyframes = [look.time for look in looks]
    ends = (film.pictures_end, film.length)  # the header may claim either
    return looks if any(abs(end - length) <= WRONG_LENGTH * length for end in ends) else []


def _has_keyframes_near(film: Film, length: float, near: float) -> bool:
    # at irregular times, because keyframes are regular
    times = [length * (number * GOLDEN % 1) for number in range(PROBES)]
    packets = (film.keyframe_packet(time) for time in times)
    are_near = [
        packet is not None and abs(time - film.time(packet)) <= near
        for packet, time in zip(packets, times, strict=True)
    ]
    return sum(are_near) >= MOST_NEAR * len(are_near)


def _at_keyframes_before(film: Film, length: float) -> Iterator[Look]:
    """Yield a look at the last keyframe before each step of a film, each once."""
    step, last = _step(length), -math.inf
    for index in range(math.ceil(length / step)):
        packet = film.keyframe_packet(step * index)
        if packet is None or film.time(packet) <= last:
            continue
        last = film.time(packet)
        frame = film.decode_alone(packet)
        if frame is not None:
            yield _look(film, frame, last, last, keyframe=True)


def _at_keyframes(film: Film, keyframes: Iterable[float]) -> Iterator[Look]:
    """Yield a look at each keyframe until a seek misses one."""
    for time in keyframes:
        frame = film.keyframe(time)
        if frame is None:
            return
        yield _look(film, frame, time, time, keyframe=True)


def _long(film: Film, log: PacketLog, step: float) -> list[Look]:
    """Return looks at a long film: at keyframes, and where it changes between them."""
    stretches = list(changing(log, film.pictures_end))
    probes = film.keyframes[:: math.ceil(len(film.keyframes) / PROBES)]
    film.in_order = film.in_order or not all(map(film.finds, probes))
    if film.stream.codec_context.name in CERTAIN_B:
        _skip(film, step, "BIDIR")
    looks = _at_changes(film, stretches, step)
    if not film.keyframes:
        film.survey()  # a seek missed one after all
        film.in_order = True
        looks = _at_changes(film, stretches, step)
    _skip(film, step, "NONREF")  # the frames that are taken later must be without flaw
    return looks


def _at_changes(film: Film, stretches: Sequence[tuple[float, float]], step: float) -> list[Look]:
    """Return looks at all of the stretches and, between them, at keyframes.

    It ends early, without keyframes, if a seek misses one.
    """
    film.rewind()
    times = sorted({*_thinned(film.keyframes, step), *(start for start, _ in stretches)})
    looks: list[Look] = []
    ends, until = dict(stretches), -math.inf
    for time in times:
        if not film.keyframes:
            break
        if time < until - ROUNDING or (film.in_order and time <= film.last_keyframe):
            continue
        if time in ends and not film.budget.is_spent(LOOK_SHARE):
            until = ends[time]
            looks += _through(film, step, time, until)
            until = min(until, film.unseen)
        elif (frame := film.keyframe(time)) is not None:
            looks.append(_look(film, frame, time, time, keyframe=True))
    return looks


def _skip(film: Film, step: float, frames: Literal["NONREF", "BIDIR"]) -> None:
    """Leave out frames that no other needs, or few, if many frames lie between looks."""
    if step > NEAR_FRAMES * film.frame_seconds:
        film.skip(frames)


def _through(film: Film, step: float, start: float = 0.0, end: float = math.inf) -> Iterator[Look]:
    """Yield a look at the first frame of each step, and at those that are shown for a step.

    If steps are long, also at frames that differ from the one before. It begins with the keyframe
    at `start` and ends before `end`.
    """
    if not film.skips_frames:
        _skip(film, step, "NONREF")
    next_step = since = start
    least = max(LOOK_SECONDS, LEAST_STEP * step)
    last = -math.inf
    jump = 0.0
    before: NDArray[np.uint8] | None = None
    for time, frame, after in film.frames_with_next(start):
        if time >= end - ROUNDING:
            return
        if film.budget.is_spent(LOOK_SHARE):
            film.unseen = time
            return
        check_size(frame.width, frame.height)
        glance = film.scaled(frame, 32, 32, "gray", "POINT")
        moved = 0.0 if before is None else _mean_step(glance, before)
        before = glance
        if moved >= jump:
            jump, since = moved, time
        due = time + ROUNDING >= next_step or (jump >= SCENE and time - last >= least)
        if due or after - time >= step:
            yield _look(film, frame, time, since, keyframe=bool(frame.key_frame))
            next_step = step * (math.floor((time + ROUNDING) / step) + 1)
            jump, last = 0.0, time


def _look(film: Film, frame: VideoFrame, time: float, since: float, *, keyframe: bool) -> Look:
    check_size(frame.width, frame.height)
    planes = film.scaled(frame, 160, 96, "yuv444p", "AREA")
    size = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    pixels = cv2.merge(tuple(planes)).astype(np.float32)
    thumbnail = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.float32)
    luma = planes[0]
    sharpness = _mean_step(luma[1:], luma[:-1]) + _mean_step(luma[:, 1:], luma[:, :-1])
    return Look(time, since, thumbnail, sharpness, keyframe)


def _mean_step(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return the mean absolute difference of two arrays of one shape."""
    return cv2.norm(one, other, cv2.NORM_L1) / one.size


def _step(length: float) -> float:
    return max(LOOK_SECONDS, length / MAX_LOOKS)


def _uncovered(keyframes: Sequence[float], end: float) -> float:
    """Return the seconds of stretches without a keyframe that are longer than `KEYFRAMES_NEAR`."""
    gaps = [other - one for one, other in itertools.pairwise([0.0, *keyframes, end])]
    return sum(gap for gap in gaps if gap > KEYFRAMES_NEAR + ROUNDING)


def _thinned(keyframes: Sequence[float], step: float) -> list[float]:
    """Return keyframes at least a step apart, and those that came early, as at another scene."""
    usual = float(np.median(np.diff(keyframes))) if len(keyframes) > 1 else 0.0
    times = [-math.inf]
    for before, time in itertools.pairwise([-math.inf, *keyframes]):
        least = LEAST_STEP * step if time - before < EARLY * usual else step
        if time - times[-1] >= least - ROUNDING:
            times.append(time)
    return times[1:]
