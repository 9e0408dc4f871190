"""Tables of `evaluate`: one of measures, or a row for each setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from qvsearch.cli.layout import print_table
from qvsearch.cli.output import counted, line

if TYPE_CHECKING:
    from qvsearch.cli.evaluate_records import Measured
    from qvsearch.tasks.evaluation_results import Result
    from qvsearch.tasks.metrics import Estimate

# the heads of a row's columns; cuts after the first have no name, for the width of a terminal
HEADS = {
    **{f"{name}@{cut}": f"@{cut}" for name in ("recall", "success") for cut in (5, 10)},
    "knn_accuracy": "knn",
    "probe_accuracy": "probe",
}
MAIN = ("ndcg@10", "accuracy", "spearman")  # the measure whose interval a row has
UNSHOWN = ("knn_macro_f1", "probe_macro_f1")  # of a row


def print_results(results: Sequence[Measured]) -> None:
    """Print the measures of one setting with their intervals, or a row for each of several."""
    if len(results) == 1:
        _print_one(results[0])
    else:
        _print_rows(results)
        _print_groups(results)
    line(_counts(results[0].result))


def _counts(result: Result) -> str:
    """Return how much was measured."""
    if "spearman" in result.metrics:
        return counted(result.queries, "pair")
    if "accuracy" in result.metrics:
        return f"{counted(result.queries, 'item')}, {counted(result.documents, 'label')}"
    text = f"{_queries(result.queries)}, {counted(result.documents, 'document')}"
    left_out = f"; left out {_queries(result.unjudged)} without a relevant document"
    return text + (left_out if result.unjudged else "")


def _queries(number: int) -> str:
    return f"{number:,} {'query' if number == 1 else 'queries'}"


def _print_one(measured: Measured) -> None:
    result = measured.result
    names = ["measure", "value", "95 %", *(group.value for group in result.groups)]
    rows = [
        [
            name,
            _number(each),
            _interval(each, " to "),
            *(_number(group.metrics.get(name)) for group in result.groups),
        ]
        for name, each in result.metrics.items()
    ]
    print_table(names, rows, whole=["measure", "value", "95 %"])
    for what, seconds in _times(measured).items():
        line(f"{what}: {seconds}")


def _times(measured: Measured) -> dict[str, str]:
    cost = measured.result.cost
    times = {"a document": cost.document, "a query": cost.query, "reranking a query": cost.rerank}
    shown = {what: f"{each * 1000:,.0f} ms" for what, each in times.items() if each is not None}
    return shown | {"a vector": f"{cost.bytes:,} bytes"}


def _print_rows(results: Sequence[Measured]) -> None:
    varying = _varying(results)
    main = next(name for name in MAIN if name in results[0].result.metrics)
    names = _shown(results[0].result.metrics)
    heads, rows = (
        [*varying],
        [[each[place] for each in varying.values()] for place in range(len(results))],
    )
    for name in names:
        heads += [HEADS.get(name, name), *(["95 %"] if name == main else [])]
        for row, each in zip(rows, results, strict=True):
            estimate = each.result.metrics.get(name)
            row += [_number(estimate), *([_interval(estimate, "-")] if name == main else [])]
    heads += ["ms", "bytes"]
    for row, each in zip(rows, results, strict=True):
        cost = each.result.cost
        seconds = cost.query if cost.document is None else cost.document
        row += ["" if seconds is None else f"{seconds * 1000:,.0f}", f"{cost.bytes:,}"]
    print_table(heads, rows, whole=heads[len(varying) :])


def _print_groups(results: Sequence[Measured]) -> None:
    """Print the main measure of each group, a row for each setting."""
    groups = results[0].result.groups
    if not groups:
        return
    varying = _varying(results)
    main = next(name for name in MAIN if name in results[0].result.metrics)
    line()
    heads = [*varying, *(f"{main} {group.value} ({group.queries:,})" for group in groups)]
    rows = [
        [
            *(values[place] for values in varying.values()),
            *(_number(group.metrics.get(main)) for group in each.result.groups),
        ]
        for place, each in enumerate(results)
    ]
    print_table(heads, rows)


def _varying(results: Sequence[Measured]) -> dict[str, list[str]]:
    """Return the columns of settings that differ between results."""
    settings = [each.result.setting for each in results]
    columns = {
        "detail": [each.detail.value for each in settings],
        "dtype": ["own" if each.dtype is None else each.dtype.value for each in results],
        "task": [each.task for each in settings],
        "dim": [str(each.dim) for each in settings],
        "store": [each.store.value for each in settings],
        "reranked": ["yes" if each.reranked else "" for each in settings],
    }
    return {name: column for name, column in columns.items() if len(set(column)) > 1}


def _shown(metrics: Mapping[str, Estimate]) -> list[str]:
    """Return the measures of a row: success instead of recall if both are there."""
    left_out = "recall" if "success@1" in metrics else "none"
    return [name for name in metrics if not name.startswith(left_out) and name not in UNSHOWN]


def _number(estimate: Estimate | None) -> str:
    return "" if estimate is None or estimate.value != estimate.value else f"{estimate.value:.3f}"


def _interval(estimate: Estimate | None, between: str) -> str:
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    return f"{estimate.low:.2f}{between}{estimate.high:.2f}"
