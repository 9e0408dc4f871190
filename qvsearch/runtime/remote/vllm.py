"""The protocol of vLLM, 0.14 to 0.33: conversations to `/v1/embeddings`, pairs to `/score`.

Its vectors equal ours only with the system turn, with both flags, and with pictures that it does
not resize. Texts are never cut by the server, and dimensions are cut on our side.
"""

from __future__ import annotations

from collections.abc import Sequence
from http.client import METHOD_NOT_ALLOWED, NOT_FOUND
from typing import TYPE_CHECKING, Any

import numpy as np

from qvsearch.choices import Wire
from qvsearch.models.prompt import (
    DOCUMENT_INSTRUCTION,
    PROMPT_TOKENS,
    RERANK_INSTRUCTION,
    TOKEN_SIDE,
    frame_pairs,
    harmless,
)
from qvsearch.runtime.remote.http import Refused, Unusable
from qvsearch.runtime.remote.pixels import data_url, frames_url
from qvsearch.runtime.remote.protocol import BadAnswer, Request, indexed, rows
from qvsearch.runtime.remote.texts import Prepared
from qvsearch.types import EmbedInput, Frames

if TYPE_CHECKING:
    from qvsearch.runtime.remote.http import Connection
    from qvsearch.types import Vectors

    Part = dict[str, object]

MOST_CONVERSATIONS = 64  # of a request
LIST_CONNECTIONS = 8  # requests of many conversations at once
SINGLE_CONNECTIONS = 32  # requests of one conversation at once
FRAME_RATE = 10  # prompts have times in tenths of a second
KWARGS_FLAG = "--trust-request-mm-kwargs"


class Embeddings:
    """`/v1/embeddings` with messages, one conversation a request or a list of them."""

    name = "vLLM"

    def __init__(self, model: str, *, lists: bool) -> None:
        """Take the name that the server gives its model, and whether it takes lists."""
        self.model = model
        self.most_inputs = MOST_CONVERSATIONS if lists else 1
        self.connections = LIST_CONNECTIONS if lists else SINGLE_CONNECTIONS

    def request(self, inputs: Sequence[Prepared], wire: Wire) -> Request:
        """Return the request for the vectors of some inputs; an input with a video is alone."""
        sources = [each.source for each in inputs]
        conversations = [conversation(each, wire) for each in sources]
        body = {
            "model": self.model,
            "encoding_format": "base64",
            "messages": conversations if len(conversations) > 1 else conversations[0],
            "add_generation_prompt": True,
            "add_special_tokens": True,
            **media_options(sources),
        }
        return Request("/v1/embeddings", body)

    def vectors(self, answer: Any, count: int) -> Vectors:  # noqa: ANN401 (JSON)
        """Return the rows (count, d) of an answer; raises BadAnswer."""
        data = answer.get("data") if isinstance(answer, dict) else None
        return rows(indexed(data, "embedding", count))


class Scores:
    """`/score`, or `/rerank` on servers without it."""

    name = "vLLM"
    connections = LIST_CONNECTIONS
    most_inputs = MOST_CONVERSATIONS

    def __init__(self, model: str, path: str = "/score") -> None:
        """Take the name that the server gives its model, and the path of its scores."""
        self.model = model
        self._path = path

    def request(self, query: EmbedInput, documents: Sequence[Prepared], wire: Wire) -> Request:
        """Return the request for the scores of documents; a pair with a video is alone."""
        sources = [each.source for each in documents]
        body = {
            "model": self.model,
            "query" if self._path == "/rerank" else "queries": _scored(query, wire),
            "documents": [_scored(each, wire) for each in sources],
            "instruction": harmless(query.instruction or RERANK_INSTRUCTION),
            "use_activation": True,  # P(yes), not the difference of logits
            **media_options([query, *sources]),
        }
        return Request(self._path, body)

    def scores(self, answer: Any, count: int) -> list[float]:  # noqa: ANN401 (JSON)
        """Return P(relevant) of each document; raises BadAnswer."""
        content = answer if isinstance(answer, dict) else {}
        if self._path == "/rerank":
            values = indexed(content.get("results"), "relevance_score", count)
        else:
            values = indexed(content.get("data"), "score", count)
        if not all(isinstance(each, (int, float)) and 0 <= each <= 1 for each in values):
            raise BadAnswer("its scores are not from 0 to 1")
        return [float(each) for each in values]


