"""Measures similarity of sentence pairs, and classification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.errors import QvsearchError
from qvsearch.tasks.evaluation.embedded_sets import embed_all
from qvsearch.tasks.evaluation.metrics import classification, spearman
from qvsearch.tasks.evaluation.nearest import cut_rows, stored_rows
from qvsearch.tasks.evaluation.results import (
    Cost,
    EvaluateOptions,
    Result,
    grouped,
    row_size,
    settings,
)
from qvsearch.tasks.evaluation.sets import Entry, LabelledSet, SentencePairs
from qvsearch.tasks.extras import needed
from qvsearch.tasks.inputs import TaskInput, first_reason
from qvsearch.types import Skipped

if TYPE_CHECKING:
    from qvsearch.tasks.evaluation.metrics import Estimate, Numbers, Values
    from qvsearch.types import Embedder, Vectors

COMMAND = "qvsearch evaluate"
NEIGHBOURS = 10  # of the nearest-neighbour classifier
STEPS = 1000  # of the linear classifier's solver


def evaluate_pairs(
    found: SentencePairs, embedder: Embedder, options: EvaluateOptions
) -> Iterator[Result | Skipped]:
    """Yield Spearman's rank correlation of the cosines of pairs with their scores, by setting."""
    needed("scipy.stats", "scipy", COMMAND)
    if not found.pairs:
        raise QvsearchError(f"{found.name} has no pair of texts with a score")
    for task, instruction in options.instructions.items():
        sides = [
            embed_all([pair[side] for pair in found.pairs], instruction, embedder, options, what)
            for side, what in ((0, "first texts"), (1, "second texts"))
        ]
        if None in sides:
            return
        one, two = (each for each in sides if each is not None)
        yield from (*one.skipped, *two.skipped)
        rows, first, second = np.intersect1d(one.rows, two.rows, return_indices=True)
        if not rows.size:
            reason = first_reason((*one.skipped, *two.skipped))
            raise QvsearchError(f"no pair of {found.name} could be embedded{reason}")
        scores = np.array(found.scores)[rows]
        entries = [found.pairs[row][0] for row in rows]
        for setting in settings(embedder, options, task):
            left, right = (
                stored_rows(vectors, setting.dim, setting.store)
                for vectors in (one.vectors[first], two.vectors[second])
            )
            measure = partial(_correlation, np.einsum("nd,nd->n", left, right), scores)
            yield Result(
                found.name,
                setting,
                queries=len(rows),
                documents=len(rows),
                metrics=measure(np.arange(len(rows))),
                cost=Cost(two.seconds, one.seconds, None, row_size(setting)),
                groups=grouped(entries, measure),
            )


def _correlation(cosines: Vectors, scores: Values, rows: Numbers) -> dict[str, Estimate]:
    return spearman(cosines[rows].astype(np.float64), scores[rows])


def evaluate_labels(
    found: LabelledSet, embedder: Embedder, options: EvaluateOptions
) -> Iterator[Result | Skipped]:
    """Yield how often the nearest label is the right one, without and with examples, by setting.

    With examples the ten nearest vote by their cosines (knn), and a logistic regression is fitted
    (probe), both of scikit-learn with its defaults otherwise. Labels are embedded as documents.
    """
    needed("sklearn", "scikit-learn", COMMAND)
    if not found.items or len(found.labels) < 2:
        raise QvsearchError(f"{found.name} has {len(found.labels)} labels; give two at least")
    names = [Entry(each, TaskInput(each.encode(), each)) for each in found.labels]
    labels = embed_all(names, None, embedder, options, "labels")
    for task, instruction in options.instructions.items():
        items = embed_all(found.items, instruction, embedder, options, "items")
        examples = embed_all(found.examples, instruction, embedder, options, "examples")
        if labels is None or items is None or examples is None:
            return
        yield from (*items.skipped, *examples.skipped)
        if not items.rows.size:
            reason = first_reason(items.skipped)
            raise QvsearchError(f"no item of {found.name} could be embedded{reason}")
        truth = np.array(found.truth)[items.rows]
        taught = np.array(found.example_truth, np.int64)[examples.rows]
        entries = [found.items[row] for row in items.rows]
        for setting in settings(embedder, options, task):
            shown = cut_rows(items.vectors, setting.dim)
            stored = stored_rows(labels.vectors, setting.dim, setting.store)
            predicted = {"": (shown @ stored.T).argmax(axis=1)}
            if len(np.unique(taught)) > 1:
                learnt = stored_rows(examples.vectors, setting.dim, setting.store)
                predicted |= _learnt(learnt, taught, shown)
            measure = partial(_agreement, predicted, truth)
            yield Result(
                found.name,
                setting,
                queries=len(entries),
                documents=len(found.labels),
                metrics=measure(np.arange(len(entries))),
                cost=Cost(None, items.seconds, None, row_size(setting)),
                groups=grouped(entries, measure),
            )


def _agreement(
    predicted: Mapping[str, Numbers], truth: Numbers, rows: Numbers
) -> dict[str, Estimate]:
    estimates: dict[str, Estimate] = {}
    for prefix, guess in predicted.items():
        estimates |= classification(guess[rows], truth[rows], prefix)
    return estimates


def _learnt(examples: Vectors, taught: Numbers, items: Vectors) -> dict[str, Numbers]:
    """Return what each classifier predicts (n,), by the prefix of its measures."""
    neighbours = needed("sklearn.neighbors", "scikit-learn", COMMAND).KNeighborsClassifier(
        min(NEIGHBOURS, len(examples)), weights=_closeness, metric="cosine"
    )
    probe = needed("sklearn.linear_model", "scikit-learn", COMMAND).LogisticRegression(
        max_iter=STEPS
    )
    return {
        "knn_": neighbours.fit(examples, taught).predict(items),
        "probe_": probe.fit(examples, taught).predict(items),
    }


def _closeness(distances: Vectors) -> Vectors:
    """Return the weights of neighbours at these cosine distances: the cosines, at least 0."""
    return np.maximum(1 - distances, 1e-6)
