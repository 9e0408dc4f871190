"""The commands status, check and remove."""

from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.cli import options, output
from qvsearch.cli.commands import Command
from qvsearch.errors import ExitCode, QvsearchError
from qvsearch.records import library as records

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.library.repair import Repair
    from qvsearch.published.library import PublishedLibrary

upkeep = typer.Typer(rich_markup_mode=None)


@upkeep.command(cls=Command)
def status(
    library: options.LibraryName = None,
    fields: Annotated[
        bool, typer.Option("--fields", help="Print what search can filter these files by.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Show what is in the library, what failed and what is stale.

    \b
    qvsearch status
    qvsearch status --fields
    qvsearch status --json | jq .failed
    """  # noqa: D301 - a \b keeps the lines of examples apart, here and below
    from qvsearch.indexing.status import library_status
    from qvsearch.published.opening import is_published, open_at
    from qvsearch.runtime.manager import running

    opened = open_at(library)
    if fields:
        _show_fields(opened, json)
        return
    if is_published(opened):
        _show_table(opened, json)
        return
    current = library_status(opened)
    if json:
        output.write_json([records.status_record(current, running())])
        return
    from qvsearch.cli.tables import print_status

    print_status(current, running())


@upkeep.command(cls=Command)
def check(
    library: options.LibraryName = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Keep the sound rows; `index` embeds the rest again.")
    ] = False,
    recall: Annotated[
        bool, typer.Option("--recall", help="Measure the recall of the first pass instead.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Verify every byte of the library.

    \b
    qvsearch check
    qvsearch check --repair && qvsearch index ~/Photos
    qvsearch check --recall
    """  # noqa: D301
    if recall and repair:
        raise QvsearchError("--recall only measures and --repair changes files; give one")
    if recall:
        _show_recall(_open(library), json)
        return
    from qvsearch.library import repair as files
    from qvsearch.library.library import library_folder

    folder = library_folder(library)
    repaired = files.repair(folder) if repair else None
    problems = files.check(folder) if repaired is None else repaired.problems
    if json:
        output.write_json([records.check_record(problems, repaired)])
    else:
        for problem in problems:
            output.line(f"{problem.file}: {problem.reason}")
        output.line(_verdict(len(problems), repaired))
    if problems and repaired is None:
        raise typer.Exit(ExitCode.DAMAGED)


@upkeep.command(cls=Command)
def remove(
    paths: options.Paths, library: options.LibraryName = None, json: options.Json = False
) -> None:
    """Remove files and folders from the library, not from the disk.

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


def _show_table(library: "PublishedLibrary", json: bool) -> None:
    from qvsearch.published.status import table_status

    current = table_status(library)
    if json:
        from qvsearch.records.published import table_record

        output.write_json([table_record(current)])
        return
    from qvsearch.cli.tables import print_table_status

    print_table_status(current)


def _show_fields(library: "Library", json: bool) -> None:
    from qvsearch.indexing.fields import library_fields

    fields = library_fields(library)
    if json:
        output.write_json([records.fields_record(library, fields)])
        return
    from qvsearch.cli.tables import print_fields

    print_fields(fields)


def _show_recall(library: "Library", json: bool) -> None:
    from qvsearch.retrieval.recall import NOISE, measure_recall

    measured = measure_recall(library)
    if json:
        output.write_json([records.recall_record(measured)])
        return
    output.line(
        f"recall@10 {measured.recall_at_10:.4f}: the share of the ten best files by exact search"
        " that a first pass finds"
    )
    output.line(
        f"{measured.stored_queries + measured.generic_queries:,} queries of {measured.rows:,} rows:"
        f" {measured.stored_queries:,} rows with noise of {NOISE:g} times their length,"
        f" {measured.generic_queries:,} generic queries"
    )
    output.line(f"the relevance of these files differs by at most {measured.relevance_apart:.4f}")
    output.line(
        f"a query takes {measured.first_pass_ms:.1f} ms with a first pass,"
        f" {measured.exact_ms:.1f} ms exactly (medians)"
    )


def _open(name: str | None) -> "Library":
    from qvsearch.library.library import Library, library_folder

    return Library.open(library_folder(name))


def _verdict(problems: int, repaired: "Repair | None") -> str:
    if not problems:
        return "every byte is as it was written"
    if repaired is None:
        return (
            f"{output.counted(problems, 'problem')}; `qvsearch check --repair` keeps the sound rows"
        )
    words = f", and reads the words of {repaired.without_words:,}" * bool(repaired.without_words)
    return (
        f"{output.counted(repaired.kept, 'segment')} kept, {repaired.lost:,} lost;"
        f" `qvsearch index` embeds the lost ones again{words}"
    )
