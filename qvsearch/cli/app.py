"""The command line as a whole, and the command demo."""

import atexit
import gc
import os
import re
import shlex
import sys
import traceback
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Annotated, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command

from qvsearch.cli import compare as compare
from qvsearch.cli import output
from qvsearch.cli.ask import asking
from qvsearch.cli.classify import classifying
from qvsearch.cli.cluster import clustering
from qvsearch.cli.commands import Command, Group, see
from qvsearch.cli.duplicates import alikes
from qvsearch.cli.evaluate import evaluating
from qvsearch.cli.finetune import finetuning
from qvsearch.cli.index import indexing
from qvsearch.cli.libraries import libraries
from qvsearch.cli.library import upkeep
from qvsearch.cli.machine import machine, models
from qvsearch.cli.mcp import serving_agents
from qvsearch.cli.publish import publishing
from qvsearch.cli.roots import roots
from qvsearch.cli.search import searching
from qvsearch.cli.searches import searches
from qvsearch.cli.serve import serving
from qvsearch.cli.serve_model import serving_models
from qvsearch.cli.similarity import comparing
from qvsearch.cli.vectors import vectors
from qvsearch.cli.watch import watching
from qvsearch.errors import ExitCode, QvsearchError
from qvsearch.version import __version__

GARBAGE = 50_000  # new objects before a collection: imports make none

app = typer.Typer(
    cls=Group,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Search your own photos, videos, documents and texts by words, by a picture, or by both.

    All of it runs on this computer. Only servers and buckets that you name get
    anything of yours, e.g. by --server, --rerank-server or ask --chat-server. An
    agent that uses mcp passes on what it reads. To begin:

    \b
    qvsearch demo                      without any download
    qvsearch index ~/Photos
    qvsearch search "dog on a beach"
    """  # noqa: D301 - a \b keeps the lines of examples apart, here and below
    if version:
        output.line(f"qvsearch {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.add_typer(indexing)
app.add_typer(watching)
app.add_typer(searching)
app.add_typer(searches, name="searches")
app.add_typer(serving)
app.add_typer(asking)
app.add_typer(serving_agents)
app.add_typer(alikes)
app.add_typer(vectors)
app.add_typer(comparing)
app.add_typer(classifying)
app.add_typer(clustering)
app.add_typer(evaluating)
app.add_typer(finetuning)
app.add_typer(upkeep)
app.add_typer(libraries, name="libraries")
app.add_typer(publishing)
app.add_typer(roots, name="roots")
app.add_typer(serving_models)
app.add_typer(machine)
app.add_typer(models, name="models")


@app.command(cls=Command)
def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(
            parser=Path,
            metavar="FOLDER",
            help="New or empty folder (default: a temporary one).",
        ),
    ] = None,
) -> None:
    """Try everything on drawn pictures, without any download.

    \b
    qvsearch demo
    qvsearch demo /tmp/drawn
    """  # noqa: D301
    import tempfile
    from contextlib import chdir

    from qvsearch.demo.show import write_world

    folder = folder or Path(tempfile.mkdtemp(prefix="qvsearch-demo-"))
    if folder.exists() and any(folder.iterdir()):
        raise QvsearchError(f"{folder} is not empty; name a new folder for the demo")
    folder.mkdir(parents=True, exist_ok=True)
    output.line("a small model for a world of drawn shapes; other files need another model")
    output.line(f"$ cd {shlex.quote(str(folder))}")
    with chdir(folder):
        examples = write_world(Path())
        _show(["index", "pictures", "clips", "notes", "-l", "./library", "--model", "demo"])
        for example in examples:
            output.line()
            output.line(f"{example.title}; should find: {example.answer or 'nothing'}")
            arguments = ["--image", str(example.image)] if example.image else []
            arguments += ["--kind", example.kind] if example.kind else []
            arguments += [example.text] if example.text else []
            code = ExitCode.DONE if example.answer else ExitCode.NOTHING_FOUND
            _show(["search", "-l", "./library", "-k", "3", *arguments], code)
    output.line()
    output.line(f"all of it is in {folder}; to search your own files: qvsearch index FOLDER")


def _show(arguments: list[str], expected: int = ExitCode.DONE) -> None:
    """Print a command line and run it."""
    output.line(f"$ qvsearch {shlex.join(arguments)}")
    code = main(arguments)
    if code != expected:
        raise typer.Exit(code or ExitCode.FAILED)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; print an error as one sentence."""
    if arguments is None:
        output.open_streams()
        sys.excepthook = _crash
        gc.set_threshold(GARBAGE)
        atexit.register(gc.freeze)  # the process ends: a last collection would only take time
    return int(_run(arguments))


@cache
def command_line() -> TyperGroup:
    """Return the group of all commands, built once: their signatures take longest to read."""
    return cast(TyperGroup, get_command(app))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = command_line().main(arguments, prog_name="qvsearch", standalone_mode=False)
    except QvsearchError as error:
        output.fail(str(error))
        return error.exit_code
    except typer.TyperException as error:
        output.fail(_mistake(error))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except SystemExit:  # from Typer, if the reader of a help has left, which is no error
        return ExitCode.DONE
    except OSError as error:
        output.fail(_reason(error))
        return ExitCode.FAILED
    return code if isinstance(code, int) else ExitCode.DONE


def _mistake(error: typer.TyperException) -> str:
    """Return the reason why Typer cannot read a command line, and the help as a remedy."""
    context = getattr(error, "ctx", None)
    remedy = see(context) if context else "see: qvsearch --help"
    if re.fullmatch(r"-\d", getattr(error, "option_name", "")):
        remedy = f"put -- before words that begin with -; {remedy}"
    mistake = error.format_message().rstrip(".")
    mistake = f"{mistake[:1].lower()}{mistake[1:]}".replace(". Did you mean", "; did you mean")
    return f"{mistake}{' ' if mistake.endswith('?') else '; '}{remedy}"


def _reason(error: OSError) -> str:
    """Return the reason why a file, or a help text that Typer prints itself, was refused."""
    if error.filename is not None:
        return f"{error.strerror}: {output.safe_text(error.filename)}"
    try:
        output.write(b"")
    except QvsearchError as unwritten:
        return str(unwritten)
    return error.strerror or str(error)


def _crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show a defect of ours; Python's own exit code for it would mean that there is no hit."""
    traceback.print_exception(kind, error, trace)
    sys.stderr.flush()
    os._exit(ExitCode.FAILED)
