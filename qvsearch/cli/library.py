"""The commands that look after a library and the machine: parse, call one function, print."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.cli import options, output, records
from qvsearch.cli.commands import Command
from qvsearch.errors import INTERRUPTED, QvsearchError
from qvsearch.types import Detail, Dtype

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.machine.bench import Figure

UNSOUND = 1  # exit code of `check`

upkeep = typer.Typer(rich_markup_mode=None)


@upkeep.command(cls=Command)
def status(
    library: options.LibraryName = None,
    fields: Annotated[
        bool, typer.Option("--fields", help="Say what search can filter the files here by.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Say what is in the library, what failed and what is stale.

    \b
    qvsearch status
    qvsearch status --fields
    qvsearch status --json | jq .failed
    """  # noqa: D301
    from qvsearch.indexing.status import library_status
    from qvsearch.runtime.manager import running

    opened = _open(library)
    if fields:
        _show_fields(opened, json)
        return
    found = library_status(opened)
    if json:
        output.write_json([records.status_record(found, running())])
        return
    from qvsearch.cli.tables import print_status

    print_status(found, running())


@upkeep.command(cls=Command)
def check(
    library: options.LibraryName = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Keep what is sound; `index` embeds the rest again.")
    ] = False,
    recall: Annotated[
        bool, typer.Option("--recall", help="Measure instead what a first pass misses here.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Read every byte of the library and say what is wrong with it.

    \b
    qvsearch check
    qvsearch check --repair && qvsearch index ~/Photos
    qvsearch check --recall
    """  # noqa: D301
    if recall and repair:
        raise QvsearchError("--recall only measures and --repair changes files; ask for one")
    if recall:
        _show_recall(_open(library), json)
        return
    from qvsearch.library import repair as files
    from qvsearch.library.library import library_folder

    folder = library_folder(library)
    repaired = files.repair(folder) if repair else None
    problems = files.check(folder) if repaired is None else repaired.problems
    rows = None if repaired is None else {"kept": repaired.kept, "lost": repaired.lost}
    if json:
        record = {"problems": [asdict(problem) for problem in problems], **(rows or {})}
        output.write_json([record])
    else:
        for problem in problems:
            output.line(f"{problem.file}: {problem.reason}")
        output.line(_verdict(len(problems), rows))
    if problems and repaired is None:
        raise typer.Exit(UNSOUND)


@upkeep.command(cls=Command)
def remove(
    paths: options.Paths, library: options.LibraryName = None, json: options.Json = False
) -> None:
    """Forget files and folders; the files themselves are left alone.

    \b
    qvsearch remove ~/Photos/2009
    """  # noqa: D301
    from qvsearch.indexing.forget import forget

    count = forget(_open(library), paths)
    if json:
        output.write_json([{"removed": count}])
    else:
        output.line(
            f"removed {output.counted(count, 'file')} from the library, and nothing from the disk"
        )


@upkeep.command(cls=Command)
def doctor(
    library: options.LibraryName = None,
    device: options.Device = None,
    dtype: options.DtypeOption = None,
    json: options.Json = False,
) -> None:
    """Say what this machine has, and what to expect of it.

    \b
    qvsearch doctor
    qvsearch doctor --json | jq -r 'select(.trap) | .name, .trap'
    """  # noqa: D301
    from qvsearch.library.library import library_folder
    from qvsearch.machine.doctor import examine

    facts = examine(library_folder(library), device, dtype)
    if json:
        output.write_json(output.present(asdict(fact)) for fact in facts)
        return
    from qvsearch.cli.tables import print_facts

    print_facts(
        row
        for fact in facts
        for row in ((fact.name, fact.value), *([("", f"! {fact.trap}")] if fact.trap else []))
    )


@upkeep.command(cls=Command)
def bench(
    model: options.Model = None,
    device: options.Device = None,
    dtype: Annotated[
        list[Dtype] | None,
        typer.Option(
            "--dtype",
            metavar="|".join(Dtype),
            help="Compute precision; may be repeated (default: the device's).",
        ),
    ] = None,
    detail: Annotated[
        list[Detail] | None,
        typer.Option("--detail", metavar="|".join(Detail), help="Only this one; may be repeated."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer timings at low detail: a minute for each dtype.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Measure how fast this machine is, with the model or with random weights of its sizes.

    \b
    qvsearch bench --quick
    qvsearch bench --detail low --detail medium
    qvsearch bench --dtype float32 --dtype bfloat16 --dtype int8
    qvsearch bench --json | jq -c 'select(.figure == "photo")'
    """  # noqa: D301
    from qvsearch.cli import interrupt
    from qvsearch.machine.bench import BenchOptions, measure
    from qvsearch.runtime.loading import Choice, new_model

    details = detail or ([Detail.LOW] if quick else list(Detail))
    name = new_model(Choice(model))
    chosen = BenchOptions(
        name, device, tuple(dict.fromkeys(dtype or ())), tuple(dict.fromkeys(details)), quick
    )
    with interrupt.interrupts() as stop:
        _show_figures(measure(chosen, lambda what: output.progress(what, json), stop), json)
    if stop():
        raise typer.Exit(INTERRUPTED)


def _show_figures(found: Iterable["Figure"], json: bool) -> None:
    """Print figures as JSON as they come or, when they end, in a table: all that there are."""
    if json:
        output.write_json(output.present(asdict(figure)) for figure in found)
        return
    from qvsearch.cli.tables import print_figures

    figures: list[Figure] = []
    try:
        figures.extend(found)
    finally:
        output.progress("")
        if figures:
            print_figures(figures)


def _show_fields(library: "Library", json: bool) -> None:
    from qvsearch.indexing.status import library_fields

    fields = library_fields(library)
    if json:
        output.write_json([records.fields_record(library, fields)])
        return
    from qvsearch.cli.tables import print_fields

    print_fields(fields)


def _show_recall(library: "Library", json: bool) -> None:
    from qvsearch.retrieval.recall import NOISE, measure_recall

    found = measure_recall(library)
    if json:
        output.write_json([records.recall_record(found)])
        return
    output.line(
        f"recall@10 {found.recall_at_10:.4f}: of the ten best files by exact search, the share that"
        " a first pass finds"
    )
    output.line(
        f"{found.stored_queries + found.generic_queries:,} queries of {found.rows:,} rows:"
        f" {found.stored_queries:,} rows with noise of {NOISE:g} times their length,"
        f" {found.generic_queries:,} generic queries"
    )
    output.line(f"relevance of what is found differs by at most {found.relevance_apart:.4f}")
    output.line(
        f"a query takes {found.first_pass_ms:.1f} ms with a first pass,"
        f" {found.exact_ms:.1f} ms exactly (medians)"
    )


def _open(name: str | None) -> "Library":
    from qvsearch.library.library import Library, library_folder

    return Library.open(library_folder(name))


def _verdict(problems: int, rows: dict[str, int] | None) -> str:
    if not problems:
        return "every byte is as it was written"
    if rows is None:
        return (
            f"{output.counted(problems, 'problem')}; `qvsearch check --repair` keeps what is sound"
        )
    return (
        f"{output.counted(rows['kept'], 'segment')} kept, {rows['lost']:,} lost;"
        " `qvsearch index` embeds again what is lost"
    )
