"""Puts files under labels, by the labels' words: zero-shot classification."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.indexing.baseline_queries import baseline_vectors
from qvsearch.library.filters import Filters
from qvsearch.library.library import Library
from qvsearch.models import registry
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.retrieval.calibration import ANSWERED, CUT
from qvsearch.retrieval.selection import allowed_rows
from qvsearch.runtime.loading import own_embedder
from qvsearch.runtime.local import LocalEmbedder
from qvsearch.tasks.labelling.file_vectors import (
    Embedding,
    FileVectors,
    GivenVectors,
    LibraryVectors,
    embed_sources,
    find_sources,
)
from qvsearch.tasks.labelling.labels import Label, as_labels, check_labels, label_vectors
from qvsearch.types import Kind, Skipped

if TYPE_CHECKING:
    from qvsearch.tasks.labelling.file_vectors import Source
    from qvsearch.types import Embedder, Vectors

# of the shares of labels: with the demo's model shares are close to the rate of right labels
# (tests/bench/labels.py); no other model was measured
TEMPERATURE = 0.03
AT_ONCE = 4096  # rows compared with all labels together
CANDIDATES = 5  # labels that a result has, whether they were chosen or not


@dataclass(frozen=True, slots=True)
class Candidate:
    """A label for one file.

    `score` is its share among the labels, 0 to 1; the shares of all labels sum to 1. `relevance` is
    the probability that the file answers the label's words, as in a search; None if not computed.
    """

    label: str
    score: float
    relevance: float | None = None


@dataclass(frozen=True, slots=True)
class Labelled:
    """A file, or words, with the labels that were chosen; none if it is unsure.

    `candidates` are the best labels, best first, chosen or not. `name` is an absolute path.
    """

    name: bytes
    kind: Kind
    is_file: bool
    labels: tuple[str, ...]
    candidates: tuple[Candidate, ...]

    @property
    def label(self) -> str | None:
        """The best of the chosen labels."""
        return self.labels[0] if self.labels else None

    @property
    def score(self) -> float:
        """The share of the best candidate."""
        return self.candidates[0].score

    @property
    def path(self) -> Path | None:
        """The absolute path; None for words."""
        return Path(os.fsdecode(self.name)) if self.is_file else None


@dataclass(frozen=True, slots=True)
class ClassifyOptions:
    """How labels are chosen: the best one, with `unsure` only if it is relevant, or all such.

    `instruction` is the model's for the labels' words (default: that of documents).
    """

    multi: bool = False
    unsure: bool = False
    instruction: str | None = None

    def __post_init__(self) -> None:
        """Raise QvsearchError for options that contradict each other."""
        if self.multi and self.unsure:
            raise QvsearchError(
                "--multi leaves files without a label by itself; leave out --unsure"
            )

    @property
    def cuts(self) -> bool:
        """Whether a file may be without a label."""
        return self.multi or self.unsure


def classify(
    files: Library | Iterable[str | Path],
    labels: Iterable[str] | Mapping[str, Sequence[str]],
    embedder: LocalEmbedder | None = None,
    options: ClassifyOptions | None = None,
    filters: Filters | None = None,
) -> list[Labelled | Skipped]:
    """Return each file of a library, or each given file or words, with its label.

    Labels are names, or names with lists of phrasings. Folders are searched as `index` does it; a
    given file that cannot be read is Skipped. Filters are for libraries. Without an embedder the
    library's own model is loaded, or the default one. Raises QvsearchError for labels that files
    cannot be divided by, for an empty library, and if the model fails.
    """
    for name, value in (("files", files), ("labels", labels)):
        if isinstance(value, (str, Path)):
            raise QvsearchError(f"classify takes a list of {name}; write [{str(value)!r}]")
    options = options or ClassifyOptions()
    parsed = as_labels(labels)
    check_labels(parsed, single=options.cuts)
    if isinstance(files, Library):
        rows = LibraryVectors(files, allowed_rows(files, filters or Filters()))
        return [*zero_shot(rows, parsed, embedder or own_embedder(files), options)]
    own = embedder or LocalEmbedder()
    made = registry.fingerprint(own.weights, own.dim, own.detail)
    found = find_sources(os.fspath(each) for each in files)
    how = Embedding(lambda: own, made)
    outcomes = list(embed_sources(found, how))
    return each_labelled(outcomes, how, lambda rows: zero_shot(rows, parsed, own, options))


def each_labelled(
    outcomes: Sequence[tuple[Source, Vectors] | Skipped],
    how: Embedding,
    label: Callable[[FileVectors], list[Labelled]],
) -> list[Labelled | Skipped]:
    """Return each embedded source as `label` does, and each Skipped one as it is, in order."""
    embedded = [each for each in outcomes if not isinstance(each, Skipped)]
    if not embedded:
        return [each for each in outcomes if isinstance(each, Skipped)]
    rows = GivenVectors(
        embedded, lambda: baseline_vectors(how.load(), how.fingerprint), how.library
    )
    results = iter(label(rows))
    return [each if isinstance(each, Skipped) else next(results) for each in outcomes]


def zero_shot(
    files: FileVectors, labels: Sequence[Label], embedder: Embedder, options: ClassifyOptions
) -> list[Labelled]:
    """Return each file with its label by the cosines of its segments with the labels' vectors.

    A file has the mean of its segments' shares. Whether it answers a label is decided as in a
    search, by its best segment. `embedder` embeds the labels.
    """
    if not files.sources:
        return []
    shares = _shares(files, label_vectors(labels, embedder, options.instruction))
    relevances = None
    if options.cuts:
        queries = label_vectors(labels, embedder, options.instruction or QUERY_INSTRUCTION)
        relevances = _relevances(files, queries)
    return labelled(
        files.sources, [each.name for each in labels], shares, relevances, options.multi
    )


def _shares(files: FileVectors, labels: Vectors) -> Vectors:
    """Return the share of each label (files, labels), the mean over the segments of a file."""
    sums = np.zeros((len(files.sources), len(labels)), np.float32)
    for start in range(0, len(files.owners), AT_ONCE):
        owners = files.owners[start : start + AT_ONCE]
        cosines = files.vectors(start, start + len(owners)) @ labels.T
        np.add.at(sums, owners, softmax(cosines / np.float32(TEMPERATURE)))
    counts = np.bincount(files.owners, minlength=len(sums))
    return np.asarray(sums / counts[:, None], np.float32)


def softmax(logits: Vectors) -> Vectors:
    """Return rows (n, k) that are not negative and sum to 1."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    sums = powers.sum(axis=1, keepdims=True)
    return np.asarray(powers / sums, np.float32)


