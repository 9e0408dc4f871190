"""Texts that are cut to the length that the model takes, before they are sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from qvsearch.errors import QvsearchError
from qvsearch.models.prompt import (
    DOCUMENT_INSTRUCTION,
    END,
    MAX_INPUT_TOKENS,
    MAX_PAIR_TOKENS,
    PROMPT_TOKENS,
    embed_prompt,
    harmless,
    punctuated,
    rerank_prompt,
    visual_tokens,
)
from qvsearch.models.tokenizer import Tokenizer
from qvsearch.types import EmbedInput

MOST_BYTES = 3  # of a UTF-8 byte after Unicode's NFC; a token has one byte at least
TOKEN_BYTES = 4  # of most texts


class Unfit(QvsearchError):
    """An input that the model cannot take."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An input as it is sent, and about how many tokens it has.

    Its instruction is the whole text of the system turn, and its text is harmless and not too long.
    """

    source: EmbedInput
    tokens: int


class Texts:
    """Prepares the texts of inputs; the tokenizer is read for the first one that may be too long.

    `folder` returns the folder of the tokenizer, which may be downloaded then.
    """

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder

    def document(self, source: EmbedInput) -> Prepared:
        """Return an input of the embedder; raises Unfit if its pictures are too many.

        A text that is too long loses its end, as in `Network.tokenize`. Raises QvsearchError if
        there is no tokenizer.
        """
        instruction = harmless(punctuated(source.instruction or "") or DOCUMENT_INSTRUCTION)
        text = None if source.text is None else harmless(source.text)
        source = replace(source, text=text, instruction=instruction)
        if _most_tokens(source) > MAX_INPUT_TOKENS:

            def prompt(text: str) -> str:
                return embed_prompt(replace(source, text=text))

            cut = self._cut(prompt, text or "", MAX_INPUT_TOKENS)
            if cut is None:
                raise Unfit(
                    f"an input of {self._count(prompt(''))} tokens is over the model's"
                    f" {MAX_INPUT_TOKENS};"
                    " give fewer images or frames, or a lower --detail"
                )
            source = replace(source, text=None if text is None else cut)
        return Prepared(source, _tokens(source))

    def pair(self, query: EmbedInput, document: EmbedInput) -> Prepared:
        """Return the document of a pair for the reranker; pictures are never left out."""
        text = None if document.text is None else harmless(document.text)
        document = replace(document, text=text)
        if text and _most_tokens(query) + _most_tokens(document) > MAX_PAIR_TOKENS:

            def prompt(text: str) -> str:
                return rerank_prompt(query, replace(document, text=text))

            limit = MAX_PAIR_TOKENS + self._count(END)
            document = replace(document, text=self._cut(prompt, text, limit) or "")
        return Prepared(document, _tokens(query) + _tokens(document))

    def tokens(self, prompt: str) -> list[int]:
        """Return the tokens of a prompt, as the model in this process reads them."""
        return self._tokenizer.ids(prompt)

    def prompt(self, tokens: Sequence[int]) -> str:
        """Return the prompt of some tokens, special ones as well."""
        return self._tokenizer.text(tokens)

    def _cut(self, prompt: Callable[[str], str], text: str, most: int) -> str | None:
        """Return the text, or its beginning, with which a prompt has at most `most` tokens.

        The text is what stands before the closing turn. None if the prompt is too long without it.
        """
        while (excess := self._count(prompt(text)) - most) > 0:
            if not text:
                return None
            starts = self._tokenizer.starts(prompt(text))
            first = len(prompt(text)) - len(END) - len(text)  # character of the text
            tail = self._count(END)
            end = starts[-tail - excess] - first
            text = text[: max(0, min(end, len(text) - 1))]
        return text

    def _count(self, prompt: str) -> int:
        return len(self._tokenizer.ids(prompt))

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer(self._folder())


def _most_tokens(source: EmbedInput) -> int:
    """Return a number of tokens that an input's prompt never exceeds."""
    try:
        sizes = [len((each or "").encode()) for each in (source.text, source.instruction)]
    except UnicodeEncodeError as error:
        raise Unfit("a text has a lone surrogate, which is not a character; replace it") from error
    frames = 0 if source.video is None else len(source.video.times)
    return (
        MOST_BYTES * sum(sizes)
        + visual_tokens(source)
        + 2 * len(source.images)
        + PROMPT_TOKENS * (1 + frames)
    )


def _tokens(source: EmbedInput) -> int:
    """Return about how many tokens an input has."""
    return PROMPT_TOKENS + visual_tokens(source) + len((source.text or "").encode()) // TOKEN_BYTES
