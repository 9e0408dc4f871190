"""The table of the tools: name, description, arguments and answer of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from qvsearch.errors import QvsearchError
from qvsearch.mcp import answers, arguments, searching, state
from qvsearch.mcp.reading import Contents, Reader
from qvsearch.mcp.schemas import read_arguments
from qvsearch.retrieval.shelf import Shelf


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool; `answer` is None if its contents are pictures."""

    name: str
    title: str
    description: str
    arguments: type
    answer: type | None
    run: Callable[[Shelf, Any], dict[str, Any]] | None = None


READ = "read"
TOOLS = (
    Tool(
        "search",
        "Search photos, videos, documents and texts",
        "Find the user's own photos, moments of videos, pages of documents and passages of texts by"
        " words, by example files, or both. Filters alone list files, newest first. If nothing is"
        " relevant, `relevant` is false and the hits are only the nearest files. A hit's `id` is"
        " for the other tools.",
        arguments.SearchArguments,
        answers.SearchAnswer,
        searching.search,
    ),
    Tool(
        READ,
        "Read a file of the library",
        "Look at a file: the picture of an image, frames of a video's moment with their times, a"
        " document's page with its words, or passages of a text. Give the `start` and `end`, the"
        " `page`, the `lines` or the `section` of a hit.",
        arguments.ReadArguments,
        None,
    ),
    Tool(
        "similar",
        "Find similar files",
        "Find the files that are most like a file, near-duplicates included, best first.",
        arguments.SimilarArguments,
        answers.SimilarAnswer,
        searching.similar,
    ),
    Tool(
        "explain",
        "Explain a hit",
        "Explain why a file is or is not a hit of a search: its relevance, its rank, and the"
        " filter that hides it. Give the search's arguments and the file's `id` or `path`.",
        arguments.ExplainArguments,
        answers.ExplainAnswer,
        searching.explain,
    ),
    Tool(
        "status",
        "Describe the libraries",
        "List the libraries with their folders, counts, problems and stale files, and the values"
        " that `search` can filter by, e.g. cameras and dates.",
        arguments.StatusArguments,
        answers.StatusAnswer,
        state.status,
    ),
)
_OPTION = re.compile(r"(; see )?--([a-z]+(?:-[a-z]+)*)|(?<!\S)-k\b")
_RENAMED = {"top": "k"}


def run(
    name: str,
    given: Mapping[str, object],
    shelf: Shelf,
    reader: Reader,
    stop: Callable[[], bool],
) -> Contents:
    """Return the answer of a call; raises QvsearchError with a sentence for the agent.

    `stop` is whether nobody waits for the answer any more.
    """
    tool = next(each for each in TOOLS if each.name == name)
    try:
        wanted: Any = read_arguments(tool.arguments, name, given)
        if stop():
            raise QvsearchError("cancelled")
        if tool.run is None:
            return reader.read(shelf, wanted, stop)
        record = tool.run(shelf, wanted)
    except QvsearchError as error:
        raise QvsearchError(in_arguments(str(error), tool.arguments)) from error
    if "reason" in record:
        record["reason"] = in_arguments(record["reason"], tool.arguments)
    return Contents(record)


def in_arguments(text: str, record: type) -> str:
    """Return a text for the command line with the names of arguments instead of options.

    A reference to an option that the tool lacks is left out.
    """
    names = {each.name.rstrip("_") for each in fields(record)}

    def renamed(match: re.Match[str]) -> str:
        if match[2] is None:
            return "k"
        name = _RENAMED.get(match[2], match[2].replace("-", "_"))
        if name in names:
            return f"{match[1] or ''}{name}"
        return "" if match[1] else match[0]

    return _OPTION.sub(renamed, text)
