"""Proves that a server computes the scores of a reranker, before any of them is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.cache import cache_folder, file_name, keep_vectors, read_vectors
from qvsearch.errors import QvsearchError, ServersFailed
from qvsearch.models.registry import MODELS, Weights, find
from qvsearch.runtime.remote.handshake import NEAR, Comparison
from qvsearch.runtime.remote.references import Form, own_inputs, recorded_scores
from qvsearch.types import Detail, EmbedInput

if TYPE_CHECKING:
    from qvsearch.runtime.remote.http import Server
    from qvsearch.runtime.remote.protocol import RerankDialect
    from qvsearch.runtime.remote.reranker import RemoteReranker

QUERY = EmbedInput("a red disc before waves of colour")
_CACHED = 20  # models whose scores are cached, those used last


class RerankHandshake:
    """The comparisons of several servers of a reranker, each made once in this process.

    `reranker` returns a reranker on some servers. The scores are compared with those of the model
    on this computer, or else with a recorded one of the published model.
    """

    _made: dict[tuple[str, str, str], Comparison] = {}  # noqa: RUF012 - all of this process share it

    def __init__(
        self,
        servers: Mapping[Server, RerankDialect],
        reranker: Callable[[Mapping[Server, RerankDialect]], RemoteReranker],
        model: str,
    ) -> None:
        self.servers, self.reranker, self._model = dict(servers), reranker, model

    def prove(self) -> list[Comparison]:
        """Return the comparison of each server; raises ServersFailed, which names the cause."""
        return [self._comparison(server) for server in self.servers]

    def _comparison(self, server: Server) -> Comparison:
        name = getattr(self.servers[server], "model", "")
        key = server.url, name, self._model
        if key not in self._made:
            try:
                self._made[key] = self._compare(server, name)
            except QvsearchError as error:
                raise ServersFailed(str(error)) from error
        return self._made[key]

    def _compare(self, server: Server, name: str) -> Comparison:
        origin, query, documents, scores = self._known(server, name)
        if not documents:
            return Comparison(server.url, Form.PAIR, origin, 0)
        computed = self.reranker({server: self.servers[server]}).score(query, documents)
        error = float(np.abs(np.array(computed) - scores).max())
        if not error <= NEAR:
            raise server.error(
                f"it is not used: its scores differ by {error:.3f} from {origin}, and at most"
                f" {NEAR} is allowed; its template, its --hf-overrides or its model are others:"
                " start it as qvsearch serve-model --reranker prints"
            )
        return Comparison(server.url, Form.PAIR, origin, len(documents), error=error)

    def _known(
        self, server: Server, name: str
    ) -> tuple[str, EmbedInput, list[EmbedInput], list[float]]:
        """Return where known scores are from, the query, its documents and the scores."""
        model = self._model
        if (weights := find(model)) is not None:
            documents = [
                own_inputs(Form.TEXT, Detail.LOW)[0],
                *own_inputs(Form.PICTURE, Detail.LOW),
            ]
            return "the model on this computer", QUERY, documents, _scores(weights, documents)
        published = MODELS.get(model)
        recorded = recorded_scores(model, "" if published is None else published.revision)
        if recorded:
            first = recorded[0]
            return f"the recorded score of {model}", first.query, [first.document], [first.score]
        if name != model:
            raise server.error(
                f"it is not used: it names its model {name}, and {model} is not on this computer"
                f" to compare scores with; download it with: qvsearch models pull {model}"
            )
        return "its name", QUERY, [], []


def _scores(weights: Weights, documents: list[EmbedInput]) -> list[float]:
    """Return the scores of the model on this disk, which are cached: loading it takes long."""
    path = cache_folder("probes") / file_name(weights.revision, Form.PAIR, QUERY.text)
    scores = read_vectors(path, (len(documents), 1))
    if scores is None:
        from qvsearch.runtime.local import LocalReranker

        reranker = LocalReranker(weights.name)
        scores = np.array([reranker.score(QUERY, [each]) for each in documents], np.float32)
        keep_vectors(path, scores, _CACHED)
    return [float(each) for each in scores[:, 0]]
