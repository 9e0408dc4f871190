"""Fetches a picture or a video that a caller names by URL, within limits."""

from __future__ import annotations

import http.client
import ipaddress
import ssl
from time import monotonic
from urllib.parse import SplitResult, urljoin, urlsplit

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
            answer = _get(urlsplit(place), public=redirects > 0)
            with answer:
                if answer.status in {301, 302, 303, 307, 308}:
                    place = urljoin(place, answer.getheader("Location", ""))
                    continue
                if answer.status != http.client.OK:
                    raise QvsearchError(f"{url}: the server answers {answer.status}")
                return _read(answer, url, max_bytes, deadline)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise QvsearchError(f"{url}: {error}") from error
    raise QvsearchError(f"{url}: more than {MAX_REDIRECTS} redirects")


def _get(place: SplitResult, *, public: bool) -> http.client.HTTPResponse:
    """Request one URL; with `public` the address it leads to must be of no private network."""
    if place.scheme not in {"http", "https"} or place.hostname is None:
        raise ValueError(f"{place.geturl()!r} is not an http or https URL")
    if place.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            place.hostname,
            place.port,
            timeout=CONNECT_SECONDS,
            context=ssl.create_default_context(),
        )
    else:
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=CONNECT_SECONDS)
    connection.connect()
    address = connection.sock.getpeername()[0].partition("%")[0]
    if public and not ipaddress.ip_address(address).is_global:
        connection.close()
        raise ValueError(f"redirected to {place.hostname}, an address of a private network")
    target = place._replace(scheme="", netloc="", fragment="").geturl() or "/"
    connection.request("GET", target, headers={"User-Agent": "qvsearch", "Connection": "close"})
    return connection.getresponse()


def _read(answer: http.client.HTTPResponse, url: str, max_bytes: int, deadline: float) -> bytes:
    """Read a body piece by piece, so that both limits hold for a server that trickles."""
    body = bytearray()
    while piece := answer.read1(CHUNK):
        body += piece
        if len(body) > max_bytes:
            raise QvsearchError(f"{url}: larger than {max_bytes / 2**20:.0f} MB")
        if monotonic() > deadline:
            raise QvsearchError(f"{url}: slower than the limit of {MAX_SECONDS:.0f} s")
    if answer.length:
        raise QvsearchError(f"{url}: the connection ended {answer.length:,} bytes early")
    return bytes(body)
