"""All endpoints of the server, by path."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from qvsearch.errors import QvsearchError
from qvsearch.web import media, pages, searching
from qvsearch.web.guard import Guard
from qvsearch.web.problems import Json, error_answer

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from qvsearch.web.guard import Access
    from qvsearch.web.services import Services

ROUTES = [
    Route("/", pages.page),
    Route("/duplicates", pages.page),
    Route("/clusters", pages.page),
    Route("/static/{name:path}", pages.static),
    Route("/api/search", searching.search),
    Route("/media/{id}/thumbnail", media.thumbnail),
    Route("/media/{id}/file", media.whole_file),
]


def make_app(services: Services, access: Access, *, is_local: bool) -> ASGIApp:
    """Return the server's application; `is_local` if only this computer reaches it."""
    app = Starlette(
        routes=ROUTES,
        exception_handlers={QvsearchError: _failed, HTTPException: _refused},
    )
    app.router.redirect_slashes = False
    app.state.services = services
    app.state.is_local = is_local
    app.state.static = pages.static_files()
    app.state.templates = pages.templates()
    return Guard(app, access)


def _failed(_: Request, error: Exception) -> Response:
    if not isinstance(error, QvsearchError):  # Starlette calls it for its class only
        raise error
    return error_answer(error)


def _refused(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.NOT_FOUND
    sentence = {
        HTTPStatus.NOT_FOUND: "there is no such endpoint; /api lists them",
        HTTPStatus.METHOD_NOT_ALLOWED: "the endpoint does not support this method",
    }.get(HTTPStatus(status), HTTPStatus(status).phrase.lower())
    headers = error.headers if isinstance(error, HTTPException) else None
    return Json({"error": sentence}, status, headers)
