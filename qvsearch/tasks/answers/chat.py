"""Answers from an OpenAI-compatible chat server, e.g. vLLM, Ollama, LM Studio or llama.cpp.

The prompt is sent to `/chat/completions`, and the answer is read as it is written. Protocol:
https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from qvsearch.connections import shut_after
from qvsearch.errors import QvsearchError
from qvsearch.http_servers import (
    REASON_BYTES,
    CannotConnect,
    base_url,
    checked_key,
    connect,
    json_headers,
    short,
)
from qvsearch.tasks.answers.chat_protocol import (
    CUT,
    FEWER,
    MOST_BYTES,
    BadResponse,
    StreamedAnswer,
    events,
    messages,
    parsed,
    refusal_reason,
)

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from qvsearch.tasks.answers.question import Prompt, Reply

KEY_VARIABLE = "QVSEARCH_CHAT_KEY"


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds to connect, to the first token and to the end; characters and tokens of an answer."""

    connect: float = 10.0
    first: float = 300.0  # a CPU reads pictures slowly, and many servers load the model now
    whole: float = 900.0
    characters: int = 65_536
    tokens: int = 4096


class ChatServer:
    """A chat server at a base URL such as http://localhost:11434/v1, for `ask`.

    Without a path the URL means `/v1`. Without a `model` it is the first that the server lists and
    that is not for embeddings. Plain http is for loopback and private addresses only. Redirects and
    proxies are not used.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        key: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Check the URL and the key; raises QvsearchError. Nothing is sent before `generate`."""
        self.name = model or ""
        self._base = _base(url)
        self._key = checked_key(KEY_VARIABLE, key)
        self._limits = limits or Limits()

    @property
    def url(self) -> str:
        """The base URL."""
        return self._base.geturl()

    def generate(self, prompt: Prompt, write: Callable[[str], None]) -> Reply:
        """Return the whole answer; `write` is called with each piece as it arrives.

        Raises QvsearchError with a remedy for a server that cannot be reached, refuses the request,
        does not speak this protocol, or exceeds a limit.
        """
        self.name = self.name or self._first_model()
        request = {
            "model": self.name,
            "messages": messages(prompt),
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0,
            "max_tokens": self._limits.tokens,
        }
        answer = StreamedAnswer(self._limits.characters)
        with closing(self._pieces(request, answer)) as pieces:
            for piece in pieces:
                write(piece)
        return answer.reply()

    def _pieces(self, request: Mapping[str, object], answer: StreamedAnswer) -> Generator[str]:
        """Send a request, and yield the texts of an answer until it is complete."""
        with self._response("POST", "chat/completions", request) as (response, begun):
            for event in events(response.readline):
                piece = answer.add(event)
                if answer.has_begun:
                    begun()
                if piece:
                    yield piece
            answer.check()

    def _first_model(self) -> str:
        """Return the first model that the server lists, and that is not one for embeddings."""
        with self._response("GET", "models") as (response, _):
            listed = parsed(response.read(MOST_BYTES)).get("data")
        entries = listed if isinstance(listed, list) else []
        names = [each.get("id") for each in entries if isinstance(each, dict)]
        writers = [name for name in names if isinstance(name, str) and "embed" not in name.lower()]
        if not writers:
            raise self._error(
                "it lists no model that writes; load one there, or name it with --chat-model"
            )
        return writers[0]

    @contextmanager
    def _response(
        self, method: str, page: str, request: Mapping[str, object] | None = None
    ) -> Iterator[tuple[http.client.HTTPResponse, Callable[[], None]]]:
        """Request a page below the base URL; yield the response, and what ends the first limit.

        Turns every failure, also of the code in the `with` block, into a QvsearchError.
        """
        expired: list[str] = []
        try:
            with closing(self._connected()) as connection:
                socket = connection.sock
                limits = (("begin", self._limits.first), ("end", self._limits.whole))
                timers = [
                    shut_after(socket, seconds, partial(expired.append, name))
                    for name, seconds in limits
                ]
                try:
                    body = None if request is None else json.dumps(request).encode()
                    headers = {**json_headers(self._key), "Connection": "close"}
                    connection.request(method, f"{self._base.path}/{page}", body, headers)
                    with connection.getresponse() as response:
                        if response.status != http.client.OK:
                            raise self._refusal(response)
                        yield response, timers[0].cancel
                finally:
                    for timer in timers:
                        timer.cancel()
        except (BadResponse, http.client.HTTPException, OSError, ValueError) as error:
            if "begin" in expired:
                reason = f"no answer has begun after {self._limits.first:.0f} s; {FEWER}"
            elif expired:
                reason = f"the answer takes more than {self._limits.whole:.0f} s; {FEWER}"
            elif isinstance(error, BadResponse):
                reason = str(error)
            elif isinstance(error, http.client.IncompleteRead):
                reason = CUT
            elif isinstance(error, OSError):
                reason = f"the connection broke ({error.strerror or error}); try again"
            else:
                reason = "it does not answer like an OpenAI-compatible server; check the URL"
            raise self._error(reason) from error

    def _connected(self) -> http.client.HTTPConnection:
        """Connect; raises QvsearchError, before anything is sent, for plain http to the public."""
        try:
            connection = connect(self._base, self._limits.connect)
        except CannotConnect as error:
            raise self._error(str(error)) from error
        connection.sock.settimeout(None)  # from here on the timers hold
        return connection

    def _refusal(self, response: http.client.HTTPResponse) -> QvsearchError:
        """Return the error for a status that is not 200."""
        status = response.status
        if http.client.MULTIPLE_CHOICES <= status < http.client.BAD_REQUEST:
            target = short(response.getheader("Location", "another place"))
            return self._error(f"it redirects to {target}; give the URL of the server itself")
        message = f"{status}: {refusal_reason(response.read(REASON_BYTES))}"
        if status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
            remedy = "set" if self._key is None else "correct"
            return self._error(f"it refuses access ({message}); {remedy} {KEY_VARIABLE}")
        if status == http.client.NOT_FOUND:
            model = f"no model {self.name!r}, or no chat at this URL" if self.name else "no models"
            return self._error(f"it has {model} ({message}); name another --chat-model, or URL")
        if status >= http.client.INTERNAL_SERVER_ERROR:
            return self._error(f"it failed ({message}); see its log, or try again")
        return self._error(
            f"it refuses the request ({message}); name a --chat-model that reads pictures,"
            " add --kind text, or give a smaller -k"
        )

    def _error(self, reason: str) -> QvsearchError:
        """Return an error without the key, which a server may repeat in its reasons."""
        reason = reason if self._key is None else reason.replace(self._key, "***")
        return QvsearchError(f"the chat server {self.url}: {reason}")


def _base(url: str) -> SplitResult:
    """Return a base URL without a slash at its end; raises QvsearchError for any other."""
    place = base_url("--chat-server", url, "http://localhost:11434/v1", KEY_VARIABLE)
    path = place.path.removesuffix("/chat/completions") if place.path else "/v1"
    return place._replace(path=path)
