"""The frames of a video that the model's makers choose, neither resized nor converted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import MediaError
from qvsearch.media import open_unchanged
from qvsearch.media.frames import Film
from qvsearch.media.packets import DAMAGE
from qvsearch.media.workers import patience
from qvsearch.types import NO_METADATA, Decoded, EmbedInput, Frames, Segment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.types import DecodeOptions, Item

LEAST_FRAMES = 4  # qwen-vl-utils' FPS_MIN_FRAMES
STEP = 2  # frames, its FRAME_FACTOR: the vision tower merges so many
MOST_PIXELS = 200_000_000  # of all frames: 600 MB; larger ones are reduced by whole numbers


def decode(
    item: Item,
    content_hash: str,
    _: DecodeOptions,
    *,
    fps: float,
    max_frames: int,
) -> Decoded:
    """Return one segment of `fps` frames a second, an even number of at most `max_frames`.

    It takes the place of `media.decode` in a worker. Times are those of a constant rate, as in
    qwen-vl-utils. Raises MediaError without a frame.
    """
    with open_unchanged(item, content_hash) as file:
        try:
            film = Film(file, patience(item))
            shown = np.sort(film.survey().times)
            rate = float(film.stream.average_rate or 0) or 1.0
            chosen = _chosen(len(shown), rate, fps, max_frames)
            pixels = [np.asarray(film.upright(frame)) for _, frame in film.frames_at(shown[chosen])]
        except DAMAGE as error:
            raise MediaError(f"not a video, or a damaged one: {error}") from error
    if len(pixels) < len(chosen):
        raise MediaError(f"only {len(pixels)} of {len(chosen)} frames could be decoded")
    times = tuple(float(index / rate) for index in chosen)
    segment = Segment(item, content_hash, 0.0, film.length, clip=True, metadata=NO_METADATA)
    return Decoded(item, ((segment, EmbedInput(video=Frames(_stacked(pixels), times))),))


def _chosen(total: int, rate: float, fps: float, most: int) -> NDArray[np.int64]:
    """Return the numbers of the frames, as `smart_nframes` of qwen-vl-utils 0.0.14 does."""
    if not total:
        raise MediaError("no frame of it could be decoded")
    wanted = min(max(total / rate * fps, LEAST_FRAMES), most - most % STEP, total)
    count = max(int(wanted) - int(wanted) % STEP, min(STEP, total))
    return np.round(np.linspace(0, total - 1, count, dtype=np.float32)).astype(np.int64)


def _stacked(frames: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return all frames as one array, reduced if they are too large together."""
    from PIL import Image

    factor = int(np.ceil(np.sqrt(sum(frame.size // 3 for frame in frames) / MOST_PIXELS)))
    if factor > 1:
        frames = [np.asarray(Image.fromarray(frame).reduce(factor)) for frame in frames]
    return np.stack(frames)
