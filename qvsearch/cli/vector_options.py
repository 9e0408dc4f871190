"""What the commands embed and similarity share: options of inputs and of the model."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

from qvsearch.choices import Hub
from qvsearch.cli import options, output
from qvsearch.cli.server_options import RerankServerOptions, ServerOptions
from qvsearch.errors import QvsearchError
from qvsearch.types import Detail

if TYPE_CHECKING:
    from qvsearch.runtime.loading import Choice
    from qvsearch.types import Fingerprint, Skipped

LONGEST_NAME = 60  # characters of words in a message; a path is never cut
REFRESH = 0.2  # seconds between lines of progress


InputsFrom = Annotated[
    bytes | None,
    options.input_option(
        "--from",
        parser=options.source,
        metavar="FILE",
        help="File of inputs, one a line: words or JSON; - is standard input.",
    ),
]


@dataclass(frozen=True)  # slots of several classes cannot be joined
class _EmbedModel:
    library: Annotated[
        str | None,
        options.model_option(
            "--library",
            "-l",
            envvar="QVSEARCH_LIBRARY",
            metavar="NAME-OR-FOLDER",
            help="Library whose model, dimensions and detail are used (default: main, if any).",
            autocompletion=options.library_names,
        ),
    ] = None
    model: Annotated[
        str | None,
        options.model_option(
            metavar="ID-OR-PATH",
            help="Model: a hub's id, a folder, a GGUF file, or demo (default: the library's).",
        ),
    ] = None
    dim: Annotated[
        int | None,
        options.model_option(
            parser=options.number("--dim", int, 1),
            metavar="N",
            help="Dimensions of the vectors (default: the library's, or the model's maximum).",
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
    mmproj: options.MmprojOption = None
    device: options.Device = None
    dtype: options.DtypeOption = None
    hub: options.HubOption = Hub.HUGGINGFACE


@dataclass(frozen=True)
class EmbedModelOptions(ServerOptions, _EmbedModel):
    """The model of inputs that no library holds, and the servers that may compute it."""

    def choice(self) -> "Choice":
        """Return the user's choice of a model."""
        from qvsearch.runtime.loading import Choice

        choice = Choice(self.model, self.dim, self.detail, self.device, self.dtype, self.hub)
        return replace(self.served(choice), mmproj=self.mmproj)

    def fingerprint(self, quiet: bool) -> "Fingerprint":
        """Return what decides the vectors; raises QvsearchError without a model."""
        from qvsearch.runtime.loading import other_dim, task_fingerprint

        folder = chosen_folder(self.library, self.model is not None)
        choice = self.choice()
        if self.model is not None:
            fingerprint = task_fingerprint(folder, choice)
        else:  # of the library's model other dimensions and details may be chosen
            fingerprint = task_fingerprint(folder, replace(choice, dim=None, detail=None))
            if self.dim is not None:
                fingerprint = replace(fingerprint, dim=other_dim(fingerprint, choice))
            fingerprint = replace(fingerprint, detail=self.detail or fingerprint.detail)
        output.hint_demo(fingerprint, quiet)
        return fingerprint


@dataclass(frozen=True)
class RerankedEmbedModelOptions(RerankServerOptions, EmbedModelOptions):
    """The same for a command with --rerank."""


def chosen_folder(library: str | None, has_model: bool) -> Path | None:
    """Return the folder of the library whose model is used, or None for the default.

    $QVSEARCH_LIBRARY is that of all commands: it gives way to a chosen model, and may be missing.
    """
    from qvsearch.library.library import Library, library_folder

    folder = None if library is None else library_folder(library)
    if folder is None or library != os.environ.get("QVSEARCH_LIBRARY"):
        return folder
    return None if has_model or not Library.exists(folder) else folder


def split_source(
    command: str, words: list[str], source: bytes | None
) -> tuple[list[str], bytes | None]:
    """Return the inputs of a command line, and the file of others, which `-` among them names."""
    stdin = options.STDIN.decode()
    if stdin in words:
        words = [each for each in words if each != stdin]
        if source is not None:
            raise QvsearchError("- is standard input, and --from names another file; give one")
        source = options.STDIN
    if source is None and not words:
        raise QvsearchError(f"INPUT is missing; see: qvsearch {command} --help")
    return words, source


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


def write_lines(data: bytes) -> bool:
    """Write lines of a file to standard output, as `output.write`; harmless ones to a terminal."""
    if sys.stdout.isatty():
        lines = (
            b"\t".join(output.safe_text(cell).encode() for cell in line.split(b"\t"))
            for line in data.splitlines()
        )
        data = b"".join(line + b"\n" for line in lines)
    return output.write(data)


class Reporter:
    """Prints the inputs without a result, with their places, and how many are done."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.failed = quiet, 0
        self._shown: float | None = None  # when progress was last shown, if it is on the screen

    def fail(self, place: str | None, skipped: "Skipped") -> None:
        """Print an input that has no result; `place` is e.g. `input 3`, if its name is not one."""
        self.clear()
        self.failed += 1
        name = output.safe_text(skipped.path)
        if len(name) > LONGEST_NAME and not name.startswith("/") and place is not None:
            name = name[: LONGEST_NAME - 3] + "..."
        reason = skipped.reason.removeprefix(f"{os.fsdecode(skipped.path)} ")
        output.fail(f"{name if place is None else f'{place}, {name}'}: {reason}")

    def progress(self, done: int, what: str = "input") -> None:
        """Show on a terminal how many are done, a few times a second."""
        now = time.monotonic()
        if self._shown is None or now - self._shown > REFRESH:
            self._shown = now
            output.progress(f"{output.counted(done, what)} done", self.quiet)

    def clear(self) -> None:
        """Delete the line of progress."""
        if self._shown is not None:
            output.progress("", self.quiet)
            self._shown = None
