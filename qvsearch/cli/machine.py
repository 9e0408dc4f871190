"""The commands warm, doctor, bench and models."""

import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.choices import Hub
from qvsearch.cli import options, output
from qvsearch.cli.commands import Command, Group
from qvsearch.errors import ExitCode, QvsearchError
from qvsearch.records import reports
from qvsearch.types import Detail, Dtype

if TYPE_CHECKING:
    from qvsearch.machine.bench import Figure
    from qvsearch.runtime.manager import Running

machine = typer.Typer(rich_markup_mode=None)
models = typer.Typer(
    cls=Group, rich_markup_mode=None, help="List, download, verify and merge models."
)

ModelName = Annotated[
    str | None,
    typer.Argument(metavar="ID", help="Model (default: Qwen/Qwen3-VL-Embedding-2B)."),
]


@machine.command(cls=Command)
def warm(
    idle: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Time without a query after which it ends, e.g. 90s (default: 10m).",
            show_default=False,
        ),
    ] = "10m",
    stop: Annotated[
        bool, typer.Option("--stop", help="End all running servers, and start none.")
    ] = False,
    reranker: Annotated[
        str | None,
        typer.Option(metavar="ID-OR-FOLDER", help="Reranker to keep loaded instead of a model."),
    ] = None,
    library: options.LibraryName = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="ID-OR-FOLDER", help="Model to keep loaded (default: the library's)."),
    ] = None,
    adapter: options.AdapterOption = None,
    device: options.Device = None,
    dtype: options.DtypeOption = None,
    hub: options.HubOption = Hub.HUGGINGFACE,
    json: options.Json = False,
) -> None:
    """Keep the model loaded in the background, for fast queries.

    All libraries of that model and precision use it. It ends by itself when no
    query has come for a while.

    \b
    qvsearch warm
    qvsearch warm --idle 60m --library holidays
    qvsearch warm --reranker Qwen/Qwen3-VL-Reranker-2B
    qvsearch warm --stop
    """  # noqa: D301 - a \b keeps the lines of examples apart, here and below
    from qvsearch.cli.vector_options import chosen_folder
    from qvsearch.retrieval.options import parse_budget
    from qvsearch.runtime import manager
    from qvsearch.runtime.loading import Choice, embedder_key, reranker_key

    if stop:
        processes = manager.running()
        for each in processes:
            manager.stop(each)
        _show_processes(processes, "ended", json)
        if not processes and not json:
            output.line("no warm process is running")
        return
    seconds = parse_budget(idle, "--idle") or 0.0
    choice = Choice(model, None, None, device, dtype, hub, adapter=adapter)
    if reranker is not None and model is not None:
        raise QvsearchError("--model and --reranker are two models; give one, and run it twice")
    if reranker is not None and adapter is not None:
        raise QvsearchError("--adapter is for a model; give the reranker's adapter as --reranker")
    key, weights = (
        embedder_key(chosen_folder(library, model is not None or adapter is not None), choice)
        if reranker is None
        else reranker_key(reranker, choice)
    )
    _show_processes([manager.start(key, weights.name, seconds, weights.adapter)], "running", json)


@machine.command(cls=Command)
def doctor(
    library: options.LibraryName = None,
    device: options.Device = None,
    dtype: options.DtypeOption = None,
    json: options.Json = False,
) -> None:
    """Show what this machine has and what to expect of it.

    \b
    qvsearch doctor
    qvsearch doctor --json | jq -r 'select(.trap) | .name, .trap'
    """  # noqa: D301
    from qvsearch.library.library import library_folder
    from qvsearch.machine.doctor import examine

    facts = examine(library_folder(library), device, dtype)
    if json:
        output.write_json(map(reports.fact_record, facts))
        return
    from qvsearch.cli.layout import print_facts

    print_facts(
        row
        for fact in facts
        for row in ((fact.name, fact.value), *([("", f"! {fact.trap}")] if fact.trap else []))
    )


