"""index on a Ray cluster: its options, and a run, shown like any other."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.cli import options, output
from qvsearch.errors import ExitCode, QvsearchError

if TYPE_CHECKING:
    from qvsearch.indexing.session import IngestOptions
    from qvsearch.runtime.choice import Choice

_cluster = partial(typer.Option, rich_help_panel="Cluster")


@dataclass(frozen=True, slots=True)
class RayOptions:
    """The cluster that embeds, and the table that gets the rows."""

    ray: Annotated[
        str | None,
        _cluster(
            "--ray",
            metavar="ADDRESS",
            help="Ray cluster that embeds: HOST:PORT, or auto for this computer's.",
        ),
    ] = None
    publish: Annotated[
        str | None,
        _cluster(
            "--publish",
            metavar="LANCE-URI",
            help="Published table that gets the rows with --ray.",
        ),
    ] = None
    publisher: Annotated[
        str | None,
        _cluster(
            "--as",
            metavar="NAME",
            help="Name of the folder in that table (default: its own name).",
        ),
    ] = None

    def __post_init__(self) -> None:
        """Raise QvsearchError for options without --ray."""
        for name, value in {"--publish": self.publish, "--as": self.publisher}.items():
            if value is not None and self.ray is None:
                raise QvsearchError(
                    f"{name} of index needs --ray; a library is published with: qvsearch publish"
                )

    def address(self, paths: Sequence[bytes] | None) -> tuple[str, str, bytes]:
        """Return the addresses of the cluster and of the table, and the one folder to index.

        Raises QvsearchError if one of them is missing.
        """
        if self.ray is None or self.publish is None:
            raise QvsearchError(
                "--ray writes into a table that computers share; add --publish LANCE-URI"
            )
        if not paths or len(paths) > 1:
            raise QvsearchError(
                "--ray takes one PATH, a folder that all nodes see; run it again for the next one"
            )
        return self.ray, self.publish, paths[0]

    def refuse(self, library: str | None, given: Mapping[str, object]) -> None:
        """Raise QvsearchError for options of index that a cluster does not have.

        `library` may come from the environment, and has no effect then; `given` are the values of
        other options by name.
        """
        own = None if library == os.environ.get("QVSEARCH_LIBRARY") else library
        for name, value in {"--library": own, **given}.items():
            if value:
                raise QvsearchError(
                    f"{name} is for a local library, and --ray has none; leave it out"
                )


def check_local(paths: Sequence[bytes] | None) -> None:
    """Raise QvsearchError for a place in a bucket, which only a cluster indexes."""
    for path in paths or ():
        if path.startswith(b"s3://"):
            raise QvsearchError(
                f"{os.fsdecode(path)} is indexed with --ray only; or give a folder of this computer"
            )


def place(text: str) -> bytes:
    """Return an absolute path, or a place in a bucket as it is written."""
    return os.fsencode(text.rstrip("/")) if text.startswith("s3://") else options.path(text)


def run_on_cluster(
    cluster: RayOptions,
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
