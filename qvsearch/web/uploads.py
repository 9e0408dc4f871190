"""Pictures that a person gave for a query: a few, small, and for a while."""

from __future__ import annotations

import secrets
import tempfile
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Self

from starlette.responses import Response

from qvsearch.records.served import upload_record
from qvsearch.retrieval.query import read_item
from qvsearch.types import Segment, Skipped
from qvsearch.web.bodies import body_pieces
from qvsearch.web.problems import Json, Problem

if TYPE_CHECKING:
    from starlette.requests import Request

    from qvsearch.media.thumbnails import Thumbnails
    from qvsearch.web.services import Services

LARGEST = 30 * 2**20  # bytes
MOST = 16  # uploads; one more drops the one that was not used for longest
KEPT_SECONDS = 3600.0
AT_ONCE = 4  # uploads that are being received
SIDE = 640  # pixels of the picture that is shown again
TYPES = {
    *("image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/tiff"),
    *("image/avif", "image/heic", "image/heif", "image/jp2"),
}


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture on the disk, and small as WebP; `used` is by the monotonic clock."""

    path: Path
    webp: bytes
    used: float


class Uploads:
    """The uploads of a server; a context manager, which deletes them at its end."""

    def __init__(self, thumbnails: Thumbnails) -> None:
        self._thumbnails = thumbnails
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Upload] = OrderedDict()
        self._folder = tempfile.TemporaryDirectory(prefix="qvsearch-uploads-")
        self.receiving = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def new_path(self) -> Path:
        """Return a path for a file that is being received; its suffix says only "a picture"."""
        return Path(self._folder.name) / f"{secrets.token_hex(8)}.png"

    def keep(self, path: Path) -> dict[str, object]:
        """Decode a received file, in a confined process, and keep it; return its record.

        Raises Problem for one that cannot be decoded.
        """
        item, digest = read_item(bytes(path))
        shown = self._thumbnails.looked_at(Segment(item, digest), SIDE)
        if isinstance(shown, Skipped):
            raise Problem(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the picture cannot be read: {shown.reason}"
            )
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._kept[token] = Upload(path, shown.webp(), time.monotonic())
            while len(self._kept) > MOST:
                self._drop(next(iter(self._kept)))
        return upload_record(token, shown.width, shown.height)

    def path(self, token: str) -> bytes:
        """Return the path of an upload; raises Problem if it is gone."""
        return bytes(self._get(token).path)

    def webp(self, token: str) -> bytes:
        """Return the small picture of an upload; raises Problem if it is gone."""
        return self._get(token).webp

    def _get(self, token: str) -> Upload:
        now = time.monotonic()
        with self._lock:
            for old in [
                each for each, kept in self._kept.items() if kept.used + KEPT_SECONDS < now
            ]:
                self._drop(old)
            upload = self._kept.get(token)
            if upload is None:
                raise Problem(HTTPStatus.GONE, "the given picture is gone; give it again")
            self._kept[token] = Upload(upload.path, upload.webp, now)
            self._kept.move_to_end(token)
            return upload

    def _drop(self, token: str) -> None:
        self._kept.pop(token).path.unlink(missing_ok=True)


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
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        uploads.receiving -= 1
    return Json(record)


async def uploaded(request: Request) -> Response:
    """Answer `GET /api/uploads/TOKEN`."""
    services: Services = request.app.state.services
    return Response(services.uploads.webp(request.path_params["token"]), media_type="image/webp")
