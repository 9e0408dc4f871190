"""The commands roots, roots move, roots map and roots unmap."""

from collections.abc import Sequence
from datetime import datetime
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.cli import options, output
from qvsearch.cli.commands import Command, Group
from qvsearch.errors import QvsearchError

if TYPE_CHECKING:
    from qvsearch.published.address import Address
    from qvsearch.published.mapped_roots import PublishedRoot

roots = typer.Typer(cls=Group, rich_markup_mode=None)


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
        _list_published(library, json)
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
    from qvsearch.cli.tables import print_roots

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


@roots.command("map", cls=Command)
def map_(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of a root, as qvsearch roots lists it.")
    ],
    folder: Annotated[
        bytes,
        typer.Argument(
            parser=options.path, metavar="FOLDER", help="Folder where its files are here."
        ),
    ],
    library: options.LibraryName = None,
    json: options.Json = False,
) -> None:
    """Tell where a root of a shared table lies on this computer.

    Hits of the table have their paths there then. Some files are compared
    first. The table is not changed, and other computers do not see it.

    \b
    qvsearch roots -l /mnt/nas/family.lance
    qvsearch roots map anna/Photos /mnt/nas/photos -l /mnt/nas/family.lance
    """  # noqa: D301
    from qvsearch.published.engine import Table
    from qvsearch.published.mapped_roots import map_root
    from qvsearch.records.published import root_record

    root, same, compared = map_root(Table(_address(library, "map")), name, folder)
    if json:
        output.write_json([root_record(root)])
        return
    output.line(f"{root.name} is {output.safe_text(folder)} on this computer")
    if same < compared:
        output.line(f"it has only {same} of {compared} files that were compared by size")


@roots.command("unmap", cls=Command)
def unmap(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of a root, as qvsearch roots lists it.")
    ],
    library: options.LibraryName = None,
) -> None:
    """Forget where a root of a shared table lies on this computer.

    No file is touched. Hits of the root are shown by its name then.

    \b
    qvsearch roots unmap anna/Photos -l /mnt/nas/family.lance
    """  # noqa: D301
    from qvsearch.published.mapped_roots import unmap_root

    root = unmap_root(_address(library, "unmap"), name)
    output.line(f"{output.safe_text(root)} has no folder on this computer now")


def _address(library: str | None, command: str) -> "Address":
    """Return the address of the table that an option names; raises QvsearchError for a library."""
    from qvsearch.published.address import is_address, read_address

    if library is None or not is_address(library):
        raise QvsearchError(
            f"roots {command} is for shared tables; give one with -l, e.g. -l"
            " /mnt/nas/family.lance (for a library: qvsearch roots move OLD NEW)"
        )
    return read_address(library)


def _list_published(place: str, json: bool) -> None:
    """Print the roots of a shared table."""
    from qvsearch.published.address import read_address
    from qvsearch.published.engine import Table
    from qvsearch.published.mapped_roots import published_roots
    from qvsearch.records.published import root_record

    roots = published_roots(Table(read_address(place)))
    if json:
        output.write_json(map(root_record, roots))
        return
    if not roots:
        output.line(f"no roots yet; add some with: qvsearch publish {quote(place)}")
        return
    _print(roots)
    if any(each.path is None for each in roots):
        output.hint(f"to say where one is: qvsearch roots map NAME FOLDER -l {quote(place)}")


def _print(roots: Sequence["PublishedRoot"]) -> None:
    from rich.text import Text

    from qvsearch.cli.layout import Column, Row, laid_out, new_console, print_parts, width_of

    def row(root: "PublishedRoot") -> Row:
        state = "not mapped" if root.path is None else "" if root.reachable else "not there"
        below = [] if root.path is None else [Text(output.safe_text(root.path), overflow="fold")]
        title = Text(output.safe_text(root.name))
        return Row([f"{root.files:,}", state], title, below, "" if root.reachable else "dim")

    console = new_console()
    columns = [Column("files", right=True), Column("here")]
    print_parts(console, [laid_out(columns, list(map(row, roots)), width_of(console))])
