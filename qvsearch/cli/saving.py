"""Saved searches in the command line of search: --save NAME, @NAME and --new-since."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from enum import Enum
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qvsearch.cli import output
from qvsearch.errors import ExitCode, QvsearchError
from qvsearch.library.names import existing_folder, library_names
from qvsearch.library.searches import (
    FLAGS,
    LISTS,
    MARK,
    NUMBERS,
    TEXTS,
    NoSuchSearch,
    check_name,
    read_search,
)

if TYPE_CHECKING:
    from qvsearch.library.library import Library
    from qvsearch.library.searches import SavedSearch, Value
    from qvsearch.retrieval.options import SearchOptions
    from qvsearch.retrieval.query import Query
    from qvsearch.retrieval.saved import Answer
    from qvsearch.types import Hit

_query = partial(typer.Option, rich_help_panel="Query")
# options that replace each other
_EITHER = (
    {"all_", "min_relevance"},
    {"task", "instruction"},
    {"words_only", "meaning_only"},
)


@dataclass(frozen=True, slots=True)
class Recalled:
    """The saved search of a command line; `is_changed` if other options of it are given."""

    name: str
    is_changed: bool


@dataclass(frozen=True, slots=True)
class SavingOptions:
    """The name under which a search is saved, and what is new for a saved one."""

    save: Annotated[
        str | None,
        _query(metavar="NAME", help="Name to save this search under; @NAME repeats it."),
    ] = None
    new_since: Annotated[
        bool, _query("--new-since", help="With @NAME: only files that are new since its last use.")
    ] = False

    def check(self, recalled: Recalled | None, *, several: bool) -> None:
        """Raise QvsearchError for options without the query that they need."""
        if self.new_since and recalled is None:
            raise QvsearchError("--new-since is for a saved search; give @NAME as the query")
        if self.save is not None:
            check_name(self.save)
            if several:
                raise QvsearchError("--save keeps one query; leave out --queries")

    def answer(
        self,
        libraries: "Sequence[Library]",
        recalled: Recalled | None,
        options: "Mapping[str, Value]",
        wanted: "SearchOptions",
        ask: "Callable[[SearchOptions], list[Hit]]",
    ) -> "Answer":
        """Return the hits of a query, saved or not.

        With several libraries, a saved search is only repeated: each has its own new files. Raises
        QvsearchError, before any work, for --save with them, and for a name that is in use.
        """
        from qvsearch.library.names import check_local
        from qvsearch.retrieval.saved import Answer, ask_saved, same_search

        if len(libraries) > 1 and (self.new_since or self.save is not None):
            option = "--new-since" if self.new_since else "--save"
            raise QvsearchError(f"{option} is for one library; give one of them with -l")
        if self.save is not None:
            check_local(libraries[0].folder)
            same_search(libraries[0], check_name(self.save), options)
        if recalled is None or len(libraries) > 1:
            return Answer(ask(wanted))
        return ask_saved(libraries[0], recalled.name, wanted, ask, only_new=self.new_since)

    def nothing_new(self, quiet: bool) -> int:
        """Print on a terminal that nothing is new, and return the exit code."""
        output.hint("nothing new is relevant since the last use of this search", quiet)
        return ExitCode.NOTHING_FOUND

    def finish(
        self,
        libraries: "Sequence[Library]",
        recalled: Recalled | None,
        answer: "Answer",
        options: "Mapping[str, Value]",
        *,
        quiet: bool,
    ) -> None:
        """Keep, now that the hits are printed, that a saved search was used, or a new one."""
        from qvsearch.library.names import option
        from qvsearch.retrieval.saved import save_search

        if recalled is not None and len(libraries) == 1 and output.is_read():
            if answer.more:
                more = output.counted(answer.more, "new file")
                output.hint(f"{more} more; search again, or give -k", quiet)
            if not recalled.is_changed:
                self._mark(libraries[0], recalled.name, answer, quiet=quiet)
        if self.save is not None:
            saved = save_search(libraries[0], self.save, options)
            place = f"{quote(MARK + saved.name)}{option(libraries[0].folder)}"
            output.hint(f"saved; to repeat it: qvsearch search {place}", quiet)

    def _mark(self, library: "Library", name: str, answer: "Answer", *, quiet: bool) -> None:
        """Keep that a saved search was used."""
        from qvsearch.retrieval.saved import mark_used

        try:
            mark_used(library, name, answer)
        except QvsearchError as error:
            if self.new_since:  # the same files would be new again
                raise
            output.hint(f"the use of this search is not kept: {error}", quiet)


def options_of(query: "Query | None", *records: object, **values: object) -> "dict[str, Value]":
    """Return a search as options by name: its query, and the values that are not the defaults."""
    options: dict[str, Value] = {}
    if query is not None and query.file is not None:
        options["file"] = os.fsdecode(query.file)
    elif query is not None and query.words is not None:
        options["words"] = query.words
    for record in records:
        for field in fields(record):  # type: ignore[arg-type]  # each is a dataclass of options
            value = getattr(record, field.name)
            if value not in (field.default, []):
                values[field.name] = value
    for name, each in values.items():
        if each is not None and each is not False:
            options[name.strip("_").replace("_", "-")] = _plain(name, each)
    return options


def _plain(name: str, value: object) -> "Value":
    match value:
        case bytes():
            return os.fsdecode(value)
        case Enum():
            return str(value.value)
        case list() | tuple():
            return [str(_plain(name, each)) for each in value]
        case bool() | int() | float():
            return value
        case _:
            text = str(value)
            return os.path.abspath(text) if name == "reranker" and Path(text).is_dir() else text


def recall(known: set[str], values: dict[str, Any]) -> Recalled | None:
    """Fill in the options of a saved search, if the query is @NAME; given ones stay.

    `known` are the parameters of the command, `values` the texts of those that are given. Raises
    QvsearchError if there is no such search.
    """
    query = values.get("query")
    if not (isinstance(query, str) and query.startswith(MARK) and query[1:].strip()):
        return None
    name = check_name(query)
    try:
        saved = _find(
            library_names() if values.get("all_libraries") else values.get("library"), name
        )
    except NoSuchSearch as error:
        raise NoSuchSearch(f'{error}; to look for the words, add a space: " {query}"') from error
    given = {each for each, value in values.items() if value is not None} - {"query"}
    texts = {_parameter(each): _texts(value) for each, value in saved.options.items()}
    if "file" in saved.options and not os.path.lexists(str(saved.options["file"])):
        raise QvsearchError(f"{saved.options['file']}, the query of {query}, is no longer there")
    # a space behind words, so that a file of that name does not become the query
    texts["query"] = f"{texts.pop('words')} " if "words" in texts else texts.pop("file", None)
    for pair in _EITHER:
        if pair & given:
            given |= pair
    values["query"] = None
    values.update((each, text) for each, text in texts.items() if each in known - given)
    return Recalled(name, bool(given & _PARAMETERS))


def _find(libraries: "str | list[str] | None", name: str) -> "SavedSearch":
    """Return the saved search of the first library that has it; raises as the last one does."""
    names: list[str | None] = [None]
    if libraries:
        names = [libraries] if isinstance(libraries, str) else [*libraries]
    *others, last = map(existing_folder, names)
    for each in others:
        with suppress(NoSuchSearch):
            return read_search(each, name)
    return read_search(last, name)


def _texts(value: "Value") -> Any:  # noqa: ANN401 - a parser takes a text, several, or a flag
    return value if isinstance(value, bool | list) else str(value)


def _parameter(option: str) -> str:
    return {"not": "not_", "all": "all_"}.get(option, option.replace("-", "_"))


# those that belong to a saved search
_PARAMETERS = {_parameter(each) for each in FLAGS | LISTS | NUMBERS | TEXTS}
