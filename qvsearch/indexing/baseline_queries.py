"""The generic queries of a library's bank, and their vectors, embedded once per model.

It knows what people keep; `retrieval.calibration` says what a row's scores with them mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.cache import cache_folder, file_name, keep_vectors, read_vectors
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.models.registry import DEMO
from qvsearch.types import EmbedInput, Precision

if TYPE_CHECKING:
    from qvsearch.types import Embedder, Fingerprint, Vectors

QUERIES = (
    "a person",
    "a group of friends smiling at the camera",
    "a baby",
    "children playing outside",
    "an old couple",
    "a portrait of a woman",
    "a man at work",
    "a crowd in the street",
    "a dog",
    "a cat sleeping",
    "birds in the sky",
    "a horse in a field",
    "a mountain landscape",
    "a beach and the sea",
    "a forest path",
    "flowers in a garden",
    "snow in winter",
    "a sunset",
    "a river or a lake",
    "a night sky",
    "a city street",
    "an old building",
    "a church",
    "a bridge",
    "a kitchen",
    "a living room",
    "a bathroom",
    "an office desk",
    "a shop",
    "a plate of food",
    "a birthday cake",
    "drinks on a table",
    "fruit and vegetables",
    "a car",
    "a bicycle",
    "a train at a station",
    "an airplane",
    "a boat",
    "a wedding",
    "a concert",
    "a football match",
    "people dancing at a party",
    "a day on holiday",
    "clothes and shoes",
    "a book",
    "tools and machines",
    "toys",
    "a painting on a wall",
    "a screenshot of a phone",
    "a web page",
    "a chart or a table of numbers",
    "a scanned letter",
    "a receipt or an invoice",
    "a map",
    "handwritten notes",
    "source code",
    "how to install a program",
    "the cost of something",
    "the history of a country",
    "health and medicine",
    "a recipe",
    "minutes of a meeting",
    "a quiet, lonely place",
    "something colourful",
)
_DEMO_SEED = 64  # of the drawn world's queries: any will do, and these are always the same
_BATCH = 8  # queries embedded at once
_BANKS = 20  # of the models used last


def queries(model: str) -> tuple[str, ...]:
    """Return what to ask of a model: what people keep or, of the demo's, what it has seen."""
    if model != DEMO:
        return QUERIES
    from qvsearch.demo.world import caption, phrase, random_part, random_scene

    rng = np.random.default_rng(_DEMO_SEED)
    found: dict[str, None] = {}
    while len(found) < len(QUERIES):
        scene = random_scene(rng)
        whole = len(found) % 2 == 1
        found[caption(scene, rng) if whole else phrase(random_part(scene, rng), rng)] = None
    return tuple(found)


def bank_vectors(embedder: Embedder, made: Fingerprint) -> Vectors:
    """Return the generic queries' vectors (m, dim), from the user's cache folder where they are.

    The embedder is the fingerprint's own. Raises QvsearchError where it fails.
    """
    texts = queries(made.model)
    path = _cache_path(made, texts)
    kept = read_vectors(path, (len(texts), made.dim))
    if kept is not None:
        return kept
    inputs = [EmbedInput(text=text, instruction=QUERY_INSTRUCTION) for text in texts]
    batches = [inputs[start : start + _BATCH] for start in range(0, len(inputs), _BATCH)]
    vectors = np.concatenate([embedder.embed(batch) for batch in batches])
    keep_vectors(path, vectors, _BANKS)
    return vectors


def _cache_path(made: Fingerprint, texts: tuple[str, ...]) -> Path:
    """Name the file after everything that decides a query's vector."""
    decides = (made.model, made.revision, made.dim, made.prompt_layout, QUERY_INSTRUCTION, texts)
    own = () if made.precision == Precision.FLOAT else (made.precision,)
    return cache_folder("banks") / file_name(*decides, *own)
