"""The vectors of the generic queries of a library's baseline.

Every row is compared with them once; `retrieval.calibration` measures queries by the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qvsearch.cache import cache_folder, file_name, keep_vectors, read_vectors
from qvsearch.models.generic_queries import QUERIES as QUERIES
from qvsearch.models.generic_queries import queries as queries
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.types import EmbedInput, Precision

if TYPE_CHECKING:
    from pathlib import Path

    from qvsearch.types import Embedder, Fingerprint, Vectors

_BATCH = 8  # queries embedded at once
_CACHED = 20  # models whose vectors are cached, those used last


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
