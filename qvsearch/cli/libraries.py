"""The commands under `qvsearch libraries`."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from qvsearch.cli import options, output
from qvsearch.cli.commands import Command
from qvsearch.errors import QvsearchError

libraries = typer.Typer(rich_markup_mode=None)


@libraries.callback(invoke_without_command=True)
def list_(context: typer.Context, json: options.Json = False) -> None:
    """List the libraries in your data folder, or delete one.

    \b
    qvsearch libraries
    qvsearch libraries delete holidays
    """  # noqa: D301 - a \b keeps the lines of examples apart
    if context.invoked_subcommand is not None:
        return
    from qvsearch.library.libraries import list_libraries

    found = list_libraries()
    if json:
        output.write_json(
            output.present(asdict(each) | {"folder": str(each.folder)}) for each in found
        )
        return
    from qvsearch.cli.tables import print_libraries

    print_libraries(found)


@libraries.command(cls=Command)
def delete(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME-OR-FOLDER",
            help="As for --library.",
            autocompletion=options.library_names,
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete it without asking.")] = False,
) -> None:
    """Delete a library; the files that it found are left alone.

    \b
    qvsearch libraries delete holidays
    """  # noqa: D301
    from qvsearch.library.libraries import delete_library
    from qvsearch.library.library import Library, library_folder
    from qvsearch.library.names import absence

    place = library_folder(name)
    if not Library.exists(place):
        raise QvsearchError(absence(place))
    folder = output.safe_text(str(place))
    if not yes:
        if not sys.stdin.isatty():
            raise QvsearchError(f"{folder} is deleted only with --yes, or if asked on a terminal")
        typer.confirm(f"Delete the library {folder}?", abort=True)
    output.line(f"deleted {delete_library(name)}; the files that it found are left alone")
