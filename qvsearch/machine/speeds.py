"""Measured seconds of photos, moments and passages, kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from qvsearch.errors import QvsearchError
from qvsearch.files import make_folder, read_start, write_file
from qvsearch.machine.flops import photo_flop, picture_flop, text_flop
from qvsearch.media.passages import PASSAGE_TOKENS
from qvsearch.models.prompt import visual_tokens
from qvsearch.runtime.client import WarmEmbedder
from qvsearch.runtime.remote.embedder import RemoteEmbedder
from qvsearch.types import Detail
from qvsearch.version import __version__

if TYPE_CHECKING:
    import torch

    from qvsearch.types import Embedder, EmbedInput, Vectors

LONGEST_FILE = 10_000  # bytes
TOKEN_BYTES = 4  # of most texts
LEAST_SECONDS = 5.0  # of the model's work: less is too short for a speed


@dataclass(frozen=True, slots=True)
class Speeds:
    """Seconds of the model for a full-size photo, a moment of a video, and a passage."""

    photo: Mapping[Detail, float] = field(default_factory=dict)
    moment: Mapping[Detail, float] = field(default_factory=dict)
    passage: float | None = None

    def times_as_fast(self, other: Speeds) -> float | None:
        """Return how many times as fast as others these are: the least ratio that both have."""
        pairs = [(self.passage, other.passage)]
        for ours, theirs in ((self.photo, other.photo), (self.moment, other.moment)):
            pairs += [(ours[each], theirs[each]) for each in ours.keys() & theirs.keys()]
        ratios = [theirs / ours for ours, theirs in pairs if ours and theirs]
        return min(ratios, default=None)


class RunTimer:
    """Measures the speeds of an `index` run, from the calls of its model.

    A call does not count if it is the first one, which allocates; if it mixes pictures with texts;
    or if its inputs have an instruction, as queries do.
    """

    def __init__(self, detail: Detail) -> None:
        self._detail = detail
        self._calls = 0
        # by whether the inputs are texts: passages, or full-size pictures
        self._seconds = {True: 0.0, False: 0.0}
        self._count = {True: 0.0, False: 0.0}

    def around(self, embedder: Embedder) -> Embedder:
        """Return an embedder that does the same and is timed.

        Servers are not timed: they may be busy with the requests of others.
        """
        is_served = isinstance(embedder, WarmEmbedder | RemoteEmbedder)
        return embedder if is_served else _TimedEmbedder(embedder, self)

    def add(self, inputs: Sequence[EmbedInput], seconds: float) -> None:
        """Count one call."""
        self._calls += 1
        are_texts = {each.text is not None for each in inputs}
        is_query = any(each.instruction is not None for each in inputs)
        if self._calls == 1 or len(are_texts) != 1 or is_query:
            return
        (is_text,) = are_texts
        self._seconds[is_text] += seconds
        self._count[is_text] += sum(map(self._passages if is_text else self._photos, inputs))

    def _photos(self, source: EmbedInput) -> float:
        """Return the arithmetic of a picture as a share of a full-size photo's."""
        return picture_flop(visual_tokens(source)) / photo_flop(self._detail)

    @staticmethod
    def _passages(source: EmbedInput) -> float:
        """Return the arithmetic of a text as a share of a whole passage's."""
        tokens = len((source.text or "").encode("utf-8", "replace")) // TOKEN_BYTES
        return text_flop(min(tokens, PASSAGE_TOKENS)) / text_flop()

    def speeds(self) -> Speeds:
        """Return the speeds of pictures and passages, if they took LEAST_SECONDS."""
        picture, passage = self._mean(is_text=False), self._mean(is_text=True)
        pictures = {} if picture is None else {self._detail: picture}
        return Speeds(pictures, pictures, passage)

    def _mean(self, *, is_text: bool) -> float | None:
        seconds, count = self._seconds[is_text], self._count[is_text]
        return seconds / count if count and seconds >= LEAST_SECONDS else None


class _TimedEmbedder:
    def __init__(self, embedder: Embedder, timer: RunTimer) -> None:
        self.dim = embedder.dim
        self._embedder, self._timer = embedder, timer

    def embed(self, inputs: Sequence[EmbedInput]) -> Vectors:
        start = time.perf_counter()
        vectors = self._embedder.embed(inputs)
        self._timer.add(inputs, time.perf_counter() - start)
        return vectors


def device_name(device: torch.device) -> str:
    """Return a name that differs between the devices that a computer may have had."""
    import torch

    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({platform.machine()})"


def read_speeds(model: str, device: str, dtype: str) -> Speeds | None:
    """Return what this version of qvsearch measured with a model; None if it has not."""
    try:
        content = json.loads(read_start(_path(model, device, dtype), LONGEST_FILE))
        passage = content["passage"]
        return Speeds(
            {Detail(name): _seconds(value) for name, value in content["photo"].items()},
            {Detail(name): _seconds(value) for name, value in content["moment"].items()},
            None if passage is None else _seconds(passage),
        )
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def keep_speeds(model: str, device: str, dtype: str, speeds: Speeds) -> None:
    """Write speeds beside earlier ones of other details; a full disk is no error."""
    before = read_speeds(model, device, dtype) or Speeds()
    record = {
        "photo": {**before.photo, **speeds.photo},
        "moment": {**before.moment, **speeds.moment},
        "passage": before.passage if speeds.passage is None else speeds.passage,
    }
    path = _path(model, device, dtype)
    with suppress(QvsearchError):
        make_folder(path.parent)
        write_file(path, json.dumps(record).encode())


def _seconds(value: object) -> float:
    if not isinstance(value, float) or not 0 < value < math.inf:
        raise ValueError(f"{value!r} is not a number of seconds")
    return value


def _path(model: str, device: str, dtype: str) -> Path:
    """Return a file named after everything that the speeds depend on."""
    name = hashlib.sha256(repr((model, device, dtype, __version__)).encode()).hexdigest()[:32]
    folder = platformdirs.user_cache_path("qvsearch", appauthor=False)
    return folder / "speeds" / f"{name}.json"
