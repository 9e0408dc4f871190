"""The commands under `qvsearch models`."""

from dataclasses import asdict
from typing import Annotated

import typer

from qvsearch.cli import options, output
from qvsearch.cli.commands import Command
from qvsearch.types import Hub

UNSOUND = 1

models = typer.Typer(rich_markup_mode=None, help="List, download and verify models.")

ModelName = Annotated[str | None, typer.Argument(metavar="ID", help="The 2B one by default.")]


@models.command("list", cls=Command)
def list_(json: options.Json = False) -> None:
    """List the models that qvsearch knows, and which are here."""
    from qvsearch.models.registry import list_models

    states = list_models()
    if json:
        output.write_json(
            output.present(asdict(state) | {"folder": state.folder and str(state.folder)})
            for state in states
        )
        return
    from qvsearch.cli.tables import print_models

    print_models(states)


@models.command(cls=Command)
def pull(model: ModelName = None, hub: options.HubOption = Hub.HUGGINGFACE) -> None:
    """Download a model; an interrupted download is resumed.

    \b
    qvsearch models pull
    qvsearch models pull Qwen/Qwen3-VL-Reranker-2B
    """  # noqa: D301 - a \b keeps the lines of examples apart
    from qvsearch.models import registry

    output.line(str(registry.pull(model or registry.DEFAULT_MODEL, hub).folder))


@models.command(cls=Command)
def verify(model: ModelName = None) -> None:
    """Read every byte of a model and say what is wrong with it.

    \b
    qvsearch models verify
    """  # noqa: D301
    from qvsearch.models import registry

    model = model or registry.DEFAULT_MODEL
    problems = registry.verify(model)
    for problem in problems:
        output.line(problem)
    if problems:
        raise typer.Exit(UNSOUND)
    compared = (
        "" if registry.has_hashes(model) else ", but no hash is here to compare its numbers with"
    )
    output.line(f"{model} is whole{compared}")
