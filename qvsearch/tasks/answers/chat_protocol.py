"""The protocol of an OpenAI-compatible chat: a prompt as messages, events as an answer."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

from qvsearch.http_servers import short
from qvsearch.models.prompt import harmless
from qvsearch.tasks.answers.question import Reply

if TYPE_CHECKING:
    from qvsearch.tasks.answers.question import Prompt
    from qvsearch.types import Pixels

QUALITY = 90  # of the JPEGs that are sent
MOST_BYTES = 32 * 2**20  # of one response; a streamed token takes some hundred
FEWER = "give a smaller -k, --detail low, or another --chat-model"
CUT = "the connection ended in the middle of the answer; try again"
FINISHED = {"choices": [{"delta": {}, "finish_reason": "stop"}]}  # what some servers leave out


def messages(prompt: Prompt) -> list[dict[str, object]]:
    """Return the two messages of a prompt; without pictures they are plain texts."""
    content: object
    if all(isinstance(part, str) for part in prompt.parts):
        content = "".join(harmless(part) for part in prompt.parts if isinstance(part, str))
    else:
        content = [
            {"type": "text", "text": harmless(part)}
            if isinstance(part, str)
            else {"type": "image_url", "image_url": {"url": _data_url(part)}}
            for part in prompt.parts
        ]
    return [{"role": "system", "content": prompt.system}, {"role": "user", "content": content}]


def _data_url(pixels: Pixels) -> str:
    from PIL import Image  # not needed by passages

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


class BadResponse(Exception):
    """A response that cannot be used; the text is the reason and a remedy."""


class StreamedAnswer:
    """Collects the events of one answer."""

    def __init__(self, most: int) -> None:
        self.has_begun = False
        self._most = most  # characters
        self._pieces: list[str] = []
        self._characters = 0
        self._finish: str | None = None
        self._usage: Mapping[str, Any] = {}

    def add(self, event: dict[str, Any]) -> str:
        """Take the next event and return its text; raises BadResponse."""
        if event.get("error"):
            raise BadResponse(f"it failed ({_reason_in(event)}); see its log, or try again")
        if isinstance(event.get("usage"), dict):
            self._usage = event["usage"]
        choices = event.get("choices")
        if not choices:  # e.g. the last event, with the usage
            return ""
        try:
            part = choices[0].get("delta") or choices[0].get("message") or {}
            content, finish = part.get("content"), choices[0].get("finish_reason")
        except (AttributeError, KeyError, TypeError) as error:
            raise _other_protocol() from error
        if not isinstance(content, str | None) or not isinstance(finish, str | None):
            raise _other_protocol()
        self._finish = self._finish or finish
        self.has_begun |= any(value for name, value in part.items() if name != "role")
        self._characters += len(content or "")
        if self._characters > self._most:
            raise BadResponse(f"its answer is longer than {self._most:,} characters; {FEWER}")
        self._pieces.append(content or "")
        return content or ""

    def check(self) -> None:
        """Raise BadResponse if the end of the answer, or its text, is missing."""
        if self._finish is None:
            if not self.has_begun:
                raise _other_protocol()
            raise BadResponse(CUT)
        if not "".join(self._pieces).strip():
            reason = "thoughts took all the tokens" if self._is_cut else "it wrote no text"
            raise BadResponse(f"its answer is empty ({reason}); name another --chat-model")

    def reply(self) -> Reply:
        """Return the whole answer."""
        counts = [self._usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        prompt, answer = (count if isinstance(count, int) else None for count in counts)
        return Reply("".join(self._pieces), self._is_cut, prompt, answer)

    @property
    def _is_cut(self) -> bool:
        return self._finish == "length"


def events(readline: Callable[[int], bytes]) -> Iterator[dict[str, Any]]:
    """Yield the objects of a stream of events, or the one object of an answer that is no stream.

    `readline` returns the next line of the response, of at most so many bytes. Raises BadResponse
    for anything else.
    """
    lines = filter(bytes.strip, _lines(readline))
    first = next(lines, b"")
    if first.lstrip().startswith(b"{"):
        yield parsed(b"".join([first, *lines]))
        return
    for line in chain([first], lines):
        name, separator, data = line.partition(b":")
        if not separator:
            raise _other_protocol()
        if name != b"data":  # a comment that keeps the connection, or the name of an event
            continue
        if data.strip() == b"[DONE]":
            yield FINISHED
            return
        try:
            event = parsed(data)
        except BadResponse as error:
            if line.endswith(b"\n"):
                raise
            raise BadResponse(CUT) from error
        yield event


def _lines(readline: Callable[[int], bytes]) -> Iterator[bytes]:
    left = MOST_BYTES
    while line := readline(left):
        left -= len(line)
        if left <= 0:
            raise BadResponse(f"its answer is larger than {MOST_BYTES // 2**20} MB; {FEWER}")
        yield line


def parsed(data: bytes) -> dict[str, Any]:
    """Return a JSON object; raises BadResponse for anything else."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _other_protocol() from error
    if not isinstance(content, dict):
        raise _other_protocol()
    return content


def _other_protocol() -> BadResponse:
    return BadResponse("it does not answer like an OpenAI-compatible server; check the URL")


def refusal_reason(body: bytes) -> str:
    """Return the reason that the body of a refusal states, in whichever form it has."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace").strip()
        return "no reason" if not text or text.startswith("<") else short(text)
    return _reason_in(content) if isinstance(content, dict) else "no reason"


def _reason_in(content: dict[str, Any]) -> str:
    error = content.get("error", content)
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or "no reason"
    return short(str(error))
