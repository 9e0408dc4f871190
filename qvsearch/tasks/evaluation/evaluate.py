"""Measures how well a model finds, compares or classifies the contents of a set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.errors import QvsearchError
from qvsearch.tasks.evaluation.labelled import evaluate_labels, evaluate_pairs
from qvsearch.tasks.evaluation.read_sets import read_set
from qvsearch.tasks.evaluation.results import EvaluateOptions, Evaluation, Result
from qvsearch.tasks.evaluation.retrieval import evaluate_retrieval
from qvsearch.tasks.evaluation.sets import EvaluationSet, RetrievalSet, SentencePairs
from qvsearch.types import Skipped

if TYPE_CHECKING:
    from qvsearch.types import Embedder


def evaluate(
    found: EvaluationSet | Path | str,
    embedder: Embedder,
    options: EvaluateOptions = EvaluateOptions(),  # noqa: B008 - it is immutable
) -> Evaluation:
    """Return the measures of a set, or of the set in a file or folder, for each setting.

    Documents are embedded once, and cut for each dimension. Raises QvsearchError for a set without
    anything to measure, a dimension that the embedder does not have, and a missing extra.
    """
    if isinstance(found, (str, Path)):
        found = read_set(found)
    outcomes = list(measure(found, embedder, options))
    return Evaluation(
        tuple(each for each in outcomes if not isinstance(each, Skipped)),
        (*found.left_out, *(each for each in outcomes if isinstance(each, Skipped))),
    )


def measure(
    found: EvaluationSet, embedder: Embedder, options: EvaluateOptions
) -> Iterator[Result | Skipped]:
    """Yield each result as soon as it is known, and each entry that could not be embedded.

    When `options.stop` returns True, nothing more is yielded.
    """
    if wrong := [dim for dim in options.dims if not 0 < dim <= embedder.dim]:
        raise QvsearchError(f"--dim {wrong[0]} is outside 1 to {embedder.dim} of the embedder")
    if isinstance(found, RetrievalSet):
        return evaluate_retrieval(found, embedder, options)
    if options.reranker is not None:
        raise QvsearchError(f"--rerank is for queries and documents; {found.name} has others")
    if isinstance(found, SentencePairs):
        return evaluate_pairs(found, embedder, options)
    return evaluate_labels(found, embedder, options)
