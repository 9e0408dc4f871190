"""The endpoints of uploads: they receive a picture, and show it again."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import Response

from qvsearch.errors import system_reason
from qvsearch.web.bodies import body_pieces
from qvsearch.web.problems import Json, Problem

if TYPE_CHECKING:
    from starlette.requests import Request

    from qvsearch.web.services import Services

LARGEST = 30 * 2**20  # bytes
AT_ONCE = 4  # uploads that are being received
TYPES = {
    *("image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/tiff"),
    *("image/avif", "image/heic", "image/heif", "image/jp2"),
}


async def upload(request: Request) -> Response:
    """Answer `POST /api/uploads`."""
    services: Services = request.app.state.services
    uploads = services.uploads
    type_ = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if type_ not in TYPES:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"a picture is sent as {', '.join(sorted(TYPES))}, not {type_!r}",
        )
    if uploads.receiving >= AT_ONCE:
        raise Problem(HTTPStatus.TOO_MANY_REQUESTS, f"{AT_ONCE} pictures are being sent; wait")
    path = uploads.new_path()
    uploads.receiving += 1
    try:
        with path.open("xb") as file:
            async for piece in body_pieces(request, LARGEST):
                file.write(piece)
        record = await services.lanes.pictures.run(uploads.keep, path)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            reason = system_reason(error)
            raise Problem(
                HTTPStatus.INSUFFICIENT_STORAGE, f"the picture cannot be kept: {reason}"
            ) from error
        raise
    finally:
        uploads.receiving -= 1
    return Json(record)


async def uploaded(request: Request) -> Response:
    """Answer `GET /api/uploads/TOKEN`."""
    services: Services = request.app.state.services
    return Response(services.uploads.webp(request.path_params["token"]), media_type="image/webp")
