"""The commands roots and roots move."""

from datetime import datetime
from shlex import quote
from typing import Annotated

import typer

from qvsearch.cli import options, output
from qvsearch.cli.commands import Command, Group
from qvsearch.cli.roots_map import list_published, mapping
from qvsearch.errors import QvsearchError

roots = typer.Typer(cls=Group, rich_markup_mode=None)
roots.add_typer(mapping)


@roots.callback(invoke_without_command=True)
def list_(
    context: typer.Context, library: options.LibraryName = None, json: options.Json = False
) -> None:
    """List the folders of a library, or give one its new path.

    \b
    qvsearch roots
    qvsearch roots move /media/old-drive /media/new-drive
    qvsearch roots map anna/Photos /mnt/nas/photos -l /mnt/nas/family.lance
    """  # noqa: D301 - a \b keeps the lines of examples apart, here and below
    if context.invoked_subcommand is not None:
        return
    from qvsearch.published.address import is_address

    if library is not None and is_address(library):
        list_published(library, json)
        return
    from qvsearch.indexing.roots import last_run, library_roots
    from qvsearch.library.library import Library, library_folder
    from qvsearch.library.names import option
    from qvsearch.records.roots import root_record

    opened = Library.open(library_folder(library))
    listed, when = library_roots(opened), last_run(opened.folder)
    if json:
        output.write_json(root_record(each, when) for each in listed)
        return
    if not listed:
        output.line(f"no folders yet; add one with: qvsearch index FOLDER{option(opened.folder)}")
        return
    from qvsearch.cli.roots_table import print_roots

    print_roots(listed)
    if when is not None:
        at = datetime.fromtimestamp(when).astimezone().strftime("%Y-%m-%d %H:%M")
        output.hint(
            f"last run {at}; bring them up to date with: qvsearch index{option(opened.folder)}"
        )


@roots.command(cls=Command)
def move(
    old: Annotated[
        bytes,
        typer.Argument(parser=options.path, metavar="OLD", help="Folder as the library has it."),
    ],
    new: Annotated[
        bytes,
        typer.Argument(parser=options.path, metavar="NEW", help="Folder where its files are now."),
    ],
    library: options.LibraryName = None,
    json: options.Json = False,
) -> None:
    """Give folders of a library their new path, without indexing.

    Some files are compared first. On the disk nothing is moved.

    \b
    qvsearch roots move /media/old-drive /media/new-drive
    """  # noqa: D301
    from qvsearch.library.library import Library, library_folder
    from qvsearch.library.moving import compare_places, move_roots, new_places
    from qvsearch.library.names import option
    from qvsearch.records.roots import move_record

    opened = Library.open(library_folder(library))
    moves = new_places(opened.roots, old, new)
    match = compare_places(opened, moves)
    if not match.is_most:
        raise QvsearchError(
            f"{output.safe_text(new)} has only {match.same:,} of {match.compared:,} files compared;"
            " nothing was changed; index it instead, which embeds no known content again:"
            f" qvsearch index {quote(output.safe_text(new))}{option(opened.folder)}"
        )
    move_roots(opened.folder, moves)
    if json:
        output.write_json([move_record(moves, match)])
        return
    for before, after in moves.items():
        output.line(f"{output.safe_text(before)} is now {output.safe_text(after)}")
    output.line(f"{match.same:,} of {output.counted(match.compared, 'file')} compared are the same")
