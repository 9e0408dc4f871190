"""The command publish."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from qvsearch.cli import options, output
from qvsearch.cli.commands import Command
from qvsearch.errors import ExitCode, QvsearchError
from qvsearch.records import published as records

if TYPE_CHECKING:
    from qvsearch.published.address import Address
    from qvsearch.published.publishing import Outcome, Progress

publishing = typer.Typer(rich_markup_mode=None)


@publishing.command(cls=Command)
def publish(
    place: Annotated[
        str,
        typer.Argument(metavar="LANCE-URI", help="Path that ends in .lance, or s3://BUCKET/NAME."),
    ],
    as_: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="NAME",
            help="Name of this library in the table, which keeps its folders apart"
            " (default: the computer's, and the library's if it is not main).",
        ),
    ] = None,
    thumbnails: Annotated[
        bool,
        typer.Option(
            "--thumbnails",
            help="Send small pictures, too, for computers that cannot reach the files.",
        ),
    ] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Delete all rows of this name from the table.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without a question.")] = False,
    library: options.LibraryName = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Copy a library into a table that many computers share.

    The table is created if it is not there. Each run sends what changed since
    the last one. Several computers may publish at the same time. To search it,
    give its place to -l.

    \b
    qvsearch publish /mnt/nas/family.lance
    qvsearch publish s3://bucket/family --as anna
    qvsearch search -l /mnt/nas/family.lance "dog on a beach"
    """  # noqa: D301 - a \b keeps the lines of examples apart
    from qvsearch.cli import interrupt
    from qvsearch.library.library import library_folder
    from qvsearch.published.address import read_address

    address = read_address(place)
    folder = library_folder(library)
    if remove:
        _remove(folder, address, as_, yes, json)
        return
    from qvsearch.published.publishing import publish as publish_library

    with interrupt.interrupts() as stop, _Report(quiet, json) as report:
        outcome = publish_library(folder, address, as_, report, stop, thumbnails=thumbnails)
    _show_outcome(outcome, address, quiet, json)
    if outcome.interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)
    skipped = outcome.pictures is not None and outcome.pictures.skipped
    raise typer.Exit(ExitCode.INCOMPLETE if skipped else ExitCode.DONE)


def _remove(folder: Path, address: "Address", name: str | None, yes: bool, json: bool) -> None:
    """Remove a publisher from a table, after a question."""
    from qvsearch.published.publishing import published_name, unpublish

    name = published_name(folder, address, name)
    if not yes:
        what = f"all rows of {output.safe_text(name)} in {output.safe_text(str(address))}"
        if not sys.stdin.isatty():
            raise QvsearchError(f"{what} are removed only with --yes, or on a terminal")
        typer.confirm(f"Remove {what}?", abort=True)
    _show_removal(unpublish(address, name), address, json)


class _Report:
    """Shows each commit: in one line of a terminal, or as JSON."""

    def __init__(self, quiet: bool, json: bool) -> None:
        self._quiet, self._json = quiet, json

    def __enter__(self) -> Self:
        if not self._json:
            output.progress("comparing the library with the table", self._quiet)
        return self

    def __exit__(self, *_: object) -> None:
        if not self._json:
            output.progress("", self._quiet)

    def __call__(self, progress: "Progress") -> None:
        """Show one commit."""
        if self._json:
            output.write_json([records.commit_record(progress)])
            return
        what = f"published {progress.rows:,} of {progress.of:,} rows"
        if progress.upkeep:
            what = "all rows are published; building indices and merging files"
        elif progress.of_pictures:
            what = f"published {progress.pictures:,} of {progress.of_pictures:,} thumbnails"
        output.progress(what, self._quiet)


def _show_outcome(outcome: "Outcome", address: "Address", quiet: bool, json: bool) -> None:
    """Print the counts of a run."""
    if json:
        output.write_json([records.outcome_record(outcome)])
        return
    pictures = outcome.pictures
    if not quiet:
        _print_counts(outcome, address)
    if pictures is not None and pictures.skipped:
        output.line("without a thumbnail:")
        output.print_skipped(list(pictures.skipped))
    if outcome.interrupted:
        output.line("interrupted; run it again to go on from here")


def _print_counts(outcome: "Outcome", address: "Address") -> None:
    left = f" + left {outcome.left:,}" if outcome.left else ""
    output.line(
        f"{output.counted(outcome.files, 'file')} = new {outcome.added:,}"
        f" + changed {outcome.changed:,} + unchanged {outcome.unchanged:,}{left};"
        f" removed {outcome.removed:,}"
    )
    rows = output.counted(outcome.rows, "row")
    if outcome.pictures is not None:
        rows += f" and {output.counted(outcome.pictures.sent, 'thumbnail')}"
    seconds = output.clock(round(outcome.seconds))
    output.line(f"published {rows} to {address} as {outcome.name} in {seconds}")


def _show_removal(outcome: "Outcome", address: "Address", json: bool) -> None:
    """Print what was removed from a table."""
    if json:
        output.write_json([records.outcome_record(outcome)])
        return
    output.line(
        f"removed {output.counted(outcome.rows, 'row')} of {outcome.name} from {address};"
        " the library and its files stay"
    )
