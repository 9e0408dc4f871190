"""The options that commands share: name, parser and help of each.

Options that are used together are a dataclass; `commands.unfolded` makes an option of each field.
Help is a noun phrase and the default; of a flag, it is the effect.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qvsearch.choices import Hub
from qvsearch.errors import QvsearchError
from qvsearch.types import Dtype, Kind

if TYPE_CHECKING:
    from qvsearch.runtime.loading import Choice

STDIN = b"-"
DAY = 86_400  # seconds


def path(text: str) -> bytes:
    """Return the absolute path as the system's bytes, valid UTF-8 or not."""
    if not text:
        raise QvsearchError("a path is empty; write . for the current folder")
    return os.path.abspath(os.fsencode(text))


def source(text: str) -> bytes:
    """Return a path, or `-` for standard input."""
    return STDIN if text == STDIN.decode() else path(text)


def number(
    option: str, read: type[int] | type[float], least: float, most: float = math.inf
) -> Callable[[str], Any]:
    """Return the parser of an option whose number has limits."""
    limits = f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"

    def parse(text: str) -> int | float:
        try:
            value = read(text)
        except ValueError as error:
            what = "whole number" if read is int else "number"
            raise QvsearchError(
                f"{option} {text!r} is not a {what}; it must be {limits}"
            ) from error
        if not least <= value <= most:
            raise QvsearchError(f"{option} must be {limits}, not {text}")
        return value

    return parse


def choice(
    option: str,
    names: type[StrEnum],
    text: str,
    panel: str | None = None,
    metavar: str | None = None,
) -> Any:  # noqa: ANN401 - as typer.Option
    """Return an option with the help `text` whose value is one of `names`."""

    def parse(value: str) -> StrEnum:
        try:
            return names(value)
        except ValueError as error:
            *others, last = names
            listed = " or ".join(filter(None, (", ".join(others), last)))
            message = f"{option} {value!r} is unknown; give {listed}"
            raise QvsearchError(message) from error

    return typer.Option(
        option,
        parser=parse,
        metavar=metavar or "|".join(names),
        help=text,
        rich_help_panel=panel,
        show_default=False,
    )


def library_names(incomplete: str) -> list[str]:
    """Return the libraries whose names begin so, for the Tab key."""
    from qvsearch.library.names import library_names

    return [name for name in library_names() if name.startswith(incomplete)]


# groups of the help
input_option = partial(typer.Option, rich_help_panel="Inputs")
output_option = partial(typer.Option, rich_help_panel="Output")
model_option = partial(typer.Option, rich_help_panel="Model")

LibraryName = Annotated[
    str | None,
    model_option(
        "--library",
        "-l",
        envvar="QVSEARCH_LIBRARY",
        metavar="NAME-OR-FOLDER",
        help="Library: a name in your data folder, or a folder (default: main).",
        autocompletion=library_names,
    ),
]
Device = Annotated[
    str | None,
    model_option(metavar="NAME", help="Device: cuda, mps or cpu (default: the best here)."),
]
DtypeOption = Annotated[
    Dtype | None,
    choice(
        "--dtype",
        Dtype,
        "Compute precision (default: the device's; int8 for int8 libraries).",
        "Model",
    ),
]
HubOption = Annotated[
    Hub, choice("--hub", Hub, "Source of model downloads (default: huggingface).", "Model")
]
AdapterOption = Annotated[
    str | None,
    model_option(
        "--adapter",
        metavar="FOLDER",
        help="Adapter of the model, as finetune writes it (default: the library's).",
    ),
]
MmprojOption = Annotated[
    str | None,
    model_option(
        "--mmproj",
        metavar="FILE",
        help="Vision tower of a GGUF file (default: the one beside it).",
    ),
]
Quiet = Annotated[bool, output_option("--quiet", "-q", help="Print only results and errors.")]
Json = Annotated[bool, output_option("--json", help="Print JSON, one object a line.")]
Kinds = Annotated[
    list[Kind] | None,
    choice("--kind", Kind, "Kind of file; may be repeated (default: all).", "Filters"),
]
Paths = Annotated[
    list[bytes], typer.Argument(parser=path, metavar="PATH", help="Folders or files.")
]
Top = Annotated[
    int,
    output_option(
        "--top",
        "-k",
        parser=number("-k", int, 1),
        metavar="N",
        help="Number of hits (default: 10).",
        show_default=False,
    ),
]
QueryText = Annotated[
    str | None, typer.Argument(metavar="QUERY", help="Words in quotes, or the path of a file.")
]
QueriesText = Annotated[
    str | None,
    typer.Argument(
        metavar="QUERY", help="Words in quotes, the path of a file, or - for standard input."
    ),
]


@dataclass(frozen=True, slots=True)
class PrintOptions:
    """How hits are printed."""

    paths: Annotated[bool, output_option("--paths", help="Print paths only, one a line.")] = False
    print0: Annotated[
        bool, output_option("--print0", "-0", help="Print paths only, each ended by a NUL byte.")
    ] = False
    quiet: Quiet = False
    json: Json = False
    csv: Annotated[
        bool, output_option("--csv", help="Print CSV, with the fields of --json as columns.")
    ] = False

    def __post_init__(self) -> None:
        """Raise QvsearchError for options that contradict each other."""
        if self.json + self.csv + self.paths + self.print0 > 1:
            raise QvsearchError(
                "--json, --csv, --paths and --print0 are four ways to print; give one"
            )

    @property
    def is_table(self) -> bool:
        """Whether a person reads them."""
        return not (self.json or self.csv or self.paths or self.print0)


@dataclass(frozen=True)
class OneLibrary:
    """The library of a command."""

    library: LibraryName = None


@dataclass(frozen=True)
class RunOptions:
    """How the model of a library runs."""

    model: Annotated[
        str | None,
        model_option(
            metavar="ID-OR-FOLDER",
            help="Model that the library must have, or its folder (default: the library's).",
        ),
    ] = None
    adapter: AdapterOption = None
    device: Device = None
    dtype: DtypeOption = None
    hub: HubOption = Hub.HUGGINGFACE

    def choice(self) -> "Choice":
        """Return the user's choice of a model."""
        from qvsearch.runtime.loading import Choice

        return Choice(
            self.model, None, None, self.device, self.dtype, self.hub, adapter=self.adapter
        )


@dataclass(frozen=True)  # slots of two classes cannot be joined
class ModelOptions(RunOptions, OneLibrary):
    """The library that is searched, and how its model runs."""


@dataclass(frozen=True)
class NewGgufOptions:
    """A GGUF file as the model of a new library."""

    mmproj: MmprojOption = None
    accept_quantisation: Annotated[
        bool,
        model_option(
            "--accept-quantisation",
            help="Use a GGUF file even if its vectors differ much from the exact ones.",
        ),
    ] = False
