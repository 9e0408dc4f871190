"""Messages between processes: a JSON header, then raw arrays; bounded, and checked on receipt."""

from __future__ import annotations

import json
import math
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from qvsearch.types import EmbedInput, Frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.uint8] | NDArray[np.float32] | NDArray[np.float64]

LARGEST_HEADER = 16 * 1024 * 1024  # bytes; it contains the texts
LARGEST_BODY = 512 * 1024 * 1024  # bytes; a full batch of an indexing run has 200 MB of frames

_START = struct.Struct("!4sIQ")  # the mark, bytes of the header, bytes of the arrays
_MAGIC = b"qvs1"
_DTYPES = ("uint8", "float32", "float64")
_MOST_SIDES = 4
_COLOURS = 3


class BadMessage(ValueError):
    """The data is not a valid message."""


def send(connection: socket.socket, header: dict[str, Any], arrays: Sequence[Array] = ()) -> None:
    """Send one message; raises BadMessage if it is too large, or OSError."""
    described = header | {"arrays": [[str(each.dtype), list(each.shape)] for each in arrays]}
    text = json.dumps(described).encode()
    size = sum(each.nbytes for each in arrays)
    if len(text) > LARGEST_HEADER or size > LARGEST_BODY:
        raise BadMessage(f"a message of {len(text)} and {size} bytes is too large")
    connection.sendall(_START.pack(_MAGIC, len(text), size) + text)
    for each in arrays:
        connection.sendall(np.ascontiguousarray(each).data)


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[Array]]:
    """Wait for one message; raises BadMessage, OSError, or EOFError if the other side closed."""
    magic, length, size = _START.unpack(_read(connection, _START.size).tobytes())
    if magic != _MAGIC or length > LARGEST_HEADER or size > LARGEST_BODY:
        raise BadMessage("not a message of qvsearch")
    try:
        header = json.loads(_read(connection, length).tobytes())
    except RecursionError as error:
        raise BadMessage("the header is nested too deeply") from error
    if not isinstance(header, dict):
        raise BadMessage("the header is not an object")
    shapes = list(_shapes(header.pop("arrays", None)))
    if sum(math.prod(shape) * np.dtype(dtype).itemsize for dtype, shape in shapes) != size:
        raise BadMessage("the arrays have another size than the header states")
    arrays = [
        _read(connection, math.prod(shape) * np.dtype(dtype).itemsize).view(dtype).reshape(shape)
        for dtype, shape in shapes
    ]
    return header, arrays


def pack_inputs(inputs: Sequence[EmbedInput]) -> tuple[list[dict[str, Any]], list[Array]]:
    """Return the records of inputs, and their pixels: for each its video, then its images."""
    records: list[dict[str, Any]] = []
    arrays: list[Array] = []
    for each in inputs:
        times = None if each.video is None else list(each.video.times)
        records.append(
            {
                "text": each.text,
                "instruction": each.instruction,
                "images": len(each.images),
                "times": times,
            }
        )
        arrays += [] if each.video is None else [each.video.pixels]
        arrays += each.images
    return records, arrays


def unpack_inputs(records: object, arrays: Iterable[Array]) -> list[EmbedInput]:
    """Return the inputs that `pack_inputs` packed; raises BadMessage for anything else."""
    rest = iter(arrays)
    try:
        inputs = [_input(each, rest) for each in records]  # type: ignore[attr-defined]
    except (TypeError, KeyError, AttributeError, RuntimeError, OverflowError) as error:
        raise BadMessage("the inputs are invalid") from error
    if next(rest, None) is not None:
        raise BadMessage("there are more arrays than inputs need")
    return inputs


def _input(record: dict[str, Any], arrays: Iterator[Array]) -> EmbedInput:
    texts = (record["text"], record["instruction"])
    if not all(text is None or isinstance(text, str) for text in texts):
        raise BadMessage("a text is not a string")
    video = None
    if record["times"] is not None:
        pixels = _pixels(arrays, 4)
        times = tuple(float(time) for time in record["times"])
        if len(times) != len(pixels) or not np.isfinite(times).all():
            raise BadMessage("the times do not fit the frames")
        video = Frames(pixels, times)
    images = tuple(_pixels(arrays, 3) for _ in range(record["images"]))
    return EmbedInput(texts[0], images, video, texts[1])


def _pixels(arrays: Iterator[Array], sides: int) -> NDArray[np.uint8]:
    array = next(arrays, None)
    if (
        array is None
        or array.dtype != np.uint8
        or array.ndim != sides
        or array.shape[-1] != _COLOURS
        or not array.size
    ):
        raise BadMessage("an array does not hold pixels")
    return cast("NDArray[np.uint8]", array)


def _shapes(described: object) -> Iterator[tuple[str, tuple[int, ...]]]:
    if not isinstance(described, list):
        raise BadMessage("the header does not list arrays")
    for each in described:
        match each:
            case [dtype, [*sides]] if (
                dtype in _DTYPES
                and len(sides) <= _MOST_SIDES
                and all(type(side) is int and 0 <= side <= LARGEST_BODY for side in sides)
            ):
                yield dtype, tuple(sides)
            case _:
                raise BadMessage("the header lists an invalid array")


def _read(connection: socket.socket, size: int) -> NDArray[np.uint8]:
    data = np.empty(size, np.uint8)
    rest = data.data
    while rest.nbytes:
        count = connection.recv_into(rest)
        if not count:
            raise EOFError("the other side closed the connection")
        rest = rest[count:]
    return data
