"""A library of made-up vectors."""

from dataclasses import dataclass

import numpy as np

from qvsearch.retrieval.asked_words import AskedWords
from qvsearch.types import Detail, Fingerprint, Item, Kind, Segment

DIM = 512  # so many bits guess well enough that few searches score all rows after all


FINGERPRINT = Fingerprint("some/model", "abc123", DIM, Detail.LOW, "Represent.", 1, 1)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def made_vectors(rows, seed=0):
    """Clusters, a spectrum that falls with the dimension, and a mean that all share."""
    rng = np.random.default_rng(seed)
    scale = np.arange(1, DIM + 1) ** -0.5
    centres = rng.standard_normal((60, DIM)) * scale
    found = centres[rng.integers(0, 60, rows)] + rng.standard_normal((rows, DIM)) * scale
    return unit(unit(found) + 0.35 * unit(rng.standard_normal(DIM) * scale))


def row(number):
    kind = (Kind.IMAGE, Kind.VIDEO, Kind.IMAGE, Kind.TEXT)[number % 4]
    name = b"%d" % (number // 80 if kind is Kind.VIDEO else number)
    start = float(number % 80) if kind is Kind.VIDEO else None
    end = None if start is None else start + 4
    item = Item(b"/media/%d" % (number % 7), name, kind, 1, number)
    return Segment(item, str(number), start, end)


@dataclass(frozen=True)
class Term:
    weight: float
    words: float = 1
    segments: tuple = ()
    like: frozenset = frozenset()
    asked: AskedWords = AskedWords()
