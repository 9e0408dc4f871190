"""The options of index for a Ray cluster."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer

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
            help="Ray cluster that embeds: HOST:PORT, or auto for the one of this computer.",
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
            help="Publisher's name in that table (default: the name of the first PATH).",
        ),
    ] = None

    def __post_init__(self) -> None:
        """Raise QvsearchError for options that miss each other."""
        if self.ray is not None and self.publish is None:
            raise QvsearchError(
                "--ray writes into a table that computers share; add --publish LANCE-URI"
            )
        for name, value in {"--publish": self.publish, "--as": self.publisher}.items():
            if value is not None and self.ray is None:
                raise QvsearchError(
                    f"{name} of index needs --ray; a library is published with: qvsearch publish"
                )

    def refuse(self, paths: object, library: str | None, given: Mapping[str, object]) -> None:
        """Raise QvsearchError for options of index that a cluster does not have.

        `library` is that of the command line or of the environment, which has no effect here;
        `given` are the values of other options by name.
        """
        if not paths:
            raise QvsearchError("--ray needs the PATH of a folder that all nodes see")
        own = None if library == os.environ.get("QVSEARCH_LIBRARY") else library
        for name, value in {"--library": own, **given}.items():
            if value:
                raise QvsearchError(
                    f"{name} is for a local library, and --ray has none; leave it out"
                )
