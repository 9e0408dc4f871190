"""The messages of a decode process, which are checked and run no code.

A hostile file may have taken over the process, and a pickle of its would run in the reader.
"""

from __future__ import annotations

from dataclasses import asdict
from types import NoneType
from typing import TYPE_CHECKING, Any

from qvsearch.types import EmbedInput, Item, Metadata, Segment
from qvsearch.wire import BadMessage, pack_inputs, send, unpack_inputs

if TYPE_CHECKING:
    import socket

    from qvsearch.wire import Array

Answer = tuple[Segment, EmbedInput]

LONGEST_TEXT = 4096  # characters; a snippet has 160, the name of a file 255
LONGEST_WORDS = 1 << 20  # characters of a page or a moment; a dense page has 10,000
MOST_KEYWORDS = 256

_TEXT: set[type] = {str, NoneType}
_WHOLE: set[type] = {int, NoneType}
_NUMBER: set[type] = {float, int, NoneType}
_LINES: set[type] = {list, NoneType}
_FLAG: set[type] = {bool, NoneType}
_TEXTS: set[type] = {list, NoneType}
_SEGMENT: dict[str, set[type]] = {  # each field with its possible types
    **{"start": _NUMBER, "end": _NUMBER, "lines": _LINES, "snippet": _TEXT},
    **{"width": _WHOLE, "height": _WHOLE, "clip": {bool}, "dhash": _WHOLE, "metadata": {dict}},
    **{"patches": _TEXT, "page": _WHOLE, "section": _TEXT, "words": _TEXT},
}
_METADATA: dict[str, set[type]] = {
    **{"taken": _TEXT, "camera": _TEXT, "latitude": _NUMBER, "longitude": _NUMBER},
    **{"duration": _NUMBER, "page": _FLAG, "taken_from": _TEXT},
    **{"damaged": _TEXT, "several": _FLAG, "title": _TEXT, "author": _TEXT},
    **{"keywords": _TEXTS, "rating": _WHOLE, "language": _TEXT, "pages": _WHOLE},
    **{"pictures": _WHOLE, "partial": _TEXT},
}


def send_segment(pipe: socket.socket, answer: Answer) -> None:
    """Send a segment and its input, without the item and the hash: the reader has those."""
    segment, source = answer
    inputs, arrays = pack_inputs([source])
    fields = {name: value for name, value in asdict(segment).items() if name in _SEGMENT}
    send(pipe, {"segment": fields, "inputs": inputs}, arrays)


def read_segment(
    message: dict[str, Any], arrays: list[Array], item: Item, content_hash: str
) -> Answer:
    """Return the segment of a message about this item; raises BadMessage if it is not one."""
    segment = _checked(message.get("segment"), _SEGMENT)
    segment["metadata"] = _metadata(segment["metadata"])
    if (lines := segment["lines"]) is not None:
        if [type(line) for line in lines] != [int, int]:
            raise BadMessage("lines that are not two numbers")
        segment["lines"] = tuple(lines)
    inputs = unpack_inputs(message.get("inputs"), arrays)
    if len(inputs) != 1:
        raise BadMessage("a segment without its input")
    return Segment(item, content_hash, **segment), inputs[0]


def send_metadata(pipe: socket.socket, metadata: Metadata | None) -> None:
    """Send the result of `media.look`."""
    send(pipe, {"metadata": None if metadata is None else asdict(metadata)})


def read_metadata(message: dict[str, Any], arrays: list[Array]) -> Metadata | None:
    """Return the metadata of a message; raises BadMessage if it is not one."""
    if message.keys() != {"metadata"} or arrays:
        raise BadMessage("a message without metadata")
    fields = message["metadata"]
    return None if fields is None else _metadata(fields)


def _metadata(fields: object) -> Metadata:
    metadata = _checked(fields, _METADATA)
    if (keywords := metadata["keywords"]) is not None:
        if len(keywords) > MOST_KEYWORDS or any(type(each) is not str for each in keywords):
            raise BadMessage("keywords that are not some texts")
        if any(len(each) > LONGEST_TEXT for each in keywords):
            raise BadMessage("a keyword too long for a row")
        metadata["keywords"] = tuple(keywords)
    return Metadata(**metadata)


def _checked(fields: object, types: dict[str, set[type]]) -> dict[str, Any]:
    if not isinstance(fields, dict) or fields.keys() != types.keys():
        raise BadMessage("missing or unknown fields")
    if any(type(value) not in types[name] for name, value in fields.items()):
        raise BadMessage("a field of another type")
    for name, value in fields.items():
        if type(value) is str and len(value) > (LONGEST_WORDS if name == "words" else LONGEST_TEXT):
            raise BadMessage("a text too long for a row")
    return fields
