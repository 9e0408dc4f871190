"""The command line as a whole, with index and demo; it parses and prints, and holds no logic."""

import atexit
import gc
import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Annotated

import typer
from typer.main import get_command

from qvsearch.cli import options, output
from qvsearch.cli.commands import Command, Commands
from qvsearch.cli.duplicates import alikes
from qvsearch.cli.libraries import libraries
from qvsearch.cli.library import upkeep
from qvsearch.cli.models import models
from qvsearch.cli.search import searching
from qvsearch.cli.warm import warming
from qvsearch.errors import FAILED, INCOMPLETE, INTERRUPTED, NOTHING_FOUND, QvsearchError
from qvsearch.types import Dtype, Hub
from qvsearch.version import __version__

GARBAGE = 50_000  # objects more than were freed, before garbage is looked for: imports make none

app = typer.Typer(
    cls=Commands,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Search your own photos, videos and texts by words, by a picture, or by both.

    Everything stays on this computer. To begin:

    \b
    qvsearch demo                      without any download
    qvsearch index ~/Photos
    qvsearch search "dog on a beach"
    """  # noqa: D301 - a \b keeps the lines of examples apart, here and below
    if version:
        output.line(f"qvsearch {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(cls=Command)
def index(
    paths: options.Paths,
    kind: options.Kinds = None,
    detail: options.DetailOption = None,
    video_mode: options.VideoModeOption = None,
    dim: options.Dim = None,
    store: options.StoreOption = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    forget_rules: options.ForgetRules = False,
    hidden: options.Hidden = False,
    follow_symlinks: options.FollowSymlinks = False,
    dry_run: options.DryRun = False,
    prune: options.Prune = False,
    retry_failed: options.RetryFailed = False,
    force: options.Force = False,
    strict: options.Strict = False,
    library: options.LibraryName = None,
    model: options.Model = None,
    device: options.Device = None,
    dtype: options.DtypeOption = None,
    hub: options.HubOption = Hub.HUGGINGFACE,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Bring a library up to date with folders and files.

    \b
    qvsearch index ~/Photos ~/Videos ~/Notes
    qvsearch index ~/Photos --dry-run
    qvsearch index ~/Notes --kind text --exclude 'drafts/'
    qvsearch index ~/Photos --library holidays --model Qwen/Qwen3-VL-Embedding-2B
    """  # noqa: D301
    from qvsearch.cli import interrupt
    from qvsearch.cli import progress as report
    from qvsearch.files import is_below
    from qvsearch.indexing import mounts, pipeline
    from qvsearch.indexing.changes import resolve
    from qvsearch.library.aliases import aliases
    from qvsearch.library.library import Library, library_folder
    from qvsearch.library.rules import ScanOptions, rules_text
    from qvsearch.machine.estimate import advice, keep_run_speeds, plan_index
    from qvsearch.machine.speeds import RunTimer
    from qvsearch.runtime import loading

    folder = library_folder(library)
    choice = loading.Choice(model, dim, detail, device, dtype, hub, video_mode, store)
    exact = replace(choice, dtype=Dtype.FLOAT32)
    kinds = frozenset(kind) if kind else None
    scan = ScanOptions(kinds, tuple(include or ()), tuple(exclude or ()), hidden, follow_symlinks)
    how = pipeline.IngestOptions(scan, forget_rules, prune, retry_failed, force)
    if dry_run:
        plan, estimate = plan_index(folder, paths, choice, how)
        report.show_plan(plan, estimate, json=json)
        raise typer.Exit(INCOMPLETE if plan.unreachable else 0)
    if not Library.exists(folder):
        resolve([], paths)  # before anything is downloaded
    opened = loading.open_or_create(folder, choice)
    output.hint_demo(opened.fingerprint, quiet)
    if (warning := mounts.warning(folder)) is not None:
        output.hint(warning, quiet)
    names = {name for path in paths for name in aliases(path, opened.roots)}
    for root, rules in (opened.rules | opened.waiting_rules).items():
        if not forget_rules and any(is_below(name, root) for name in names):
            output.hint(f"{output.safe_text(root)} is indexed with {rules_text(rules)}", quiet)
    said = partial(advice, opened, choice)
    timer = RunTimer(opened.fingerprint.detail)
    with interrupt.interrupts() as stop, report.Progress(quiet, json, advice=said) as progress:
        summary = pipeline.index(
            opened,
            paths,
            lambda: timer.around(loading.load_embedder(opened.fingerprint, choice)),
            how,
            progress,
            stop,
            lambda: loading.load_embedder(opened.fingerprint, exact),
        )
    keep_run_speeds(timer, opened.fingerprint, choice)
    report.show_summary(summary, quiet=quiet, json=json)
    raise typer.Exit(report.exit_code(summary, strict))


@app.command(cls=Command)
def demo(
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="A new or empty folder to draw in.")
    ] = None,
) -> None:
    """Draw a small world, index it and search it, without any download.

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
    output.line("a small model that knows only a world of drawn shapes")
    output.line(f"$ cd {shlex.quote(str(folder))}")
    with chdir(folder):
        questions = write_world(Path())
        _show(["index", "pictures", "clips", "notes", "-l", "./library", "--model", "demo"])
        for question in questions:
            output.line()
            drawn = question.answer or "nothing"
            output.line(f"{question.title}; should find: {drawn}")
            arguments = ["--image", str(question.image)] if question.image else []
            arguments += ["--kind", question.kind] if question.kind else []
            arguments += [question.text] if question.text else []
            code = 0 if question.answer else NOTHING_FOUND
            _show(["search", "-l", "./library", "-k", "3", *arguments], code)
    output.line()
    output.line(f"all of it is in {folder}; to search your own: qvsearch index FOLDER")


def _show(arguments: list[str], expected: int = 0) -> None:
    output.line(f"$ qvsearch {shlex.join(arguments)}")
    code = main(arguments)
    if code != expected:
        raise typer.Exit(code or FAILED)


app.add_typer(searching)
app.add_typer(alikes)
app.add_typer(warming)
app.add_typer(upkeep)
app.add_typer(libraries, name="libraries")
app.add_typer(models, name="models")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; an error is one sentence."""
    if arguments is None:
        output.open_streams()
        sys.excepthook = _crash
        gc.set_threshold(GARBAGE)
        atexit.register(gc.freeze)  # garbage need not be told apart from the rest any more
    try:
        command = get_command(app)
        code = command.main(arguments, prog_name="qvsearch", standalone_mode=False)
    except QvsearchError as error:
        output.fail(str(error))
        return error.exit_code
    except typer.TyperException as error:
        output.fail(_mistake(error))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except SystemExit:  # Typer's own, where the reader of a help has left, which is no error
        return 0
    except OSError as error:
        output.fail(_reason(error))
        return FAILED
    return code if isinstance(code, int) else 0


def _mistake(error: typer.TyperException) -> str:
    """Return what Typer could not read, without its validator's words, and where to look it up."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "qvsearch"
    mistake = error.format_message().replace("Value error, ", "").rstrip(".")
    return f"{mistake}; see: {command} --help"


def _reason(error: OSError) -> str:
    """Return what was refused; where that was a help, which Typer prints itself, to be written."""
    if error.filename is not None:
        return f"{error.strerror}: {output.safe_text(error.filename)}"
    try:
        output.write(b"")
    except QvsearchError as unwritten:
        return str(unwritten)
    return error.strerror or str(error)


def _crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show a mistake of ours; Python's own exit code for it would mean that nothing was found."""
    traceback.print_exception(kind, error, trace)
    sys.stderr.flush()
    os._exit(FAILED)
