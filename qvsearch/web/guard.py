"""Who may ask, and what every answer carries: the outermost layer of the server.

A page of another site that is open in the same browser must learn nothing and change nothing.
Hence the Host header is checked (DNS rebinding), and the origin of every request (forged requests,
and reading by <img> or <script>). A server that other computers reach demands a token as well.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import traceback
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse

from qvsearch.web.problems import CutOff, Problem, error_answer

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = {"GET", "HEAD", "POST"}
OWN_SITE = {"same-origin", "none"}  # Sec-Fetch-Site: from our page, or typed by the user
PAGES = {"/", "/duplicates", "/clusters"}  # a link of another site may lead here
BODY_SECONDS = 60.0  # for a whole body: a client that trickles is cut off
STALLED_SECONDS = 120.0  # without reading: a paused video is asked for again by its player
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # with no-referrer, browsers would send `Origin: null` with our own forms
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Access:
    """Which names the server goes by, and the token that it demands, None for none.

    `names` are hosts without a port, in lower case. A server that other computers reach also goes
    by any address of numbers, which no domain of an attacker can resolve to.
    """

    port: int
    names: frozenset[str]
    any_address: bool = False
    token: str | None = field(default=None, repr=False)

    def allows_host(self, host: str) -> bool:
        """Return whether a Host header names this server."""
        name, _, port = host.lower().rpartition(":")
        if not name or not port.isdecimal():  # without a port, which means 80
            name, port = host.lower(), "80"
        if port != str(self.port):
            return False
        return name in self.names or (self.any_address and _is_address(name.strip("[]")))

    @property
    def cookie(self) -> str:
        """The name of the cookie that holds the token; two servers have two."""
        return f"qvsearch-{self.port}"

    def is_token(self, given: str) -> bool:
        """Return whether a text is the token, in a time that does not depend on the text."""
        return self.token is not None and secrets.compare_digest(
            given.encode("utf-8", "replace"), self.token.encode()
        )


class Guard:
    """Refuses requests of others; gives every answer, errors included, its safe headers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":  # nothing else is spoken here
            return
        answering = _Answering(send)
        try:
            answer = self._entrance(scope)
            if answer is None:
                await self._app(scope, _in_time(scope, receive), answering.send)
            else:
                await answer(scope, receive, answering.send)
        except Problem as error:
            await _refuse(error, scope, receive, answering)
        except CutOff:
            raise  # the server drops the connection
        except Exception:  # noqa: BLE001 - a defect of ours: the server goes on for all others
            traceback.print_exc(file=sys.stderr)
            defect = Problem(
                HTTPStatus.INTERNAL_SERVER_ERROR, "a defect of qvsearch; see its output"
            )
            await _refuse(defect, scope, receive, answering)

    def _entrance(self, scope: Scope) -> Response | None:
        """Return the answer to a request with a token in its URL, None if the request may pass.

        Raises Problem if it may not.
        """
        headers = Headers(scope=scope)
        if scope["method"] not in METHODS:
            raise Problem(
                HTTPStatus.METHOD_NOT_ALLOWED, f"the method {scope['method']!r} is not supported"
            )
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._access.allows_host(hosts[0]):
            raise Problem(
                HTTPStatus.FORBIDDEN,
                f"this server does not go by the name {', '.join(hosts)!r};"
                " open the URL that qvsearch serve printed",
            )
        _check_origin(scope, headers, hosts[0])
        return self._admit(scope, headers)

    def _admit(self, scope: Scope, headers: Headers) -> Response | None:
        """Check the token, if there is one; turn a right one in the URL into a cookie."""
        access = self._access
        if access.token is None:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if given and scope["path"] in PAGES and all(map(access.is_token, given)):
            rest = urlencode([each for each in query if each[0] != "token"])
            answer = RedirectResponse(scope["path"] + (f"?{rest}" if rest else ""), 303)
            answer.set_cookie(
                access.cookie, access.token, httponly=True, samesite="strict", path="/"
            )
            return answer
        if access.is_token(_cookie(headers, access.cookie)):
            return None
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "this server needs its token; open the whole URL that qvsearch serve printed",
        )


class _Answering:
    """Sends an answer with the safe headers, and gives up on a client that does not read it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def send(self, message: Message) -> None:
        """Send one message; raises CutOff for a client that does not read."""
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await self._send(message)
        except TimeoutError as error:
            raise CutOff("the client does not read") from error


async def _refuse(error: Problem, scope: Scope, receive: Receive, answering: _Answering) -> None:
    """Answer with an error; an answer that has begun can only be cut off."""
    if answering.started:
        raise error
    answer = error_answer(error)
    if scope["method"] == "POST":  # its body may still come, and is not read
        answer.headers["connection"] = "close"
    await answer(scope, receive, answering.send)


def _check_origin(scope: Scope, headers: Headers, host: str) -> None:
    """Raise Problem for a request that another site caused.

    Browsers name the origin of every POST. A GET from a link or the address bar has none.
    """
    origins, site = headers.getlist("origin"), headers.get("sec-fetch-site")
    own = f"{scope['scheme']}://{host}".lower()
    foreign = any(origin.lower() != own for origin in origins)
    if site is not None and site not in OWN_SITE:
        is_link = headers.get("sec-fetch-mode") == "navigate" and scope["method"] != "POST"
        foreign = foreign or not (is_link and scope["path"] in PAGES)
    if scope["method"] == "POST" and not origins:
        raise Problem(HTTPStatus.FORBIDDEN, f"a POST must name its origin, {own}")
    if foreign:
        raise Problem(HTTPStatus.FORBIDDEN, "only the page of this server may ask")


def _in_time(scope: Scope, receive: Receive) -> Receive:
    """Return a `receive` that ends after BODY_SECONDS for all of a body."""
    if scope["method"] != "POST":
        return receive
    deadline = asyncio.get_running_loop().time() + BODY_SECONDS
    is_whole = False

    async def limited() -> Message:
        nonlocal is_whole
        if is_whole:  # from now on it waits for the end of the connection
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError as error:
            raise Problem(
                HTTPStatus.REQUEST_TIMEOUT, f"the body took longer than {BODY_SECONDS:g} s"
            ) from error
        is_whole = not message.get("more_body", False)
        return message

    return limited


def _cookie(headers: Headers, name: str) -> str:
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[name].value if name in cookies else ""


def is_loopback(text: str) -> bool:
    """Return whether an address is this computer's own."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
