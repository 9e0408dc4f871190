"""Progress and summary of publish, for a terminal, a log or a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from qvsearch.cli import output
from qvsearch.records import published as records

if TYPE_CHECKING:
    from qvsearch.published.address import Address
    from qvsearch.published.publishing import Outcome, Progress


class Report:
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

    def __call__(self, progress: Progress) -> None:
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


def show_outcome(outcome: Outcome, address: Address, quiet: bool, json: bool) -> None:
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


def _print_counts(outcome: Outcome, address: Address) -> None:
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


def show_removal(outcome: Outcome, address: Address, json: bool) -> None:
    """Print what was removed from a table."""
    if json:
        output.write_json([records.outcome_record(outcome)])
        return
    output.line(
        f"removed {output.counted(outcome.rows, 'row')} of {outcome.name} from {address};"
        " the library and its files stay"
    )
