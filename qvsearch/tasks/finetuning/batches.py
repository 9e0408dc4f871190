"""Decodes training pairs, batch after batch, in an order that a seed decides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.runtime.inputs import options_of
from qvsearch.tasks.inputs import AT_ONCE, read_inputs
from qvsearch.types import EmbedInput, Skipped

if TYPE_CHECKING:
    from qvsearch.tasks.finetuning.data import Pair
    from qvsearch.tasks.inputs import TaskInput
    from qvsearch.types import Detail

CACHED = 500_000_000  # bytes of decoded pixels; files beyond are decoded again in each epoch


@dataclass(frozen=True, slots=True)
class Batch:
    """Pairs and their decoded inputs; a pair whose files cannot be read is not in it."""

    pairs: tuple[Pair, ...]
    inputs: Mapping[TaskInput, EmbedInput]

    @property
    def documents(self) -> list[TaskInput]:
        """The different documents, positives first."""
        positives = [pair.positive for pair in self.pairs]
        negatives = [each for pair in self.pairs for each in pair.negatives]
        return list(dict.fromkeys([*positives, *negatives]))


def batch_order(pairs: Sequence[Pair], size: int, seed: int) -> Iterator[list[int]]:
    """Yield the rows of each batch, epoch after epoch, without end.

    Pairs whose documents are each other's negatives stay together. So a batch embeds each document
    once, and all its queries are compared with it. The last rows of an epoch that do not fill a
    batch are left to the next ones.
    """
    groups = _groups(pairs)
    for epoch in count():
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(groups))
        rows = np.concatenate([rng.permutation(groups[number]) for number in order])
        for start in range(0, len(rows) - size + 1, size):
            yield rows[start : start + size].tolist()


def _groups(pairs: Sequence[Pair]) -> list[list[int]]:
    """Return the rows of pairs that negatives connect, directly or through others."""
    parents: dict[TaskInput, TaskInput] = {}

    def root(document: TaskInput) -> TaskInput:
        while (parent := parents.setdefault(document, document)) != document:
            parents[document] = parents[parent]
            document = parent
        return document

    for pair in pairs:
        for negative in pair.negatives:
            parents[root(negative)] = root(pair.positive)
    groups: dict[TaskInput, list[int]] = {}
    for row, pair in enumerate(pairs):
        groups.setdefault(root(pair.positive), []).append(row)
    return list(groups.values())


class Reader:
    """Decodes pairs at a detail; `skipped` are the inputs that could not be read."""

    def __init__(self, detail: Detail) -> None:
        self._options = options_of(detail)
        self._cached: dict[TaskInput, EmbedInput | Skipped] = {}
        self._room = CACHED
        self.skipped: dict[TaskInput, Skipped] = {}

    def batches(self, groups: Iterable[Sequence[Pair]]) -> Iterator[Batch]:
        """Yield the batch of each group, in order.

        Files are decoded ahead in confined processes, which end with the iterator.
        """
        for window in _windows(groups):
            found = dict(self._cached)
            new = [each for each in _inputs(window) if each not in found]
            decoded = zip(new, read_inputs(new, self._options), strict=True)
            for group in window:
                for each in _inputs([group]):
                    while each not in found:
                        key, outcome = next(decoded)
                        found[key] = outcome
                        self._keep(key, outcome)
                yield _batch(group, found)

    def _keep(self, key: TaskInput, outcome: EmbedInput | Skipped) -> None:
        """Cache an input if there is room for it; list one that could not be read."""
        size = 0
        if isinstance(outcome, Skipped):
            self.skipped[key] = outcome
        else:
            frames = () if outcome.video is None else (outcome.video.pixels,)
            size = sum(pixels.nbytes for pixels in (*outcome.images, *frames))
        if size <= self._room:
            self._room -= size
            self._cached[key] = outcome


def _windows(groups: Iterable[Sequence[Pair]]) -> Iterator[list[Sequence[Pair]]]:
    """Yield neighbouring groups with about AT_ONCE inputs together."""
    window: list[Sequence[Pair]] = []
    for group in groups:
        window.append(group)
        if len(_inputs(window)) >= AT_ONCE:
            yield window
            window = []
    if window:
        yield window


def _inputs(groups: Iterable[Sequence[Pair]]) -> list[TaskInput]:
    """Return the different inputs of groups of pairs, in order."""
    every = (
        each
        for group in groups
        for pair in group
        for each in (pair.query, pair.positive, *pair.negatives)
    )
    return list(dict.fromkeys(every))


def _batch(group: Sequence[Pair], found: Mapping[TaskInput, EmbedInput | Skipped]) -> Batch:
    inputs = {
        each: source for each in _inputs([group]) if not isinstance(source := found[each], Skipped)
    }
    pairs = (
        replace(pair, negatives=tuple(each for each in pair.negatives if each in inputs))
        for pair in group
        if pair.query in inputs and pair.positive in inputs
    )
    return Batch(tuple(pairs), inputs)
