"""Videos: each moment `[start, end)` is one picture, or a clip of some frames."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from av.error import FFmpegError
from PIL import Image

from qvsearch.errors import MediaError
from qvsearch.media import subtitles
from qvsearch.media.colour import coded
from qvsearch.media.frames import Film
from qvsearch.media.looks import is_plain, look_at
from qvsearch.media.metadata import video_metadata
from qvsearch.media.packets import DAMAGE, choose_stream, open_container
from qvsearch.media.pixels import dhash, is_page, smart_resize
from qvsearch.media.shots import FINE, WHOLE, Look, Shot, cut
from qvsearch.media.workers import FILM_PIXELS, patience
from qvsearch.timed_lines import Line
from qvsearch.types import EmbedInput, Frames, Item, Metadata, Segment, VideoMode

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from qvsearch.media.colour import Colours
    from qvsearch.types import DecodeOptions, Pixels

# pixels: a picture may always have as many as the reference gives a video's frame at least, which
# limits their number, and that of clips. A clip's frame may have half, so that each has two frames
LEAST_PICTURE = 131_072
MAX_MOMENTS = FILM_PIXELS // LEAST_PICTURE  # 381
LEAST_CLIP_FRAME = LEAST_PICTURE // 2
CLIP_FRAMES = (32, 16, 8, 4, 2)  # the most frames of a clip; fewer in longer films
MOMENT_IMAGES = 2  # a moment that is decoded again has the pixels of so many images
SUBTITLE_SHARE = 0.1  # of the time that a film may take: for reading its tracks of subtitles
CLIP_IMAGES = 4  # a clip has the pixels of so many images; frames count by pairs, so it costs two


@dataclass(slots=True)
class _Moment:
    """A stretch `[start, end)` in seconds; `pixels` holds the frames taken so far.

    `wanted` are the times of its frames. No frame has more than `max_pixels`; `width` and `height`
    are the film's as shown.
    """

    start: float
    end: float
    wanted: tuple[float, ...]
    max_pixels: int
    clip: bool
    width: int = 0
    height: int = 0
    pixels: list[Pixels] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def take(self, time: float, image: Image.Image, width: int, colours: Colours | None) -> None:
        """Take an upright frame; `width` is the width that square pixels need.

        All frames of a clip get the size of its first one.
        """
        if self.pixels:
            height, fitted, _ = self.pixels[0].shape
        else:
            self.width, self.height = width, image.height
            height, fitted = smart_resize(image.height, width, max_pixels=self.max_pixels)
        resized = image.resize((fitted, height), Image.Resampling.BICUBIC)
        self.pixels.append(np.array(resized if colours is None else colours.to_srgb(resized)))
        self.times.append(time - self.start)

    def is_page(self) -> bool:
        """Return whether its middle frame is of a screen or a page, so that it may have words."""
        return is_page(self.pixels[len(self.pixels) // 2])

    def source(self) -> EmbedInput:
        if not self.clip:
            return EmbedInput(images=(self.pixels[0],))
        return EmbedInput(video=Frames(np.stack(self.pixels), tuple(self.times)))


def decode(
    file: BinaryIO,
    item: Item,
    content_hash: str,
    options: DecodeOptions,
) -> list[tuple[Segment, EmbedInput]]:
    """Decode a video's pictures, clips, or pictures and then clips; raises MediaError.

    Pictures cover it without a hole, and so do clips. Beside clips, pictures are finer.
    """
    try:
        film = Film(file, patience(item))
        looks = look_at(film)
        if not looks:
            raise MediaError("no frame of it could be decoded")
        end = film.end  # less than its length if it takes too long
        pictures = _pictures(looks, end, options.max_pixels, options.video_mode)
        clips = _clips(looks, end, options.max_pixels, options.video_mode)
        _take(film, [*pictures, *clips])
        metadata = video_metadata(film.container, film.length)
        spoken = _spoken(film, item)
    except DAMAGE as error:
        raise MediaError(_damage_reason(error)) from error
    segments = [
        (
            Segment(
                item,
                content_hash,
                start,
                end,
                width=moment.width,
                height=moment.height,
                clip=moment.clip,
                dhash=dhash(moment.pixels[len(moment.pixels) // 2]),
                metadata=replace(metadata, page=True) if moment.is_page() else metadata,
                snippet=subtitles.snippet(words),
                words=words,
            ),
            moment.source(),
        )
        for moments in (pictures, clips)
        for moment, start, end in _tiled(moments, late=film.end < film.length)
        for words in [subtitles.spoken_between(spoken, start, end)]
    ]
    if not segments:
        raise MediaError("no frame of it could be decoded")
    return segments


def _spoken(film: Film, item: Item) -> list[Line]:
    """Return all lines that are spoken in a film, and its chapters, by time."""
    film.rewind()
    zero = -film.stamp_time(0)
    tracks = subtitles.inside(film.container, zero, SUBTITLE_SHARE * patience(item))
    return sorted([*subtitles.beside(item.location), *tracks])


def spoken_lines(file: BinaryIO, item: Item) -> list[Line]:
    """Return all lines that are spoken in a film, and its chapters, by time; raises MediaError."""
    try:
        return _spoken(Film(file, patience(item)), item)
    except DAMAGE as error:
        raise MediaError(_damage_reason(error)) from error


def decode_moments(
    file: BinaryIO,
    item: Item,
    content_hash: str,
    max_pixels: int,
    moments: Iterable[tuple[float, float]],
    most_frames: int,
) -> list[tuple[Segment, EmbedInput]]:
    """Decode a clip of each moment `[start, end)` in seconds; raises MediaError.

    It has about a frame a second, spread evenly, `most_frames` at most, and together the pixels of
    MOMENT_IMAGES images. Times of frames count from the start of the moment. Moments without a
    frame that can be decoded are left out.
    """
    wanted = []
    for start, end in moments:
        times = _spread(start, end, most_frames)
        share = min(max_pixels, MOMENT_IMAGES * max_pixels // len(times))
        wanted.append(_Moment(start, end, times, share, clip=True))
    try:
        film = Film(file, patience(item))
        film.survey()
        _take(film, wanted)
    except DAMAGE as error:
        raise MediaError(_damage_reason(error)) from error
    return [
        (
            Segment(
                item,
                content_hash,
                moment.start,
                moment.end,
                width=moment.width,
                height=moment.height,
                clip=True,
            ),
            moment.source(),
        )
        for moment in wanted
        if moment.pixels
    ]


def screens(
    file: BinaryIO, item: Item, max_pixels: int, moments: Sequence[tuple[float, float]]
) -> Iterator[tuple[int, Pixels]]:
    """Yield (place, picture) for the middle of each moment, in order; raises MediaError.

    Moments without a frame that can be decoded are left out.
    """
    try:
        film = Film(file, patience(item))
        film.survey()
        places = {(start + end) / 2: place for place, (start, end) in enumerate(moments)}
        for time, frame in film.frames_at(sorted(places)):
            moment = _Moment(time, time, (time,), max_pixels, clip=False)
            _take_frame(film, time, frame, [moment])
            yield places[time], moment.pixels[0]
    except DAMAGE as error:
        raise MediaError(_damage_reason(error)) from error


def _spread(start: float, end: float, most: int) -> tuple[float, ...]:
    """Return the middles of equal parts of a moment, of about a second, `most` at most."""
    count = min(most, max(1, round(end - start)))
    return tuple(start + (end - start) * (place + 0.5) / count for place in range(count))


def reads_otherwise(file: BinaryIO, item: Item, since: int) -> bool:
    """Return whether version `since` gave other segments or pixels for this file.

    Version 1 took the first stream, counted from its start, and ended films with their pictures. It
    ignored time stamps that restart, looked at long films at keyframes only, and did not convert
    colours. Files that cannot be read count as equal.
    """
    if since > 1:
        return False
    try:
        film = Film(file, patience(item))
        context = choose_stream(film.container).codec_context
        wide = coded(int(context.color_primaries), int(context.color_trc)) is not None
        return wide or not is_plain(film)
    except (MediaError, *DAMAGE):
        return False


def read_metadata(file: BinaryIO, item: Item) -> Metadata:
    """Return the metadata in a video's header, without `duration`; raises MediaError."""
    try:
        return video_metadata(open_container(file), None)
    except DAMAGE as error:
        raise MediaError(_damage_reason(error)) from error


