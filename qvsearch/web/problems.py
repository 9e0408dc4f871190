"""Errors as HTTP answers: a status, and one sentence as JSON."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import Response

from qvsearch.display import json_line
from qvsearch.errors import MediaError, QvsearchError
from qvsearch.library.identity import Gone
from qvsearch.retrieval.shelf import Unknown, Unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Problem(QvsearchError):
    """A request that cannot be answered: the HTTP status, and the sentence for a person."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class CutOff(Exception):
    """An answer that has begun cannot be completed; the connection is dropped."""


class Json(Response):
    """JSON, in which no character has an effect on a terminal."""

    media_type = "application/json"

    def render(self, content: Mapping[str, object] | Sequence[object]) -> bytes:
        """Return the body."""
        return json_line(content)


def status_of(error: QvsearchError) -> HTTPStatus:
    """Return the HTTP status of an error; 400 is the user's mistake."""
    if isinstance(error, Problem):
        return error.status
    if isinstance(error, Unreadable):
        return HTTPStatus.SERVICE_UNAVAILABLE
    if isinstance(error, Unknown):
        return HTTPStatus.NOT_FOUND
    if isinstance(error, Gone):
        return HTTPStatus.GONE
    if isinstance(error, MediaError):
        return HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    return HTTPStatus.BAD_REQUEST


def error_answer(error: QvsearchError) -> Json:
    """Return the answer for an error: `{"error": sentence}`."""
    return Json({"error": str(error)}, status_of(error))
