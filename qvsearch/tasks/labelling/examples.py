"""Labels by examples: a folder of files for each label, and the classifier fitted to them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from qvsearch.errors import QvsearchError, system_reason
from qvsearch.tasks.agreement import Scores, label_scores
from qvsearch.tasks.extras import needed
from qvsearch.tasks.labelling.classify import TEMPERATURE, Labelled, labelled, softmax
from qvsearch.tasks.labelling.file_vectors import Embedding, FileVectors, embed_sources, files_below
from qvsearch.tasks.labelling.labels import Label, check_labels, new_label
from qvsearch.types import Item, Skipped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.types import Vectors

FOLDS = 5  # of the cross-validation, or the number of examples of the smallest label
SEED = 0  # of the division into folds: the same examples give the same classifier
PENALTY = 10.0  # inverse strength of the regularisation; on unit vectors 1 underfits
TEMPERATURES = np.geomspace(0.01, 10, 61)  # of the classifiers' logits
UNLIKE = 0.05  # share of true examples that a file's likeness to its label may fall below
AT_ONCE = 4096  # rows


@dataclass(frozen=True, slots=True)
class Validation:
    """How well a classifier labels examples that it was not fitted to."""

    classifier: str
    scores: Scores


@dataclass(frozen=True, slots=True)
class ExampleClassifier:
    """A classifier fitted to examples; `validations` compare both, the chosen one first.

    Without validations there were too few examples to compare, and it is the nearest centroid.
    `typical` (labels, any) are the logits of their own label for held-out examples.
    """

    labels: tuple[str, ...]
    name: str
    folds: int
    validations: tuple[Validation, ...]
    typical: tuple[Vectors, ...]
    logits: Callable[[Vectors], Vectors]
    temperature: float

    def shares(self, vectors: Vectors) -> Vectors:
        """Return the probability of each label (n, labels)."""
        return softmax((self.logits(vectors) / self.temperature).astype(np.float32))

    def is_typical(self, vectors: Vectors, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which vectors (n, dim) are as like their label (n,) as examples of it are.

        This is a conformal test (Vovk, Gammerman and Shafer 2005): a true file of the label fails
        with a probability of UNLIKE, or of 1 / (examples + 1) if that is more.
        """
        logits = self.logits(vectors)[np.arange(len(vectors)), places]
        result = np.zeros(len(vectors), np.bool_)
        for label, known in enumerate(self.typical):
            rows = np.flatnonzero(places == label)
            below = np.searchsorted(np.sort(known), logits[rows], side="right")
            result[rows] = (below + 1) / (len(known) + 1) > max(UNLIKE, 1 / (len(known) + 1))
        return result


class _Fitted(Protocol):
    def __call__(self, vectors: Vectors) -> Vectors: ...


def find_examples(folder: bytes) -> tuple[list[Label], Iterator[tuple[Item | Skipped, int]]]:
    """Return the labels of a folder, and an iterator over files with the number of their label.

    Raises QvsearchError for a folder that cannot be read or has fewer than two folders in it.
    """
    place = os.fsdecode(folder)
    try:
        names = sorted(each.name for each in Path(place).iterdir() if each.is_dir())
    except OSError as error:
        reason = system_reason(error)
        raise QvsearchError(f"--examples {place}: {reason}; give a folder") from error
    names = [name for name in names if not name.startswith(".")]
    if len(names) < 2:
        raise QvsearchError(
            f"--examples {place} has {len(names)} folders with examples; it needs one for each"
            " label, at least two"
        )
    labels = [new_label(name, [name], f"--examples {place}") for name in names]
    check_labels(labels, single=False)

    def files() -> Iterator[tuple[Item | Skipped, int]]:
        for number, name in enumerate(names):
            for each in files_below(os.path.join(folder, os.fsencode(name))):
                yield each, number

    return labels, files()


def embed_examples(
    folder: bytes, how: Embedding
) -> tuple[list[Label], list[tuple[Vectors, int] | Skipped]]:
    """Return the labels of a folder, and each example with its label's number, or why it fails.

    The vector of an example is the unit mean (dim,) of its segments'. Raises QvsearchError as
    `find_examples` does.
    """
    labels, found = find_examples(folder)
    places: dict[bytes, int] = {}

    def sources() -> Iterator[Item | Skipped]:
        for each, place in found:
            places[each.location if isinstance(each, Item) else each.path] = place
            yield each

    outcomes: list[tuple[Vectors, int] | Skipped] = []
    for each in embed_sources(sources(), how):
        if isinstance(each, Skipped):
            outcomes.append(each)
        else:
            source, vectors = each
            outcomes.append((_unit(vectors.mean(axis=0, keepdims=True))[0], places[source.name]))
    return labels, outcomes


def by_examples(
    files: FileVectors, classifier: ExampleClassifier, *, unsure: bool
) -> list[Labelled]:
    """Return each file with its label; with `unsure` only if it is as like as examples of it."""
    if not files.sources:
        return []
    vectors = pooled(files)
    shares = classifier.shares(vectors)
    results = labelled(files.sources, classifier.labels, shares, None, multi=False)
    if not unsure:
        return results
    if not classifier.typical:
        raise QvsearchError("--unsure needs at least two examples of each label; add some")
    typical = classifier.is_typical(vectors, shares.argmax(axis=1)).tolist()
    return [
        each if is_typical else replace(each, labels=())
        for each, is_typical in zip(results, typical, strict=True)
    ]


