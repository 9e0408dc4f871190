"""URLs, keys and connections of the HTTP servers that a user names."""

from __future__ import annotations

import http.client
import ssl
from urllib.parse import SplitResult, urlsplit

from qvsearch.connections import peer_is_public
from qvsearch.errors import QvsearchError

REASON_BYTES = 65_536  # of an answer that is read for its reason
LONGEST_REASON = 300  # characters


class CannotConnect(Exception):
    """There is no connection to a server; the text is the reason and a remedy."""


class MustNotConnect(CannotConnect):
    """A server that nothing may be sent to: another try would not help."""


def base_url(option: str, url: str, example: str, key_variable: str) -> SplitResult:
    """Return the base URL of an option, without a slash at its end.

    Raises QvsearchError for anything else, and for a password in the URL.
    """
    example = f"give a URL such as {example}"
    try:
        place = urlsplit(url.strip())
        named = place.hostname and place.port != 0
    except ValueError as error:
        raise QvsearchError(f"{option} {url!r} is not a URL; {example}") from error
    if place.scheme not in {"http", "https"} or not named or not url.isascii():
        raise QvsearchError(f"{option} {url!r} is not an http or https URL; {example}")
    if "@" in place.netloc:
        raise QvsearchError(f"{option} takes no password in the URL; set {key_variable}")
    if place.query or place.fragment or any(each.isspace() for each in place.path):
        raise QvsearchError(f"{option} {url!r} is not a base URL; {example}")
    return place._replace(path=place.path.rstrip("/"))


def checked_key(variable: str, key: str | None) -> str | None:
    """Return a key that a header can hold; raises QvsearchError, without the key, for another."""
    if not key or not key.strip():
        return None
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise QvsearchError(f"{variable} is not a key; it has characters that no key has")
    return key


def connect(
    place: SplitResult, seconds: float, *, insecure: bool = False, remedy: str = "use https"
) -> http.client.HTTPConnection:
    """Return a connection to a server, whose certificate is verified; no proxy is used.

    Raises CannotConnect, before anything is sent. Plain http to a public address is refused with
    the remedy, unless `insecure`.
    """
    host = str(place.hostname)
    connection: http.client.HTTPConnection
    if place.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, place.port, timeout=seconds, context=context)
    else:
        connection = http.client.HTTPConnection(host, place.port, timeout=seconds)
    try:
        connection.connect()
    except ssl.SSLCertVerificationError as error:
        raise MustNotConnect(f"its certificate is not valid ({error.verify_message})") from error
    except ssl.SSLError as error:
        raise MustNotConnect("it does not speak https; try http://") from error
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CannotConnect(
            f"it cannot be reached ({reason.lower()}); start it, or check the URL"
        ) from error
    if place.scheme == "http" and not insecure and peer_is_public(connection.sock):
        connection.close()
        raise MustNotConnect(f"plain http would show your files to others; {remedy}")
    return connection


def json_headers(key: str | None) -> dict[str, str]:
    """Return the headers of a request in JSON."""
    headers = {"User-Agent": "qvsearch", "Content-Type": "application/json"}
    return headers if key is None else headers | {"Authorization": f"Bearer {key}"}


def short(text: str) -> str:
    """Return a server's text as one line that is not too long."""
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."
