"""The command serve-model: how to start a model server, and whether a running one is right."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.cli import options, output
from qvsearch.cli.commands import Command
from qvsearch.cli.serve import LARGEST_PORT
from qvsearch.errors import QvsearchError
from qvsearch.library.names import option
from qvsearch.records import servers as records
from qvsearch.types import VideoMode

if TYPE_CHECKING:
    from qvsearch.runtime.choice import Choice
    from qvsearch.runtime.remote.handshake import Comparison
    from qvsearch.runtime.remote.launch import Served

serving_models = typer.Typer(rich_markup_mode=None)

CHECK = "--check"


@serving_models.command("serve-model", cls=Command)
def serve_model(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="ID-OR-FOLDER",
            help="Model (default: the library's, or Qwen/Qwen3-VL-Embedding-2B).",
        ),
    ] = None,
    reranker: Annotated[
        bool,
        typer.Option("--reranker", help="Serve a reranker (default: Qwen/Qwen3-VL-Reranker-2B)."),
    ] = False,
    video_mode: Annotated[
        VideoMode | None,
        options.choice(
            "--video-mode",
            VideoMode,
            "Inputs of videos, which decide its options (default: the library's, or frames).",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            parser=options.number("--port", int, 1, LARGEST_PORT),
            metavar="PORT",
            help="Port of the server (default: 8000).",
        ),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(
            parser=Path,
            metavar="FOLDER",
            help="Folder to write the templates to, and the demo's model (default: none).",
        ),
    ] = None,
    check: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Running server to compare with known vectors (default: none)."
        ),
    ] = None,
    server_key_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="File of the server's API key (default: the key in QVSEARCH_SERVER_KEY).",
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow plain http to public addresses.")
    ] = False,
    library: options.LibraryName = None,
    json: options.Json = False,
) -> None:
    """Print how to start a model server, or check one.

    The commands start vLLM, which computes vectors for --server, or scores for
    --rerank-server. A check compares a server with vectors that are known:
    those of a library, of the model on this computer, or published scores.

    \b
    qvsearch serve-model
    qvsearch serve-model --reranker
    qvsearch serve-model demo --write served
    qvsearch serve-model --check http://gpu.local:8000 -l holidays
    """  # noqa: D301
    from qvsearch.cli.vector_options import chosen_folder
    from qvsearch.runtime.choice import Choice

    place = chosen_folder(library, model is not None)
    if check is not None:
        if write is not None:
            raise QvsearchError("--write is for a server to be started; leave it out with --check")
        chosen = Choice(
            None if reranker else model,
            video_mode=video_mode,
            insecure=insecure,
            key_file=server_key_file,
        )
        _print_check(*_checked(check, model, reranker, place, chosen), json)
        return
    served = _served(model, reranker, place, video_mode, port)
    if write is not None:
        served = _written(served, write.absolute())
    named = "" if place is None else option(place)
    _print_launches(served, model, named, json)


def _served(
    model: str | None,
    reranker: bool,
    library: Path | None,
    video_mode: VideoMode | None,
    port: int | None,
) -> "Served":
    """Return what a server is to be started for; raises QvsearchError for no such model."""
    from qvsearch.library.manifest import read_committed
    from qvsearch.models.checkpoint import check_folder
    from qvsearch.models.registry import (
        DEFAULT_MODEL,
        DEFAULT_RERANKER,
        EMBEDDER,
        GENERATOR,
        PACKAGED,
        RERANKER,
        find,
        role_of,
    )
    from qvsearch.runtime.remote.launch import PORT, Served

    if library is not None:
        fingerprint = read_committed(library).fingerprint
        video_mode = video_mode or fingerprint.video_mode
        if model is None and not reranker:
            if fingerprint.adapter is not None:
                raise QvsearchError(
                    f"the library {library} was made with the adapter {fingerprint.adapter}; write"
                    " it and its base as one checkpoint with: qvsearch models merge; and serve that"
                )
            model = fingerprint.model
    model = model or (DEFAULT_RERANKER if reranker else DEFAULT_MODEL)
    if model not in PACKAGED and Path(model).is_dir():
        check_folder(Path(model).absolute())
        model = str(Path(model).absolute())  # the command may be run in any folder
    else:
        find(model)  # raises for a name that no model can have
    role = role_of(model) or (RERANKER if reranker else EMBEDDER)
    if role == GENERATOR or (reranker and role == EMBEDDER):
        wanted = RERANKER if reranker else EMBEDDER
        raise QvsearchError(f"{model} is not a model of this role; name another {wanted}")
    return Served(model, role, video_mode or VideoMode.FRAMES, port=PORT if port is None else port)


def _written(served: "Served", folder: Path) -> "Served":
    """Write the templates, and a packaged model as files that vLLM reads; return what is served."""
    from dataclasses import replace

    from qvsearch.models.registry import PACKAGED
    from qvsearch.runtime.remote.launch import write_checkpoint, write_templates

    if served.model in PACKAGED:
        write_checkpoint(PACKAGED[served.model][1], folder)
        return replace(served, model=str(folder), folder=folder)
    write_templates(folder)
    return replace(served, folder=folder)


def _print_launches(served: "Served", model: str | None, named: str, json: bool) -> None:
    """Print the commands, and those that follow; `named` is the option of the library."""
    from qvsearch.models.registry import PACKAGED, RERANKER, role_of
    from qvsearch.runtime.remote.launch import launches

    if served.model in PACKAGED:
        raise QvsearchError(
            f"{served.model} lacks files that vLLM needs; write it to a folder with them:"
            f" qvsearch serve-model {served.model} --write FOLDER"
        )
    if json:
        output.write_json(records.launch_record(served, each) for each in launches(served))
        return
    is_reranker = served.role == RERANKER
    output.line(f"# {served.model}, with vLLM 0.14 or later, one of:")
    for launch in launches(served):
        output.line()
        output.line(f"# {launch.device.upper()}{', in Docker' * (launch.way == 'docker')}")
        for each in launch.command.splitlines():
            output.line(each)
    output.line()
    output.line("# and then")
    url = f"http://127.0.0.1:{served.port}"
    chosen = "" if model is None else f"{shlex.quote(model)} "
    role = " --reranker" * (is_reranker and role_of(model or "") is None)
    output.line(f"qvsearch serve-model {chosen}--check {url}{role}{named}")
    use = "--rerank --rerank-server" if is_reranker else "--server"
    output.line(f'qvsearch search "dog on a beach" {use} {url}{named}')


def _checked(
    url: str, model: str | None, reranker: bool, library: Path | None, choice: "Choice"
) -> "tuple[str, list[Comparison]]":
    """Return the model, and the comparisons of a server; raises QvsearchError if it is refused."""
    from dataclasses import replace

    from qvsearch.models.registry import DEFAULT_RERANKER, RERANKER, describe, role_of
    from qvsearch.runtime.loading import task_fingerprint
    from qvsearch.runtime.remote.http import Server
    from qvsearch.runtime.remote.loading import load_handshake, load_rerank_handshake
    from qvsearch.runtime.remote.references import Form

    Server(url, insecure=choice.insecure, option="--check")  # raises for what is no URL
    if reranker or (model is not None and role_of(model) == RERANKER):
        name = model or DEFAULT_RERANKER
        choice = replace(choice, model=None, rerank_servers=(url,))
        proof = load_rerank_handshake(
            name, choice, lambda: describe(name, choice.hub).folder, CHECK
        )
        return name, proof.prove()
    choice = replace(choice, servers=(url,))
    made = task_fingerprint(library, choice)
    forms = {Form.TEXT, Form.PICTURE}
    if made.video_mode is not VideoMode.FRAMES:
        forms.add(Form.CLIP)
    handshake = load_handshake(
        made, choice, lambda: describe(made.model, choice.hub, made.adapter).folder, CHECK
    )
    return made.model, handshake.prove(forms)


def _print_check(model: str, comparisons: "list[Comparison]", json: bool) -> None:
    if json:
        output.write_json(map(records.comparison_record, comparisons))
        return
    what = "scores" if any(each.form == "pair" for each in comparisons) else "vectors"
    output.line(f"{comparisons[0].server} computes the {what} of {model}")
    for each in comparisons:
        output.line(f"{each.form}s: {_figures(each)}{', same prompts' * each.layout}")


def _figures(comparison: "Comparison") -> str:
    if comparison.agreement is not None:
        return str(comparison.agreement)
    if comparison.cosine is not None:
        return (
            f"lowest cosine {comparison.cosine:.6f} of {comparison.inputs} with {comparison.origin}"
        )
    if comparison.error is not None:
        return f"scores within {comparison.error:.4f} of {comparison.origin}"
    return f"compared by {comparison.origin} alone"