def pooled(files: FileVectors) -> Vectors:
    """Return the unit mean (files, dim) of the vectors of each file's segments."""
    dim = files.vectors(0, 1).shape[1]
    sums = np.zeros((len(files.sources), dim), np.float32)
    for start in range(0, len(files.owners), AT_ONCE):
        owners = files.owners[start : start + AT_ONCE]
        np.add.at(sums, owners, files.vectors(start, start + len(owners)))
    return _unit(sums)


def fit(
    examples: Sequence[tuple[Vectors, int] | Skipped], labels: Sequence[Label]
) -> ExampleClassifier:
    """Return the better of two classifiers for unit vectors (dim,), each with its label's number.

    Nearest centroid and logistic regression are compared by stratified cross-validation, first by
    macro-F1 and then by accuracy; of equal ones it is the nearest centroid, which is simpler. Its
    temperature is the one of the least held-out cross-entropy (Guo et al. 2017). Raises
    QvsearchError without scikit-learn, or if a label has no example.
    """
    _check_installed()
    names = tuple(each.name for each in labels)
    good = [each for each in examples if not isinstance(each, Skipped)]
    counts = Counter(place for _, place in good)
    for place, name in enumerate(names):
        if not counts[place]:
            raise QvsearchError(f"the label {name!r} has no example that can be read; add a file")
    vectors, known = np.stack([row for row, _ in good]), np.array([place for _, place in good])
    centroids = _centroids(vectors, known, len(names))
    folds = min(FOLDS, *counts.values())
    if folds < 2:
        return ExampleClassifier(
            names, "nearest centroid", 0, (), (), _nearest(centroids), TEMPERATURE
        )
    held_out = {name: np.zeros((len(known), len(names)), np.float32) for name in _CLASSIFIERS}
    for train, test in _folds(known, folds):
        for name, fit_one in _CLASSIFIERS.items():
            held_out[name][test] = fit_one(vectors[train], known[train], len(names))(vectors[test])
    validations = [
        Validation(name, label_scores(logits.argmax(axis=1), known))
        for name, logits in held_out.items()
    ]
    validations.sort(key=lambda each: (-each.scores.macro_f1, -each.scores.accuracy))
    chosen = validations[0].classifier
    logits = held_out[chosen]
    return ExampleClassifier(
        names,
        chosen,
        folds,
        tuple(validations),
        tuple(logits[known == place, place] for place in range(len(names))),
        _CLASSIFIERS[chosen](vectors, known, len(names)),
        _temperature(logits, known),
    )


def _check_installed() -> None:
    needed("sklearn", "scikit-learn", "classify --examples")


def _folds(
    known: NDArray[np.int64], folds: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    from sklearn.model_selection import StratifiedKFold

    division = StratifiedKFold(folds, shuffle=True, random_state=SEED)
    yield from division.split(np.zeros(len(known)), known)


def _fit_centroids(vectors: Vectors, known: NDArray[np.int64], count: int) -> _Fitted:
    return _nearest(_centroids(vectors, known, count))


def _nearest(centroids: Vectors) -> _Fitted:
    def cosines(vectors: Vectors) -> Vectors:
        rows: Vectors = vectors @ centroids.T
        return rows

    return cosines


def _fit_logistic(vectors: Vectors, known: NDArray[np.int64], count: int) -> _Fitted:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=PENALTY, max_iter=2000).fit(vectors, known)

    def logits(vectors: Vectors) -> Vectors:
        rows = model.decision_function(vectors)
        if count == 2:  # one column, of the second label
            rows = np.stack([-rows / 2, rows / 2], axis=1)
        return np.asarray(rows, np.float32)

    return logits


_CLASSIFIERS: dict[str, Callable[[Vectors, NDArray[np.int64], int], _Fitted]] = {
    "nearest centroid": _fit_centroids,
    "logistic regression": _fit_logistic,
}


def _centroids(vectors: Vectors, known: NDArray[np.int64], count: int) -> Vectors:
    means = np.stack([vectors[known == place].mean(axis=0) for place in range(count)])
    return _unit(means)


def _unit(rows: Vectors) -> Vectors:
    unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _temperature(logits: Vectors, known: NDArray[np.int64]) -> float:
    """Return the temperature of the least cross-entropy with the true labels.

    These are smoothed by one example in n + 2 (Platt 1999): n that are all right prove no more.
    """
    count, labels = logits.shape
    doubt = 1 / (count + 2)
    targets = np.full(logits.shape, doubt / (labels - 1), np.float32)
    targets[np.arange(count), known] = 1 - doubt

    def loss(temperature: float) -> float:
        shares = softmax((logits / temperature).astype(np.float32))
        return float(-(targets * np.log(shares.clip(1e-30))).sum())

    return float(min(TEMPERATURES, key=loss))