def conversation(source: EmbedInput, wire: Wire) -> list[Part]:
    """Return the system turn and the user's turn of an input whose texts are prepared."""
    return [
        {"role": "system", "content": [_words(source.instruction or "")]},
        {"role": "user", "content": content(source, wire)},
    ]


def content(source: EmbedInput, wire: Wire) -> list[Part]:
    """Return the parts of an input: media first, then its text."""
    parts: list[Part] = []
    if source.video is not None:
        parts.append({"type": "video_url", "video_url": {"url": frames_url(source.video, wire)}})
    for image in source.images:
        parts.append({"type": "image_url", "image_url": {"url": data_url(image, wire)}})
    if source.text or not parts:
        parts.append(_words(source.text or ""))
    return parts


def media_options(sources: Sequence[EmbedInput]) -> dict[str, object]:
    """Return the options with which a server takes all frames of a video, at their true times.

    They hold for all videos of a request, so there may be only one.
    """
    videos = [each.video for each in sources if each.video is not None]
    if not videos:
        return {}
    return {"media_io_kwargs": {"video": _frame_options(videos[0])}}


def embeddings(connection: Connection, model: str) -> Embeddings:
    """Return the dialect of a server, which takes lists of conversations or not.

    Those of June 2026 and later do. Raises Unusable if it makes no vectors, or another Failure.
    """
    word = Prepared(EmbedInput("a", instruction=DOCUMENT_INSTRUCTION), PROMPT_TOKENS)
    for lists in (True, False):
        dialect = Embeddings(model, lists=lists)
        request = dialect.request([word, word] if lists else [word], Wire.LOSSLESS)
        try:
            connection.post(request.path, request.body)
        except Refused as error:
            if error.status in (NOT_FOUND, METHOD_NOT_ALLOWED):
                raise Unusable(
                    "it serves no vectors: it may be a reranker's or a chat model's;"
                    " start one with --runner pooling, for an embedding model"
                ) from error
            refusal = error
        else:
            return dialect
    raise Unusable(f"it refuses a conversation of one word: {refusal}")


def score_path(connection: Connection, model: str) -> str:
    """Return the path of a server's scores; raises Unusable if it has none, or another Failure."""
    for path, query in (("/score", "queries"), ("/rerank", "query")):
        try:
            connection.post(path, {"model": model, query: "a", "documents": ["a"]})
        except Refused as error:
            if error.status in (NOT_FOUND, METHOD_NOT_ALLOWED):
                continue
            raise Unusable(f"it refuses a pair of words: {error}") from error
        return path
    raise Unusable(
        "it serves no scores: it may be an embedding model's; name a reranker's --rerank-server"
    )


def check_videos(connection: Connection, dialect: Embeddings, wire: Wire) -> None:
    """Raise Unusable if the server does not take frames of videos with their times."""
    frames = Frames(np.zeros((2, TOKEN_SIDE, TOKEN_SIDE, 3), np.uint8), (0.0, 0.5))
    source = EmbedInput(video=frames, instruction=DOCUMENT_INSTRUCTION)
    request = dialect.request([Prepared(source, PROMPT_TOKENS)], wire)
    try:
        connection.post(request.path, request.body)
    except Refused as error:
        raise Unusable(
            f"it refuses frames with their times ({error}); start it with {KWARGS_FLAG}, or index"
            " with --video-mode frames"
        ) from error


def _frame_options(frames: Frames) -> dict[str, object]:
    # the prompt has the mean of each two frames in tenths, so both get that time
    steps = [round(10 * float(f"{seconds:.1f}")) for seconds in frame_pairs(frames)]
    indices = [steps[number // 2] for number in range(len(frames.times))]
    return {
        "num_frames": -1,  # all, not the first 32
        "fps": FRAME_RATE,
        "frames_indices": indices,
        "total_num_frames": max(len(indices), *(each + 1 for each in indices)),
    }


def _scored(source: EmbedInput, wire: Wire) -> dict[str, object]:
    return {"content": content(source, wire)}


def _words(text: str) -> Part:
    return {"type": "text", "text": text}
