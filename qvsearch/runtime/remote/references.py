"""Inputs whose vectors are known, which a server is compared with.

The vectors are those of a library's own rows, or of the model on this computer. For the published
2B models there are recorded scores of texts, too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.cache import cache_folder, file_name, keep_vectors, read_vectors
from qvsearch.errors import QvsearchError
from qvsearch.models import registry
from qvsearch.models.generic_queries import queries
from qvsearch.models.prompt import QUERY_INSTRUCTION, TOKEN_SIDE
from qvsearch.runtime.backends import backend_of
from qvsearch.runtime.choice import Choice
from qvsearch.types import Decoded, Detail, EmbedInput, Frames, Kind, Segment

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.types import DecodeOptions, Embedder, Fingerprint, Item, Pixels, Vectors

CANDIDATES = 200  # rows of a kind that are looked at for files that are still there
LARGEST_FILE = {
    Kind.IMAGE: 20_000_000,
    Kind.VIDEO: 40_000_000,
    Kind.TEXT: 2_000_000,
    Kind.DOCUMENT: 20_000_000,
}  # bytes
TEXTS = (
    EmbedInput("A red ring and a blue star on a grey ground. Größe: 12 m², 円と星"),
    EmbedInput("a blue star at night", instruction=QUERY_INSTRUCTION),
)
CLIP_FRAMES, CLIP_SIDE = 5, 4 * TOKEN_SIDE  # an odd last frame, and times between tenths
_SIDES = {Detail.LOW: (16, 16), Detail.MEDIUM: (24, 32), Detail.HIGH: (40, 45)}  # tokens
_CACHED = 20  # models and details whose vectors of own inputs are cached, those used last


class Form(StrEnum):
    """What a server may treat in its own way: texts, pictures, clips; pairs of a reranker."""

    TEXT = "text"
    PICTURE = "picture"
    CLIP = "clip"
    PAIR = "pair"


@dataclass(frozen=True, slots=True)
class Known:
    """Inputs with their vectors (n, dim), and where the vectors come from."""

    origin: str
    inputs: tuple[EmbedInput, ...]
    vectors: Vectors

    def some(self, most: int) -> Known:
        """Return at most so many of the inputs, spread over all."""
        step = max(1, -(-len(self.inputs) // most))
        return replace(self, inputs=self.inputs[::step], vectors=self.vectors[::step])


@dataclass(frozen=True, slots=True)
class Recorded:
    """Two texts, and the score that the published model gave them elsewhere."""

    query: EmbedInput
    document: EmbedInput
    score: float


def form_of(source: EmbedInput) -> Form:
    """Return the form of an input, whose text may accompany its pictures."""
    if source.video is not None:
        return Form.CLIP
    return Form.PICTURE if source.images else Form.TEXT


def own_inputs(form: Form, detail: Detail) -> tuple[EmbedInput, ...]:
    """Return our own inputs of a form; a picture has all pixels that the detail allows."""
    if form is Form.TEXT:
        return TEXTS
    if form is Form.CLIP:
        frames = [_pattern(CLIP_SIDE, CLIP_SIDE, turn=number) for number in range(CLIP_FRAMES)]
        times = tuple(0.52 * number for number in range(CLIP_FRAMES))
        return (EmbedInput(video=Frames(np.stack(frames), times)),)
    rows, columns = _SIDES[detail]
    return (EmbedInput(images=(_pattern(rows * TOKEN_SIDE, columns * TOKEN_SIDE),)),)


def generic_known(library: Library) -> Known | None:
    """Return the generic queries of a library's baseline; None if it has no baseline."""
    texts, vectors = queries(library.fingerprint.model), library.baseline
    if vectors is None or len(vectors) != len(texts):
        return None
    inputs = tuple(EmbedInput(text, instruction=QUERY_INSTRUCTION) for text in texts)
    return Known(_origin(library), inputs, vectors)


def rows_known(library: Library, form: Form, most: int) -> Known | None:
    """Return inputs of rows whose files are still there and unchanged; None without one.

    Files are decoded again, in confined processes.
    """
    kinds = {Form.TEXT: (Kind.TEXT,), Form.PICTURE: (Kind.IMAGE, Kind.DOCUMENT, Kind.VIDEO)}
    inputs: list[EmbedInput] = []
    vectors: list[Vectors] = []
    for kind in kinds.get(form, (Kind.VIDEO,)):
        rows = _rows(library, kind, form, most - len(inputs))
        for row, source in _decoded(library, rows, library.fingerprint.decode_options):
            inputs.append(source)
            vectors.append(library.vectors([row]))
        if len(inputs) >= min(most, 1):
            break
    return Known(_origin(library), tuple(inputs), np.concatenate(vectors)) if inputs else None


def model_known(fingerprint: Fingerprint, form: Form) -> Known | None:
    """Return our own inputs with the vectors of the model on this disk; None if it is not there.

    The vectors are cached, because loading the model takes long. Raises QvsearchError if it fails.
    """
    inputs = own_inputs(form, fingerprint.detail)
    shape = (len(inputs), fingerprint.dim)
    vectors = read_vectors(_cache_path(fingerprint, form, inputs), shape)
    if vectors is None:
        embedder = _embedder(fingerprint)
        if embedder is None:
            return None
        vectors = _computed(fingerprint, embedder, form)
    return Known("the model on this computer", inputs, vectors)


