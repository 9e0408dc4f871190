"""Inputs of the embedding model."""

import numpy as np
from PIL import Image

from qvsearch.types import EmbedInput


def pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height)))


def conversation(source: EmbedInput) -> list[dict]:
    """Say an input in the messages that the published embedder builds."""
    content = [
        {"type": "image", "image": Image.fromarray(image), "min_pixels": 1024}
        for image in source.images
    ]
    if source.text is not None:
        content.append({"type": "text", "text": source.text})
    instruction = source.instruction or "Represent the user's input."
    return [
        {"role": "system", "content": [{"type": "text", "text": instruction}]},
        {"role": "user", "content": content},
    ]


def mixed_inputs() -> list[EmbedInput]:
    query = "Retrieve images or text relevant to the user's query."
    return [
        EmbedInput("a dog on a beach at sunset", instruction=query),
        EmbedInput("  der Hund\n\n海滩上的狗 🐕  "),
        EmbedInput(images=(pixels(96, 160),)),
        EmbedInput("a dog", images=(pixels(64, 64, 1),)),
        EmbedInput("both", images=(pixels(64, 96, 2), pixels(128, 64, 3)), instruction=query),
        EmbedInput(images=(pixels(160, 96, 4),)),
        EmbedInput("x" * 300),
    ]
