"""What llama-server is sent for an input, and the vectors in its answer.

The forms are those of `/embedding` with `multimodal_data` (tools/server/README.md in
ggml-org/llama.cpp). A marker in the prompt stands for the whole vision block of a picture.
"""

from __future__ import annotations

import base64
import io
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.models.prompt import END, embed_prompt
from qvsearch.runtime.remote.protocol import UNIT, BadAnswer, indexed, rows

if TYPE_CHECKING:
    from qvsearch.types import EmbedInput, Pixels, Vectors

Content = str | list[int] | dict[str, Any]

MIN_TOKENS = 1  # of a picture: the server enlarges smaller ones (`--image-min-tokens`)
OWN_UNIT = 1e-3  # how far from 1 the length of a vector of the own process may be
COMMAND = (
    "llama-server -m FILE.gguf --mmproj FILE.gguf --embedding --pooling last -c 8448 -b 2048"
    " -ub 2048 -np 1 --image-min-tokens 4 -fa off"
)

_PICTURE = re.compile(r"<\|vision_start\|>(?:<\|image_pad\|>)+<\|vision_end\|>")
_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character; decoded texts never have one


def prompt_of(source: EmbedInput) -> str:
    """Return the prompt of an input, in the normal form that the model's own tokenizer makes.

    Raises QvsearchError for a video, which llama.cpp reads otherwise than the model was trained,
    and for half a character.
    """
    if source.video is not None:
        raise QvsearchError(
            "llama.cpp does not read videos as this model was trained to; give a picture of it"
        )
    prompt = unicodedata.normalize("NFC", embed_prompt(source))
    if _SURROGATE.search(prompt):
        raise QvsearchError("a text has a lone surrogate, which is not a character; replace it")
    return prompt


def png(pixels: Pixels) -> bytes:
    """Return a picture (h, w, 3) without loss; llama.cpp reads no lossless WebP."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", compress_level=1)
    return file.getvalue()


def content(
    prompt: str,
    images: Sequence[Pixels],
    marker: str,
    picture: Callable[[Pixels], bytes] = png,
) -> Content:
    """Return what is sent for a prompt and its pictures, which `picture` encodes."""
    prompt = prompt.replace(marker, f"{marker[:1]} {marker[1:]}")  # a text may hold it
    if not images:
        return prompt
    return {
        "prompt_string": _PICTURE.sub(lambda _: marker, prompt),
        "multimodal_data": [base64.b64encode(picture(each)).decode() for each in images],
    }


def shortened(
    pieces: Sequence[dict[str, Any]], tail: int, max_tokens: int, images: int
) -> str | list[int]:
    """Return a prompt of too many tokens without the end of its text, as `Network.tokenize` cuts.

    `pieces` are those of `/tokenize` with `with_pieces`; the last `tail` tokens stay. With pictures
    it is a text, whose last word may be cut elsewhere; otherwise it is the tokens.
    Raises QvsearchError if a picture would be cut off.
    """
    fitting = max_tokens - tail
    if any(each["piece"] == "<|image_pad|>" for each in pieces[fitting:-tail]):
        raise QvsearchError(
            f"an input of {len(pieces)} tokens is over the model's {max_tokens};"
            " give fewer images, or a lower --detail"
        )
    if not images:
        return [int(each["id"]) for each in (*pieces[:fitting], *pieces[-tail:])]
    kept = b"".join(_bytes(each["piece"]) for each in pieces[:fitting])
    return kept.decode("utf-8", "ignore") + END


def _bytes(piece: str | list[int]) -> bytes:
    """Return the bytes of a token; those of a part of a character come as numbers."""
    return piece.encode() if isinstance(piece, str) else bytes(piece)


def vectors_of(answer: object, count: int, off: float = UNIT) -> Vectors:
    """Return the rows (count, d) of an answer, whose lengths are `off` from 1 at most.

    Raises BadAnswer.
    """
    found = indexed(answer, "embedding", count)
    if any(_is_nested(each) and len(each) > 1 for each in found):
        raise BadAnswer(f"it gives a vector for each token; start it with: {COMMAND}")
    return rows([each[0] if _is_nested(each) else each for each in found], off)


def unit_rows(answer: object, count: int, width: int, dim: int) -> Vectors:
    """Return unit rows (count, dim) in the order of the inputs.

    Raises QvsearchError for an answer that does not hold `count` unit rows of `width` numbers.
    """
    try:
        vectors = vectors_of(answer, count, OWN_UNIT)
    except BadAnswer as error:
        raise QvsearchError(f"llama.cpp: {error}") from error
    if vectors.shape[1] != width:
        raise QvsearchError(f"llama.cpp gave vectors of {vectors.shape[1]} numbers, not {width}")
    if not np.isfinite(vectors).all():
        raise QvsearchError("llama.cpp gave a value that is not finite")
    cut = vectors[:, :dim]
    unit: Vectors = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    return unit


def _is_nested(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], list)
