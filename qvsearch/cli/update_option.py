"""The option --update: a library is brought up to date before it is searched."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.cli import output
from qvsearch.errors import ExitCode, LibraryLocked, QvsearchError
from qvsearch.library.names import check_local, exists, is_table, option

if TYPE_CHECKING:
    from qvsearch.indexing.counts import Summary
    from qvsearch.runtime.loading import Choice


@dataclass(frozen=True, slots=True)
class UpdateOptions:
    """Whether the library is brought up to date first."""

    update: Annotated[
        bool,
        typer.Option(
            "--update",
            help="Index new and changed files first, as index without a path does.",
            rich_help_panel="Model",
        ),
    ] = False

    def apply(self, folder: Path, choice: "Choice", quiet: bool) -> None:
        """Bring a library up to date, if that is wanted; raises Exit after Ctrl-C.

        A library that cannot be changed now, e.g. because another process indexes into it, is
        reported and searched as it is.
        """
        if not (self.update and (exists(folder) or is_table(folder))):
            return  # the search reports a missing library
        from qvsearch.cli import interrupt, progress
        from qvsearch.freshness.update import bring_up_to_date

        try:
            check_local(folder)
            with (
                interrupt.interrupts() as stop,
                progress.Progress(quiet, json=False) as report,
            ):
                summary = bring_up_to_date(folder, choice, report, stop)
        except LibraryLocked as error:
            if not quiet:
                output.note(f"not updated: {error}")
            return
        except QvsearchError as error:
            output.fail(f"not updated: {error}")
            return
        _show(summary, folder, quiet)
        if summary.interrupted:
            raise typer.Exit(ExitCode.INTERRUPTED)


def _show(summary: "Summary", folder: Path, quiet: bool) -> None:
    """Print what an update changed, for a person, and what it could not reach, for everyone."""
    if summary.indexed or summary.removed:
        files = output.counted(summary.indexed, "file")
        output.hint(f"updated: indexed {files}, removed {summary.removed:,}", quiet)
    news = [each for each in summary.failures if not each.known]
    if quiet:
        return
    if news:
        files = output.counted(len(news), "file")
        output.note(
            f"not updated: {files} could not be indexed; see: qvsearch status{option(folder)}"
        )
    for path in summary.unreachable:
        output.note(f"not updated: {output.safe_text(path)} is not there")
    for kept in summary.kept:
        files = output.counted(kept.files, "file")
        output.note(f"not updated: kept {files} of {output.safe_text(kept.path)}: {kept.reason}")
    if summary.interrupted:
        output.note("interrupted; what is finished is saved")
