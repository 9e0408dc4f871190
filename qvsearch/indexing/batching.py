"""Embeds decoded files in batches that take a few seconds each."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import InputsRefused, QvsearchError, ServersFailed
from qvsearch.media.pages import with_losses
from qvsearch.models.prompt import PROMPT_TOKENS, TOKEN_PIXELS
from qvsearch.types import Decoded, EmbedInput, Item, QueueingEmbedder, Segment, Skipped

if TYPE_CHECKING:
    from concurrent.futures import Future

    from qvsearch.types import Embedder, Vectors

BATCH_SECONDS = 3.0  # Ctrl-C waits no longer than a batch, and progress moves as often
STOP_SECONDS = 0.2  # between two calls of `stop` while servers compute
MAX_TOKENS = 32_768  # 100 MB of pixels; no device is fuller with more
REFUSED_IN_A_ROW = 8  # files; if the embedder fails on so many, the files are not the reason
TOKEN_CHARACTERS = 4  # of English; other languages have more tokens, which costs only time


@dataclass(frozen=True, slots=True)
class Embedded:
    """A file's segments with their vectors (n, dim), row i for segment i.

    `rows` are those of the library that they are copied from, if they are.
    """

    item: Item
    segments: tuple[Segment, ...]
    vectors: Vectors
    rows: tuple[int, ...] = ()


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

    The parts of a document follow one another in `outcomes`, and are one file.
    A batch may end within a file, so that a long video delays nothing. `stop` is called before each
    batch; when it returns True, only batches that servers have soon done are yielded. If the
    embedder fails on an input, only its file is skipped. After REFUSED_IN_A_ROW such files the
    QvsearchError is raised, and none of them is yielded. ServersFailed is raised at once.
    """
    batches = _Batches(load_embedder, embedded, stop)
    begun: _File | None = None  # whose other segments come next
    for outcome in outcomes:
        if isinstance(outcome, Skipped):
            yield outcome
            continue
        if isinstance(outcome, Pause):
            yield from batches.embed()
            yield from batches.finish()
            continue
        file = begun or _File(outcome.item)
        parts = file.take(outcome)
        begun = None if file.is_whole else file
        if not parts:
            yield from _without_model(file)
        for part in parts:
            if batches.add(part):
                if stop():
                    yield from batches.finish()
                    return
                yield from batches.embed()
    is_stopped = stop()
    if not is_stopped:
        yield from batches.embed()
    yield from batches.finish()
    if not is_stopped:
        yield from batches.refused


@dataclass(slots=True)
class _File:
    """A file, its segments and their vectors so far; `is_whole` if no segment is to come."""

    item: Item
    segments: list[Segment] = field(default_factory=list)
    vectors: list[Vectors] = field(default_factory=list)
    failed: bool = False
    is_whole: bool = False

    def take(self, decoded: Decoded) -> list[_Part]:
        """Take the segments that have been decoded; return them with their inputs."""
        self.segments += [with_words(*each) for each in decoded.segments]
        if not decoded.more:
            self.segments[:] = with_losses(self.segments, decoded.lost)
            self.is_whole = True
        return [_Part(self, source) for _, source in decoded.segments]

    @property
    def is_embedded(self) -> bool:
        """Whether all segments have their vectors."""
        return self.is_whole and not self.failed and len(self.vectors) == len(self.segments)

    def embedded(self) -> Embedded:
        """Return the file with all its vectors."""
        return Embedded(self.item, tuple(self.segments), np.stack(self.vectors))


@dataclass(frozen=True, slots=True)
class _Part:
    file: _File
    source: EmbedInput


@dataclass(frozen=True, slots=True)
class _Refused:
    file: Skipped
    error: QvsearchError


@dataclass(slots=True)
class _Begun:
    """A batch that is being embedded, by servers if there is a `future`."""

    parts: list[_Part]
    tokens: int
    since: float
    future: Future[Vectors] | None = None

    @property
    def is_done(self) -> bool:
        return self.future is None or self.future.done()

    def wait(self, seconds: float) -> bool:
        """Wait so long at most; return whether it is done."""
        return self.future is None or not wait([self.future], seconds).not_done


def _without_model(file: _File) -> Iterator[Embedded | Skipped]:
    """Yield the outcome of a file that has ended without a further segment."""
    if not file.segments:
        yield Skipped(file.item.location, "it is empty: there is nothing to index")
    elif file.is_embedded:
        yield file.embedded()


def with_words(segment: Segment, source: EmbedInput) -> Segment:
    """Return a segment with the words that can be searched: its own, or the passage."""
    return segment if segment.words is not None else replace(segment, words=source.text or "")


