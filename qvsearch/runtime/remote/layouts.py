"""The prompt that a server makes of an input, and what is wrong with it.

vLLM returns the tokens of a conversation without computing, so that the layout of a prompt and the
number of visual tokens of a picture can be compared with ours, character by character.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from qvsearch.models.prompt import embed_prompt
from qvsearch.runtime.remote.http import Refused
from qvsearch.runtime.remote.vllm import Embeddings, conversation, media_options
from qvsearch.types import Detail

if TYPE_CHECKING:
    from qvsearch.choices import Wire
    from qvsearch.runtime.remote.http import Connection
    from qvsearch.runtime.remote.protocol import Dialect
    from qvsearch.runtime.remote.texts import Prepared, Texts

PICTURE_PAD, CLIP_PAD = "<|image_pad|>", "<|video_pad|>"
# of a picture that no server resizes: at least those of the published checkpoints, at most ours
PIXEL_BUDGET = f'{{"min_pixels": 4096, "max_pixels": {Detail.HIGH.max_pixels}}}'
TEMPLATE = "start it with --chat-template FILE, which qvsearch serve-model names"
FLAGS = (
    "it does not use add_generation_prompt or add_special_tokens, because it is too old or a proxy"
    " before it drops them; update vLLM, or give its own URL"
)
_PADS = re.compile(r"(?:<\|(?:image|video)_pad\|>)+")


def fault(
    connection: Connection, dialect: Dialect, texts: Texts, prepared: Prepared, wire: Wire
) -> tuple[bool, str | None]:
    """Return whether a server shows its prompt of an input, and why that is not ours.

    The text has the cause with the remedy; None if the prompt is ours. Raises Failure.
    """
    ours = texts.tokens(embed_prompt(prepared.source))
    theirs = _tokens(connection, dialect, prepared, wire)
    reason = None if theirs is None else _difference(texts, ours, theirs)
    count = _count(connection, dialect, prepared, wire)
    if reason is None and count not in (None, len(ours)):
        # its answer to /tokenize has the flags by default
        reason = (
            f"it computes a prompt of {count} tokens, not {len(ours)}: {FLAGS}"
            if theirs == ours
            else f"it computes a prompt of {count} tokens, not {len(ours)}; {TEMPLATE}"
        )
    return theirs == ours or count == len(ours), reason


def _difference(texts: Texts, ours: list[int], theirs: list[int]) -> str | None:
    """Return why a server's tokens are not ours; None if they are, or if it does not show all."""
    if theirs == ours:
        return None
    try:
        shown = texts.prompt(theirs)
    except OverflowError:  # a number that no tokenizer has
        return "its tokenizer is that of another model"
    own = texts.prompt(ours)
    if _is_unexpanded(own, shown):
        return None
    if own == shown:
        return "its tokenizer cuts the same prompt into other tokens; serve the published one"
    return cause(own, shown)


def cause(ours: str, theirs: str) -> str:
    """Return why a server's prompt differs from ours, with the remedy."""
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
    if theirs.startswith(ours):
        return f"its tokenizer appends {theirs.removeprefix(ours)!r}; serve the published tokenizer"
    if ours.startswith(theirs):
        return f"it leaves out the end of the prompt: {FLAGS}"
    return f"its template lays out prompts otherwise ({_part(ours, theirs)}); {TEMPLATE}"


def _tokens(
    connection: Connection, dialect: Dialect, prepared: Prepared, wire: Wire
) -> list[int] | None:
    """Return the tokens of an input's prompt; None if the server does not show them."""
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
        answer: Any = connection.post("/tokenize", body)
    except Refused:  # a proxy may not have it
        return None
    tokens = answer.get("tokens") if isinstance(answer, dict) else None
    is_list = isinstance(tokens, list) and all(type(each) is int and each >= 0 for each in tokens)
    return tokens if is_list else None


def _count(connection: Connection, dialect: Dialect, prepared: Prepared, wire: Wire) -> int | None:
    """Return how many tokens a server computed of an input; None if it does not say so."""
    request = dialect.request([prepared], wire)
    answer: Any = connection.post(request.path, request.body)
    usage = answer.get("usage") if isinstance(answer, dict) else None
    count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return count if isinstance(count, int) else None


def _is_unexpanded(ours: str, theirs: str) -> bool:
    """Return whether a prompt has one token for each picture, as in early versions of vLLM."""
    return (
        theirs != ours
        and _PADS.sub("", theirs) == _PADS.sub("", ours)
        and (len(_PADS.findall(theirs)) == theirs.count(PICTURE_PAD) + theirs.count(CLIP_PAD))
    )


def _part(ours: str, theirs: str) -> str:
    """Return the first difference of two prompts, with some characters around it."""
    first = next(
        (place for place, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
        min(len(ours), len(theirs)),
    )
    start = max(0, first - 12)
    return f"{theirs[start : first + 24]!r} for {ours[start : first + 24]!r}"
