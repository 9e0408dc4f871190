"""The command that keeps a model loaded: parse, call one function, print."""

from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.cli import options, output
from qvsearch.cli.commands import Command
from qvsearch.errors import QvsearchError
from qvsearch.types import Hub

if TYPE_CHECKING:
    from qvsearch.runtime.manager import Running

warming = typer.Typer(rich_markup_mode=None)


@warming.command(cls=Command)
def warm(
    idle: Annotated[
        str, typer.Option(metavar="TIME", help="End after so long without a question, as 90s, 2m.")
    ] = "10m",
    stop: Annotated[bool, typer.Option("--stop", help="End all that run, and start none.")] = False,
    reranker: Annotated[
        str | None,
        typer.Option(metavar="ID-OR-FOLDER", help="Keep this reranker loaded instead."),
    ] = None,
    library: options.LibraryName = None,
    model: options.Model = None,
    device: options.Device = None,
    dtype: options.DtypeOption = None,
    hub: options.HubOption = Hub.HUGGINGFACE,
    json: options.Json = False,
) -> None:
    """Keep the library's model loaded in the background, so that no query waits for it.

    Every library of that model, in int8 or not as this one, gains from it.
    It ends by itself when nobody asks any more.

    \b
    qvsearch warm
    qvsearch warm --idle 60m --library holidays
    qvsearch warm --reranker Qwen/Qwen3-VL-Reranker-2B
    qvsearch warm --stop
    """  # noqa: D301
    from qvsearch.library.library import library_folder
    from qvsearch.retrieval.options import parse_budget
    from qvsearch.runtime import manager
    from qvsearch.runtime.loading import Choice, kept_embedder, kept_reranker

    if stop:
        found = manager.running()
        for each in found:
            manager.stop(each)
        _show(found, "ended", json)
        if not found and not json:
            output.line("no warm process is running")
        return
    seconds = parse_budget(idle, "--idle") or 0.0
    choice = Choice(model, None, None, device, dtype, hub)
    if reranker is not None and model is not None:
        raise QvsearchError("--model and --reranker are two models; give one, and run it twice")
    kept, name = (
        kept_embedder(library_folder(library), choice)
        if reranker is None
        else kept_reranker(reranker, choice)
    )
    _show([manager.start(kept, name, seconds)], "running", json)


def _show(found: "list[Running]", state: str, json: bool) -> None:
    from qvsearch.cli.records import warm_record
    from qvsearch.cli.tables import warm_text

    if json:
        output.write_json({"state": state, **warm_record(each)} for each in found)
        return
    for each in found:
        output.line(f"{state}: {warm_text(each)}")
