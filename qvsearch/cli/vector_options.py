"""What the commands embed and similarity share: options of inputs and of the model."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from qvsearch.cli import options, output
from qvsearch.cli.commands import Command
from qvsearch.types import Detail, Hub

if TYPE_CHECKING:
    from qvsearch.runtime.loading import Choice
    from qvsearch.types import Fingerprint, Skipped

LONGEST_NAME = 60  # characters of an input in a message


class VectorCommand(Command):
    """A command whose help has groups."""

    grouped = True


@dataclass(frozen=True, slots=True)
class EmbedModelOptions:
    """The model of inputs that no library holds."""

    library: Annotated[
        str | None,
        typer.Option(
            "--library",
            "-l",
            envvar="QVSEARCH_LIBRARY",
            metavar="NAME-OR-FOLDER",
            help="Library whose model, dimensions and detail are used (default: main, if any).",
            autocompletion=options.library_names,
            rich_help_panel="Model",
        ),
    ] = None
    model: Annotated[
        str | None,
        typer.Option(
            metavar="ID-OR-FOLDER",
            help="Model: a hub's id, a folder, or demo (default: the library's).",
            rich_help_panel="Model",
        ),
    ] = None
    dim: Annotated[
        int | None,
        typer.Option(
            parser=options.number("--dim", int, 1),
            metavar="N",
            help="Dimensions of the vectors (default: the library's, or the model's maximum).",
            rich_help_panel="Model",
        ),
    ] = None
    detail: Annotated[
        Detail | None,
        options.choice(
            "--detail",
            Detail,
            "Image detail (default: the library's; otherwise medium, low on a CPU).",
            "Model",
        ),
    ] = None
    device: options.Device = None
    dtype: options.DtypeOption = None
    hub: options.HubOption = Hub.HUGGINGFACE

    def choice(self) -> "Choice":
        """Return the user's choice of a model."""
        from qvsearch.runtime.loading import Choice

        return Choice(self.model, self.dim, self.detail, self.device, self.dtype, self.hub)

    def fingerprint(self, quiet: bool) -> "Fingerprint":
        """Return what decides the vectors; raises QvsearchError without a model."""
        from qvsearch.library.library import Library, library_folder
        from qvsearch.runtime.loading import task_fingerprint

        folder = None if self.library is None else library_folder(self.library)
        if self.library == os.environ.get("QVSEARCH_LIBRARY") and folder is not None:
            # the one of all commands, not chosen for this one
            folder = folder if self.model is None and Library.exists(folder) else None
        fingerprint = task_fingerprint(folder, self.choice())
        output.hint_demo(fingerprint, quiet)
        return fingerprint


@contextmanager
def opened(source: bytes) -> Iterator[tuple[BinaryIO, str]]:
    """Give a file, or standard input, to read, and its name."""
    if source == options.STDIN:
        if sys.stdin.isatty():
            output.hint("one input a line; Ctrl-D ends")
        yield sys.stdin.buffer, "standard input"
        return
    name = os.fsdecode(source)
    with Path(name).open("rb") as file:
        yield file, name


class Reporter:
    """Prints the inputs without a result, with their places, and how many are done."""

    def __init__(self, quiet: bool) -> None:
        self.failed = 0
        self._quiet, self._shown = quiet, False

    def fail(self, place: str, skipped: "Skipped") -> None:
        """Print an input that has no result; `place` is e.g. `input 3`."""
        self.clear()
        self.failed += 1
        name = output.safe_text(skipped.path)
        if len(name) > LONGEST_NAME:
            name = name[: LONGEST_NAME - 3] + "..."
        reason = skipped.reason.removeprefix(f"{os.fsdecode(skipped.path)} ")
        output.fail(f"{place}, {name}: {reason}")

    def progress(self, done: int, what: str = "input") -> None:
        """Show on a terminal how many are done."""
        self._shown = True
        output.progress(f"{output.counted(done, what)} done", self._quiet)

    def clear(self) -> None:
        """Delete the line of progress."""
        if self._shown:
            output.progress("", self._quiet)
            self._shown = False
