"""The command searches: those that a library keeps."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from qvsearch.cli import options, output
from qvsearch.cli.commands import Command, Group
from qvsearch.errors import QvsearchError
from qvsearch.library.names import existing_folder
from qvsearch.records import searches as records

if TYPE_CHECKING:
    from qvsearch.library.searches import SavedSearch

searches = typer.Typer(cls=Group, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a saved search.")]


@searches.callback(invoke_without_command=True)
def list_(
    context: typer.Context, library: options.LibraryName = None, json: options.Json = False
) -> None:
    """List the saved searches of a library, rename or delete one.

    \b
    qvsearch search "a dog on a beach" --kind image --save dogs
    qvsearch search @dogs --new-since
    qvsearch searches
    qvsearch searches delete dogs
    """  # noqa: D301 - a \b keeps the lines of examples apart, here and below
    if context.invoked_subcommand is not None:
        if library != os.environ.get("QVSEARCH_LIBRARY"):
            name = context.invoked_subcommand
            raise QvsearchError(f"give --library last: qvsearch searches {name} NAME -l LIBRARY")
        return
    from qvsearch.library.searches import read_searches

    found = read_searches(existing_folder(library))
    if json:
        output.write_json(map(records.search_record, found))
    elif found:
        _print(found)
    else:
        output.line('there is none yet; save one with: qvsearch search "WORDS" --save NAME')


@searches.command(cls=Command)
def rename(
    name: Name,
    new: Annotated[str, typer.Argument(metavar="NEW", help="New name of it.")],
    library: options.LibraryName = None,
) -> None:
    """Rename a saved search.

    \b
    qvsearch searches rename dogs "dogs on beaches"
    """  # noqa: D301
    from qvsearch.library.searches import check_name, rename_search

    rename_search(existing_folder(library), check_name(name), check_name(new))


@searches.command(cls=Command)
def delete(name: Name, library: options.LibraryName = None) -> None:
    """Delete a saved search. Files and the library stay.

    \b
    qvsearch searches delete dogs
    """  # noqa: D301
    from qvsearch.library.searches import check_name, delete_search

    delete_search(existing_folder(library), check_name(name))


def _print(found: "Sequence[SavedSearch]") -> None:
    from qvsearch.cli.layout import print_table
    from qvsearch.library.searches import option_texts

    print_table(
        ["name", "last used", "search"],
        [
            (each.name, (each.used or "")[:10], each.problem or " ".join(option_texts(each)))
            for each in found
        ],
        whole=["name", "last used"],
    )
