"""What a decode process says of a file, as messages that are checked and run nothing.

A hostile file may have taken over the process; a pickle of it would be obeyed by who reads it.
"""

from __future__ import annotations

import os
import socket
from dataclasses import asdict
from multiprocessing.connection import Connection
from types import NoneType
from typing import Any

from qvsearch.messages import BadMessage, pack_inputs, receive, send, unpack_inputs
from qvsearch.types import EmbedInput, Item, Metadata, Segment

# what a worker says: a segment; None at a file's end; the reason why there is none
Answer = tuple[Segment, EmbedInput] | str | None

_TEXT: set[type] = {str, NoneType}
_WHOLE: set[type] = {int, NoneType}
_NUMBER: set[type] = {float, int, NoneType}
_LINES: set[type] = {list, NoneType}
_FLAG: set[type] = {bool, NoneType}
_SEGMENT: dict[str, set[type]] = {  # each field with the types that it may have
    **{"start": _NUMBER, "end": _NUMBER, "lines": _LINES, "snippet": _TEXT},
    **{"width": _WHOLE, "height": _WHOLE, "clip": {bool}, "dhash": _WHOLE, "metadata": {dict}},
}
_METADATA: dict[str, set[type]] = {
    **{"taken": _TEXT, "camera": _TEXT, "latitude": _NUMBER, "longitude": _NUMBER},
    **{"duration": _NUMBER, "page": _FLAG},
}


def channel(connection: Connection) -> socket.socket:
    """Return the socket that a pipe is, to be closed apart from it."""
    return socket.socket(socket.AF_UNIX, fileno=os.dup(connection.fileno()))


def tell(pipe: socket.socket, answer: Answer) -> None:
    """Say one thing; the item and the hash of a segment are those that were asked for."""
    if answer is None or isinstance(answer, str):
        send(pipe, {"reason": answer})
        return
    segment, source = answer
    inputs, arrays = pack_inputs([source])
    fields = {name: value for name, value in asdict(segment).items() if name in _SEGMENT}
    send(pipe, {"segment": fields, "inputs": inputs}, arrays)


def hear(pipe: socket.socket, item: Item, content_hash: str) -> Answer:
    """Wait for what is said of this item; raises BadMessage for all else, EOFError, OSError."""
    said, arrays = receive(pipe)
    reason = said.get("reason", ...)
    if reason is None or isinstance(reason, str):
        return reason
    segment = _checked(said.get("segment"), _SEGMENT)
    segment["metadata"] = Metadata(**_checked(segment["metadata"], _METADATA))
    if (lines := segment["lines"]) is not None:
        if [type(line) for line in lines] != [int, int]:
            raise BadMessage("lines that are none")
        segment["lines"] = tuple(lines)
    inputs = unpack_inputs(said.get("inputs"), arrays)
    if len(inputs) != 1:
        raise BadMessage("a segment without its input")
    return Segment(item, content_hash, **segment), inputs[0]


def _checked(said: object, types: dict[str, set[type]]) -> dict[str, Any]:
    if not isinstance(said, dict) or said.keys() != types.keys():
        raise BadMessage("no segment")
    if any(type(value) not in types[name] for name, value in said.items()):
        raise BadMessage("a field of another type")
    return said
