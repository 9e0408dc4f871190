"""Runs index on a Ray cluster, and shows it like any other run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from qvsearch.cli import output

if TYPE_CHECKING:
    from qvsearch.cli.ray_options import RayOptions
    from qvsearch.indexing.session import IngestOptions
    from qvsearch.runtime.choice import Choice


def run(
    cluster: "RayOptions",
    paths: Sequence[bytes],
    choice: "Choice",
    how: "IngestOptions",
    *,
    strict: bool,
    quiet: bool,
    json: bool,
) -> None:
    """Bring a published table up to date with folders, and raise Exit with the code of `index`."""
    from qvsearch.cli import interrupt, progress
    from qvsearch.distributed import driver
    from qvsearch.distributed.cluster import connected
    from qvsearch.distributed.destination import open_destination

    address, place = cluster.ray, cluster.publish
    if address is None or place is None:
        return
    driver.check_paths(paths)
    with connected(address, choice.device) as ray:
        with interrupt.interrupts() as stop, progress.Progress(quiet, json) as report:
            destination = open_destination(place, cluster.publisher, paths, choice, ray)
            output.hint_demo(destination.fingerprint, quiet)
            summary = driver.index(...)
    progress.show_summary(summary, quiet=quiet, json=json)
    raise typer.Exit(progress.exit_code(summary, strict))
