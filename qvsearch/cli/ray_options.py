"""The options of index for a Ray cluster."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer

from qvsearch.cli import options
from qvsearch.errors import QvsearchError

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