class _Batches:
    """Collects parts of files into batches, sized by the speed of the batch before."""

    def __init__(
        self,
        load_embedder: Callable[[], Embedder],
        embedded: Callable[[int], None],
        stop: Callable[[], bool],
    ) -> None:
        self._load_embedder, self._embedded, self._stop = load_embedder, embedded, stop
        self._end = math.inf  # until when servers are waited for; a stop sets it
        self._embedder: Embedder | None = None
        self._parts: list[_Part] = []
        self._tokens = 0
        self._budget = 1.0  # tokens: the first batch is one input, its speed sizes the second
        self._begun: deque[_Begun] = deque()
        self.refused: list[Skipped] = []  # since a file was embedded; not reported yet

    def add(self, part: _Part) -> bool:
        """Add a part; return whether the batch is full."""
        if not part.file.failed:
            self._parts.append(part)
            self._tokens += _tokens(part.source)
        return self._tokens >= self._budget

    def embed(self) -> Iterator[Embedded | Skipped]:
        """Embed the batch and yield the files that are now complete, or failed.

        Servers take several batches at once: the first of these is waited for when they are full.
        """
        parts, tokens = self._parts, self._tokens
        self._parts, self._tokens = [], 0
        if not parts:
            return
        if self._embedder is None:
            self._embedder = self._load_embedder()
        embedder, inputs, at_once = self._embedder, [part.source for part in parts], 1
        begun = _Begun(parts, tokens, time.monotonic())
        if isinstance(embedder, QueueingEmbedder):
            begun.future, at_once = embedder.submit(inputs), embedder.at_once
        self._begun.append(begun)
        while len(self._begun) >= at_once or (self._begun and self._begun[0].is_done):
            if not self._is_done_in_time(self._begun[0]):
                return
            yield from self._finish(embedder, self._begun.popleft())

    def finish(self) -> Iterator[Embedded | Skipped]:
        """Yield the files of all batches that are begun; after a stop, of those soon done."""
        while self._begun and self._embedder is not None:
            if not self._is_done_in_time(self._begun[0]):
                return
            yield from self._finish(self._embedder, self._begun.popleft())

    def _is_done_in_time(self, begun: _Begun) -> bool:
        """Wait for a batch, after a stop for BATCH_SECONDS at most; return whether it is done."""
        while not begun.wait(STOP_SECONDS):
            if self._end == math.inf and self._stop():
                self._end = time.monotonic() + BATCH_SECONDS
            if time.monotonic() > self._end:
                return False
        return True

    def _finish(self, embedder: Embedder, begun: _Begun) -> Iterator[Embedded | Skipped]:
        """Yield the files of a batch that are now complete, or failed; its speed sizes the next."""
        outcomes = list(self._embed(embedder, begun.parts, begun.future))
        speed = begun.tokens / max(time.monotonic() - begun.since, 1e-6)
        self._budget = min(speed * BATCH_SECONDS, MAX_TOKENS)
        self._embedded(len(begun.parts))
        for outcome in outcomes:
            if isinstance(outcome, Embedded):
                yield from self.refused
                self.refused.clear()
                yield outcome
            else:
                self.refused.append(outcome.file)
                if len(self.refused) == REFUSED_IN_A_ROW:
                    raise outcome.error

    def _embed(
        self, embedder: Embedder, parts: list[_Part], future: Future[Vectors] | None = None
    ) -> Iterator[Embedded | _Refused]:
        """Embed the parts together or, if the embedder fails on that, file by file."""
        try:
            if future is None:
                vectors = embedder.embed([part.source for part in parts])
            else:
                vectors = future.result()
        except ServersFailed:
            raise
        except InputsRefused as error:
            yield from _take(parts, error.vectors, error.reasons)
        except QvsearchError as error:
            files = [list(group) for _, group in groupby(parts, key=lambda part: id(part.file))]
            if len(files) > 1:
                for group in files:
                    yield from self._embed(embedder, group)
                return
            yield from _take(parts, None, {0: str(error)})
        else:
            yield from _take(parts, vectors, {})


def _take(
    parts: Sequence[_Part], vectors: Vectors | None, reasons: Mapping[int, str]
) -> Iterator[Embedded | _Refused]:
    """Give each part its vector, and yield the files that are now complete, or failed.

    `reasons` are those of parts without a vector, by number; without `vectors` no part has one.
    """
    for number, part in enumerate(parts):
        file = part.file
        if number in reasons and not file.failed:
            file.failed = True
            error = QvsearchError(reasons[number])
            yield _Refused(Skipped(file.item.location, str(error)), error)
        if vectors is None or file.failed:
            continue
        file.vectors.append(vectors[number])
        if file.is_embedded:
            yield file.embedded()


def _tokens(source: EmbedInput) -> int:
    """Return roughly the number of tokens of an input."""
    pixels = sum(image.shape[0] * image.shape[1] for image in source.images)
    if source.video is not None:
        frames, height, width, _ = source.video.pixels.shape
        pixels += frames * height * width // 2  # the model joins frames in pairs
    words = len(source.text or "") // TOKEN_CHARACTERS
    return PROMPT_TOKENS + int(pixels) // TOKEN_PIXELS + words
