"""The endpoints of groups: near-duplicates, and files that show or say the like."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from qvsearch.duplicates.groups import duplicate_groups
from qvsearch.library.filters import parse_kinds
from qvsearch.published.opening import open_at
from qvsearch.records.cluster import cluster_record
from qvsearch.records.library import group_record
from qvsearch.tasks.extras import Missing
from qvsearch.tasks.grouping.cluster import ClusterOptions, find_clusters
from qvsearch.types import Kind
from qvsearch.web.asking import check_names
from qvsearch.web.problems import Json, Problem

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from qvsearch.duplicates.groups import Group
    from qvsearch.retrieval.shelf import Chosen, Opened
    from qvsearch.web.services import Services

Records = list[dict[str, object]]


async def duplicates(request: Request) -> Response:
    """Answer `GET /api/duplicates`."""
    services: Services = request.app.state.services
    check_names(request.query_params, ("kind",))
    kinds = frozenset(parse_kinds(request.query_params.getlist("kind"))) or None
    chosen = await services.lanes.lookups.run(services.shelf.now)

    def groups() -> Records:
        found = [group for each in chosen.opened for group in _duplicates(each, kinds)]
        found.sort(key=lambda group: -group.reclaimable)
        return [group_record(number, group) for number, group in enumerate(found, start=1)]

    return _answer(services, ("duplicates", kinds), chosen, "groups", groups)


def _duplicates(opened: Opened, kinds: frozenset[Kind] | None) -> list[Group]:
    return duplicate_groups(open_at(opened.library.folder), kinds)


async def clusters(request: Request) -> Response:
    """Answer `GET /api/clusters`."""
    services: Services = request.app.state.services
    check_names(request.query_params, ())
    chosen = await services.lanes.lookups.run(services.shelf.now)

    def groups() -> Records:
        return [record for each in chosen.opened for record in _clusters(each)]

    return _answer(services, "clusters", chosen, "clusters", groups)


def _clusters(opened: Opened) -> Records:
    library = open_at(opened.library.folder)
    found = find_clusters(library, None, ClusterOptions(), lambda: opened.embedder)
    return [cluster_record(each, library.folder) for each in found]


def _answer(
    services: Services,
    question: object,
    chosen: Chosen,
    name: str,
    answer: Callable[[], Records],
) -> Response:
    """Return the records if they are known, else 202; an older state's while there is a newer."""
    outcome = services.surveys.outcome(question, chosen.state, answer)
    if outcome is None:
        return Json({"working": True}, HTTPStatus.ACCEPTED)
    if isinstance(outcome.error, Missing):
        raise Problem(HTTPStatus.NOT_IMPLEMENTED, str(outcome.error))
    if outcome.error is not None:
        raise outcome.error
    return Json({name: outcome.result})
