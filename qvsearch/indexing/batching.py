"""Embeds decoded files in batches that take a few seconds each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.models.prompt import PROMPT_TOKENS, TOKEN_PIXELS
from qvsearch.types import Decoded, EmbedInput, Item, Segment, Skipped

if TYPE_CHECKING:
    from qvsearch.types import Embedder, Vectors

BATCH_SECONDS = 3.0  # Ctrl-C waits no longer than a batch, and progress moves as often
MAX_TOKENS = 32_768  # 100 MB of pixels; no device is fuller with more
REFUSED_IN_A_ROW = 8  # files; if the embedder fails on so many, the files are not the reason
TOKEN_CHARACTERS = 4  # of English; other languages have more tokens, which costs only time


@dataclass(frozen=True, slots=True)
class Embedded:
    """A file's segments with their vectors (n, dim), row i for segment i."""

    item: Item
    segments: tuple[Segment, ...]
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing more has come yet: what is there is embedded without waiting for a full batch."""


def embed_files(
    outcomes: Iterable[Decoded | Skipped | Pause],
    load_embedder: Callable[[], Embedder],
    stop: Callable[[], bool],
    embedded: Callable[[int], None] = lambda _: None,
) -> Iterator[Embedded | Skipped]:
    """Yield each file when all of its inputs are embedded; Skipped files pass through.

    `embedded` is called after each batch with the number of its inputs.

    A batch may end within a file, so that a long video delays nothing. `stop` is called before each
    batch; when it returns True, nothing more is yielded. If the embedder fails on an input, only
    its file is skipped. After REFUSED_IN_A_ROW such files the QvsearchError is raised, and none of
    them is yielded.
    """
    batches = _Batches(load_embedder, embedded)
    for outcome in outcomes:
        if isinstance(outcome, Skipped):
            yield outcome
            continue
        if isinstance(outcome, Pause):
            yield from batches.embed()
            continue
        if not outcome.segments:
            yield Skipped(outcome.item.location, "it is empty: there is nothing to index")
        for part in _parts(outcome):
            if batches.add(part):
                if stop():
                    return
                yield from batches.embed()
    if not stop():
        yield from batches.embed()
        yield from batches.refused


@dataclass(slots=True)
class _File:
    """A decoded file and its vectors so far."""

    item: Item
    segments: tuple[Segment, ...]
    vectors: list[Vectors] = field(default_factory=list)
    failed: bool = False


@dataclass(frozen=True, slots=True)
class _Part:
    file: _File
    source: EmbedInput


@dataclass(frozen=True, slots=True)
class _Refused:
    file: Skipped
    error: QvsearchError


def _parts(decoded: Decoded) -> Iterator[_Part]:
    file = _File(decoded.item, tuple(segment for segment, _ in decoded.segments))
    for _, source in decoded.segments:
        yield _Part(file, source)


class _Batches:
    """Collects parts of files into batches, sized by the speed of the batch before."""

    def __init__(
        self, load_embedder: Callable[[], Embedder], embedded: Callable[[int], None]
    ) -> None:
        self._load_embedder, self._embedded = load_embedder, embedded
        self._embedder: Embedder | None = None
        self._parts: list[_Part] = []
        self._tokens = 0
        self._budget = 1.0  # tokens: the first batch is one input, its speed sizes the second
        self.refused: list[Skipped] = []  # since a file was embedded; not reported yet

    def add(self, part: _Part) -> bool:
        """Add a part; return whether the batch is full."""
        if not part.file.failed:
            self._parts.append(part)
            self._tokens += _tokens(part.source)
        return self._tokens >= self._budget

    def embed(self) -> Iterator[Embedded | Skipped]:
        """Embed the batch and yield the files that are now complete, or failed."""
        parts, tokens = self._parts, self._tokens
        self._parts, self._tokens = [], 0
        if not parts:
            return
        if self._embedder is None:
            self._embedder = self._load_embedder()
        started = time.monotonic()
        outcomes = list(self._embed(self._embedder, parts))  # without the caller's work
        speed = tokens / max(time.monotonic() - started, 1e-6)
        self._budget = min(speed * BATCH_SECONDS, MAX_TOKENS)
        self._embedded(len(parts))
        for outcome in outcomes:
            if isinstance(outcome, Embedded):
                yield from self.refused
                self.refused.clear()
                yield outcome
            else:
                self.refused.append(outcome.file)
                if len(self.refused) == REFUSED_IN_A_ROW:
                    raise outcome.error

    def _embed(self, embedder: Embedder, parts: list[_Part]) -> Iterator[Embedded | _Refused]:
        """Embed the parts together or, if the embedder fails on that, file by file."""
        try:
            vectors = embedder.embed([part.source for part in parts])
        except QvsearchError as error:
            files = [list(group) for _, group in groupby(parts, key=lambda part: id(part.file))]
            if len(files) > 1:
                for group in files:
                    yield from self._embed(embedder, group)
                return
            file = parts[0].file
            file.failed = True
            yield _Refused(Skipped(file.item.location, str(error)), error)
            return
        for part, vector in zip(parts, vectors, strict=True):
            file = part.file
            file.vectors.append(vector)
            if len(file.vectors) == len(file.segments):
                yield Embedded(file.item, file.segments, np.stack(file.vectors))


def _tokens(source: EmbedInput) -> int:
    """Return roughly the number of tokens of an input."""
    pixels = sum(image.shape[0] * image.shape[1] for image in source.images)
    if source.video is not None:
        frames, height, width, _ = source.video.pixels.shape
        pixels += frames * height * width // 2  # the model joins frames in pairs
    words = len(source.text or "") // TOKEN_CHARACTERS
    return PROMPT_TOKENS + int(pixels) // TOKEN_PIXELS + words
