"""Runs the server: its address, its token, and its end.

Nobody but this computer reaches it, unless the user names a host.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import uvicorn

from qvsearch.errors import QvsearchError, system_reason
from qvsearch.web.app import make_app
from qvsearch.web.connections import Connection
from qvsearch.web.guard import Access

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from qvsearch.web.services import Services

LOOPBACK = "127.0.0.1"
PORT = 7600
TRIED_PORTS = 100  # that are tried for the advice of a free one
LARGEST_HEAD = 32 * 1024  # bytes of a request's line and headers
IDLE_SECONDS = 30
ENDING_SECONDS = 2  # for answers that are under way at Ctrl-C


@dataclass(frozen=True, slots=True)
class Place:
    """Where the server listens: its open socket, and who it answers."""

    listening: socket.socket
    access: Access
    is_local: bool

    @property
    def url(self) -> str:
        """The address to open, with the token if there is one."""
        address = self.listening.getsockname()[0]
        if ip_address(address).is_unspecified:
            address = _own_address(self.listening.family)
        host = f"[{address}]" if ":" in address else address
        token = self.access.token
        return f"http://{host}:{self.access.port}/" + (
            "" if token is None else f"?{urlencode({'token': token})}"
        )


def listen(host: str | None, port: int) -> Place:
    """Listen on a port (0: a free one) of this computer, or of the user's host with a new token.

    Raises QvsearchError if that is impossible.
    """
    listening = _socket(host or LOOPBACK, port)
    address, used = listening.getsockname()[:2]
    if host is None:
        names = {"127.0.0.1", "localhost"}
        return Place(listening, Access(used, frozenset(names)), is_local=True)
    own = socket.gethostname().lower()
    names = {"localhost", host.lower(), own, f"{own}.local", socket.getfqdn().lower()}
    access = Access(used, frozenset(names), any_address=True, token=secrets.token_urlsafe(32))
    return Place(listening, access, is_local=ip_address(address).is_loopback)


def serve(services: Services, place: Place, started: Callable[[], None]) -> None:
    """Answer until Ctrl-C, or a request to end; `started` is called when it answers."""
    app = make_app(services, place.access, is_local=place.is_local)
    with suppress(KeyboardInterrupt):
        make_server(app, started, services.end).run([place.listening])


def make_server(
    app: ASGIApp, started: Callable[[], None], ending: Callable[[], None]
) -> uvicorn.Server:
    """Return a server with the limits for untrusted clients.

    `started` is called when it answers, `ending` when it is told to end.
    """
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=ENDING_SECONDS,
        h11_max_incomplete_event_size=LARGEST_HEAD,
    )
    return _Server(config, started, ending)


class _Server(uvicorn.Server):
    """Calls `started` when it answers, and `ending` when it is told to end."""

    def __init__(
        self, config: uvicorn.Config, started: Callable[[], None], ending: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._report, self._ending = started, ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._report()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending()  # or threads would wait for decoders, and the end for the threads
        await super().shutdown(sockets)


def _socket(host: str, port: int) -> socket.socket:
    """Return a listening socket; raises QvsearchError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise QvsearchError(
            f"--host {host} is no address of this computer: {error.strerror}"
        ) from error
    listening = socket.socket(family, socket.SOCK_STREAM)
    # a port of a server that has just ended is free
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen()
    except OSError as error:
        listening.close()
        raise _unavailable(host, port, family, error) from error
    return listening


def _unavailable(host: str, port: int, family: int, error: OSError) -> QvsearchError:
    """Return the error for a port that cannot be had, with one that can."""
    for other in range(port + 1, min(port + TRIED_PORTS, 65_536)):
        with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.bind((host, other))
            return QvsearchError(
                f"port {port} of {host} is not available ({(error.strerror or '').lower()});"
                f" give --port {other}, or --port 0 for any free one"
            )
    return QvsearchError(f"cannot listen on {host}: {system_reason(error)}")


def _own_address(family: int) -> str:
    """Return the address by which other computers most likely reach this one; nothing is sent."""
    target = ("2001:db8::1", 9) if family == socket.AF_INET6 else ("192.0.2.1", 9)
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as unsent:
        unsent.connect(target)
        return str(unsent.getsockname()[0])
    return socket.gethostname()
