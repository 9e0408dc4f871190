"""Runs index on a Ray cluster, and shows it like any other run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from qvsearch.cli import output
from qvsearch.errors import ExitCode

if TYPE_CHECKING:
    from qvsearch.cli.ray_options import RayOptions
    from qvsearch.indexing.session import IngestOptions
    from qvsearch.runtime.choice import Choice


def run(
    cluster: "RayOptions",
    paths: Sequence[bytes] | None,
    choice: "Choice",
    how: "IngestOptions",
    *,
    quiet: bool,
    json: bool,
) -> None:
    """Bring a folder's rows in a table up to date, and raise Exit with the code of `index`."""
    from qvsearch.cli import interrupt, progress
    from qvsearch.distributed.cluster import check_address, connected
    from qvsearch.distributed.destination import label_of
    from qvsearch.distributed.driver import Order, index
    from qvsearch.indexing.reading import unread_note
    from qvsearch.published.address import read_address
    from qvsearch.published.publishers import check_name

    address, table, root = cluster.address(paths)
    check_address(address)
    name = check_name(cluster.publisher or label_of(root))
    order = Order(root, read_address(table), name, choice)
    gpus = None if choice.device is None else choice.device.startswith("cuda")
    gpus = False if choice.servers else gpus
    # Ray takes the signals when it connects, and gets them back when it has left.
    with (
        connected(address, gpus) as nodes,
        interrupt.interrupts() as stop,
        progress.Progress(quiet, json) as report,
    ):
        summary = index(order, nodes, how, report, stop)
    if summary is None:
        raise typer.Exit(ExitCode.INTERRUPTED)
    progress.show_summary(summary, quiet=quiet, json=json)
    if not (quiet or json):
        output.line(f"published to {output.safe_text(table)} as {output.safe_text(name)}")
    if summary.pictures_unread:
        note = unread_note(summary.pictures_unread)
        output.hint(f"{note} on all nodes, and then index with --force", quiet)
    raise typer.Exit(progress.exit_code(summary))
