"""The user's choice of a model and of where it computes."""

from __future__ import annotations

from dataclasses import dataclass

from qvsearch.choices import Hub, Wire
from qvsearch.types import Detail, Stored, VideoMode


@dataclass(frozen=True, slots=True)
class Choice:
    """The user's options for models; None is the library's value, or a new library's default.

    `adapter` is the folder of an adapter of the model. With `servers`, URLs of embedding servers,
    these compute the vectors; `rerank_servers` compute the scores of a reranker. `wire` is how
    pixels are sent to them; `insecure` allows plain http to public addresses.
    """

    model: str | None = None
    dim: int | None = None
    detail: Detail | None = None
    device: str | None = None
    dtype: str | None = None
    hub: str = Hub.HUGGINGFACE
    video_mode: VideoMode | None = None
    store: Stored | None = None
    adapter: str | None = None
    servers: tuple[str, ...] = ()
    rerank_servers: tuple[str, ...] = ()
    wire: Wire = Wire.LOSSLESS
    insecure: bool = False


def new_detail(choice: Choice) -> Detail:
    """Return the detail that a new library gets."""
    from qvsearch.models.devices import pick_device

    if choice.detail is not None:
        return choice.detail
    return Detail.LOW if pick_device(choice.device).type == "cpu" else Detail.MEDIUM


def new_video_mode(choice: Choice) -> VideoMode:
    """Return the video mode that a new library gets."""
    return choice.video_mode or VideoMode.FRAMES
