"""The options of model servers, which compute in place of this computer."""

import os
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.choices import Wire
from qvsearch.cli.options import ModelOptions, RunOptions, choice

if TYPE_CHECKING:
    from qvsearch.runtime.choice import Choice

PANEL = "Servers"
_server = partial(typer.Option, rich_help_panel=PANEL)


@dataclass(frozen=True)  # without slots, which several base classes cannot have
class ServerOptions:
    """The servers that compute vectors, and how inputs reach them."""

    server: Annotated[
        list[str] | None,
        _server(
            envvar="QVSEARCH_SERVER",
            metavar="URL",
            help="vLLM server that computes vectors; may be repeated (default: none).",
        ),
    ] = None
    server_key_file: Annotated[
        str | None,
        _server(
            metavar="FILE",
            help="File of the servers' API key (default: the key in QVSEARCH_SERVER_KEY).",
        ),
    ] = None
    wire: Annotated[
        Wire,
        choice("--wire", Wire, "Form of pixels that are sent (default: lossless).", PANEL),
    ] = Wire.LOSSLESS
    insecure: Annotated[
        bool, _server("--insecure", help="Allow plain http to public addresses.")
    ] = False

    def served(self, chosen: "Choice") -> "Choice":
        """Return a choice of a model that these servers compute."""
        key_file = self.server_key_file
        if key_file is not None:
            key_file = os.path.abspath(key_file)  # for processes with another current folder
        return replace(
            chosen,
            servers=tuple(self.server or ()),
            wire=self.wire,
            insecure=self.insecure,
            key_file=key_file,
        )


@dataclass(frozen=True)
class RerankServerOptions(ServerOptions):
    """The same, and the servers that score pairs."""

    rerank_server: Annotated[
        list[str] | None,
        _server(
            envvar="QVSEARCH_RERANK_SERVER",
            metavar="URL",
            help="vLLM server that computes scores of --rerank; may be repeated (default: none).",
        ),
    ] = None

    def served(self, chosen: "Choice") -> "Choice":
        """Return a choice of a model that these servers compute."""
        return replace(super().served(chosen), rerank_servers=tuple(self.rerank_server or ()))


@dataclass(frozen=True)
class ServedRunOptions(ServerOptions, RunOptions):
    """How the model of a library runs, here or on servers."""

    def choice(self) -> "Choice":
        """Return the user's choice of a model."""
        return self.served(RunOptions.choice(self))


@dataclass(frozen=True)
class RerankedRunOptions(RerankServerOptions, ServedRunOptions):
    """The same for a command with --rerank."""


@dataclass(frozen=True)
class ServedModelOptions(ServedRunOptions, ModelOptions):
    """The library that is searched, and how its model runs, here or on servers."""


@dataclass(frozen=True)
class RerankedModelOptions(RerankServerOptions, ServedModelOptions):
    """The same for a command with --rerank."""