def _damage_reason(error: Exception) -> str:
    reason = error.strerror if isinstance(error, (FFmpegError, OSError)) else str(error)
    return f"not a video, or a damaged one: {reason}"


def _pictures(looks: Sequence[Look], end: float, max_pixels: int, mode: VideoMode) -> list[_Moment]:
    if mode is VideoMode.CLIPS:
        return []
    shots = cut(looks, end, FINE if mode is VideoMode.BOTH else WHOLE, MAX_MOMENTS)
    share = min(max_pixels, FILM_PIXELS // len(shots))
    return [_moment(shot, (shot.picture(),), share, clip=False) for shot in shots]


def _clips(looks: Sequence[Look], end: float, max_pixels: int, mode: VideoMode) -> list[_Moment]:
    if mode is VideoMode.FRAMES:
        return []
    shots = cut(looks, end, WHOLE, MAX_MOMENTS)
    for most in CLIP_FRAMES:
        chosen = [
            shot.spread(min(most, CLIP_IMAGES * max_pixels // LEAST_CLIP_FRAME)) for shot in shots
        ]
        share = FILM_PIXELS // sum(map(len, chosen))
        if share >= LEAST_CLIP_FRAME:
            break
    return [
        _moment(
            shot, frames, min(max_pixels, share, CLIP_IMAGES * max_pixels // len(frames)), clip=True
        )
        for shot, frames in zip(shots, chosen, strict=True)
    ]


def _moment(shot: Shot, looks: Sequence[Look], max_pixels: int, *, clip: bool) -> _Moment:
    """Return a moment that is a shot, with a frame for each of these looks."""
    return _Moment(shot.start, shot.end, tuple(look.time for look in looks), max_pixels, clip)


def _take(film: Film, moments: Iterable[_Moment]) -> None:
    """Decode the wanted frames, and fit each at once: full-size ones would fill memory."""
    takers: dict[float, list[_Moment]] = {}
    for moment in moments:
        for time in moment.wanted:
            takers.setdefault(time, []).append(moment)
    for time, frame in film.frames_at(sorted(takers)):
        _take_frame(film, time, frame, takers[time])


def _take_frame(film: Film, time: float, frame: VideoFrame, moments: Iterable[_Moment]) -> None:
    image = film.upright(frame)
    width = _shown_width(image, frame, film.pixel_aspect)
    colours = coded(int(frame.color_primaries), int(frame.color_trc))
    for moment in moments:
        moment.take(time, image, width, colours)


def _tiled(moments: Sequence[_Moment], *, late: bool) -> Iterator[tuple[_Moment, float, float]]:
    """Yield (moment, start, end); the time of a moment that failed goes to its neighbour.

    If it was too `late` for the last ones, they are left out.
    """
    taken = [moment for moment in moments if moment.pixels]
    if taken:
        last = taken[-1] if late else moments[-1]
        cuts = [0.0, *(moment.start for moment in taken[1:]), last.end]
        for moment, (start, end) in zip(taken, itertools.pairwise(cuts), strict=True):
            yield moment, start, end


def _shown_width(image: Image.Image, frame: VideoFrame, pixel_aspect: float) -> int:
    """Return the width that square pixels need; the pixels of a DVD are wide."""
    turned = image.size != (frame.width, frame.height)
    return max(1, round(image.width * (1 / pixel_aspect if turned else pixel_aspect)))