def _relevances(files: FileVectors, queries: Vectors) -> Vectors:
    """Return the relevance of each label's words (files, labels), by the best segment of a file."""
    best = np.full((len(files.sources), len(queries)), -np.inf, np.float32)
    for place, query in enumerate(queries):
        np.maximum.at(best[:, place], files.owners, files.evidence(query))
    return np.asarray((1 + np.tanh(best / 2)) / 2, np.float32)


def labelled(
    sources: Sequence[Source],
    names: Sequence[str],
    shares: Vectors,
    relevances: Vectors | None,
    multi: bool,
) -> list[Labelled]:
    """Return the sources with their labels, given shares and relevances (files, labels).

    With relevances a label is chosen only if it would be a hit of a search for its words.
    """
    passes = np.ones(shares.shape, np.bool_)
    if relevances is not None:
        passes = (relevances >= CUT) & (relevances.max(axis=0) >= ANSWERED)
    ranked = relevances if multi and relevances is not None else shares
    results = []
    for row, source in enumerate(sources):
        order = np.lexsort((-shares[row], -ranked[row])).tolist()
        chosen = [place for place in (order if multi else order[:1]) if passes[row, place]]
        candidates = tuple(
            Candidate(
                names[place],
                float(shares[row, place]),
                None if relevances is None else float(relevances[row, place]),
            )
            for place in order[:CANDIDATES]
        )
        labels = tuple(names[place] for place in chosen)
        results.append(Labelled(source.name, source.kind, source.is_file, labels, candidates))
    return results
