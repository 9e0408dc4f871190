"""The 64 generic queries of a library's baseline, and their vectors.

Every row is compared with them once; `retrieval.calibration` measures queries by the result. One
text file has what people look for. Another has phrases of the demo's world, which is all that the
demo's model was trained on. A changed line changes the baselines of all new libraries.
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

_BATCH = 8  # queries embedded at once
_CACHED = 20  # models whose vectors are cached, those used last


def _lines(name: str) -> tuple[str, ...]:
    return tuple(Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines())


QUERIES = _lines("baseline_queries.txt")


def queries(model: str) -> tuple[str, ...]:
    """Return the baseline queries for a model: everyday ones, or those of the demo's world."""
    return _lines("baseline_queries_demo.txt") if model == DEMO else QUERIES


def baseline_vectors(embedder: Embedder, fingerprint: Fingerprint) -> Vectors:
    """Return the vectors (m, dim) of the baseline queries, from the user's cache if they are there.

    Callers must pass the embedder of the fingerprint. Raises QvsearchError if it fails.
    """
    texts = queries(fingerprint.model)
    path = _cache_path(fingerprint, texts)
    cached = read_vectors(path, (len(texts), fingerprint.dim))
    if cached is not None:
        return cached
    inputs = [EmbedInput(text=text, instruction=QUERY_INSTRUCTION) for text in texts]
    batches = [inputs[start : start + _BATCH] for start in range(0, len(inputs), _BATCH)]
    vectors = np.concatenate([embedder.embed(batch) for batch in batches])
    keep_vectors(path, vectors, _CACHED)
    return vectors


def _cache_path(fingerprint: Fingerprint, texts: tuple[str, ...]) -> Path:
    """Return a file name that encodes everything that affects a query's vector."""
    model = (fingerprint.model, fingerprint.revision, fingerprint.dim, fingerprint.prompt_layout)
    # libraries of floats have had no precision in the name
    own = () if fingerprint.precision == Precision.FLOAT else (fingerprint.precision,)
    return cache_folder("banks") / file_name(*model, QUERY_INSTRUCTION, texts, *own)
