"""The model in a warm process, for which no torch is imported; where that fails, in this one."""

from __future__ import annotations

import socket
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.runtime.inputs import QueriesAndDocuments, ready
from qvsearch.types import Detail
from qvsearch.wire import pack_inputs, receive, send

if TYPE_CHECKING:
    from qvsearch.types import Embedder, EmbedInput, Reranker, Vectors
    from qvsearch.wire import Array

Local = TypeVar("Local")

BEAT = 1.0  # seconds between signs of life of a process that computes
SILENCE = 10.0  # seconds without one, after which it is given up
UNIT = 1e-3  # how far from 1 the length of a vector may be


class _Warm(Generic[Local]):
    """A connection to a warm process, or what was loaded here when that failed."""

    def __init__(self, connection: socket.socket, load: Callable[[], Local]) -> None:
        """Take a greeted connection, and what loads the same model in this process."""
        connection.settimeout(SILENCE)
        weakref.finalize(self, connection.close)
        self._connection = connection
        self._load = load
        self._local: Local | None = None

    def ask(self, inputs: Sequence[EmbedInput], dim: int | None = None) -> Array | None:
        """Return the answer; None where none can be had. Raises QvsearchError as the model does."""
        if self._local is not None:
            return None
        said, arrays = pack_inputs(inputs)
        try:
            send(self._connection, {"do": "compute", "dim": dim, "inputs": said}, arrays)
            while (answer := receive(self._connection))[0].get("state") == "busy":
                pass
        except (OSError, ValueError, EOFError):
            self._connection.close()
            return None
        header, found = answer
        match header.get("state"), found:
            case "failed", []:
                raise QvsearchError(str(header.get("reason")))
            case "done", [array]:
                return array
        return None

    def here(self) -> Local:
        """Return the model in this process, loading it if need be."""
        if self._local is None:
            self._connection.close()
            self._local = self._load()
        return self._local


class WarmEmbedder(QueriesAndDocuments):
    """Embeds in a warm process, and in this one from the first time on that it gives no answer."""

    def __init__(
        self,
        connection: socket.socket,
        dim: int,
        load: Callable[[], Embedder],
        detail: Detail = Detail.MEDIUM,
    ) -> None:
        """Take a greeted connection, the vectors' length, and what loads the same model here."""
        self.dim = dim
        self.detail = detail
        self._warm = _Warm(connection, load)

    def embed(self, inputs: Sequence[EmbedInput]) -> Vectors:
        """Return unit rows (n, dim), float32, row i for input i; raises QvsearchError on NaN."""
        inputs = ready(inputs, self.detail)
        vectors = self._warm.ask(inputs, self.dim)
        if vectors is not None and _are_unit_rows(vectors, (len(inputs), self.dim)):
            return cast("Vectors", vectors)
        return self._warm.here().embed(inputs)


class WarmReranker:
    """Judges in a warm process, and in this one from the first time on that it gives no answer."""

    def __init__(self, connection: socket.socket, load: Callable[[], Reranker]) -> None:
        """Take a greeted connection, and what loads the same model here."""
        self._warm = _Warm(connection, load)

    def score(self, query: EmbedInput, documents: Sequence[EmbedInput]) -> list[float]:
        """Return P(relevant) of each document, 0 to 1."""
        query, *documents = ready([query, *documents])
        scores = self._warm.ask([query, *documents])
        if scores is not None and _are_probabilities(scores, len(documents)):
            return [float(each) for each in scores]
        return self._warm.here().score(query, documents)


def _are_unit_rows(vectors: Array, shape: tuple[int, int]) -> bool:
    if vectors.shape != shape or vectors.dtype != np.float32:
        return False
    return bool((np.abs(np.linalg.norm(vectors, axis=1) - 1) <= UNIT).all())


def _are_probabilities(scores: Array, count: int) -> bool:
    return scores.shape == (count,) and bool(((scores >= 0) & (scores <= 1)).all())
