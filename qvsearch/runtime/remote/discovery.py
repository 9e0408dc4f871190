"""Finds out what a server is: its kind, its model, and what it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from qvsearch.errors import ServersFailed
from qvsearch.runtime.remote import llama, vllm
from qvsearch.runtime.remote.http import Failure, Refused, Unusable

if TYPE_CHECKING:
    from qvsearch.choices import Wire
    from qvsearch.runtime.remote.http import Connection, Server
    from qvsearch.runtime.remote.protocol import Dialect, RerankDialect

Found = TypeVar("Found")


def discover(servers: Sequence[Server], wire: Wire, *, clips: bool) -> dict[Server, Dialect]:
    """Return the dialect of each embedding server, which is asked what it is.

    With `clips` it must take frames with their times. Raises ServersFailed, which names the server
    and the remedy, for one that cannot be reached or is none.
    """
    return _each(servers, partial(_embeddings, wire=wire, clips=clips))


def discover_rerankers(servers: Sequence[Server]) -> dict[Server, RerankDialect]:
    """Return the dialect of each reranking server; raises as `discover` does."""
    return _each(servers, _scores)


def _embeddings(connection: Connection, wire: Wire, *, clips: bool) -> Dialect:
    """Return the dialect of one server; another kind of server is one more branch here."""
    if (server := llama.find(connection, clips=clips)) is not None:
        return server
    dialect = vllm.embeddings(connection, _model(connection))
    if clips:
        vllm.check_videos(connection, dialect, wire)
    return dialect


def _scores(connection: Connection) -> RerankDialect:
    model = _model(connection)
    return vllm.Scores(model, vllm.score_path(connection, model))


def _model(connection: Connection) -> str:
    """Return the name that the server gives its first model; raises Unusable without one."""
    try:
        listed: Any = connection.get("/v1/models")
    except Refused as error:
        raise Unusable(
            f"it is not a model server: it lists no models ({error}); check the URL"
        ) from error
    models = listed.get("data") if isinstance(listed, dict) else None
    name = models[0].get("id") if isinstance(models, list) and models else None
    if not isinstance(name, str):
        raise Unusable("it lists no models; check the URL")
    return name


def _each(servers: Sequence[Server], find: Callable[[Connection], Found]) -> dict[Server, Found]:
    """Return what a function finds out over a connection to each server, all at once."""

    def found(server: Server) -> Found:
        try:
            with server.connection() as connection:
                return find(connection)
        except Failure as error:
            raise ServersFailed(str(server.error(error))) from error

    with ThreadPoolExecutor(len(servers)) as threads:
        return dict(zip(servers, threads.map(found, servers), strict=True))
