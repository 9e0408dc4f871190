"""Names of groups: the phrase, folder or word that fits a group and not the other files.

A candidate fits a file with a probability: of a phrase it is the relevance that `search` gives the
file for it, of a folder or a word it is 1 for the files that have it. The name is the candidate
whose mean probability in the group exceeds that of all other files most. That difference is its
confidence.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.indexing.baseline_queries import queries
from qvsearch.retrieval.calibration import baseline_of, calibrate
from qvsearch.tasks.grouping.item_vectors import AT_ONCE
from qvsearch.tasks.grouping.vector_groups import NONE
from qvsearch.types import Kind, Segment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.library.library import Library
    from qvsearch.tasks.grouping.item_vectors import Items
    from qvsearch.types import Vectors

    Labels = NDArray[np.int64]

# A name of less fits few files of its group, or many of the others: tests/bench/cluster.py
LEAST_CONFIDENCE = 0.3
PHRASES_AT_ONCE = 64
SHARE = 0.5  # of a group's files that must be texts, if a word of theirs is to be its name
WORD = re.compile(r"[^\W\d_]{3,}")


class Source(StrEnum):
    """Where a name comes from: the user's labels, the baseline phrases, the library's own words."""

    LABEL = "label"
    PHRASE = "phrase"
    FOLDER = "folder"
    WORD = "word"


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a group, and the confidence, 0 to 1, that it fits the group and nothing else."""

    text: str
    confidence: float
    source: Source


def group_names(
    library: Library, items: Items, labels: Labels, own: Sequence[str], vectors: Vectors
) -> list[Name | None]:
    """Return the name of each group of files, None if nothing sets it apart.

    `labels` (n,) are the groups, from 0. `own` are the user's labels and `vectors` (m, dim) theirs;
    one that is confident enough is preferred to all other names.
    """
    count = int(labels.max(initial=NONE)) + 1
    names: list[list[Name]] = [[] for _ in range(count)]
    baseline = queries(library.fingerprint.model)
    phrases = [(own, vectors, Source.LABEL)]
    if library.baseline is not None and len(library.baseline) == len(baseline):
        phrases.append((baseline, library.baseline, Source.PHRASE))
    for texts, some, source in phrases if count else ():
        for text, fits in zip(texts, _relevances(library, items, some), strict=True):
            for group, sure in enumerate(_differences(fits, labels, count)):
                names[group].append(Name(text, sure, source))
    _add_shared(names, labels, [set(_folders(each)) for each in items.segments], Source.FOLDER)
    texts_only = np.array([each.item.kind is Kind.TEXT for each in items.segments], np.bool_)
    words = [set(_words(each)) for each in items.segments]
    _add_shared(names, labels, words, Source.WORD, texts_only)
    return [_best(each) for each in names]


def _best(names: Iterable[Name]) -> Name | None:
    fitting = [each for each in names if each.confidence >= LEAST_CONFIDENCE]
    return max(
        fitting, key=lambda name: (name.source is Source.LABEL, name.confidence), default=None
    )


def _relevances(library: Library, items: Items, vectors: Vectors) -> Iterator[Vectors]:
    """Yield the relevance (n,) of each file for each phrase of `vectors` (m, dim).

    A file counts by its best row, and relevance is that of `search`, which compares a row with all
    others of the library.
    """
    rows = np.flatnonzero(library.columns.live)
    baselines = {
        code: baseline_of(library.backgrounds[some]) for code, some in enumerate(library.by_kind)
    }
    for start in range(0, len(vectors), PHRASES_AT_ONCE):
        some = vectors[start : start + PHRASES_AT_ONCE]
        cosines = np.zeros((len(some), library.size), np.float32)
        for first in range(0, len(rows), AT_ONCE):
            block = rows[first : first + AT_ONCE]
            cosines[:, block] = some @ library.vectors(block.tolist()).T
        for scores in cosines:
            evidence = calibrate(scores, library.kinds, baselines).evidence
            fits = np.zeros(len(items), np.float32)
            np.maximum.at(fits, items.of_row, (1 + np.tanh(evidence[items.rows] / 2)) / 2)
            yield fits


def _differences(fits: Vectors, labels: Labels, count: int) -> list[float]:
    """Return for each group the mean (n,) of its files minus that of the rest, 0 without a rest."""
    grouped = labels != NONE
    sums = np.bincount(labels[grouped], fits[grouped], count)
    sizes = np.bincount(labels[grouped], minlength=count)
    rest = len(labels) - sizes
    outside = (float(fits.sum(dtype=np.float64)) - sums) / np.maximum(rest, 1)
    differences: list[float] = np.where(rest > 0, sums / sizes - outside, 0).tolist()
    return differences


def _add_shared(
    names: Sequence[list[Name]],
    labels: Labels,
    owned: Sequence[set[str]],
    source: Source,
    among: NDArray[np.bool_] | None = None,
) -> None:
    """Add what files of a group have in common, each with its own set of words.

    With `among` (n,) only these files count, for groups in which they have a SHARE.
    """
    among = np.ones(len(labels), np.bool_) if among is None else among
    total, having = int(among.sum()), _tally(owned, np.flatnonzero(among))
    for group, listed in enumerate(names):
        members = np.flatnonzero((labels == group) & among)
        size = len(members)
        if SHARE * int((labels == group).sum()) <= size < total:
            listed += [
                Name(text, number / size - (having[text] - number) / (total - size), source)
                for text, number in _tally(owned, members).items()
            ]


def _tally(owned: Sequence[set[str]], places: Labels) -> Counter[str]:
    return Counter(text for place in places.tolist() for text in sorted(owned[place]))


def _folders(segment: Segment) -> Iterator[str]:
    """Yield the names of the folders that a file is in, from its root on."""
    item = segment.item
    whole = os.path.join(os.path.basename(item.root), item.path) if item.path else b""
    yield from (os.fsdecode(each) for each in os.path.dirname(whole).split(b"/") if each)


def _words(segment: Segment) -> Iterator[str]:
    """Yield the words of a text's beginning, in lower case."""
    yield from WORD.findall((segment.snippet or "").lower())
