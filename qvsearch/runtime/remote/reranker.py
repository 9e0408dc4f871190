"""The reranker whose scores servers compute."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from qvsearch.choices import Wire
from qvsearch.errors import QvsearchError
from qvsearch.models.prompt import harmless
from qvsearch.runtime.inputs import ready
from qvsearch.runtime.remote.dispatch import Pool, Refusal

if TYPE_CHECKING:
    from qvsearch.runtime.remote.http import Connection, Server
    from qvsearch.runtime.remote.protocol import RerankDialect
    from qvsearch.runtime.remote.texts import Prepared, Texts
    from qvsearch.types import EmbedInput


class RemoteReranker:
    """Scores pairs on servers of one model, which share the work."""

    def __init__(
        self,
        servers: Mapping[Server, RerankDialect],
        texts: Texts,
        wire: Wire = Wire.LOSSLESS,
    ) -> None:
        """Take servers with their dialects."""
        self._dialects = dict(servers)
        self._texts, self._wire = texts, wire
        self._pool = Pool(servers)
        weakref.finalize(self, self._pool.close)

    def score(self, query: EmbedInput, documents: Sequence[EmbedInput]) -> list[float]:
        """Return P(relevant) of each document, 0 to 1.

        Raises QvsearchError for a pair that the servers refuse, and ServersFailed if none computes.
        """
        query, *documents = ready([query, *documents])
        prepared = [self._texts.pair(query, each) for each in documents]
        sent = replace(query, text=None if query.text is None else harmless(query.text))
        alone = [query.video is not None or each.source.video is not None for each in prepared]
        tokens = [each.tokens for each in prepared]
        outcomes = self._pool.submit(partial(self._compute, sent), prepared, tokens, alone).result()
        for each in outcomes:
            if isinstance(each, Refusal):
                raise QvsearchError(each.reason)
        return [each for each in outcomes if not isinstance(each, Refusal)]

    def _compute(
        self, query: EmbedInput, connection: Connection, documents: Sequence[Prepared]
    ) -> list[float]:
        dialect = self._dialects[connection.server]
        request = dialect.request(query, documents, self._wire)
        return dialect.scores(connection.post(request.path, request.body), len(documents))
