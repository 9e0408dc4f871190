"""The published classes' dictionaries to what the network takes.

Resizing and the choice of frames are qwen-vl-utils' own, so that pixels are the published ones.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from numbers import Real
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeGuard
from urllib.parse import urlsplit

import numpy as np
import torch
from PIL import Image

from qvsearch.compat.download import download
from qvsearch.errors import MediaError, QvsearchError
from qvsearch.media.pixels import check_size
from qvsearch.models.prompt import TOKEN_PIXELS
from qvsearch.types import DecodeOptions, EmbedInput, Frames, Item, Kind, Skipped

if TYPE_CHECKING:
    from qvsearch.types import Pixels

MODEL_SEQ_LEN = 128_000  # qwen-vl-utils' own limit of a video's tokens
PATCH = 16  # pixels; qwen-vl-utils' `image_patch_size` for Qwen3-VL
FRAME_PIXELS = 768 * TOKEN_PIXELS
KEYS = {"text", "image", "video", "instruction", "fps", "max_frames"}
# by which the published classes tell the frames of one video from several videos
FRAME_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tiff", ".svg")
NOTHING = EmbedInput("NULL")  # what the published classes embed if a dictionary has no content

MIN_PIXELS, MAX_PIXELS = 4 * TOKEN_PIXELS, 1800 * TOKEN_PIXELS
MAX_TOTAL_PIXELS = 10 * FRAME_PIXELS
FPS, MAX_FRAMES = 1, 64
STEP_TOKENS = 16  # about so many of a video's step stand for its time, not for pixels


def check_mapping(name: str, source: object) -> None:
    """Raise QvsearchError, which begins with `name`, unless something is a dictionary."""
    if not isinstance(source, Mapping):
        raise QvsearchError(f"{name} is of type {type(source).__name__}; give a dictionary")


@dataclass(frozen=True)
class Limits:
    """The pixels of images and the frames of videos; the defaults are the published ones."""

    min_pixels: int = MIN_PIXELS
    max_pixels: int = MAX_PIXELS
    total_pixels: int = MAX_TOTAL_PIXELS
    fps: float = FPS
    max_frames: int = MAX_FRAMES
    max_tokens: int = 8192

    def __post_init__(self) -> None:
        """Raise QvsearchError for a value that is no number over 0, and for crossed limits."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, Real) or not float(value) > 0:
                raise QvsearchError(f"{field.name} is {value!r}; give a number over 0")
        if self.min_pixels > self.max_pixels:
            raise QvsearchError(
                f"min_pixels is {self.min_pixels:,}, more than max_pixels, {self.max_pixels:,}"
            )

    def read(self, name: str, source: Mapping[str, Any]) -> tuple[EmbedInput, ...]:
        """Return the parts of one dictionary: each video, then all images with the text.

        Raises QvsearchError, which begins with `name`, if a part is unreadable or of a wrong type.
        """
        check_mapping(name, source)
        if source and not source.keys() & KEYS:
            raise QvsearchError(f"{name} has none of the keys {', '.join(sorted(KEYS))}")
        texts, images = _listed(source.get("text")), _listed(source.get("image"))
        with _named(name):
            videos = _videos(source.get("video"))
        if not texts and not images and not videos:
            return (NOTHING,)
        for text in texts:
            if not isinstance(text, str):
                raise QvsearchError(f"a text of {name} is of type {type(text).__name__}; give str")
        instruction = source.get("instruction")
        if not isinstance(instruction, (str, NoneType)):
            kind = type(instruction).__name__
            raise QvsearchError(f"the instruction of {name} is of type {kind}; give str")
        own = {each: source[each] for each in ("fps", "max_frames") if source.get(each)}
        with _named(name):
            # these hold for files only, as in the published classes
            file_limits = replace(self, **own)
            clips = [
                file_limits.video(each) if isinstance(each, (str, Path)) else self.frames(each)
                for each in videos
            ]
            pictures = tuple(self.image(each) for each in images)
        return (*(EmbedInput(video=each) for each in clips), EmbedInput("".join(texts), pictures))

    def image(self, source: str | Path | Image.Image) -> Pixels:
        """Return the pixels (h, w, 3) of one image, resized as qwen-vl-utils does."""
        from qwen_vl_utils.vision_process import fetch_image

        budget = {"min_pixels": self.min_pixels, "max_pixels": self.max_pixels}
        return np.asarray(fetch_image({"image": opened(source), **budget}, PATCH))

    def video(self, source: str | Path) -> Frames:
        """Return the frames of a video file or URL, resized as qwen-vl-utils does.

        A video that is too long for the model at that size, which the published class refuses, is
        reduced to `total_pixels`.
        """
        frames = _sampled_file(source, self.fps, self.max_frames)
        whole = _resized(frames.pixels, MODEL_SEQ_LEN * TOKEN_PIXELS * 0.9)
        steps = len(frames.times) / 2
        if whole.size / 3 / TOKEN_PIXELS / 2 + STEP_TOKENS * (steps + 4) > self.max_tokens:
            whole = _resized(frames.pixels, self.total_pixels)
        return Frames(whole, frames.times)

    def frames(self, source: Sequence[str | Path | Image.Image]) -> Frames:
        """Return a video that is given by its frames, two a second."""
        from qwen_vl_utils.vision_process import fetch_video

        frames = _sampled(source, self.max_frames)
        settings = {"video": [opened(each) for each in frames], "total_pixels": self.total_pixels}
        video, metadata = fetch_video(settings, PATCH, return_video_metadata=True)
        times = tuple(index / metadata["fps"] for index in metadata["frames_indices"])
        return Frames(_pixels(video), times)


