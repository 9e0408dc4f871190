"""Scores that the published models gave elsewhere, for a machine that has them.

    pytest -m weights tests/models/test_golden.py

The photos of the retrieval example are not part of this project: QVSEARCH_GOLDEN_PHOTOS names a
folder with img_0.jpg to img_9.jpg of QwenLM/Qwen3-VL-Embedding's examples.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qvsearch.models.registry import DEFAULT_MODEL, DEFAULT_RERANKER
from qvsearch.types import Detail, EmbedInput

pytestmark = pytest.mark.weights

QUERY = EmbedInput(
    "A woman playing with her dog on a beach at sunset.",
    instruction="Retrieve images or text relevant to the user's query.",
)
DOCUMENT = EmbedInput(
    "A woman shares a joyful moment with her golden retriever on a sun-drenched beach at sunset,"
    " as the dog offers its paw in a heartwarming display of companionship and trust."
)
PHOTOS = os.environ.get("QVSEARCH_GOLDEN_PHOTOS")

# by query, the score of each photo: from the published notebook, bfloat16, 1800 visual tokens
RECORDED = {
    "A man with a red helmet on a small moped on a dirt road. ": [
        0.5218, 0.0084, 0.2429, -0.1016, -0.0178, -0.0302, 0.0113, -0.0145, 0.1239, -0.0262,
    ],
    "The bathroom is clean and ready to be used. ": [
        0.0246, -0.1286, 0.0376, 0.2554, 0.0534, 0.0565, 0.5184, 0.475, 0.0129, 0.4571,
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def embedder():
    from qvsearch.runtime.local import LocalEmbedder

    return LocalEmbedder(DEFAULT_MODEL, dtype="float32")


def test_the_model_cards_query_and_document(embedder) -> None:
    query, document = embedder.embed([QUERY, DOCUMENT])
    assert float(query @ document) == pytest.approx(0.7896, abs=0.02)


@pytest.mark.skipif(PHOTOS is None, reason="QVSEARCH_GOLDEN_PHOTOS is not set")
def test_the_retrieval_examples_scores(embedder) -> None:
    from qvsearch.media.pixels import fit

    sources = []
    for number in range(10):
        with Image.open(Path(PHOTOS) / f"img_{number}.jpg") as image:
            sources.append(EmbedInput(images=(fit(image, Detail.HIGH.max_pixels),)))
    photos = embedder.embed(sources)
    instruction = "Find images matching this description."
    for text, recorded in RECORDED.items():
        [query] = embedder.embed([EmbedInput(text, instruction=instruction)])
        scores = photos @ query
        assert np.abs(scores - recorded).max() < 0.02
        assert scores.argmax() == np.argmax(recorded)


def test_the_model_cards_verdict() -> None:
    from qvsearch.runtime.local import LocalReranker

    [logit] = LocalReranker(DEFAULT_RERANKER, dtype="float32").logits(QUERY, [DOCUMENT])
    assert float(logit) == pytest.approx(1.82623, abs=0.02)
