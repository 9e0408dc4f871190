"""The command libraries: lists, renames, moves and deletes them."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from qvsearch.cli import options, output
from qvsearch.cli.commands import Command, Group
from qvsearch.errors import QvsearchError
from qvsearch.library.names import (
    default_folder,
    existing_folder,
    new_folder,
    option,
)
from qvsearch.records import library as records

libraries = typer.Typer(cls=Group, rich_markup_mode=None)

LibraryArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME-OR-FOLDER",
        help="Library: a name in your data folder, or a folder.",
        autocompletion=options.library_names,
    ),
]


@libraries.callback(invoke_without_command=True)
def list_(context: typer.Context, json: options.Json = False) -> None:
    """List the libraries; rename, move or delete one.

    \b
    qvsearch libraries
    qvsearch libraries rename holidays summer
    qvsearch libraries move photos /media/drive/photos
    qvsearch libraries delete holidays
    """  # noqa: D301
    if context.invoked_subcommand is not None:
        return
    from qvsearch.library.libraries import list_libraries

    if json:
        output.write_json(map(records.library_record, list_libraries()))
        return
    shelf = list(list_libraries())
    if not shelf:
        output.line("there is no library yet; create one with: qvsearch index FOLDER")
        return
    from qvsearch.cli.tables import print_libraries

    print_libraries(shelf)


@libraries.command(cls=Command)
def rename(
    old: LibraryArgument,
    new: Annotated[str, typer.Argument(metavar="NEW", help="New name.")],
) -> None:
    """Give a library another name, in the same folder.

    \b
    qvsearch libraries rename holidays summer
    """  # noqa: D301
    folder = existing_folder(old)
    _move(folder, new_folder(new, folder))


@libraries.command(cls=Command)
def move(
    name: LibraryArgument,
    folder: Annotated[
        bytes,
        typer.Argument(
            parser=options.path, metavar="FOLDER", help="New or empty folder, which becomes it."
        ),
    ],
) -> None:
    """Move a library to another folder, also on another drive.

    On another drive every copied byte is verified before the old files are
    deleted. Your photos, videos and documents stay where they are.

    \b
    qvsearch libraries move photos /media/drive/photos
    """  # noqa: D301
    _move(existing_folder(name), Path(os.fsdecode(folder)))


@libraries.command(cls=Command)
def delete(
    name: LibraryArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete it without a question.")] = False,
) -> None:
    """Delete a library. Your photos, videos and documents stay.

    \b
    qvsearch libraries delete holidays
    """  # noqa: D301
    from qvsearch.library.libraries import delete_library

    folder = output.safe_text(str(existing_folder(name)))
    if not yes:
        if not sys.stdin.isatty():
            raise QvsearchError(f"{folder} is deleted only with --yes, or on a terminal")
        typer.confirm(f"Delete the library {folder}?", abort=True)
    output.line(f"deleted {delete_library(name)}; your photos, videos and documents stay")


def _move(folder: Path, target: Path) -> None:
    """Move a library, and print where it is now."""
    from qvsearch.library.manifest import read_committed
    from qvsearch.library.relocating import move_library

    if target == default_folder():
        from qvsearch.runtime.creating import check_default

        check_default(target, read_committed(folder).fingerprint.model)
    shown = False

    def report(done: int, whole: int) -> None:
        nonlocal shown
        shown = True
        output.progress(f"copied {done / 1e6:,.0f} of {whole / 1e6:,.0f} MB")

    move_library(folder, target, report)
    if shown:
        output.progress("")
    output.line(f"moved {folder} to {target}")
    output.hint(f"use it with: qvsearch search QUERY{option(target)}")
