"""The user's choice of a model and of where it computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qvsearch.choices import Hub, Wire
from qvsearch.types import Detail, Stored, VideoMode


@dataclass(frozen=True, slots=True)
class Choice:
    """The user's options for models; None is the library's value, or a new library's default.

    `adapter` is the folder of an adapter of the model, `mmproj` the vision tower of a GGUF file,
    which is looked for beside it by default. With `servers`, URLs of embedding servers,
    these compute the vectors; `rerank_servers` compute the scores of a reranker. `wire` is how
    pixels are sent to them; `insecure` allows plain http to public addresses. `key_file` holds the
    key of all servers, which is never a part of this record. `notice` is called with the figures of
    a server that computes in another precision.
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
    mmproj: str | None = None
    key_file: str | None = None
    document_detail: Detail | None = None
    notice: Callable[[str], None] | None = field(default=None, compare=False)

    @property
    def computes(self) -> tuple[object, ...]:
        """What computes vectors: their last digits differ between devices and between servers."""
        if self.servers:
            return ("servers", *sorted(self.servers), str(self.wire))
        return self.device, self.dtype


def read_choice(fields: Mapping[str, Any]) -> Choice:
    """Return the choice whose fields JSON has, where a tuple is a list."""
    lists = {name: tuple(each) for name, each in fields.items() if isinstance(each, list)}
    return Choice(**{**fields, **lists})
