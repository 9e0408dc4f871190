"""The command models compare."""

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.choices import Hub
from qvsearch.cli import options, output
from qvsearch.cli.commands import Command, unfolded
from qvsearch.cli.evaluate import SetOptions, report_skipped
from qvsearch.cli.machine import models
from qvsearch.errors import ExitCode, QvsearchError
from qvsearch.types import Detail, Dtype, Skipped

if TYPE_CHECKING:
    from qvsearch.records.evaluate import Measured
    from qvsearch.runtime.loading import Choice
    from qvsearch.tasks.evaluation.results import EvaluateOptions
    from qvsearch.tasks.evaluation.sets import EvaluationSet


@models.command(cls=Command)
@unfolded
def compare(
    *,
    names: Annotated[
        list[str],
        typer.Argument(metavar="MODEL", help="Models: hub's ids, folders, demo, or st:ID."),
    ],
    source: Annotated[
        bytes,
        typer.Option("--set", parser=options.path, metavar="SET", help="Folder or file of a set."),
    ],
    reading: SetOptions,
    dim: Annotated[
        int | None,
        typer.Option(
            parser=options.number("--dim", int, 1),
            metavar="N",
            help="Vector dimensions of all of them (default: each model's maximum).",
        ),
    ] = None,
    detail: Annotated[
        Detail | None,
        options.choice("--detail", Detail, "Image detail (default: medium; low on a CPU)."),
    ] = None,
    device: options.Device = None,
    dtype: options.DtypeOption = None,
    hub: options.HubOption = Hub.HUGGINGFACE,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Measure several models on your own data.

    Each is measured as evaluate does it, one after the other. A model that
    cannot be used is named, and the others are measured.

    \b
    qvsearch models compare Qwen/Qwen3-VL-Embedding-2B st:my-model --set scifact
    qvsearch models compare demo st:my-model --set queries.csv --media ~/Photos
    qvsearch models compare demo st:my-model --set scifact --json | jq .metrics
    """  # noqa: D301 - a \b keeps the lines of examples apart
    from qvsearch.cli import interrupt
    from qvsearch.cli.evaluate_tables import print_models
    from qvsearch.records.evaluate import result_record
    from qvsearch.runtime.loading import Choice
    from qvsearch.tasks.evaluation.read_sets import read_set
    from qvsearch.tasks.evaluation.results import EvaluateOptions

    media = None if reading.media is None else Path(os.fsdecode(reading.media))
    found = read_set(Path(os.fsdecode(source)), media, reading.split, reading.reverse)
    choice = Choice(dim=dim, detail=detail, device=device, dtype=dtype, hub=hub)
    results: list[Measured] = []
    is_complete = not found.left_out
    with interrupt.interrupts() as stop:
        progress = partial(output.progress, quiet=quiet or json)
        how = EvaluateOptions(stop=stop, progress=progress)
        for name in dict.fromkeys(names):
            lost: list[Skipped] = []
            try:
                for outcome in _measured(found, replace(choice, model=name), how, quiet or json):
                    if isinstance(outcome, Skipped):
                        lost.append(outcome)
                        continue
                    results.append(outcome)
                    if json:
                        left_out = len(lost) + len(found.left_out)
                        output.write_json([result_record(outcome, left_out)])
            except QvsearchError as error:
                progress("")
                output.fail(f"{name} is left out: {error}")
                is_complete = False
            _report_lost(name, lost)
            is_complete = is_complete and not lost
            if stop():
                break
    progress("")
    if results and not json:
        print_models(results)
    report_skipped([*found.left_out], None if json else output.SHOWN_SKIPPED)
    if stop():
        raise typer.Exit(ExitCode.INTERRUPTED)
    if not is_complete:
        raise typer.Exit(ExitCode.INCOMPLETE if results else ExitCode.FAILED)


def _measured(
    found: "EvaluationSet", choice: "Choice", how: "EvaluateOptions", quiet: bool
) -> Iterator["Measured | Skipped"]:
    """Yield what `measure` yields for a model, which is released before the next one is loaded."""
    from qvsearch.records.evaluate import Measured
    from qvsearch.runtime.loading import load_embedder, task_fingerprint
    from qvsearch.tasks.evaluation.evaluate import measure

    output.progress(f"loading {choice.model}", quiet)
    fingerprint = task_fingerprint(None, choice)
    output.hint_demo(fingerprint, quiet)
    dtype = None if choice.dtype is None else Dtype(choice.dtype)
    for outcome in measure(found, load_embedder(fingerprint, choice), how):
        if isinstance(outcome, Skipped):
            yield outcome
        else:
            yield Measured(outcome, str(choice.model), None, dtype, None)


def _report_lost(name: str, lost: list[Skipped]) -> None:
    """Print how many entries a model could not embed, and why the first one."""
    if lost:
        first = f"{output.safe_text(lost[0].path)}: {lost[0].reason}"
        output.fail(f"{name} could not embed {len(lost):,} entries of the set, e.g. {first}")