def _computed(fingerprint: Fingerprint, embedder: Embedder, form: Form) -> Vectors:
    """Return the vectors of our own inputs of a form, and cache those of other forms as well."""
    vectors = {}
    for each in {Form.TEXT, Form.PICTURE, form}:  # loading takes longer than computing
        inputs = own_inputs(each, fingerprint.detail)
        vectors[each] = np.concatenate([embedder.embed([source]) for source in inputs])
        keep_vectors(_cache_path(fingerprint, each, inputs), vectors[each], _CACHED)
    return vectors[form]


def _cache_path(fingerprint: Fingerprint, form: Form, inputs: Sequence[EmbedInput]) -> Path:
    return cache_folder("probes") / file_name(fingerprint, form, _digest(inputs))


def recorded_scores(model: str, revision: str) -> list[Recorded]:
    """Return the recorded scores of a published model, if it is of the revision that made them."""
    known = registry.MODELS.get(model)
    if known is None or known.revision != revision:
        return []
    path = Path(__file__).with_name("recorded_scores.json")
    entries = json.loads(path.read_text(encoding="utf-8")).get(model, [])
    return [
        Recorded(
            EmbedInput(each["query"], instruction=each["instruction"]),
            EmbedInput(each["document"]),
            each["score"],
        )
        for each in entries
    ]


def _embedder(fingerprint: Fingerprint) -> Embedder | None:
    """Return the model of a library if it is on this disk."""
    if (backend := backend_of(fingerprint.model)) is not None:
        try:
            return backend.load(fingerprint, Choice())
        except QvsearchError:  # files that are gone, or an engine that is not installed
            return None
    weights = _weights(fingerprint)
    if weights is None:
        return None
    from qvsearch.models.devices import own_dtype
    from qvsearch.runtime.local import LocalEmbedder

    dtype = own_dtype(fingerprint.precision, None)
    dim, detail = fingerprint.dim, fingerprint.detail
    return LocalEmbedder(weights.name, None, dtype, dim, detail, weights.adapter)


def _weights(fingerprint: Fingerprint) -> registry.Weights | None:
    """Return the files of a library's model if they are on this disk."""
    try:
        if fingerprint.adapter is not None:
            weights: registry.Weights | None = registry.resolve(fingerprint.adapter)
        else:
            weights = registry.find(fingerprint.model)
    except QvsearchError:  # a folder that is gone
        return None
    return weights if weights is not None and weights.revision == fingerprint.revision else None


def _rows(library: Library, kind: Kind, form: Form, most: int) -> list[int]:
    """Return some rows of a kind and form, spread over the library, whose files are as they were.

    Small files come first, because each is decoded again.
    """
    live = library.by_kind[list(Kind).index(kind)]
    step = max(1, len(live) // CANDIDATES)
    found = []
    for row in live[::step][:CANDIDATES].tolist():
        segment = library.segments[row]
        if not segment.is_older and _form(segment) is form and _is_as_it_was(segment.item):
            found.append((segment.item.size, row))
    found.sort()
    return [row for _, row in found[:most]]


def _form(segment: Segment) -> Form:
    if segment.clip:
        return Form.CLIP
    return Form.TEXT if segment.item.kind is Kind.TEXT else Form.PICTURE


def _is_as_it_was(item: Item) -> bool:
    try:
        status = Path(os.fsdecode(item.location)).stat()
    except OSError:
        return False
    same = (status.st_size, status.st_mtime_ns) == (item.size, item.mtime_ns)
    return same and item.size <= LARGEST_FILE[item.kind]


def _decoded(
    library: Library, rows: Sequence[int], options: DecodeOptions
) -> Iterator[tuple[int, EmbedInput]]:
    """Yield the row and the input of each segment that a file still gives; others are left out."""
    from qvsearch.media.workers import Decoders

    segments = {row: library.segments[row] for row in rows}
    jobs = {each.item.location: (each.item, each.content_hash) for each in segments.values()}
    if not jobs:
        return
    with Decoders(1) as decoders:
        outcomes = [*decoders.decode(jobs.values(), options)]
    inputs = {
        (each.item.location, *_place(each)): source
        for outcome in outcomes
        if isinstance(outcome, Decoded)
        for each, source in outcome.segments
    }
    for row, segment in segments.items():
        source = inputs.get((segment.item.location, *_place(segment)))
        if source is not None:
            yield row, source


def _place(segment: Segment) -> tuple[object, ...]:
    moment = segment.start, segment.end, segment.clip
    return *moment, segment.lines, segment.page, segment.section


def _origin(library: Library) -> str:
    return f"the library {library.folder}"


def _pattern(height: int, width: int, turn: int = 0) -> Pixels:
    """Return a picture (height, width, 3) of waves, a disc and a bar, the same on all computers."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [(x * (3 + c) // 2 + y * (5 - c) // 3 + 40 * turn) % 256 for c in range(3)]
    picture: Pixels = np.stack(waves, axis=-1).astype(np.uint8)
    radius = min(height, width) // 4
    disc = (y - height // 2) ** 2 + (x - width // 3 - 8 * turn) ** 2 < radius**2
    picture[disc] = (200, 30, 40)
    picture[height // 8 : height // 5, width // 2 :] = (20, 60, 220)
    return picture


def _digest(inputs: Iterable[EmbedInput]) -> str:
    """Return what the vectors of our own inputs depend on, for the name of their file."""
    parts: list[bytes] = []
    for each in inputs:
        parts += [repr((each.text, each.instruction)).encode()]
        parts += [pixels.tobytes() for pixels in each.images]
        if each.video is not None:
            parts += [each.video.pixels.tobytes(), repr(each.video.times).encode()]
    return file_name(*parts)
