"""Sends an open file, or a range of it, piece by piece."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import Response, StreamingResponse

from qvsearch.web.problems import CutOff, Problem

if TYPE_CHECKING:
    from io import FileIO

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from qvsearch.web.lanes import Lane

PIECE = 256 * 1024  # bytes that are in memory for each client
# a file of a library, opened by itself, runs no scripts and has an origin of its own
SHUT = (
    "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; "
    "frame-ancestors 'self'; sandbox"
)
_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*", re.ASCII)


class Unsatisfiable(ValueError):
    """The range begins behind the end of the file."""


class FileAnswer(StreamingResponse):
    """An answer with an open file, or the range of it that was asked for; it closes the file."""

    def __init__(
        self, request: Request, file: FileIO, lane: Lane, etag: str, headers: dict[str, str]
    ) -> None:
        """Raise Unsatisfiable, and close the file, for a range without a byte of it."""
        self._file = file
        size = os.fstat(file.fileno()).st_size
        asked = request.headers.get("range")
        if request.headers.get("if-range", etag) != etag:
            asked = None
        try:
            chosen = read_range(asked, size)
        except Unsatisfiable:
            file.close()
            raise
        start, stop = chosen or (0, size)
        headers = {
            "accept-ranges": "bytes",
            "content-length": str(stop - start),
            "content-security-policy": SHUT,
            "etag": etag,
            **headers,
        }
        if chosen is not None:
            headers["content-range"] = f"bytes {start}-{stop - 1}/{size}"
        status = HTTPStatus.OK if chosen is None else HTTPStatus.PARTIAL_CONTENT
        super().__init__(_pieces(file, lane, start, stop), status, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, and close it however that ends."""
        try:
            if scope["method"] == "HEAD":
                await Response(status_code=self.status_code, headers=self.headers)(
                    scope, receive, send
                )
            else:
                await super().__call__(scope, receive, send)
        finally:
            self._file.close()


async def _pieces(file: FileIO, lane: Lane, start: int, stop: int) -> AsyncIterator[bytes]:
    place = start
    while place < stop:
        try:
            piece = await lane.run(os.pread, file.fileno(), min(PIECE, stop - place), place)
        except (OSError, Problem) as error:  # e.g. a drive that was unplugged
            raise CutOff("the file cannot be read any further") from error
        if not piece:
            raise CutOff("the file became shorter while it was sent")
        place += len(piece)
        yield piece


def not_modified(request: Request, etag: str, headers: dict[str, str]) -> Response | None:
    """Return the answer 304 if the client has that version, else None."""
    known = [each.strip() for each in request.headers.get("if-none-match", "").split(",")]
    if etag not in known and "*" not in known:
        return None
    return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"etag": etag, **headers})


def read_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the range `[start, stop)` of a file of `size` bytes; None for all of it.

    A header of another unit, of several ranges or of no valid form is ignored, as the standard
    allows. Raises Unsatisfiable for a range without a byte of the file.
    """
    match = None if header is None else _RANGE.fullmatch(header)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:  # the last bytes
        length = min(int(match[2]), size)
        if not length:
            raise Unsatisfiable
        return size - length, size
    start = int(match[1])
    last = int(match[2]) if match[2] else size - 1
    if match[2] and last < start:
        return None
    if start >= size:
        raise Unsatisfiable
    return start, min(last, size - 1) + 1
