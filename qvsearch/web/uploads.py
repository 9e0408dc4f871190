"""Pictures that a person gave for a query: a few, small, and for a while."""

from __future__ import annotations

from http import HTTPStatus

from qvsearch.web.problems import Problem


class Uploads:
    """The uploads of a server; a context manager, which deletes them at its end."""

    def path(self, token: str) -> bytes:
        """Return the path of an upload; raises Problem if it is gone."""
        raise Problem(HTTPStatus.GONE, f"the picture {token!r} is gone; give it again")
