"""The protocol of llama-server: whole prompts with a marker for each picture to `/embedding`.

Its pictures are as we send them only with `--image-min-tokens` of 4 or less. It takes no clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from qvsearch.choices import Wire
from qvsearch.models.prompt import TOKEN_SIDE
from qvsearch.runtime.llama.protocol import (
    COMMAND,
    Content,
    content,
    png,
    prompt_of,
    vectors_of,
)
from qvsearch.runtime.remote.http import Refused, Unusable
from qvsearch.runtime.remote.pixels import encoded
from qvsearch.runtime.remote.protocol import Request
from qvsearch.types import EmbedInput

if TYPE_CHECKING:
    from qvsearch.runtime.remote.http import Connection
    from qvsearch.runtime.remote.texts import Prepared
    from qvsearch.types import Pixels, Vectors

OLD_MARKER = "<__media__>"  # of versions that do not tell theirs
MOST_INPUTS = 16  # of a request
_SMALL = 2 * TOKEN_SIDE  # pixels a side of a picture of four tokens


class LlamaServer:
    """`/embedding` of a server with these `/props`."""

    name = "llama-server"
    most_inputs = MOST_INPUTS

    def __init__(self, props: dict[str, Any]) -> None:
        """Take what the server tells of itself; raises Unusable if it takes no pictures."""
        modalities = props.get("modalities")
        if not isinstance(modalities, dict) or not modalities.get("vision"):
            raise Unusable(f"it takes no pictures; start it with: {COMMAND}")
        slots = props.get("total_slots")
        self.connections = slots if isinstance(slots, int) and slots > 0 else 1
        self.marker = str(props.get("media_marker") or OLD_MARKER)
        path = PurePath(str(props.get("model_path", "")))
        # the form of its numbers decides how exact its vectors must be
        self.model = f"{path.stem} {props.get('model_ftype', '')}".strip()

    def request(self, inputs: Sequence[Prepared], wire: Wire) -> Request:
        """Return the request for the vectors of some inputs."""
        contents = [self.content(each.source, wire) for each in inputs]
        return Request("/embedding", {"content": contents})

    def vectors(self, answer: Any, count: int) -> Vectors:  # noqa: ANN401 (JSON)
        """Return the rows (count, d) of an answer; raises BadAnswer."""
        return vectors_of(answer, count)

    def content(self, source: EmbedInput, wire: Wire) -> Content:
        """Return an input as it is sent; llama.cpp reads no lossless WebP."""

        def jpeg(pixels: Pixels) -> bytes:
            return encoded(pixels, wire)[1]

        picture = jpeg if wire == Wire.JPEG95 else png
        return content(prompt_of(source), source.images, self.marker, picture)


def find(connection: Connection, *, clips: bool) -> LlamaServer | None:
    """Return the dialect of a llama-server; None for another kind of server.

    Raises Unusable, with the remedy, for one that cannot compute the vectors of a library.
    """
    try:
        props = connection.get("/props")
    except Refused:
        return None
    if not isinstance(props, dict) or "default_generation_settings" not in props:
        return None
    server = LlamaServer(props)
    if clips:
        raise Unusable(
            "llama-server reads clips otherwise than the model was trained to; index with"
            " --video-mode frames"
        )
    _check_small(connection, server)
    return server


def _check_small(connection: Connection, server: LlamaServer) -> None:
    """Raise Unusable if small pictures are enlarged, which changes their vectors."""
    picture = np.zeros((_SMALL, _SMALL, 3), np.uint8)
    text = EmbedInput("")
    tokens = []
    for source in (text, EmbedInput(images=(picture,))):
        body = {"input": [server.content(source, Wire.LOSSLESS)]}
        try:
            answer = connection.post("/v1/embeddings", body)
        except Refused as error:
            raise Unusable(f"it makes no vectors ({error}); start it with: {COMMAND}") from error
        usage = answer.get("usage") if isinstance(answer, dict) else None
        count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        if not isinstance(count, int):
            return  # the vectors will tell
        tokens.append(count)
    visual = tokens[1] - tokens[0] - 2  # without the two around a picture
    if visual != (_SMALL // TOKEN_SIDE) ** 2:
        raise Unusable(
            f"it makes {visual} tokens of a picture of 4: it enlarges small ones; start it with"
            " --image-min-tokens 4"
        )
