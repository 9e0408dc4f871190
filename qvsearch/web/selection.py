"""The endpoint of a selection: its files as a ZIP, their pictures as a gallery, or their paths."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Generator, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from anyio import CancelScope
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.responses import Response, StreamingResponse

from qvsearch.gallery.cards import Gallery, file_sections
from qvsearch.gallery.page import gallery_parts
from qvsearch.library.identity import Gone
from qvsearch.times import date_text
from qvsearch.web.archive import zip_of
from qvsearch.web.bodies import read_body
from qvsearch.web.problems import Problem

if TYPE_CHECKING:
    from starlette.requests import Request

    from qvsearch.types import Segment
    from qvsearch.web.services import Services

LARGEST = 2 * 2**20  # bytes of a request: 40,000 identities
FORMS = ("zip", "gallery", "paths")
FORM, JSON = "application/x-www-form-urlencoded", "application/json"


async def selection(request: Request) -> Response:
    """Answer `POST /api/selection`."""
    services: Services = request.app.state.services
    ids, form = _read(request.headers.get("content-type", ""), await read_body(request, LARGEST))
    segments = await services.lanes.lookups.run(_found, services, ids)
    if form == "paths":
        # exact bytes, a path a line: a name with a newline is rare, and JSON has the search
        paths = b"".join(each.item.location + b"\n" for each in segments)
        return Response(
            paths,
            media_type="text/plain; charset=utf-8",
            headers={"content-disposition": 'attachment; filename="paths.txt"'},
        )
    if form == "gallery":
        return _download(_gallery(services, segments), "text/html; charset=utf-8", "qvsearch.html")
    return _download(zip_of(segments, services.originals.open), "application/zip", "qvsearch.zip")


def _download(pieces: Generator[bytes], media_type: str, name: str) -> Response:
    return StreamingResponse(
        _sent(pieces),
        media_type=media_type,
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


async def _sent(pieces: Generator[bytes]) -> AsyncIterator[bytes]:
    """Yield pieces that are made in a thread; a client that leaves ends the work."""
    try:
        async for piece in iterate_in_threadpool(pieces):
            yield piece
    finally:
        with CancelScope(shield=True):
            await run_in_threadpool(pieces.close)


def _gallery(services: Services, segments: Sequence[Segment]) -> Generator[bytes]:
    gallery = Gallery(
        "Selected files", file_sections(segments), (("date", date_text(time.time_ns())),)
    )
    for part in gallery_parts(gallery, services.thumbnails):
        yield part.encode()


def _read(content_type: str, body: bytes) -> tuple[list[str], str]:
    """Return the identities and the form that a body asks for; raises Problem."""
    match content_type.partition(";")[0].strip().lower():
        case "application/x-www-form-urlencoded":
            fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
            ids = fields.get("id", []) + fields.get("ids", [])
            form = fields.get("form", ["zip"])[-1]
        case "application/json":
            ids, form = _read_json(body)
        case _:
            raise Problem(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"a selection is sent as {FORM} or {JSON}"
            )
    if form not in FORMS:
        raise Problem(
            HTTPStatus.BAD_REQUEST, f"form {form!r} is unknown; give zip, gallery or paths"
        )
    if not ids:
        raise Problem(HTTPStatus.BAD_REQUEST, "nothing is selected; give id")
    return list(dict.fromkeys(ids)), form


def _read_json(body: bytes) -> tuple[list[str], str]:
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        record = None
    match record:
        case {"ids": [*ids], **rest} if all(isinstance(each, str) for each in ids):
            return ids, str(rest.get("form", "zip"))
    raise Problem(
        HTTPStatus.BAD_REQUEST, 'the selection is not {"ids": [IDENTITY, ...], "form": "zip"}'
    )


def _found(services: Services, ids: list[str]) -> list[Segment]:
    """Return a segment of each item; those that are gone are left out, unless all are."""
    segments: list[Segment] = []
    gone: Gone | None = None
    for each in ids:
        try:
            segments.append(services.shelf.find(each)[1])
        except Gone as error:
            gone = error
    if gone is not None and not segments:
        raise gone
    return segments
