"""The prompt that a server makes of an input, and what is wrong with it.

vLLM returns the tokens of a conversation without computing, so that the layout of a prompt and the
number of visual tokens of a picture can be compared with ours, character by character.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

from qvsearch.models.prompt import END, embed_prompt
from qvsearch.runtime.remote.http import Refused
from qvsearch.runtime.remote.vllm import Embeddings, conversation, media_options
from qvsearch.types import Detail

if TYPE_CHECKING:
    from qvsearch.choices import Wire
    from qvsearch.runtime.remote.http import Connection
    from qvsearch.runtime.remote.protocol import Dialect
    from qvsearch.runtime.remote.texts import Prepared

PICTURE_PAD, CLIP_PAD = "<|image_pad|>", "<|video_pad|>"
# of a picture that no server resizes: at least those of the published checkpoints, at most ours
PIXEL_BUDGET = f'{{"min_pixels": 4096, "max_pixels": {Detail.HIGH.max_pixels}}}'
TEMPLATE = "start it with --chat-template FILE, which qvsearch serve-model names"
_PADS = re.compile(r"(?:<\|(?:image|video)_pad\|>)+")


def fault(
    connection: Connection, dialect: Dialect, prepared: Prepared, wire: Wire
) -> tuple[bool | None, str | None]:
    """Return whether a server's prompt of an input is ours, and the cause with the remedy if not.

    It is None if the server does not show its prompts. Raises Failure.
    """
    theirs = _prompt(connection, dialect, prepared, wire)
    ours = unicodedata.normalize("NFC", embed_prompt(prepared.source))
    if theirs is None or _is_unexpanded(ours, theirs):
        return None, None
    return theirs == ours, cause(ours, theirs)


def cause(ours: str, theirs: str) -> str | None:
    """Return why a server's prompt differs from ours, with the remedy; None if it is the same."""
    if theirs == ours:
        return None
    pixels, taken = ours.count(PICTURE_PAD), theirs.count(PICTURE_PAD)
    if pixels != taken:
        return (
            f"it makes {taken} visual tokens of a picture of {pixels}: its pixel budget is another;"
            f" start it with --mm-processor-kwargs '{PIXEL_BUDGET}'"
        )
    if CLIP_PAD in ours and theirs.count(CLIP_PAD) != ours.count(CLIP_PAD):
        return (
            f"it makes {theirs.count(CLIP_PAD)} visual tokens of a clip of {ours.count(CLIP_PAD)}:"
            " it leaves out frames or resizes them; start it with --trust-request-mm-kwargs and"
            f" --mm-processor-kwargs '{PIXEL_BUDGET}'"
        )
    if not theirs.endswith(END) and theirs.startswith(ours.removesuffix(END)):
        return (
            "it leaves out the end of the prompt, as if add_generation_prompt were false: its"
            " version is too old, or a proxy before it drops flags; update it, or use it directly"
        )
    if theirs.startswith(ours):
        return f"its tokenizer appends {theirs.removeprefix(ours)!r}; serve the published tokenizer"
    return f"its template lays out prompts otherwise ({_difference(ours, theirs)}); {TEMPLATE}"


def _prompt(connection: Connection, dialect: Dialect, prepared: Prepared, wire: Wire) -> str | None:
    """Return the prompt of an input as text; None if the server does not show it."""
    if not isinstance(dialect, Embeddings):
        return None  # others take whole prompts of ours
    body = {
        "model": dialect.model,
        "messages": conversation(prepared.source, wire),
        "add_generation_prompt": True,
        "add_special_tokens": True,
        **media_options([prepared.source]),
    }
    try:
        tokens: Any = connection.post("/tokenize", body)
        ids = {"model": dialect.model, "tokens": tokens["tokens"]}
        text: Any = connection.post("/detokenize", ids)
    except (Refused, KeyError, TypeError):  # a proxy may have neither
        return None
    prompt = text.get("prompt") if isinstance(text, dict) else None
    return prompt if isinstance(prompt, str) else None


def _is_unexpanded(ours: str, theirs: str) -> bool:
    """Return whether a prompt has one token for each picture, as in early versions of vLLM."""
    return (
        theirs != ours
        and _PADS.sub("", theirs) == _PADS.sub("", ours)
        and (len(_PADS.findall(theirs)) == theirs.count(PICTURE_PAD) + theirs.count(CLIP_PAD))
    )


def _difference(ours: str, theirs: str) -> str:
    """Return the first difference of two prompts, with some characters around it."""
    first = next(
        (place for place, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
        min(len(ours), len(theirs)),
    )
    start = max(0, first - 12)
    return f"{theirs[start : first + 24]!r} for {ours[start : first + 24]!r}"
