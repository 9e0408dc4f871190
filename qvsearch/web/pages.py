"""The page and its files, which are read once when the server starts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.responses import HTMLResponse, Response

from qvsearch.version import __version__
from qvsearch.web.problems import Problem
from qvsearch.web.streaming import not_modified

if TYPE_CHECKING:
    from starlette.requests import Request

HERE = Path(__file__).parent
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/manifest+json",
}
ASK_AGAIN = {"cache-control": "private, no-cache"}  # another version may have other files


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file of the page."""

    body: bytes
    type: str
    etag: str


def static_files() -> dict[str, StaticFile]:
    """Return the files of the page by name; there are no others."""
    folder = HERE / "static"
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in TYPES and path.is_file():
            body = path.read_bytes()
            etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
            files[path.relative_to(folder).as_posix()] = StaticFile(body, TYPES[path.suffix], etag)
    return files


def templates() -> Environment:
    """Return the templates of the page, which escape every value."""
    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
    )


async def static(request: Request) -> Response:
    """Answer `GET /static/NAME`."""
    files: dict[str, StaticFile] = request.app.state.static
    file = files.get(request.path_params["name"])
    if file is None:
        raise Problem(HTTPStatus.NOT_FOUND, "the page has no such file")
    if (unchanged := not_modified(request, file.etag, ASK_AGAIN)) is not None:
        return unchanged
    headers = {"content-type": file.type, "etag": file.etag, **ASK_AGAIN}
    return Response(file.body, headers=headers)


async def page(request: Request) -> Response:
    """Answer `GET /`, `/duplicates` and `/clusters`: the page, which reads the path itself."""
    template = request.app.state.templates.get_template("index.html")
    view = request.url.path.strip("/") or "search"
    return HTMLResponse(template.render(version=__version__, view=view))
