"""Records that `evaluate --json` and `models tasks --json` print.

The docstring of each function describes its fields; `docs/json.md` is generated from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvsearch.formats import present, rounded
from qvsearch.models.prompt import TASK_INSTRUCTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qvsearch.choices import Task
    from qvsearch.tasks.evaluation.metrics import Estimate
    from qvsearch.tasks.evaluation.results import Result
    from qvsearch.types import Dtype


@dataclass(frozen=True, slots=True)
class Measured:
    """A result with what the embedder was; None is the device's dtype and the default text."""

    result: Result
    model: str
    adapter: str | None
    dtype: Dtype | None
    instruction: str | None


def result_record(measured: Measured, skipped: int) -> dict[str, object]:
    """Return a result of `evaluate --json`, one a line as soon as it is measured.

    set (string): name of the set
    model (string): the model
    adapter (string): folder of the model's adapter; absent without one
    detail (string): image detail
    dtype (string): compute precision; absent for the device's own
    dim (integer): vector dimensions
    store (string): storage type of vectors
    task (string): `default`, a value of `--task`, or the text of `--instruction`
    instruction (string): the instruction of queries; absent for the default
    reranked (boolean): whether the first documents are reranked
    queries, documents (integer): number of queries and documents, or of pairs, or of files and
        labels, that were measured
    unjudged (integer): queries without a relevant document, which are left out
    skipped (integer): lines and files that could not be used
    metrics (object): each measure as an object of `value`, `low` and `high`, its 95 % confidence
        interval. For queries `recall@1`, `recall@5`, `recall@10`, `ndcg@10`, `mrr@10` and `map`,
        and `success@1` and so on if a query has several relevant documents; for pairs
        `spearman`; for labels `accuracy` and `macro_f1`, and also those of the nearest examples
        (`knn_`) and of a logistic regression (`probe_`)
    groups (list of objects): the same for the queries of each kind or language, as `column`,
        `value`, `queries` and `metrics`
    document_seconds, query_seconds (number, seconds): mean time of a document and of a query,
        with decoding
    rerank_seconds (number, seconds): mean time of reranking a query
    bytes (integer, bytes): size of a stored vector
    """
    result, setting, cost = measured.result, measured.result.setting, measured.result.cost
    groups = [
        {
            "column": each.column,
            "value": each.value,
            "queries": each.queries,
            "metrics": _metrics(each.metrics),
        }
        for each in result.groups
    ]
    return present(
        {
            "set": result.set,
            "model": measured.model,
            "adapter": measured.adapter,
            "detail": setting.detail.value,
            "dtype": None if measured.dtype is None else measured.dtype.value,
            "dim": setting.dim,
            "store": setting.store.value,
            "task": setting.task,
            "instruction": measured.instruction,
            "reranked": setting.reranked,
            "queries": result.queries,
            "documents": result.documents,
            "unjudged": result.unjudged,
            "skipped": skipped,
            "metrics": _metrics(result.metrics),
            "groups": groups or None,
            "document_seconds": rounded(cost.document),
            "query_seconds": rounded(cost.query),
            "rerank_seconds": rounded(cost.rerank),
            "bytes": cost.bytes,
        }
    )


def task_record(task: Task) -> dict[str, object]:
    """Return an instruction of `models tasks --json`, one a line.

    task (string): the value of `--task`
    instruction (string): its instruction
    """
    return {"task": task.value, "instruction": TASK_INSTRUCTIONS[task]}


def _metrics(metrics: Mapping[str, Estimate]) -> dict[str, dict[str, object]]:
    return {
        name: present({key: rounded(getattr(each, key)) for key in ("value", "low", "high")})
        for name, each in metrics.items()
    }
