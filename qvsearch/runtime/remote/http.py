"""Requests to one server, each as JSON over a connection that is kept for the next one."""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any, Self

import orjson

from qvsearch.connections import shut_after
from qvsearch.errors import QvsearchError
from qvsearch.http_servers import (
    REASON_BYTES,
    CannotConnect,
    MustNotConnect,
    base_url,
    checked_key,
    connect,
    json_headers,
    short,
)

KEY_VARIABLE = "QVSEARCH_SERVER_KEY"
MOST_BYTES = 64 * 2**20  # of one answer; a vector of 4096 numbers has 20 kB as base64
TOLD_SECONDS = 5.0  # of a pause that a server asks for, from which on the user is told
IDLE_SECONDS = 15  # without traffic, after which the system looks whether the other side is there
PROBES = 4


class Failure(Exception):
    """A request without a usable answer; the text is the reason."""


class Refused(Failure):
    """The server refuses what was sent (4xx): the same would be refused again."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{reason} ({status})")
        self.status = status


class Busy(Failure):
    """The server asks for a pause, in seconds if it says how long."""

    def __init__(self, reason: str, seconds: float | None) -> None:
        super().__init__(reason)
        self.seconds = seconds


class Broken(Failure):
    """The connection or the server failed: another try, or another server, may do better."""


class Failed(Broken):
    """The server answered that it failed (5xx), which the input may be the reason of."""


class Away(Failed):
    """A proxy answered that the server behind it is away, or too slow (502, 504)."""


class Unusable(Failure):
    """This server must not or cannot be used; the text has the remedy."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds to connect, for an answer, and until work is given up or repeated.

    If all servers fail for `deadline` seconds, the work is given up. It bounds the pauses that a
    server asks for, too. After `hedge` seconds, or four times the usual, an idle server repeats the
    work of a slow one. `pause` is the first pause after a failure, which doubles up to
    `longest_pause`.
    """

    connect: float = 10.0
    answer: float = 600.0  # a CPU computes several large pictures in minutes
    deadline: float = 120.0
    hedge: float = 5.0
    pause: float = 0.5
    longest_pause: float = 15.0


class Server:
    """A server at a base URL such as http://localhost:8000, with or without `/v1`.

    Certificates are verified. Redirects and proxies are not used. Plain http is for loopback and
    private addresses only, unless `insecure`.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        limits: Limits | None = None,
        *,
        insecure: bool = False,
        option: str = "--server",
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Check the URL and the key; raises QvsearchError. Nothing is sent.

        `notice` is called with a sentence if the server asks for a pause of TOLD_SECONDS or more.
        """
        place = base_url(option, url, "http://localhost:8000", KEY_VARIABLE)
        self.place = place._replace(path=place.path.removesuffix("/v1"))
        self.limits = limits or Limits()
        self._key = checked_key(KEY_VARIABLE, key)
        self._insecure, self._notice = insecure, notice
        self._lock = threading.Lock()
        self._failures = 0
        self._rests_until = 0.0

    @property
    def url(self) -> str:
        """The base URL, without `/v1`."""
        return self.place.geturl()

    def error(self, reason: object) -> QvsearchError:
        """Return an error that names this server."""
        return QvsearchError(f"the server {self.url}: {self.without_key(str(reason))}")

    def without_key(self, text: str) -> str:
        """Return a text without the key, which a server may repeat."""
        return text if self._key is None else text.replace(self._key, "***")

    def connection(self) -> Connection:
        """Return a connection of its own for one thread; it is opened by the first request."""
        return Connection(self)

    def open(self) -> http.client.HTTPConnection:
        """Connect; raises Broken or Unusable."""
        try:
            connection = connect(
                self.place,
                self.limits.connect,
                insecure=self._insecure,
                remedy="use https, or --insecure",
            )
        except MustNotConnect as error:
            raise Unusable(str(error)) from error
        except CannotConnect as error:
            raise Broken(str(error)) from error
        _keep_alive(connection.sock)
        connection.sock.settimeout(self.limits.answer)
        return connection

    def headers(self) -> dict[str, str]:
        """Return the headers of every request."""
        return json_headers(self._key)

    def access_remedy(self) -> str:
        """Return what to do if access is refused."""
        return f"{'set' if self._key is None else 'correct'} {KEY_VARIABLE} or --server-key-file"

    def rest(self, seconds: float | None = None) -> None:
        """Send nothing for some time, `deadline` at most (default: longer after each failure)."""
        with self._lock:
            now = time.monotonic()
            is_asked = seconds is not None
            if seconds is None:
                pause = self.limits.pause * 2**self._failures
                self._failures = min(self._failures + 1, 16)
                seconds = min(pause, self.limits.longest_pause) * random.uniform(0.5, 1)  # noqa: S311 - nothing is hidden
            seconds = min(seconds, self.limits.deadline)
            longer = now + seconds - max(now, self._rests_until)  # than it rests already
            self._rests_until = max(self._rests_until, now + seconds)
        if is_asked and longer >= TOLD_SECONDS:
            self._notice(f"the server {self.url} is busy; trying again in {seconds:.0f} s")

    def succeed(self) -> None:
        """Forget earlier failures."""
        with self._lock:
            self._failures = 0

    @property
    def is_well(self) -> bool:
        """Whether its last answer was a good one, or it had no request yet."""
        return not self._failures

    def resting(self) -> float:
        """Return the seconds for which nothing is to be sent yet."""
        with self._lock:
            return self._rests_until - time.monotonic()


class Connection:
    """A connection to a server, for one thread; it is opened anew if it broke."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._http: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it; the next request opens it again."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def get(self, path: str) -> Any:  # noqa: ANN401 (JSON)
        """Return the JSON at a path below the base URL; raises Failure."""
        return self._json("GET", path, None)

    def post(self, path: str, content: Mapping[str, object]) -> Any:  # noqa: ANN401 (JSON)
        """Return the JSON answer to a JSON request; raises Failure."""
        return self._json("POST", path, orjson.dumps(content))

    def _json(self, method: str, path: str, body: bytes | None) -> Any:  # noqa: ANN401
        status, headers, data = self._answered(method, path, body)
        if status != http.client.OK:
            raise self._failure(status, headers, data)
        try:
            return json.loads(data)  # orjson would not read NaN, which some servers write
        except (ValueError, RecursionError) as error:
            raise Unusable("it does not answer in JSON; check the URL") from error

    def _answered(self, method: str, path: str, body: bytes | None) -> tuple[int, Message, bytes]:
        """Return status, headers and body; a connection that was closed meanwhile is renewed."""
        is_kept = self._http is not None
        try:
            return self._exchange(method, path, body)
        except TimeoutError as error:
            self.close()
            raise Broken(f"no answer after {self.server.limits.answer:.0f} s") from error
        except (http.client.HTTPException, OSError) as error:
            self.close()
            if is_kept and isinstance(error, (ConnectionError, http.client.BadStatusLine)):
                return self._answered(method, path, body)
            if isinstance(error, OSError):
                reason = f"the connection broke ({error.strerror or error})"
            elif isinstance(error, http.client.IncompleteRead):
                reason = "the connection ended in the middle of an answer"
            else:
                raise Unusable("it does not speak HTTP; check the URL") from error
            raise Broken(reason) from error

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[int, Message, bytes]:
        """Send a request and read its answer; raises TimeoutError if that takes too long."""
        if self._http is None:
            self._http = self.server.open()
        is_late = threading.Event()
        timer = shut_after(self._http.sock, self.server.limits.answer, is_late.set)
        try:
            return self._exchange_over(self._http, method, path, body)
        except (http.client.HTTPException, OSError) as error:
            if is_late.is_set():
                raise TimeoutError from error
            raise
        finally:
            timer.cancel()

    def _exchange_over(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None
    ) -> tuple[int, Message, bytes]:
        target = f"{self.server.place.path}{path}"
        is_sent = True
        try:
            connection.request(method, target, body, self.server.headers())
        except ConnectionError:  # a server that refuses a large body answers before it has read all
            is_sent = False
        with connection.getresponse() as response:
            most = MOST_BYTES if response.status == http.client.OK else REASON_BYTES
            data = response.read(most + 1)
            if response.length and len(data) <= most:
                raise http.client.IncompleteRead(data, response.length)
        # http.client would open it again by itself, without our limits and checks
        if len(data) > most or not is_sent or response.will_close:
            self.close()
        if len(data) > most and response.status == http.client.OK:
            raise Unusable(f"its answer is larger than {MOST_BYTES // 2**20} MB")
        return response.status, response.headers, data

    def _failure(self, status: int, headers: Message, data: bytes) -> Failure:
        """Return the failure that a status other than 200 means."""
        reason = self.server.without_key(_reason(data, status))
        if http.client.MULTIPLE_CHOICES <= status < http.client.BAD_REQUEST:
            target = self.server.without_key(short(headers.get("Location", "another place")))
            return Unusable(f"it redirects to {target}; give the URL of the server itself")
        if status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
            return Unusable(
                f"it refuses access ({status}: {reason}); {self.server.access_remedy()}"
            )
        if status == http.client.REQUEST_TIMEOUT:
            return Broken(f"it did not wait for the request ({status}: {reason})")
        if status in (http.client.BAD_GATEWAY, http.client.GATEWAY_TIMEOUT):
            return Away(f"a proxy does not reach it ({status}: {reason}); start it")
        if status in (http.client.TOO_MANY_REQUESTS, http.client.SERVICE_UNAVAILABLE):
            return Busy(f"it is busy ({status}: {reason})", _seconds(headers.get("Retry-After")))
        if status >= http.client.INTERNAL_SERVER_ERROR:
            return Failed(f"it failed ({status}: {reason}); see its log")
        return Refused(status, reason)


def _keep_alive(connection: socket.socket) -> None:
    """Have the system notice a computer that is gone, while its answer is waited for."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", IDLE_SECONDS),
        ("TCP_KEEPALIVE", IDLE_SECONDS),  # macOS' name of it
        ("TCP_KEEPINTVL", IDLE_SECONDS),
        ("TCP_KEEPCNT", PROBES),
    ):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _seconds(text: str | None) -> float | None:
    """Return the seconds of a Retry-After header; None for a date or none."""
    try:
        return max(0.0, float(text or ""))
    except ValueError:
        return None


def _reason(data: bytes, status: int) -> str:
    """Return the reason that the body of a refusal states, else the name of its status."""
    unstated = http.client.responses.get(status, "no reason").lower()
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError:
        text = data.decode("utf-8", "replace").strip()
        return unstated if not text or text.startswith("<") else short(text)
    for name in ("error", "message", "detail"):
        if isinstance(content, dict):
            content = content.get(name) or content
    return short(content if isinstance(content, str) else unstated)
