"""Builds the exact strings that the model reads, from texts and the sizes of media.

The layout is that of the reference classes (QwenLM/Qwen3-VL-Embedding 8ce3aab, `src/models`) as
transformers 4.57 renders it, written out here because later releases and checkpoints changed it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from qvsearch.choices import Task

if TYPE_CHECKING:
    from qvsearch.types import EmbedInput, Frames, Pixels

PROMPT_LAYOUT = 1  # part of a library's fingerprint: raise it when a string below changes

DOCUMENT_INSTRUCTION = "Represent the user's input."
QUERY_INSTRUCTION = "Retrieve images or text relevant to the user's query."
RERANK_INSTRUCTION = "Given a search query, retrieve relevant candidates that answer the query."
RERANK_SYSTEM = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct"
    ' provided. Note that the answer can only be "yes" or "no".'
)
# photos and passages are those of COCO and MS MARCO in examples/embedding.ipynb; pages, videos and
# moments those of ViDoRe, MSR-VTT and MomentSeeker in src/evaluation/mmeb_v2/data/datasets
TASK_INSTRUCTIONS = {
    Task.PHOTOS: "Find images matching this description.",
    Task.PAGES: "Find a document image that matches the given query.",
    Task.VIDEOS: "Find a video that contains the following visual content.",
    Task.MOMENTS: "Find the clip that corresponds to the given text.",
    Task.PASSAGES: "Retrieve relevant passages.",
}

MAX_INPUT_TOKENS = 8192  # of an input; the reference embedder's MAX_LENGTH
MAX_PAIR_TOKENS = 10240  # the reference reranker's, before the closing turn
TOKEN_SIDE = 32  # pixels: a visual token is 2x2 patches of 16x16
TOKEN_PIXELS = TOKEN_SIDE * TOKEN_SIDE
PROMPT_TOKENS = 24  # about so many tokens of the prompt surround the input
FRAMES_PER_STEP = 2  # the vision tower merges two frames into one time step
END = "<|im_end|>\n<|im_start|>assistant\n"
_SPECIAL = re.compile(r"<\|(?=\w+\|>)")  # the head of one; a lone `<|` in source code stays


def embed_prompt(source: EmbedInput) -> str:
    """Return the prompt of one embedding input: media first, then its text."""
    return embedding_prompt(punctuated(source.instruction or "") or DOCUMENT_INSTRUCTION, [source])


def embedding_prompt(instruction: str, parts: Sequence[EmbedInput]) -> str:
    """Return the prompt of an input of several parts, whose own instructions are not read."""
    return (
        f"<|im_start|>system\n{harmless(instruction)}<|im_end|>\n"
        f"<|im_start|>user\n{_contents(parts)}{END}"
    )


def rerank_prompt(query: EmbedInput, document: EmbedInput) -> str:
    """Return the prompt for the relevance of a document to a query: yes or no follows it."""
    return pair_prompt(query.instruction or RERANK_INSTRUCTION, [query], [document])


def pair_prompt(
    instruction: str, query: Sequence[EmbedInput], document: Sequence[EmbedInput]
) -> str:
    """Return the prompt of a pair in which each side has several parts."""
    return (
        f"<|im_start|>system\n{RERANK_SYSTEM}<|im_end|>\n<|im_start|>user\n"
        f"<Instruct>: {harmless(instruction)}<Query>:{_contents(query)}\n"
        f"<Document>:{_contents(document)}{END}"
    )


def chat_prompt(
    system: str,
    parts: Sequence[str | Pixels],
    picture: Callable[[Pixels], str] = lambda pixels: _images([pixels]),
) -> str:
    """Return the prompt of one turn of a conversation, texts and pictures in their order.

    `picture` is the text in the place of a picture. The layout is that of the chat template of
    Qwen3-VL-2B-Instruct (8964489).
    """
    content = "".join(harmless(each) if isinstance(each, str) else picture(each) for each in parts)
    return f"<|im_start|>system\n{harmless(system)}<|im_end|>\n<|im_start|>user\n{content}{END}"


def punctuated(instruction: str) -> str:
    """End an instruction in punctuation, like all instructions that the model was trained with."""
    instruction = instruction.strip()
    if instruction and not unicodedata.category(instruction[-1]).startswith("P"):
        instruction += "."
    return instruction


def frame_pairs(frames: Frames) -> list[float]:
    """Return the time of each step in seconds: the mean of its two frames, or an odd last one's."""
    times = list(frames.times)
    if len(times) % FRAMES_PER_STEP:
        times.append(times[-1])
    return [(first + last) / 2 for first, last in zip(times[::2], times[1::2], strict=True)]


def visual_grids(source: EmbedInput) -> list[tuple[int, int]]:
    """Return the rows and columns of tokens of each picture in a prompt, in its order.

    A video's steps, each a picture, come before the images.
    """
    steps = [source.video.pixels.shape[1:]] * len(frame_pairs(source.video)) if source.video else []
    shapes = [*steps, *_shapes(source.images)]
    return [(height // TOKEN_SIDE, width // TOKEN_SIDE) for height, width, _ in shapes]


def visual_tokens(source: EmbedInput) -> int:
    """Return the number of tokens of an input's prompt that stand for pixels."""
    return sum(rows * columns for rows, columns in visual_grids(source))


def _contents(parts: Sequence[EmbedInput]) -> str:
    return "".join(map(_content, parts))


def _content(source: EmbedInput) -> str:
    video = "" if source.video is None else _video(source.video)
    return video + _images(source.images) + harmless(source.text or "")


def _images(images: Sequence[Pixels]) -> str:
    return "".join(_vision("<|image_pad|>", height, width) for height, width, _ in _shapes(images))


def _video(frames: Frames) -> str:
    _, height, width, _ = frames.pixels.shape
    block = _vision("<|video_pad|>", height, width)
    return "".join(f"<{seconds:.1f} seconds>{block}" for seconds in frame_pairs(frames))


def _vision(pad: str, height: int, width: int) -> str:
    return f"<|vision_start|>{pad * (height * width // TOKEN_PIXELS)}<|vision_end|>"


def _shapes(images: Sequence[Pixels]) -> list[tuple[int, ...]]:
    return [image.shape for image in images]


def harmless(text: str) -> str:
    """Break up special tokens of the tokenizer: any file may hold `<|im_end|>`."""
    return _SPECIAL.sub("< |", text)
