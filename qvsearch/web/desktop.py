"""The endpoints that open a file in its program, or show it in its folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from qvsearch import opening
from qvsearch.errors import QvsearchError
from qvsearch.web.asking import check_names, read_number, read_seconds
from qvsearch.web.guard import is_loopback
from qvsearch.web.media import LAST_PAGE
from qvsearch.web.problems import Json, Problem

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from qvsearch.web.services import Services


async def open_file(request: Request) -> Response:
    """Answer `POST /api/items/ID/open`."""
    check_names(request.query_params, ("start", "page"))
    start = read_seconds(request.query_params, "start")
    page = read_number(request.query_params, "page", 1, LAST_PAGE)
    return await _shown(request, partial(opening.open_file, at=start, page=page))


async def reveal(request: Request) -> Response:
    """Answer `POST /api/items/ID/reveal`."""
    check_names(request.query_params, ())
    return await _shown(request, opening.reveal)


async def _shown(request: Request, show: Callable[[bytes], object]) -> Response:
    services: Services = request.app.state.services
    client = request.client
    if not (request.app.state.is_local and client is not None and is_loopback(client.host)):
        raise Problem(
            HTTPStatus.FORBIDDEN, "files are opened only on the computer that shows the page"
        )
    location = await services.lanes.lookups.run(services.locate, request.path_params["id"])
    try:
        await services.lanes.reads.run(show, location)
    except QvsearchError as error:
        raise Problem(HTTPStatus.NOT_IMPLEMENTED, str(error)) from error
    return Json({"done": True})
