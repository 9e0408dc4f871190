"""Compares int8's vectors with float32's on the first files of a library, before any is stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.indexing.baseline_queries import baseline_vectors
from qvsearch.types import Decoded, EmbedInput, Skipped
from qvsearch.vectors.agreement import Agreement as Agreement
from qvsearch.vectors.agreement import agreement_of as agreement_of

if TYPE_CHECKING:
    from qvsearch.types import Embedder, Fingerprint, Vectors

INPUTS = 32  # that are compared
PER_FILE = 4  # of these: frames of one video are too alike to have an order
HELD_PIXELS = 100_000_000  # decoded, after which the comparison waits for no more files


def first_inputs(
    outcomes: Iterator[Decoded | Skipped],
) -> tuple[list[EmbedInput], Iterator[Decoded | Skipped]]:
    """Return inputs of the first files, a few of each, and all outcomes, unchanged."""
    taken: deque[Decoded | Skipped] = deque()
    inputs: list[EmbedInput] = []
    pixels = 0
    for outcome in outcomes:
        taken.append(outcome)
        if isinstance(outcome, Decoded):
            step = -(-len(outcome.segments) // PER_FILE) or 1
            inputs += [source for _, source in outcome.segments[::step]]
            pixels += sum(_pixels(source) for _, source in outcome.segments)
        if len(inputs) >= INPUTS or pixels > HELD_PIXELS:
            break
    return inputs[:INPUTS], _as_they_were(taken, outcomes)


def _as_they_were(
    taken: deque[Decoded | Skipped], outcomes: Iterator[Decoded | Skipped]
) -> Iterator[Decoded | Skipped]:
    while taken:
        yield taken.popleft()  # so that its pixels are freed
    yield from outcomes


def _pixels(source: EmbedInput) -> int:
    frames = () if source.video is None else (source.video.pixels,)
    return sum(each.size // 3 for each in (*source.images, *frames))


def embed_first(
    embedder: Embedder, inputs: list[EmbedInput], fingerprint: Fingerprint
) -> tuple[Vectors, Vectors]:
    """Return the vectors of inputs (n, dim), n > 0, and those of the baseline queries (m, dim).

    Callers must pass the embedder of the fingerprint. An input that it fails on gets NaN.
    """
    vectors = [_vector(embedder, each) for each in inputs]
    return np.concatenate(vectors), baseline_vectors(embedder, fingerprint)


def _vector(embedder: Embedder, source: EmbedInput) -> Vectors:
    try:
        return embedder.embed([source])
    except QvsearchError:  # reported later, with its file
        return np.full((1, embedder.dim), np.nan, np.float32)
