"""Bodies of requests, which have a limit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from qvsearch.web.problems import Problem

if TYPE_CHECKING:
    from starlette.requests import Request


async def body_pieces(request: Request, most: int) -> AsyncIterator[bytes]:
    """Yield the pieces of a body of at most `most` bytes.

    Raises Problem for a longer one, as soon as that is known, and for one that was cut off.
    """
    claimed = request.headers.get("content-length", "0")
    if not claimed.isdecimal() or int(claimed) > most:
        raise _too_large(most)
    size = 0
    try:
        async for piece in request.stream():
            size += len(piece)
            if size > most:
                raise _too_large(most)
            yield piece
    except ClientDisconnect as error:
        raise Problem(HTTPStatus.BAD_REQUEST, "the body was cut off") from error


async def read_body(request: Request, most: int) -> bytes:
    """Return a body; raises as `body_pieces` does."""
    return b"".join([piece async for piece in body_pieces(request, most)])


def _too_large(most: int) -> Problem:
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {most / 2**20:.0f} MB can be sent"
    )