def opened(source: str | Path | Image.Image) -> Image.Image:
    """Return a picture that is given as itself, a path, a file, data or http(s) URL."""
    if isinstance(source, Image.Image):
        return source
    if not isinstance(source, (str, Path)):
        raise QvsearchError(
            f"an image is of type {type(source).__name__}; give a path or a picture"
        )
    place = str(source)
    if is_url(place):
        return _decoded(io.BytesIO(download(place)))
    if place.startswith("data:image"):
        import base64

        return _decoded(io.BytesIO(base64.b64decode(place.partition("base64,")[2])))
    with Path(place.removeprefix("file://")).open("rb") as file:
        return _decoded(io.BytesIO(file.read()))


def _sampled_file(source: str | Path, fps: float, max_frames: int) -> Frames:
    """Return frames of a video at their own size, decoded in a process of its own."""
    from qvsearch.media.sampling import decode
    from qvsearch.media.workers import Decoders

    with contextlib.ExitStack() as stack:
        path = str(source).removeprefix("file://")
        if is_url(path):
            file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="qvsearch-"))
            file.write(download(path))
            file.flush()
            path = file.name
        status = Path(path).stat()
        location = os.path.abspath(os.fsencode(path))
        item = Item(location, b"", Kind.VIDEO, status.st_size, status.st_mtime_ns)
        decoders = stack.enter_context(
            Decoders(1, decode=partial(decode, fps=fps, max_frames=max_frames))
        )
        [outcome] = decoders.decode([(item, "")], DecodeOptions(0))
    if isinstance(outcome, Skipped):
        raise QvsearchError(f"{source}: {outcome.reason}")
    frames = outcome.segments[0][1].video
    assert frames is not None  # noqa: S101 - `decode` returns nothing else
    return frames


def _resized(frames: Pixels, total_pixels: float) -> Pixels:
    """Resize frames (t, h, w, 3) as `fetch_video` of qwen-vl-utils 0.0.14 does."""
    from qwen_vl_utils.vision_process import VIDEO_MAX_TOKEN_NUM, VIDEO_MIN_TOKEN_NUM, smart_resize
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import resize

    least, most = VIDEO_MIN_TOKEN_NUM * TOKEN_PIXELS, VIDEO_MAX_TOKEN_NUM * TOKEN_PIXELS
    count, height, width, _ = frames.shape
    budget = max(min(most, total_pixels / count * 2), int(least * 1.05))
    size = smart_resize(height, width, factor=2 * PATCH, min_pixels=least, max_pixels=budget)
    video = torch.from_numpy(frames).permute(0, 3, 1, 2)
    return _pixels(resize(video, list(size), InterpolationMode.BICUBIC, antialias=True))


def is_url(place: str) -> bool:
    """Return whether a place is one that `download` reads."""
    return urlsplit(place).scheme in {"http", "https"}


def _decoded(file: io.BytesIO) -> Image.Image:
    """Return the decoded picture of a file in memory; raises MediaError if it is too large."""
    with Image.open(file) as picture:
        check_size(*picture.size)
        picture.load()
        return picture.copy()


def _pixels(video: torch.Tensor) -> Pixels:
    """Return frames (t, 3, h, w), whole numbers as floats, as an array (t, h, w, 3)."""
    return np.ascontiguousarray(video.permute(0, 2, 3, 1).to(torch.uint8).numpy())


def _listed(value: object) -> Sequence[Any]:
    if value is None:
        return []
    return value if isinstance(value, (list, tuple)) else [value]


def _videos(video: object) -> Sequence[Any]:
    """Return several videos as they are, and one, a place or a list of frames, in a list.

    Empty ones are left out. Raises QvsearchError for other types.
    """
    if isinstance(video, (list, tuple)) and not (video and _is_frame(video[0])):
        videos = [each for each in video if each is not None and each != []]
    else:
        videos = [] if video is None else [video]
    for each in videos:
        if not isinstance(each, (str, Path, list, tuple)):
            raise QvsearchError(
                f"a video is of type {type(each).__name__}; give a path or a list of frames"
            )
    return videos


def _is_frame(value: object) -> TypeGuard[str | Path | Image.Image]:
    if isinstance(value, (str, Path)):
        path = urlsplit(str(value)).path if is_url(str(value)) else str(value)
        return path.lower().endswith(FRAME_SUFFIXES)
    return isinstance(value, Image.Image)


def _sampled(frames: Sequence[Any], most: int) -> Sequence[Any]:
    """Return at most `most` frames, spread evenly, as the published `sample_frames` does."""
    if len(frames) <= most:
        return frames
    return [frames[place] for place in np.linspace(0, len(frames) - 1, most, dtype=int)]


# what Pillow raises for damaged headers, and qwen-vl-utils for frames that differ and long strips
_DAMAGE = (Image.DecompressionBombError, RuntimeError, AssertionError, EOFError, struct.error)


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Turn what reading an input raises into a QvsearchError that begins with its name."""
    try:
        yield
    except (QvsearchError, MediaError) as error:
        raise QvsearchError(f"{name}: {error}") from error
    except OSError as error:
        reason = error.strerror or "not a picture that Pillow reads"
        raise QvsearchError(
            f"{name}: {error.filename or ''}{': ' if error.filename else ''}{reason}"
        ) from error
    except (ValueError, SyntaxError, TypeError, *_DAMAGE) as error:
        raise QvsearchError(f"{name}: {error}") from error