@machine.command(cls=Command)
def bench(
    model: Annotated[
        str | None,
        typer.Option(
            metavar="ID-OR-FOLDER",
            help="Model (default: QVSEARCH_MODEL, or Qwen/Qwen3-VL-Embedding-2B).",
        ),
    ] = None,
    device: options.Device = None,
    dtype: Annotated[
        list[Dtype] | None,
        options.choice(
            "--dtype", Dtype, "Compute precision; may be repeated (default: the device's)."
        ),
    ] = None,
    detail: Annotated[
        list[Detail] | None,
        options.choice(
            "--detail", Detail, "Image detail; may be repeated (default: all; low with --quick)."
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Take a minute for each dtype: fewer timings.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Measure how fast this machine is.

    A model that is not downloaded is replaced by random weights of its sizes.

    \b
    qvsearch bench --quick
    qvsearch bench --detail low --detail medium
    qvsearch bench --dtype float32 --dtype bfloat16 --dtype int8
    qvsearch bench --json | jq -c 'select(.figure == "photo")'
    """  # noqa: D301
    from qvsearch.cli import interrupt
    from qvsearch.machine.bench import BenchOptions, measure
    from qvsearch.runtime.choice import Choice
    from qvsearch.runtime.chosen import new_model

    details = detail or ([Detail.LOW] if quick else list(Detail))
    name = new_model(Choice(model))
    chosen = BenchOptions(
        name, device, tuple(dict.fromkeys(dtype or ())), tuple(dict.fromkeys(details)), quick
    )
    with interrupt.interrupts() as stop:
        _show_figures(measure(chosen, lambda what: output.progress(what, json), stop), json)
    if stop():
        raise typer.Exit(ExitCode.INTERRUPTED)


@models.command("list", cls=Command)
def list_(
    files: Annotated[
        list[bytes] | None,
        typer.Argument(
            parser=options.path,
            metavar="FILE",
            help="GGUF files to show (default: all models, and those of Hugging Face's cache).",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """List the models, and which are on this disk.

    A GGUF file has the memory that it needs, and the time of a photo at low
    detail. That is measured by index, or a rough guess.

    \b
    qvsearch models list
    qvsearch models list ~/Models/*.gguf
    """  # noqa: D301
    from qvsearch.machine.gguf_files import cached_files, gguf_states
    from qvsearch.models.registry import list_models

    states = [] if files else list_models()
    given = [Path(os.fsdecode(each)) for each in files or []]
    ggufs = gguf_states(given or cached_files())
    if json:
        records = [*map(reports.model_record, states), *map(reports.gguf_record, ggufs)]
        output.write_json(records)
    else:
        from qvsearch.cli.tables import print_ggufs, print_models

        if states:
            print_models(states)
        print_ggufs([each for each in ggufs if each.problem is None])
        for each in ggufs:
            if each.problem is not None:
                output.fail(each.problem)
        if states:
            extra = (
                "" if find_spec("sentence_transformers") else ', after: pip install "qvsearch[st]"'
            )
            output.hint(f"other models: --model st:ID-OR-FOLDER{extra}")
    if any(each.problem is not None for each in ggufs):
        raise typer.Exit(ExitCode.INCOMPLETE)


@models.command(cls=Command)
def tasks(json: options.Json = False) -> None:
    """List the published instructions, by the values of --task.

    \b
    qvsearch models tasks
    qvsearch search "a red car in the snow" --task photos
    """  # noqa: D301
    from qvsearch.models.prompt import TASK_INSTRUCTIONS
    from qvsearch.records.evaluate import task_record

    if json:
        output.write_json(map(task_record, TASK_INSTRUCTIONS))
        return
    from qvsearch.cli.layout import print_facts

    print_facts((task.value, text) for task, text in TASK_INSTRUCTIONS.items())


@models.command(cls=Command)
def pull(model: ModelName = None, hub: options.HubOption = Hub.HUGGINGFACE) -> None:
    """Download a model, or resume its download.

    \b
    qvsearch models pull
    qvsearch models pull Qwen/Qwen3-VL-Reranker-2B
    qvsearch models pull st:google/siglip2-base-patch16-384
    """  # noqa: D301
    from qvsearch.models import registry, st_files

    name = model or registry.DEFAULT_MODEL
    fetch = st_files.resolve if name.startswith(registry.ST) else registry.pull
    output.line(str(fetch(name, hub).folder))


@models.command(cls=Command)
def verify(model: ModelName = None) -> None:
    """Verify every byte of a model.

    \b
    qvsearch models verify
    """  # noqa: D301
    from qvsearch.models import registry

    model = model or registry.DEFAULT_MODEL
    problems = registry.verify(model)
    for problem in problems:
        output.line(problem)
    if problems:
        raise typer.Exit(ExitCode.DAMAGED)
    rest = "" if registry.has_hashes(model) else "; there are no hashes to compare its weights with"
    output.line(f"{model} is complete{rest}")


def _show_processes(processes: "list[Running]", state: str, json: bool) -> None:
    if json:
        output.write_json({"state": state, **reports.warm_record(each)} for each in processes)
        return
    from qvsearch.cli.tables import warm_text

    for each in processes:
        output.line(f"{state}: {warm_text(each)}")


def _show_figures(measured: Iterable["Figure"], json: bool) -> None:
    """Print each figure as JSON at once, or all in a table, also those of an interrupted run."""
    if json:
        output.write_json(map(reports.figure_record, measured))
        return
    from qvsearch.cli.tables import print_figures

    figures: list[Figure] = []
    try:
        figures.extend(measured)
    finally:
        output.progress("")
        if figures:
            print_figures(figures)
