"""All endpoints of the server, by path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qvsearch.errors import QvsearchError
from qvsearch.version import __version__
from qvsearch.web import (
    albums,
    asking,
    desktop,
    groups,
    items,
    media,
    overview,
    pages,
    receiving,
    searching,
    selection,
)
from qvsearch.web.guard import Guard
from qvsearch.web.problems import Json, error_answer

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from qvsearch.web.guard import Access
    from qvsearch.web.services import Services

GET, POST = "GET", "POST"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint: its path, what answers it, its parameters, and a description for programs."""

    method: str
    path: str
    answer: Callable[[Request], Awaitable[Response]]
    text: str
    parameters: Iterable[str] = ()

    def record(self) -> dict[str, object]:
        """Return the endpoint as `/api` describes it."""
        return {
            "method": self.method,
            "path": self.path,
            "parameters": sorted(self.parameters),
            "answer": self.text,
        }


SEARCH = asking.QUERY
ENDPOINTS = (
    Endpoint(GET, "/api/status", overview.status, "The state of each library."),
    Endpoint(
        GET, "/api/fields", overview.fields, "A list: `status --fields --json` of each library."
    ),
    Endpoint(
        GET,
        "/api/search",
        searching.search,
        "Hits of a query; without one, the files that pass the filters, the newest first.",
        {*SEARCH, "offset", "limit"},
    ),
    Endpoint(GET, "/api/saved", albums.saved, "A list of saved searches."),
    Endpoint(GET, "/api/items/{id}", items.item, "A file with all its moments or passages."),
    Endpoint(
        GET, "/api/items/{id}/explain", items.explain, "`explain --json` of the file.", SEARCH
    ),
    Endpoint(
        GET,
        "/api/items/{id}/text",
        items.text,
        "The passage with a line of a text and the lines around it, or the passages of a section.",
        {"line", "section"},
    ),
    Endpoint(
        POST,
        "/api/items/{id}/open",
        desktop.open_file,
        "Opens the file in its program, at `start` or `page`; only on the computer of the server.",
        {"start", "page"},
    ),
    Endpoint(
        POST,
        "/api/items/{id}/reveal",
        desktop.reveal,
        "Shows the file in its folder; only on the computer of the server.",
    ),
    Endpoint(
        GET,
        "/media/{id}/thumbnail",
        media.thumbnail,
        "A picture of an image, a moment or a `page`, as WebP; `side` is 320, 640 or 1280.",
        {"side", "start", "end", "page"},
    ),
    Endpoint(GET, "/media/{id}/file", media.whole_file, "The file itself, also a range of it."),
    Endpoint(
        GET,
        "/media/{id}/play",
        media.play,
        "A moment of a video as browsers play it: at most 60 s as MP4, or a redirect to the file.",
        {"start", "end"},
    ),
    Endpoint(
        POST,
        "/api/uploads",
        receiving.upload,
        "Takes a picture for the parameter `upload`, as the body; at most 30 MB.",
    ),
    Endpoint(GET, "/api/uploads/{token}", receiving.uploaded, "The picture, small, as WebP."),
    Endpoint(
        POST,
        "/api/selection",
        selection.selection,
        "A download of files: `id` (repeated) and `form`, which is `zip`, `gallery` or `paths`.",
    ),
    Endpoint(
        GET,
        "/api/duplicates",
        groups.duplicates,
        "`groups`, as `dupes --json` prints them; status 202 until they are known.",
        {"kind"},
    ),
    Endpoint(
        GET,
        "/api/clusters",
        groups.clusters,
        "`clusters`, as `cluster --json` prints them; status 202 until they are known.",
    ),
)
PAGES = ("/", "/duplicates", "/clusters")


async def description(_: Request) -> Response:
    """Answer `GET /api`."""
    return Json({"version": __version__, "endpoints": [each.record() for each in ENDPOINTS]})


def make_app(services: Services, access: Access, *, is_local: bool) -> ASGIApp:
    """Return the server's application; `is_local` if only this computer reaches it."""
    app = Starlette(
        routes=[
            *(Route(path, pages.page) for path in PAGES),
            Route("/static/{name:path}", pages.static),
            Route("/api", description),
            *(Route(each.path, each.answer, methods=[each.method]) for each in ENDPOINTS),
        ],
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
