"""A model that anyone can follow: a vector is how red, green and blue an input is."""

import re

import numpy as np

from qvsearch.types import Detail, Fingerprint

COLOURS = ("red", "green", "blue")

FINGERPRINT = Fingerprint(
    model="colours",
    revision="1",
    dim=3,
    detail=Detail.LOW,
    instruction="Represent the user's input.",
    prompt_layout=1,
    preprocessing=1,
)


def unit(*numbers):
    vector = np.array(numbers, dtype=np.float32)
    return vector / np.linalg.norm(vector)


def colour_of(source):
    """The mean colour of an input's pixels plus the colour words of its text."""
    total = np.full(3, 1e-3)
    for image in source.images:
        total += image.reshape(-1, 3).mean(axis=0) / 255
    for word in re.findall(r"[a-z]+", (source.text or "").lower()):
        if word in COLOURS:
            total[COLOURS.index(word)] += 1
    return unit(*total)


class ColourEmbedder:
    dim = 3

    def __init__(self):
        self.seen = []

    def embed(self, inputs):
        self.seen.extend(inputs)
        return np.stack([colour_of(each) for each in inputs])


class ColourReranker:
    """Judges a document by how much of the query's colour it has."""

    def __init__(self):
        self.seen = []

    def score(self, query, documents):
        self.seen.extend(documents)
        return [float(colour_of(query) @ colour_of(each)) for each in documents]
