"""Queries and documents for the reranker."""

import numpy as np
from PIL import Image

from qvsearch.types import EmbedInput

JUDGE = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct"
    ' provided. Note that the answer can only be "yes" or "no".'
)


INSTRUCTION = "Given a search query, retrieve relevant candidates that answer the query."


def pixels(height: int, width: int, seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height)))


def parts(source: EmbedInput) -> list[dict]:
    content: list[dict] = [
        {"type": "image", "image": Image.fromarray(image), "min_pixels": 1024}
        for image in source.images
    ]
    if source.text is not None:
        content.append({"type": "text", "text": source.text})
    return content


def conversation(query: EmbedInput, document: EmbedInput) -> list[dict]:
    """Say a pair in the messages that the published reranker builds."""
    instruct = f"<Instruct>: {query.instruction or INSTRUCTION}"
    return [
        {"role": "system", "content": [{"type": "text", "text": JUDGE}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": instruct},
                {"type": "text", "text": "<Query>:"},
                *parts(query),
                {"type": "text", "text": "\n<Document>:"},
                *parts(document),
            ],
        },
    ]


QUERIES = [
    EmbedInput("a dog on a beach"),
    EmbedInput(images=(pixels(64, 64, 9),), instruction="Find the same scene."),
    EmbedInput("but at night", images=(pixels(64, 96, 8),)),
]


DOCUMENTS = [
    EmbedInput("der Hund am Strand"),
    EmbedInput(images=(pixels(96, 64, 1),)),
    EmbedInput("sunset", images=(pixels(64, 64, 2), pixels(64, 128, 3))),
    EmbedInput("x" * 200),
]
