"""The endpoints of pictures and files: by an item's identity, never by a path."""

from __future__ import annotations

import os
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import RedirectResponse, Response

from qvsearch.files import open_file
from qvsearch.kinds import is_packed
from qvsearch.types import Kind
from qvsearch.web.asking import check_names, read_number, read_seconds
from qvsearch.web.names import disposition
from qvsearch.web.problems import Problem
from qvsearch.web.streaming import FileAnswer, Unsatisfiable, not_modified

if TYPE_CHECKING:
    from io import FileIO

    from starlette.requests import Request

    from qvsearch.types import Item
    from qvsearch.web.services import Services

DEFAULT_SECONDS = 10.0  # of a moment without an end
LAST_PAGE = 1_000_000  # no document has more
SIDES = (320, 640, 1280)  # pixels of the longer side
FOREVER = {
    "cache-control": "private, max-age=31536000, immutable"
}  # an identity's content is fixed
WHILE_THERE = {"cache-control": "private, no-cache"}

TEXT = "text/plain; charset=utf-8"
UNKNOWN = "application/octet-stream"
_SHOWN = {  # by browsers
    Kind.IMAGE: {
        "image/jpeg": ".jpg .jpeg .jpe .jfif .mpo",
        "image/png": ".png .apng",
        "image/webp": ".webp",
        "image/gif": ".gif",
        "image/bmp": ".bmp .dib",
        "image/avif": ".avif .avifs",
    },
    Kind.VIDEO: {
        "video/mp4": ".mp4 .m4v .mov",
        "video/webm": ".webm",
        "video/ogg": ".ogv",
    },
}
_TYPES = {
    (kind, suffix): type_
    for kind, types in _SHOWN.items()
    for type_, suffixes in types.items()
    for suffix in suffixes.split()
}


async def thumbnail(request: Request) -> Response:
    """Answer `GET /media/ID/thumbnail`."""
    services: Services = request.app.state.services
    parameters = request.query_params
    check_names(parameters, ("side", "start", "end", "page"))
    side = read_number(parameters, "side", SIDES[0], SIDES[-1])
    if side not in SIDES:
        raise Problem(HTTPStatus.BAD_REQUEST, f"side is {side}; it must be 320, 640 or 1280")
    start, end = read_seconds(parameters, "start"), read_seconds(parameters, "end")
    opened, segment = await services.lanes.lookups.run(
        services.shelf.find, request.path_params["id"]
    )
    if segment.page is not None:
        page = max(1, read_number(parameters, "page", segment.page, LAST_PAGE))
        segment = replace(segment, page=page)
    etag = f'"{segment.item_id}-{side}-{start}-{end}-{segment.page}"'
    if (unchanged := not_modified(request, etag, FOREVER)) is not None:
        return unchanged
    picture = await services.lanes.pictures.run(
        services.picture, opened.library, segment, side, start, end
    )
    return Response(picture, media_type="image/webp", headers={"etag": etag, **FOREVER})


async def whole_file(request: Request) -> Response:
    """Answer `GET /media/ID/file`, also with a range of it."""
    services: Services = request.app.state.services
    check_names(request.query_params, ())
    item_id = request.path_params["id"]
    _, segment = await services.lanes.lookups.run(services.shelf.find, item_id)
    file = await services.lanes.reads.run(services.originals.open, segment)
    type_, is_shown = content_type(segment.item)
    how = "inline" if is_shown else "attachment"
    headers = {
        "content-type": type_,
        "content-disposition": disposition(how, segment.item.location),
        **WHILE_THERE,
    }
    return file_answer(request, services, file, f'"{item_id}"', headers)


async def play(request: Request) -> Response:
    """Answer `GET /media/ID/play`: a moment that browsers play, else the file, if they do."""
    services: Services = request.app.state.services
    parameters = request.query_params
    check_names(parameters, ("start", "end"))
    _, segment = await services.lanes.lookups.run(services.shelf.find, request.path_params["id"])
    start, end = read_seconds(parameters, "start"), read_seconds(parameters, "end")
    start = (segment.start or 0.0) if start is None else start
    end = max(segment.end or 0.0, start + DEFAULT_SECONDS) if end is None else end
    if end <= start:
        raise Problem(HTTPStatus.BAD_REQUEST, f"the moment ends at {end:g} s, before it begins")
    path = await services.lanes.clips.run(services.playable, segment, start, end)
    if path is None:
        return RedirectResponse(f"/media/{segment.item_id}/file", HTTPStatus.TEMPORARY_REDIRECT)
    try:
        file = await services.lanes.reads.run(open_file, path)
    except OSError as error:  # the cache is full, and has dropped it already
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the moment is gone; ask again") from error
    headers = {"content-type": "video/mp4", **WHILE_THERE}
    return file_answer(request, services, file, f'"{path.stem}"', headers)


def file_answer(
    request: Request, services: Services, file: FileIO, etag: str, headers: dict[str, str]
) -> Response:
    """Return the answer with an open file, or with the range of it that was asked for."""
    if (unchanged := not_modified(request, etag, WHILE_THERE)) is not None:
        file.close()
        return unchanged
    size = os.fstat(file.fileno()).st_size
    try:
        return FileAnswer(request, file, services.lanes.reads, etag, headers)
    except Unsatisfiable:
        return Response(
            status_code=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            headers={"content-range": f"bytes */{size}"},
        )


def content_type(item: Item) -> tuple[str, bool]:
    """Return the type of an item's file, and whether a browser shows it."""
    if item.kind is Kind.TEXT:
        return (UNKNOWN, False) if is_packed(item.location) else (TEXT, True)
    suffix = os.fsdecode(os.path.splitext(item.location)[1]).lower()
    type_ = _TYPES.get((item.kind, suffix))
    return (UNKNOWN, False) if type_ is None else (type_, True)
