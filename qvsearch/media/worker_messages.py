"""What a decode process says of a file, as messages that are checked and run nothing.

A hostile file may have taken over the process; a pickle of it would be obeyed by who reads it.
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

_TEXT: set[type] = {str, NoneType}
_WHOLE: set[type] = {int, NoneType}
_NUMBER: set[type] = {float, int, NoneType}
_LINES: set[type] = {list, NoneType}
_FLAG: set[type] = {bool, NoneType}
_SEGMENT: dict[str, set[type]] = {  # each field with the types that it may have
    **{"start": _NUMBER, "end": _NUMBER, "lines": _LINES, "snippet": _TEXT},
    **{"width": _WHOLE, "height": _WHOLE, "clip": {bool}, "dhash": _WHOLE, "metadata": {dict}},
    "patches": _TEXT,
}
_METADATA: dict[str, set[type]] = {
    **{"taken": _TEXT, "camera": _TEXT, "latitude": _NUMBER, "longitude": _NUMBER},
    **{"duration": _NUMBER, "page": _FLAG, "taken_from": _TEXT},
    **{"damaged": _TEXT, "several": _FLAG},
}


def tell(pipe: socket.socket, answer: Answer) -> None:
    """Say one thing; the item and the hash of a segment are those that were asked for."""
    segment, source = answer
    inputs, arrays = pack_inputs([source])
    fields = {name: value for name, value in asdict(segment).items() if name in _SEGMENT}
    send(pipe, {"segment": fields, "inputs": inputs}, arrays)


def understand(said: dict[str, Any], arrays: list[Array], item: Item, content_hash: str) -> Answer:
    """Return what a message says of this item; raises BadMessage where it is none of `tell`."""
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


def tell_metadata(pipe: socket.socket, metadata: Metadata | None) -> None:
    """Send what a look at a file returned."""
    send(pipe, {"metadata": None if metadata is None else asdict(metadata)})


def understand_metadata(said: dict[str, Any], arrays: list[Array]) -> Metadata | None:
    """Return what `tell_metadata` sent; raises BadMessage for anything else."""
    if said.keys() != {"metadata"} or arrays:
        raise BadMessage("no metadata")
    found = said["metadata"]
    return None if found is None else Metadata(**_checked(found, _METADATA))


def _checked(said: object, types: dict[str, set[type]]) -> dict[str, Any]:
    if not isinstance(said, dict) or said.keys() != types.keys():
        raise BadMessage("no segment")
    if any(type(value) not in types[name] for name, value in said.items()):
        raise BadMessage("a field of another type")
    if any(type(value) is str and len(value) > LONGEST_TEXT for value in said.values()):
        raise BadMessage("a text too long for a row")
    return said
