"""What a kind of server must be able to do, and the checks of its answers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from qvsearch.choices import Wire
    from qvsearch.runtime.remote.texts import Prepared
    from qvsearch.types import EmbedInput, Vectors

UNIT = 1e-2  # how far from 1 the length of a vector may be


class BadAnswer(Exception):
    """An answer that cannot be used; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Request:
    """A JSON request: its path below the base URL, and its body."""

    path: str
    body: Mapping[str, object]


class Dialect(Protocol):
    """How inputs are sent to one kind of server, and vectors are read from its answers.

    A request has at most `most_inputs` inputs; `connections` requests keep the server busy.
    """

    name: str
    most_inputs: int
    connections: int

    def request(self, inputs: Sequence[Prepared], wire: Wire) -> Request:
        """Return the request for the vectors of some inputs; an input with a video is alone."""
        ...

    def vectors(self, answer: Any, count: int) -> Vectors:  # noqa: ANN401 (JSON)
        """Return the rows (count, d) of an answer; a row that is not finite has no vector.

        Raises BadAnswer if they are too few or not of length 1, or have different lengths.
        """
        ...


class RerankDialect(Protocol):
    """How pairs are sent to one kind of server, and P(relevant) is read from its answers."""

    name: str
    most_inputs: int
    connections: int

    def request(self, query: EmbedInput, documents: Sequence[Prepared], wire: Wire) -> Request:
        """Return the request for the scores of documents; a pair with a video is alone."""
        ...

    def scores(self, answer: Any, count: int) -> list[float]:  # noqa: ANN401 (JSON)
        """Return P(relevant) of each document; raises BadAnswer."""
        ...


def indexed(entries: object, value: str, count: int) -> list[Any]:
    """Return the values of `count` entries in the order of their `index`; raises BadAnswer."""
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise BadAnswer("its answer has no list of results")
    places = [each.get("index") for each in entries]
    if len(entries) != count or not all(type(each) is int for each in places):
        raise BadAnswer(f"its answer has {len(entries)} results for {count} inputs")
    if sorted(places) != list(range(count)):
        raise BadAnswer("its answer does not say which result is of which input")
    by_place = {each["index"]: each.get(value) for each in entries}
    return [by_place[place] for place in range(count)]


def rows(values: Sequence[object], off: float = UNIT) -> Vectors:
    """Return vectors, lists of numbers or float32 as base64, as rows (n, d) float32.

    Raises BadAnswer for anything else, for different dimensions, and for a length that is more than
    `off` from 1.
    """
    vectors = [_vector(each) for each in values]
    if len({each.shape for each in vectors}) > 1:
        raise BadAnswer("its vectors have different dimensions")
    found: Vectors = np.stack(vectors)
    lengths = np.linalg.norm(found.astype(np.float64), axis=1)
    wrong = np.isfinite(lengths) & (np.abs(lengths - 1) > off)
    if wrong.any():
        raise BadAnswer(f"its vectors have length {lengths[wrong][0]:.4g}, not 1")
    return found


def _vector(value: object) -> Vectors:
    try:
        if isinstance(value, str):
            vector = np.frombuffer(base64.b64decode(value, validate=True), "<f4")
        else:
            # None stands for NaN, which JSON does not have
            vector = np.array(value, np.float32)
    except (ValueError, TypeError, binascii.Error) as error:
        raise BadAnswer("its answer has no vectors") from error
    if vector.ndim != 1 or not vector.size:
        raise BadAnswer("its answer has no vectors")
    return vector.astype(np.float32)
