"""The embedder whose vectors servers compute."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.choices import Wire
from qvsearch.errors import InputsRefused
from qvsearch.runtime.inputs import QueriesAndDocuments, ready
from qvsearch.runtime.remote.dispatch import Pool, Refusal
from qvsearch.runtime.remote.protocol import BadAnswer
from qvsearch.runtime.remote.texts import Unfit

if TYPE_CHECKING:
    from qvsearch.runtime.remote.http import Connection, Server
    from qvsearch.runtime.remote.protocol import Dialect
    from qvsearch.runtime.remote.texts import Prepared, Texts
    from qvsearch.types import DecodeOptions, EmbedInput, Vectors

MOST_BATCHES = 8  # at once; each may have 100 MB of pixels
NOT_FINITE = "the server computed a vector that is not finite; start it with --dtype float32"


class RemoteEmbedder(QueriesAndDocuments):
    """Embeds on servers of one model, which share the work; safe for several threads.

    `at_once` batches keep them busy. Pictures are prepared and texts are cut here.
    """

    def __init__(
        self,
        servers: Mapping[Server, Dialect],
        texts: Texts,
        dim: int,
        decode_options: DecodeOptions = QueriesAndDocuments.decode_options,
        wire: Wire = Wire.LOSSLESS,
        prove: Callable[[Sequence[EmbedInput]], None] = lambda _: None,
    ) -> None:
        """Take servers with their dialects, and the dimension that vectors are cut to.

        `prove` raises QvsearchError for servers that must not compute some inputs.
        """
        self.dim = dim
        self.decode_options = decode_options
        self.servers = dict(servers)
        self.texts = texts
        self.at_once = min(len(servers) + 1, MOST_BATCHES)
        self._wire, self._prove = wire, prove
        self._pool = Pool(servers)
        weakref.finalize(self, self._pool.close)

    def alone(self) -> list[RemoteEmbedder]:
        """Return an embedder for each server, e.g. to compare their vectors."""
        return [
            RemoteEmbedder({server: dialect}, self.texts, self.dim, self.decode_options, self._wire)
            for server, dialect in self.servers.items()
        ]

    def embed(self, inputs: Sequence[EmbedInput]) -> Vectors:
        """Return unit rows (n, dim), float32, row i for input i.

        Raises InputsRefused if some inputs have no vector, ServersFailed if no server computes, and
        QvsearchError for inputs of other types, and if a long text's tokenizer is not there.
        """
        return self.submit(inputs).result()

    def submit(self, inputs: Sequence[EmbedInput]) -> Future[Vectors]:
        """Begin to embed; the result, or what it raises, is that of `embed`."""
        refused: dict[int, str] = {}
        prepared: dict[int, Prepared] = {}
        inputs = ready(inputs, self.decode_options)
        self._prove(inputs)
        for row, source in enumerate(inputs):
            try:
                prepared[row] = self.texts.document(source)
            except Unfit as error:
                refused[row] = str(error)
        sources = list(prepared.values())
        outcomes = self._pool.submit(
            self._compute,
            sources,
            [each.tokens for each in sources],
            [each.source.video is not None for each in sources],
        )
        vectors: Future[Vectors] = Future()

        def finish(done: Future[list[Vectors | Refusal]]) -> None:
            try:
                results = dict(zip(prepared, done.result(), strict=True))
                vectors.set_result(self._joined(len(inputs), results, refused))
            except Exception as error:  # noqa: BLE001 - it reaches the caller as the result
                vectors.set_exception(error)

        outcomes.add_done_callback(finish)
        return vectors

    def _compute(
        self, connection: Connection, inputs: Sequence[Prepared]
    ) -> list[Vectors | Refusal]:
        """Return the vectors (dim,) of one request."""
        dialect = self.servers[connection.server]
        request = dialect.request(inputs, self._wire)
        rows = dialect.vectors(connection.post(request.path, request.body), len(inputs))
        width = rows.shape[1]
        if width < self.dim:
            raise BadAnswer(
                f"its vectors have {width} dimensions, not {self.dim}; it serves another model"
            )
        return [_cut(row, self.dim) for row in rows]

    def _joined(
        self, count: int, results: dict[int, Vectors | Refusal], refused: dict[int, str]
    ) -> Vectors:
        vectors = np.full((count, self.dim), np.nan, np.float32)
        for row, result in results.items():
            if isinstance(result, Refusal):
                refused[row] = result.reason
            else:
                vectors[row] = result
        if refused:
            raise InputsRefused(dict(sorted(refused.items())), vectors)
        return vectors


def _cut(row: Vectors, dim: int) -> Vectors | Refusal:
    """Return the unit vector of the first `dim` values."""
    cut = row[:dim]
    length = np.linalg.norm(cut)
    if not np.isfinite(length) or not length:
        return Refusal(NOT_FINITE)
    unit: Vectors = (cut / length).astype(np.float32)
    return unit
