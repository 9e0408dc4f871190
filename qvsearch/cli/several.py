"""The libraries of one command, and what is printed of those that cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from qvsearch.cli import options, output
from qvsearch.cli.options import model_option
from qvsearch.errors import ExitCode
from qvsearch.library.names import chosen_folders, option, short_names

if TYPE_CHECKING:
    from qvsearch.retrieval.several import Searched
    from qvsearch.runtime.loading import Choice
    from qvsearch.runtime.several import Lost
    from qvsearch.types import Hit

LibraryNames = Annotated[
    list[str] | None,
    # not from the environment by Typer: there a list is split at spaces, which a path may have
    model_option(
        "--library",
        "-l",
        metavar="NAME-OR-FOLDER",
        help="Library: a name in your data folder, or a folder; may be repeated"
        " (default: $QVSEARCH_LIBRARY, or main).",
        autocompletion=options.library_names,
    ),
]


@dataclass(frozen=True, slots=True)
class LibrariesOptions:
    """The libraries of a command."""

    library: LibraryNames = None
    all_libraries: Annotated[
        bool, model_option("--all-libraries", help="Search all libraries of your data folder.")
    ] = False

    def folders(self) -> list[Path]:
        """Return their folders; raises QvsearchError if there is none."""
        return chosen_folders(self.library or [], all_=self.all_libraries)


class OpenLibraries:
    """The open libraries of a command; one that cannot be read is named and left out."""

    def __init__(self, folders: Sequence[Path], choice: Choice) -> None:
        """Open them; raises QvsearchError if none can be opened."""
        from qvsearch.runtime.several import open_libraries

        self.names = short_names(folders)
        # for a table: a single library needs no name
        self.columns = self.names if len(folders) > 1 else {}
        self.is_incomplete = False
        self.libraries, lost = open_libraries(folders, choice)
        for each in lost:
            self.leave_out(each)

    def leave_out(self, lost: Lost) -> None:
        """Print why a library cannot be read."""
        output.fail(f"the library {self.names[lost.folder]} is left out: {lost.error}")
        self.is_incomplete = True

    def hint(self, quiet: bool) -> None:
        """Point out the demo's model, empty libraries, missing words, and files left by `index`."""
        from qvsearch.cache import first_time
        from qvsearch.retrieval.missing_words import missing_words

        models = {each.fingerprint.model: each.fingerprint for each in self.libraries}
        for fingerprint in models.values():
            output.hint_demo(fingerprint, quiet)
        for each in self.libraries:
            left = sum(run.files for run in each.load_pending())
            name = f" {self.names[each.folder]}" if len(self.names) > 1 else ""
            if left and len(each):  # an empty one is an error of its own
                output.hint(
                    f"the library{name} is incomplete: {output.counted(left, 'file')} not indexed"
                    f" yet; see: qvsearch status{option(each.folder)}",
                    quiet,
                )
            elif name and not len(each):
                output.hint(f"the library{name} is empty", quiet)
            if output.is_watched(quiet) and (missing := missing_words(each)):
                # files without words are pointed out once
                once = "table-words-hint" if missing.publishers else "words-hint"
                if missing.is_all or first_time(once):
                    output.hint(f"the library{name} {missing.text()}")

    def folder_of(self, hit: Hit) -> Path:
        """Return the folder of a hit's library."""
        return hit.library or self.libraries[0].folder

    def exit_code(self, code: int) -> int:
        """Return the exit code of a command that would have `code` without the missing ones."""
        return ExitCode.INCOMPLETE if self.is_incomplete else code

    def searched(
        self, choice: Choice, cold: Callable[[float], None] = lambda _: None, *, keep: bool = False
    ) -> list[Searched]:
        """Return the libraries with their models, which all stay in memory with `keep`."""
        from qvsearch.retrieval.several import Searched
        from qvsearch.runtime.several import QueryModels

        models = QueryModels(choice, cold, keep=keep)
        return [
            Searched(each, partial(models.embedder, each.fingerprint)) for each in self.libraries
        ]
