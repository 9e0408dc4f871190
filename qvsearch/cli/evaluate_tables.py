"""Tables of `evaluate`: one of measures, or a row for each setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from qvsearch.cli.layout import GAP, LEAST_WIDTH, new_console, print_table, width_of
from qvsearch.cli.output import counted, line

if TYPE_CHECKING:
    from qvsearch.records.evaluate import Measured
    from qvsearch.tasks.evaluation.metrics import Estimate
    from qvsearch.tasks.evaluation.results import Result

# the heads of a row's columns; cuts after the first have no name, for the width of a terminal
HEADS = {
    **{f"{name}@{cut}": f"@{cut}" for name in ("recall", "success") for cut in (5, 10)},
    "knn_accuracy": "knn",
    "probe_accuracy": "probe",
}
MAIN = ("ndcg@10", "accuracy", "spearman")  # the measure whose interval a row has
UNSHOWN = ("knn_macro_f1", "probe_macro_f1")  # of a row
INTERVAL = "95 %"
RANKED = ("recall@10", "ndcg@10", "mrr@10")  # of a model's row
LESS_COMPARED = ("bytes", "ms/query", "mrr@10")  # in a narrow terminal, the first one first
LESS_NEEDED = ("map", "mrr@10", "@5", "@10", "macro_f1")  # in a narrow terminal


def print_results(results: Sequence[Measured]) -> None:
    """Print the measures of one setting with their intervals, or a row for each of several."""
    if len(results) == 1:
        _print_one(results[0])
    else:
        _print_rows(results)
        _print_groups(results)
    line(_counts(results[0].result))


def print_models(results: Sequence[Measured]) -> None:
    """Print a row for each model, without the last columns if a terminal has no room."""
    columns = {"model": [each.model for each in results]}
    for name in _compared(results[0].result.metrics):
        estimates = [each.result.metrics.get(name) for each in results]
        columns[name] = [f"{_number(each)} {_interval(each, '-')}" for each in estimates]
    columns |= _costs(results)
    columns["dim"] = [str(each.result.setting.dim) for each in results]
    for name in LESS_COMPARED:
        if LEAST_WIDTH + sum(_width(each) for each in [*columns.items()][1:]) > width_of(
            new_console()
        ):
            columns.pop(name, None)
    whole = [name for name in columns if name != "model"]
    print_table(list(columns), zip(*columns.values(), strict=True), whole=whole)
    has_intervals = any(_interval(each, "-") for each in results[0].result.metrics.values())
    line(_counts(results[0].result) + "; behind each value its 95 % interval" * has_intervals)


def _width(column: tuple[str, Sequence[str]]) -> int:
    return max(map(len, [column[0], *column[1]])) + GAP


def _compared(metrics: Mapping[str, Estimate]) -> list[str]:
    """Return the measures of a model's row: the three of rankings, or all others."""
    return [name for name in RANKED if name in metrics] or [
        name for name in metrics if name not in UNSHOWN
    ]


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
    names = ["measure", "value", INTERVAL, *(group.value for group in result.groups)]
    rows = [
        [
            name,
            _number(each),
            _interval(each, " to "),
            *(_number(group.metrics.get(name)) for group in result.groups),
        ]
        for name, each in result.metrics.items()
    ]
    print_table(names, rows, whole=["measure", "value", INTERVAL])
    for what, seconds in _times(measured).items():
        line(f"{what}: {seconds}")


def _times(measured: Measured) -> dict[str, str]:
    cost = measured.result.cost
    times = {"a document": cost.document, "a query": cost.query, "reranking a query": cost.rerank}
    shown = {what: f"{each * 1000:,.0f} ms" for what, each in times.items() if each is not None}
    return shown | {"a vector": f"{cost.bytes:,} bytes"}


def _print_rows(results: Sequence[Measured]) -> None:
    """Print a row for each setting, without the last measures if a terminal has no room."""
    columns = _varying(results)
    settings = list(columns)
    for name in _shown(results[0].result.metrics):
        estimates = [each.result.metrics.get(name) for each in results]
        columns[HEADS.get(name, name)] = [_number(each) for each in estimates]
        if name in MAIN:
            columns[INTERVAL] = [_interval(each, "-") for each in estimates]
    columns |= _costs(results)
    width = width_of(new_console())
    for name in LESS_NEEDED:
        if sum(max(map(len, [head, *cells])) + GAP for head, cells in columns.items()) > width:
            columns.pop(name, None)
    whole = [name for name in columns if name not in settings]
    print_table(list(columns), zip(*columns.values(), strict=True), whole=whole)


def _costs(results: Sequence[Measured]) -> dict[str, list[str]]:
    """Return the columns of times; a query's includes reranking."""
    costs = [each.result.cost for each in results]
    queries = [(each.query or 0.0) + (each.rerank or 0.0) for each in costs]
    documents = [each.document for each in costs if each.document is not None]
    times = {"ms/doc": documents, "ms/query": queries} if documents else {"ms/item": queries}
    columns = {head: [f"{each * 1000:,.0f}" for each in seconds] for head, seconds in times.items()}
    return columns | {"bytes": [f"{each.bytes:,}" for each in costs]}


def _print_groups(results: Sequence[Measured]) -> None:
    """Print the main measure of each group, a row for each setting."""
    groups = results[0].result.groups
    if not groups:
        return
    main = next(name for name in MAIN if name in results[0].result.metrics)
    line()
    line(f"{main} by {' and '.join(dict.fromkeys(group.column for group in groups))}:")
    columns = _varying(results)
    for place, group in enumerate(groups):
        head = f"{group.value} ({group.queries:,})"
        columns[f"{group.column} {head}" if head in columns else head] = [
            _number(each.result.groups[place].metrics.get(main)) for each in results
        ]
    print_table(list(columns), zip(*columns.values(), strict=True))


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
