"""What determines the vectors of a library: the model, how files are decoded, and the precision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from qvsearch.kinds import Kind


class VideoMode(StrEnum):
    """The segments of a video: frames, clips of several frames, or both."""

    FRAMES = "frames"
    CLIPS = "clips"
    BOTH = "both"


class Dtype(StrEnum):
    """The type of the numbers that the network computes with."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    INT8 = "int8"


class Precision(StrEnum):
    """The precision of a library's vectors; different ones are never mixed.

    The three floating-point types of Dtype give nearly the same vectors.
    """

    FLOAT = "float"
    INT8 = "int8"


class Stored(StrEnum):
    """The storage type of vectors in a library; int8 has a scale for each vector."""

    FLOAT16 = "float16"
    INT8 = "int8"


class Detail(StrEnum):
    """The visual token budget of an image; a token is 32x32 pixels."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"

    @property
    def max_pixels(self) -> int:
        """The most pixels of one image at this detail."""
        return {Detail.LOW: 256, Detail.MEDIUM: 768, Detail.HIGH: 1800}[self] * 32 * 32


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How files become inputs of the model.

    No image has more than `max_pixels`; `video_mode` decides the segments of a video. With `draft`
    the decoder reduces large JPEGs, which takes half the time and moves values by up to 1 of 255 on
    average. With `films`, pictures have the moments of the films within them, too (motion photos);
    `lost_film` is why a film is left out, which is in the metadata of a picture that has one.
    `moments` are given stretches `[start, end)` of a video in seconds, where a decoder
    takes only these (`qvsearch.media.stills`). `page_pixels` is the limit of a document's page
    (default: `max_pixels`); its pages after `after_page` are decoded, `most_pages` at most.
    """

    max_pixels: int
    video_mode: VideoMode = VideoMode.FRAMES
    draft: bool = True
    films: bool = False
    lost_film: str | None = None
    moments: tuple[tuple[float, float], ...] = ()
    page_pixels: int | None = None
    after_page: int = 0
    most_pages: int | None = None


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Everything that determines vectors; a library is searched and extended only with its own.

    `prompt_layout` and `preprocessing` are versions of our own code, raised if a vector changes.
    Version 1 of `preprocessing` decodes JPEGs in their full size, 2 with `draft`.
    `adapter` is the folder of the adapter of the model, and `mmproj` the vision tower of a GGUF
    file; their hashes are parts of the revision. `kinds` are the kinds of files that the model
    embeds; empty for all. `document_detail` is the detail of a document's page (default: `detail`).
    """

    model: str
    revision: str
    dim: int
    detail: Detail
    instruction: str
    prompt_layout: int
    preprocessing: int
    video_mode: VideoMode = VideoMode.FRAMES
    precision: Precision = Precision.FLOAT
    adapter: str | None = None
    mmproj: str | None = None
    kinds: tuple[Kind, ...] = ()
    document_detail: Detail | None = None

    @property
    def space(self) -> Fingerprint:
        """What libraries with comparable vectors share: all but how their files are decoded."""
        return replace(
            self,
            detail=Detail.LOW,
            video_mode=VideoMode.FRAMES,
            adapter=None,
            mmproj=None,
            document_detail=None,
        )

    @property
    def decode_options(self) -> DecodeOptions:
        """How files are decoded for these vectors."""
        page_pixels = None if self.document_detail is None else self.document_detail.max_pixels
        return DecodeOptions(
            self.detail.max_pixels,
            self.video_mode,
            self.preprocessing >= 2,
            films=True,
            page_pixels=page_pixels,
        )
