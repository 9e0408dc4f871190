"""The cache of query vectors in the user's cache folder."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.cache import cache_folder, file_name, keep_vectors, read_vectors
from qvsearch.runtime.inputs import QueriesAndDocuments, ready

if TYPE_CHECKING:
    from qvsearch.types import DecodeOptions, Embedder, EmbedInput, Pixels, Vectors

FOLDER = "queries"
MOST = 1000  # vectors in the cache: 8 MB of the 2B model's


class CachedEmbedder(QueriesAndDocuments):
    """Embeds each input once; from then on its vector is read and no model is loaded."""

    def __init__(
        self,
        load: Callable[[], Embedder],
        dim: int,
        *decides: object,
        decode_options: DecodeOptions = QueriesAndDocuments.decode_options,
    ) -> None:
        """Take a function that loads the embedder, and all but the input that affects a vector."""
        self.dim = dim
        self.decode_options = decode_options
        self._loaded = cache(load)
        self._loading = threading.Lock()
        self._decides = decides

    def load(self) -> Embedder:
        """Return the model, which is loaded once, whichever thread needs it first."""
        with self._loading:
            return self._loaded()

    def embed(self, inputs: Sequence[EmbedInput]) -> Vectors:
        """Return unit rows (n, dim), float32, row i for input i; raises what loading raises."""
        inputs = ready(inputs, self.decode_options)
        paths = [self._path(each) for each in inputs]
        cached = [read_vectors(path, (1, self.dim)) for path in paths]
        missing = [number for number, vector in enumerate(cached) if vector is None]
        if missing:
            vectors = self.load().embed([inputs[number] for number in missing])
            for number, vector in zip(missing, vectors, strict=True):
                cached[number] = vector[None]
                keep_vectors(paths[number], vector[None], MOST)
        none = np.empty((0, self.dim), np.float32)
        rows: Vectors = np.concatenate([none, *(each for each in cached if each is not None)])
        return rows

    def _path(self, source: EmbedInput) -> Path:
        """Return a file name that encodes everything that affects a vector, such as the pixels."""
        images = [_content(each) for each in source.images]
        video = source.video and (_content(source.video.pixels), source.video.times)
        name = file_name(self._decides, source.instruction, source.text, images, video)
        return cache_folder(FOLDER) / name


def _content(pixels: Pixels) -> tuple[tuple[int, ...], str]:
    return pixels.shape, hashlib.sha256(pixels.tobytes()).hexdigest()
