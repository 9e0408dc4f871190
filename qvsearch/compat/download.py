"""Fetches a picture or a video that a caller names by URL, within limits."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from time import monotonic
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from qvsearch.connections import peer_is_public, shut_after
from qvsearch.errors import QvsearchError

MAX_BYTES = 512 * 2**20
MAX_SECONDS = 120.0
MAX_REDIRECTS = 5
CONNECT_SECONDS = 20.0
CHUNK = 2**20


def download(url: str, max_bytes: int = MAX_BYTES, max_seconds: float = MAX_SECONDS) -> bytes:
    """Return the bytes at an http or https URL.

    A server may redirect, but not to an address of a private network: a public page could read
    what only this machine reaches. Raises QvsearchError, which names the URL, if it cannot be
    fetched, is larger than `max_bytes` or takes longer than `max_seconds`.
    """
    deadline = monotonic() + max_seconds
    place = url
    try:
        for redirects in range(MAX_REDIRECTS + 1):
            with _request(urlsplit(place), deadline, public=redirects > 0) as answer:
                if answer.status in {301, 302, 303, 307, 308}:
                    place = urljoin(place, answer.getheader("Location", ""))
                    continue
                if answer.status != http.client.OK:
                    raise QvsearchError(f"{url}: the server answers {answer.status}")
                return _read(answer, max_bytes)
    except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
        if monotonic() > deadline:
            raise QvsearchError(f"{url}: slower than the limit of {max_seconds:.0f} s") from error
        raise QvsearchError(f"{url}: {error}") from error
    raise QvsearchError(f"{url}: more than {MAX_REDIRECTS} redirects")


@contextmanager
def _request(
    place: SplitResult, deadline: float, *, public: bool
) -> Iterator[http.client.HTTPResponse]:
    """Request one URL; with `public` the address it leads to must be of no private network.

    At the deadline the connection is shut, whatever the server sends until then.
    """
    if place.scheme not in {"http", "https"} or place.hostname is None:
        raise ValueError(f"{place.geturl()!r} is not an http or https URL")
    left = min(CONNECT_SECONDS, max(0.1, deadline - monotonic()))
    if place.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            place.hostname, place.port, timeout=left, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=left)
    with closing(connection):
        connection.connect()
        if public and not peer_is_public(connection.sock):
            raise ValueError(f"redirected to {place.hostname}, an address of a private network")
        timer = shut_after(connection.sock, deadline - monotonic())
        try:
            # as browsers do with spaces and letters beyond ASCII
            target = quote(
                place._replace(scheme="", netloc="", fragment="").geturl() or "/",
                safe="/%:=&?~#+!$,;'@()*[]",
            )
            headers = {"User-Agent": "qvsearch", "Connection": "close"}
            connection.request("GET", target, headers=headers)
            with connection.getresponse() as answer:
                yield answer
            if monotonic() > deadline:
                raise TimeoutError
        finally:
            timer.cancel()


def _read(answer: http.client.HTTPResponse, max_bytes: int) -> bytes:
    """Return a body of at most `max_bytes`."""
    body = bytearray()
    while piece := answer.read1(CHUNK):
        body += piece
        if len(body) > max_bytes:
            raise ValueError(f"larger than {max_bytes / 2**20:.0f} MB")
    if answer.length:
        raise ValueError(f"the connection ended {answer.length:,} bytes early")
    return bytes(body)
